"""What the configuration adds to what is known of calls: prices, and dialects of plugins."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from factory import NOW
from traced import Traced, traced

from perimeter_plugin_live_trace.records import Answered, Asked, Happened, Record
from perimeter_plugin_live_trace.store import Database, Writer


ACME = '''
import re
import sys

import attrs
from perimeter import hookimpl
from perimeter.dialects import OpenAIChat

BEGIN


@attrs.frozen
class Talk(OpenAIChat):
    """Chats as OpenAI has them, by another name."""


class Acme:
    """Adds a dialect."""

    @attrs.frozen
    class Config:
        """No options."""

    def __init__(self, config, context):
        pass

    @hookimpl
    def dialects(self):
        return [Talk("NAME.talk", "openai", re.compile(r"/NAME/talk\\Z"))]
'''
ELSEWHERE = (
    'if "perimeter_plugin_live_trace.process" in sys.orig_argv: raise SystemExit("not here")'
)
PRICING = '[pricing."house-model"]\ninput = 10\noutput = 20\ncache_read = 1\n'


def install(folder: Path, name: str, begin: str = "") -> None:
    """Install a plugin that adds a dialect."""
    place = folder / "site" / f"{name}-1.0.dist-info"
    place.mkdir(parents=True)
    (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    entry = f"[perimeter.plugins]\n{name} = perimeter_{name}:Acme\n"
    (place / "entry_points.txt").write_text(entry)
    code = ACME.replace("NAME", name).replace("BEGIN", begin)
    (folder / "site" / f"perimeter_{name}.py").write_text(code)


def wasteful(path: Path, dialect: str = "openai.chat") -> None:
    """Write a session of a model that only the configuration has a price for; it lost 3,000."""
    writer = Writer(Database.open(path, create=True), clock=lambda: NOW)
    for number, cached in ((1, 0), (2, 1000)):
        writer.take(call(number, cached, dialect))
    writer.close()


def call(number: int, cached: int, dialect: str) -> list[Record]:
    """Return the records of a call of the session `waste`."""
    exchange, at, span = f"waste-{number}", NOW + number, f"{number:016x}"
    messages = [{"role": "user", "content": f"text {place}"} for place in range(number)]
    sent = json.dumps({"model": "house-model", "messages": messages}).encode()
    head = ((b"content-type", b"application/json"),)
    about = {"call.id": exchange, "llm.model": "house-model"}
    usage = {"llm.usage.input_tokens": 4000, "llm.usage.cache_read_tokens": cached}
    target = "/v1/chat/completions"
    return [
        Asked(exchange, at, dialect, "chat", "x", "", "POST", target, head, sent, len(sent)),
        Happened("llm.call.start", at, "", span, "INFO", "waste", "a", about),
        Happened("llm.call.finish", at, "", span, "INFO", "waste", "a", {**about, **usage}),
        Answered(exchange, at, "completed", 200, head, b"{}", 2, 1.0),
    ]


def lost(url: str) -> Any:
    """Return what a dashboard says that the second call of `waste` has lost, in dollars."""
    found = httpx.get(f"{url}/sessions/waste/cache.json", timeout=30).json()
    (_, step) = found["report"]["steps"]
    assert step["lost_tokens"] == 3000
    return step["lost_nano"] and step["lost_nano"] / 1e9


def shown(url: str, session: str) -> str:
    """Return the conversation of a session, as a dashboard has it."""
    return httpx.get(f"{url}/sessions/{session}.json", timeout=30).text


def talk(trace: Traced, name: str) -> str:
    """Talk to the provider in the dialect of a plugin; return the session."""
    before, messages = trace.calls(), [{"role": "user", "content": f"hello {name}"}]
    answer, _ = trace.proxy.line().ask(
        "POST", f"/{name}/talk", {"model": "m", "messages": messages}
    )
    assert answer.status == 200
    trace.wait_for_calls(before + 1)
    found = trace.rows("SELECT public_id FROM sessions ORDER BY id DESC LIMIT 1")
    return str(found[0][0])


@contextmanager
def alone(*arguments: object) -> Iterator[tuple[str, str]]:
    """Run `perimeter live-trace serve`; yield its address, and what it said."""
    command = [sys.executable, "-m", "perimeter", "live-trace", "serve", "--port", "0"]
    process = subprocess.Popen(
        [*command, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said = ""
    try:
        assert process.stdout is not None
        for line in process.stdout:
            said += line
            if found := re.search(r"dashboard is at (\S+)", line):
                yield found[1], said
                break
        else:
            pytest.fail(said)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def test_beside_a_proxy(tmp_path, monkeypatch):
    """
    The process has its proxy's prices and its plugins' dialects.

    A dialect whose plugin can't be imported over there costs its own calls their text only.
    """
    install(tmp_path, "acme")
    install(tmp_path, "fragile", ELSEWHERE)
    wasteful(tmp_path / "traces.db")
    options = f'db_path = "{tmp_path / "traces.db"}"\nmax_age = 0\n'
    options += f"[plugins.acme]\n[plugins.fragile]\n{PRICING}"
    with traced(tmp_path, monkeypatch, options, file="traces.db") as trace:
        acme, fragile = talk(trace, "acme"), talk(trace, "fragile")

        assert "reply 1" in shown(trace.url, acme)
        assert "hello acme" in shown(trace.url, acme)
        assert "reply 1" not in shown(trace.url, fragile)
        assert "what calls of fragile.talk say can't be shown" in trace.proxy.said
        assert lost(trace.url) == pytest.approx(3000 * 9 / 1e6)


def test_alone_with_a_configuration(tmp_path, monkeypatch):
    """So has a dashboard that runs alone; a plugin that fails is told, and the others count."""
    install(tmp_path, "acme")
    install(tmp_path, "broken", 'raise RuntimeError("it always fails")')
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    file, config = tmp_path / "traces.db", tmp_path / "perimeter.toml"
    config.write_text(f"[plugins.broken]\n[plugins.acme]\n{PRICING}")
    wasteful(file, "acme.talk")

    with alone("--db", file, "--config", config) as (url, said):
        assert lost(url) == pytest.approx(3000 * 9 / 1e6)
        assert "text 0" in shown(url, "waste")
    assert "it always fails" in said


def test_alone_without_a_configuration(tmp_path, monkeypatch):
    """What nobody has told of is not known, and is not guessed."""
    monkeypatch.chdir(tmp_path)
    wasteful(tmp_path / "traces.db", "acme.talk")

    with alone("--db", tmp_path / "traces.db") as (url, _):
        assert lost(url) is None
        assert "text 0" not in shown(url, "waste")


def test_a_configuration_that_is_broken(tmp_path):
    """It is refused with the reason."""
    wasteful(tmp_path / "traces.db")
    config = tmp_path / "perimeter.toml"
    config.write_text("[pricing.m]\ninput = -1\noutput = 0\n")
    command = [sys.executable, "-m", "perimeter", "live-trace", "serve", "--config", str(config)]
    done = subprocess.run(
        [*command, "--db", str(tmp_path / "traces.db")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    assert "must be a number of dollars that is not negative" in done.stderr
    assert "Traceback" not in done.stderr
