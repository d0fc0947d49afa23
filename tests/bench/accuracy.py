"""
Measure how well sessions are found, against conversations whose truth is known.

    python tests/bench/accuracy.py [--conversations 1000] [--width 8 32] [--seed 1] [--parallel]
        [--recorded recorded.sqlite --tools FOLDER] [--verbose] [--json results.json]

Generated conversations come from `tests/helpers/conversations.py`. Recorded ones come from a file
that the traffic tools made; FOLDER (or `PERIMETER_TRAFFIC`) has those tools, whose truth and score
are taken. Everything is played in this process: parsers, fingerprints and store are the proxy's
own, only HTTP is left out. What the simple rule (the latest request whose messages are exactly the
beginning) scores stands beside it.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import attrs
from rich.console import Console
from rich.table import Table


sys.path.append(str(Path(__file__).parents[1] / "helpers"))

from conversation_replay import ExactPrefix, Perimeter, Resolver, replay
from conversation_scores import Mistake, Score, mistakes, score
from conversations import SEED, Play, generate


RESOLVERS: dict[str, Callable[[], Resolver]] = {"prefix": ExactPrefix, "perimeter": Perimeter}
RECORDED = {
    "chat completions + Responses": ["chat.completions", "responses"],
    "Anthropic Messages": ["messages"],
    "everything": None,
}
"""What is played together, by the names that the recordings give to APIs."""


@attrs.frozen
class Row:
    """
    A line of the table.

    Attributes:
        corpus: What was played.
        part: Which part of it is scored.
        resolver: Who resolved it.
        score: How well.
        extra: What else there is to say.
    """

    corpus: str
    part: str
    resolver: str
    score: Score
    extra: str = ""


def generated(options: argparse.Namespace, width: int, console: Console) -> Iterator[Row]:
    """Play generated conversations."""
    corpus = generate(options.conversations, seed=options.seed, width=width)
    name = f"generated, {width} wide"
    for resolver in options.resolvers:
        found, extra = _played(corpus.plays, resolver, options)
        parts = [(play.dialect, place) for place, play in enumerate(corpus.plays)]
        for part in sorted({dialect for dialect, _ in parts}):
            places = [place for dialect, place in parts if dialect == part]
            yield Row(name, part, resolver, _score_of(corpus.truth, found, places))
        yield Row(name, "everything", resolver, score(corpus.truth, found), extra)
        if options.verbose:
            _explain(console, f"{name}, {resolver}", corpus.plays, corpus.truth, found, options)


def _score_of(truth: Sequence[int], found: Sequence[str], places: Sequence[int]) -> Score:
    return score([truth[each] for each in places], [found[each] for each in places])


def _played(plays: Sequence[Play], name: str, options: argparse.Namespace) -> tuple[list[str], str]:
    resolver = RESOLVERS[name]()
    try:
        found = replay(plays, resolver, parallel=options.seed if options.parallel else None)
        defects = len(resolver.defects) if isinstance(resolver, Perimeter) else 0
    finally:
        resolver.close()
    return found, f"{defects} defects" if defects else ""


# -- recorded conversations


def recorded(options: argparse.Namespace, width: int, part: str, console: Console) -> Iterator[Row]:
    """Play recorded conversations in the order and with the score of the traffic tools."""
    cassettes, truths = (import_module(each) for each in ("cassettes", "sessions_truth"))
    conversations = truths.conversations(options.recorded, apis=RECORDED[part])
    order = truths.schedule(conversations, width, options.seed)
    truth = {each: number for number, one in enumerate(conversations) for each in one.ids}
    connection = cassettes.open_corpus(options.recorded)
    plays = [_recorded_play(cassettes.get(connection, each), truth[each]) for each in order]
    name = f"recorded, {width} wide"
    for resolver in options.resolvers:
        found, extra = _played(plays, resolver, options)
        result = truths.score(conversations, dict(zip(order, found, strict=True)))
        if part == "everything":
            for api, pairs in sorted(result["by"].items()):
                if pairs["tp"] + pairs["fn"] >= options.least:
                    yield Row(name, api, resolver, _pairs(pairs))
        perfect = f"{result['perfect']} of {result['multi']} perfect"
        yield Row(name, part, resolver, _pairs(result["all"]), f"{perfect} {extra}".strip())
        if options.verbose:
            owners = [truth[each] for each in order]
            title, unsure = f"{name}, {part}, {resolver}", truths.UNSURE_CONVS
            _explain(console, title, plays, owners, found, options, unsure)


def _pairs(result: dict[str, Any]) -> Score:
    return Score(result["tp"], result["fp"], result["fn"])


def _recorded_play(recording: dict[str, Any], conversation: int) -> Play:
    query = f"?{recording['query']}" if recording["query"] else ""
    return Play(
        conversation,
        recording["api"],
        recording["path"] + query,
        recording["request_headers"],
        recording["request_body"],
        recording["response_body"],
        recording["status"],
        recording["kind"],
        f"recording {recording['id']} of {recording['cassette']}",
    )


# -- what is told


def _explain(
    console: Console,
    title: str,
    plays: Sequence[Play],
    truth: Sequence[int],
    found: Sequence[str],
    options: argparse.Namespace,
    unsure: Collection[tuple[int, int]] = (),
) -> None:
    """Print where groups fell apart or ran together."""
    console.print(f"\n[bold]{title}: worst mistakes")
    left = options.worst
    for mistake in mistakes(truth, found):
        one, other = sorted((truth[mistake.play], truth[mistake.other]))
        if (one, other) in unsure:
            continue
        _tell(console, mistake, plays, found)
        left -= 1
        if not left:
            return


def _tell(console: Console, mistake: Mistake, plays: Sequence[Play], found: Sequence[str]) -> None:
    console.print(f"{mistake.kind}, {mistake.pairs} pairs", style="yellow")
    for place in (mistake.other, mistake.play):
        play = plays[place]
        console.print(
            f"  play {place} of conversation {play.conversation} in {found[place]}: "
            f"{play.dialect} {play.status} {play.note}\n    {_end_of(play.request)}",
            markup=False,
            highlight=False,
        )


def _end_of(body: bytes) -> str:
    text = " ".join(body.decode("utf-8", "replace").split())
    return text if len(text) <= 400 else f"{text[:200]} … {text[-200:]}"


def _table(rows: Sequence[Row]) -> Table:
    table = Table(title="Pairs of requests that belong together")
    for heading in ("corpus", "part", "resolver"):
        table.add_column(heading)
    for heading in ("pairs", "precision", "recall", "F1"):
        table.add_column(heading, justify="right")
    table.add_column("")
    before = ""
    for row in rows:
        if before not in {"", row.corpus + row.resolver}:
            table.add_section()
        before = row.corpus + row.resolver
        pairs = row.score.right + row.score.split
        figures = (row.score.precision, row.score.recall, row.score.f1)
        told = [f"{figure:.4f}" for figure in figures]
        table.add_row(row.corpus, row.part, row.resolver, f"{pairs}", *told, row.extra)
    return table


def _json(row: Row) -> dict[str, Any]:
    figures = {"precision": row.score.precision, "recall": row.score.recall, "f1": row.score.f1}
    return attrs.asdict(row) | figures


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--conversations", type=int, default=1000, help="0: none are generated")
    parser.add_argument("--width", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--parallel", action="store_true", help="responses come late")
    parser.add_argument("--resolvers", nargs="+", choices=list(RESOLVERS), default=list(RESOLVERS))
    parser.add_argument("--recorded", help="file of recorded traffic")
    parser.add_argument("--parts", nargs="+", choices=list(RECORDED), default=list(RECORDED))
    parser.add_argument("--tools", default=os.environ.get("PERIMETER_TRAFFIC", ""))
    parser.add_argument("--least", type=int, default=20, help="pairs of an API to be listed")
    parser.add_argument("--verbose", action="store_true", help="print the worst mistakes")
    parser.add_argument("--worst", type=int, default=20, help="how many of them")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def _rows(options: argparse.Namespace, console: Console) -> Iterator[Row]:
    for width in options.width:
        if options.conversations:
            yield from generated(options, width, console)
        for part in options.parts if options.recorded else ():
            yield from recorded(options, width, part, console)


def main() -> None:
    """Play, and print."""
    options, console = _options(), Console()
    if options.recorded:
        if not options.tools:
            sys.exit("--recorded needs the traffic tools: --tools or PERIMETER_TRAFFIC")
        sys.path.append(options.tools)
    if not options.verbose:
        logging.getLogger("perimeter").setLevel(logging.CRITICAL)  # defects are counted
    rows = list(_rows(options, console))
    console.print(_table(rows))
    if options.json:
        options.json.write_text(json.dumps([_json(row) for row in rows], indent=2) + "\n")


if __name__ == "__main__":
    main()
