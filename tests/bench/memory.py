"""
Measure how much memory sessions take.

    python tests/bench/memory.py [--sessions 2000] [--turns 50] [--many 10000]

Conversations are played through everything that follows calls: parsers, fingerprints and store are
the proxy's own, only HTTP is left out. Each row has a process of its own, since memory that was
used once is seldom given back. What a row says is how much the process's resident memory grew,
after a collection of garbage; the conversations themselves are not kept by anybody. With tools
every other turn asks for two, whose results come with the next request.

Of each row the whole process is told too, with the interpreter and all that it has loaded.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import psutil
from rich.console import Console
from rich.table import Table


sys.path.append(str(Path(__file__).parents[1] / "helpers"))

from conversation_turns import Results, Said, User
from driver import Proxy, Talk, asks, client, fresh
from perimeter.sessions.memory import Limits


KIB = 1024
WARM = 20
"""Sessions that are played first: what is loaded and cached once is no session's."""
BAR = 12.0
BAR_MANY = 120.0


@attrs.frozen
class Row:
    """
    What was measured.

    Attributes:
        label: What was played.
        sessions: How many sessions.
        grown: Bytes that the process has grown by.
        whole: Bytes of the process.
    """

    label: str
    sessions: int
    grown: int
    whole: int

    @property
    def each(self) -> float:
        """KiB for each session."""
        return self.grown / self.sessions / KIB


def turns_of(number: int, turns: int, *, tools: bool) -> Iterator[tuple[Any, Said]]:
    """Yield what client and model say; no two conversations say the same."""
    said = Said()
    for turn in range(turns):
        if said.calls:
            given = Results(tuple((call, f"result {number}/{turn}") for call in said.calls))
        else:
            given = User(f"{number}/{turn}: a question of some length, as people ask them.")
        calls = (asks("search", '{"for": "it"}'), asks("read")) if tools and turn % 2 == 0 else ()
        text = f"The answer no. {number}/{turn} is a text of some length too."
        said = Said(text, calls=calls, id=fresh("chatcmpl-"))
        yield given, said


def play(proxy: Proxy, number: int, turns: int, *, tools: bool) -> None:
    """Play a conversation."""
    talk = Talk(proxy, client(), f"You are agent {number}.")
    for given, said in turns_of(number, turns, tools=tools):
        talk.step(given, reply=said)
        proxy.events.clear()
        proxy._starts.clear()


def measure(label: str, sessions: int, turns: int, *, tools: bool) -> Row:
    """Play sessions in this process, and measure it."""
    proxy = Proxy(Limits(max_sessions=sessions + WARM))
    process = psutil.Process()
    for number in range(WARM):
        play(proxy, -number - 1, turns, tools=tools)
    gc.collect()
    before = process.memory_info().rss
    for number in range(sessions):
        play(proxy, number, turns, tools=tools)
    gc.collect()
    whole = process.memory_info().rss
    assert proxy.store.active == sessions + WARM
    return Row(label, sessions, whole - before, whole)


def apart(label: str, sessions: int, turns: int, *, tools: bool) -> Row:
    """Measure in a process of its own."""
    command = [sys.executable, __file__, "--row", json.dumps([label, sessions, turns, tools])]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return Row(*json.loads(done.stdout))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure how much memory sessions take.")
    parser.add_argument("--sessions", type=int, default=2000, help="of the first rows")
    parser.add_argument("--turns", type=int, default=50, help="of each session")
    parser.add_argument(
        "--many", type=int, default=10_000, help="sessions of two further rows; 0: none"
    )
    parser.add_argument("--row", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        label, sessions, turns, tools = json.loads(options.row)
        print(json.dumps(attrs.astuple(measure(label, sessions, turns, tools=tools))))
        return
    rows = [
        apart("without tools", options.sessions, options.turns, tools=False),
        apart("with tools", options.sessions, options.turns, tools=True),
    ]
    if options.many:
        rows.append(apart("without tools", options.many, options.turns, tools=False))
        rows.append(apart("with tools", options.many, options.turns, tools=True))
    show(rows, options.turns)


def show(rows: list[Row], turns: int) -> None:
    """Print a table."""
    table = Table("", "sessions", "KiB each", "MiB more", "MiB in all", title=f"{turns} turns each")
    for row in rows:
        megabytes = [f"{size / KIB / KIB:.1f}" for size in (row.grown, row.whole)]
        table.add_row(row.label, f"{row.sessions:,}", f"{row.each:.1f}", *megabytes)
    Console().print(table)
    print(f"Meant to be: at most {BAR:g} KiB each, and {BAR_MANY:g} MiB more for 10,000.")


if __name__ == "__main__":
    main()
