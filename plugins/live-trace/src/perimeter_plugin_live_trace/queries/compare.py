"""Two sessions side by side: their messages aligned, and what differs in them word by word."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from typing import Any

import msgspec

from perimeter_plugin_live_trace.queries.cards import one_line
from perimeter_plugin_live_trace.queries.conversation import turns
from perimeter_plugin_live_trace.queries.sessions import SessionRow
from perimeter_plugin_live_trace.queries.turns import Card, Turn
from perimeter_plugin_live_trace.store import Reader


CALLS = 100
"""Of each session that are compared, the first ones."""
_MOST_WORDS = 1500
"""Of a message that are compared one by one."""
_WORD = re.compile(r"\s+|\w+|[^\w\s]")


class Change(msgspec.Struct, frozen=True):
    """A piece of a text; `differs` says that the other text has it otherwise."""

    text: str
    differs: bool = False


class Entry(msgspec.Struct, frozen=True):
    """
    A message of one side.

    Attributes:
        number: Its call.
        seq: The event that it is at.
        role: Whose it is; `tool` for a tool with its arguments.
        text: Its words.
        pieces: The same, with what differs.
    """

    number: int
    seq: int
    role: str
    text: str
    pieces: list[Change] = []


class Row(msgspec.Struct, frozen=True):
    """Two messages that belong together, or one alone: `same`, `changed`, `left`, `right`."""

    kind: str
    left: Entry | None
    right: Entry | None


class Delta(msgspec.Struct, frozen=True):
    """A figure of both; `unit` is how it is written: `count`, `tokens`, `time` or `cost`."""

    label: str
    unit: str
    left: int | None
    right: int | None

    @property
    def share(self) -> float | None:
        """By how much the right one is more, as a share of the left one."""
        if not self.left or self.right is None:
            return None
        return (self.right - self.left) / self.left


def deltas(left: SessionRow, right: SessionRow) -> list[Delta]:
    """Return the figures of two sessions."""
    figures = (
        ("Turns", "count", "turns"),
        ("Duration", "time", "dur_us"),
        ("Tokens in", "tokens", "tok_in"),
        ("Tokens out", "tokens", "tok_out"),
        ("Cached", "tokens", "tok_cached"),
        ("Cost", "cost", "cost"),
        ("Time of models", "time", "llm_us"),
        ("Time of tools", "time", "tool_us"),
        ("p95", "time", "p95_us"),
        ("Tool calls", "count", "tools"),
        ("Errors", "count", "errors"),
        ("Findings", "count", "findings"),
    )
    return [
        Delta(label, unit, getattr(left, name), getattr(right, name))
        for label, unit, name in figures
    ]


def entries(reader: Reader, session: Any, now_us: int) -> list[Entry]:
    """Return the messages of a session's first calls."""
    found: list[Entry] = []
    for turn in turns(reader, session, 1, CALLS, now_us):
        if turn.system is not None:
            found.append(Entry(turn.number, turn.start_seq, "system", turn.system.text))
        for card in turn.asked:
            found += _of_card(turn, card, turn.start_seq)
        if turn.reply is not None:
            found += _of_card(turn, turn.reply, turn.end_seq)
        if turn.state == "error":
            found.append(Entry(turn.number, turn.end_seq, "error", turn.error))
    return found


def _of_card(turn: Turn, card: Card, seq: int) -> list[Entry]:
    role = "assistant" if card.role == "model" else card.role
    words = "\n".join(
        piece.body.text for piece in card.pieces if piece.kind == "text" and piece.body
    )
    found = [Entry(turn.number, seq, role, words)] if words else []
    for piece in card.pieces:
        use = piece.tool
        if use is not None:
            result = f"\n→ {use.result.text}" if use.result else ""
            found.append(
                Entry(
                    turn.number,
                    use.seq or seq,
                    "tool",
                    f"{use.name}({one_line(use.arguments.text)}){result}",
                )
            )
    return found


def align(left: list[Entry], right: list[Entry]) -> list[Row]:
    """Return two conversations side by side."""
    keys = [[(each.role, " ".join(each.text.split())) for each in side] for side in (left, right)]
    rows: list[Row] = []
    for kind, a, b, c, d in SequenceMatcher(None, keys[0], keys[1], autojunk=False).get_opcodes():
        if kind == "equal":
            rows += [
                Row("same", one, other) for one, other in zip(left[a:b], right[c:d], strict=True)
            ]
        else:
            rows += _paired(left[a:b], right[c:d])
    return rows


def _paired(left: list[Entry], right: list[Entry]) -> list[Row]:
    """Return what stands at the same place as pairs, where both are said by the same."""
    roles = [[each.role for each in side] for side in (left, right)]
    rows: list[Row] = []
    for kind, a, b, c, d in SequenceMatcher(None, roles[0], roles[1], autojunk=False).get_opcodes():
        if kind == "equal":
            rows += [_changed(one, other) for one, other in zip(left[a:b], right[c:d], strict=True)]
            continue
        rows += [Row("left", each, None) for each in left[a:b]]
        rows += [Row("right", None, each) for each in right[c:d]]
    return rows


def _changed(left: Entry, right: Entry) -> Row:
    one, other = words(left.text, right.text)
    structs = msgspec.structs
    return Row("changed", structs.replace(left, pieces=one), structs.replace(right, pieces=other))


def words(left: str, right: str) -> tuple[list[Change], list[Change]]:
    """Return two texts in pieces, with what each has otherwise than the other."""
    a, b = _WORD.findall(left), _WORD.findall(right)
    if len(a) > _MOST_WORDS or len(b) > _MOST_WORDS:
        return [Change(left, differs=True)], [Change(right, differs=True)]
    one: list[Change] = []
    other: list[Change] = []
    for kind, i, j, k, m in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if i < j:
            one.append(Change("".join(a[i:j]), kind != "equal"))
        if k < m:
            other.append(Change("".join(b[k:m]), kind != "equal"))
    return one, other
