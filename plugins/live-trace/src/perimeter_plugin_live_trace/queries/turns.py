"""
What a conversation is shown as: turns, one a call, that consist of cards.

A view model: made by `conversation`, rendered by `templates/parts/cards.html`. All text is plain,
and bounded: an `Excerpt` says how much of how much it shows, and where the rest is.
"""

from __future__ import annotations

import msgspec

from perimeter_plugin_live_trace.queries.marks import Mark, Marks, Place, Run
from perimeter_plugin_live_trace.queries.prompts import Line


LARGEST = 32 * 1024
"""Bytes of one text that a page shows."""
PAGE = 768 * 1024
"""Bytes of all texts of a page; what comes after is shown shorter."""
_SHORT = 1024


class Excerpt(msgspec.Struct, frozen=True):
    """
    The beginning of a text.

    Attributes:
        text: It, personal data hidden.
        shown: Bytes of it.
        size: Bytes of all of it.
        href: Where all of it is, "" for nowhere.
        runs: It in pieces, where something was found in it; else empty.
    """

    text: str
    shown: int
    size: int
    href: str = ""
    runs: list[Run] = []

    @property
    def cut(self) -> bool:
        """Whether there is more."""
        return self.shown < self.size


class ToolUse(msgspec.Struct):
    """
    A tool that a model asked for, and what came back.

    Attributes:
        id: The provider's id of it, or the tool's name.
        name: The tool's.
        line: Its arguments in a line.
        arguments: All of them.
        result: What it gave back; None as long as nobody said.
        failed: Whether the client said that it failed.
        dur_us: How long it took, where that is known.
        seq: The event that tells of it, 0 for none.
        server: Whether the provider ran it.
    """

    id: str
    name: str
    line: str
    arguments: Excerpt
    result: Excerpt | None = None
    failed: bool = False
    dur_us: int | None = None
    seq: int = 0
    server: bool = False


class Piece(msgspec.Struct, frozen=True):
    """
    A part of a message.

    Attributes:
        kind: `text`, `thinking`, `media`, `other` or `tool`.
        body: Its words, for the first two.
        label: What stands for media and parts that nobody understands.
        tool: For `tool`.
    """

    kind: str
    body: Excerpt | None = None
    label: str = ""
    tool: ToolUse | None = None


class Card(msgspec.Struct, frozen=True):
    """
    A message.

    Attributes:
        role: Whose it is: `user`, `assistant`, `system`, `tool`, or whatever a client wrote.
        pieces: What it consists of.
        note: What is special about it: `edited`, `changed`, or "".
        index: Its place among the new messages of its call; -1 for the reply.
    """

    role: str
    pieces: list[Piece]
    note: str = ""
    index: int = -1


class Spotted(msgspec.Struct):
    """
    A finding at a turn.

    Attributes:
        number: Its number in the session.
        kind: What kind of personal data it is; "" where it is none.
        place: What became of its words, "" where nobody said where they are.
    """

    id: int
    number: int
    group_id: int
    title: str
    sev: int
    rule: str
    kind: str
    place: Place = ""


class Turn(msgspec.Struct, frozen=True):
    """
    A call: what was new in it, and what came back.

    Attributes:
        number: Which call of its session it is.
        seq: The newest event that is in it.
        start_seq: The event that it begins with, 0 for none.
        end_seq: The event that it ends with, 0 for none.
        start_id: The id of the first of these.
        end_id: The id of the other.
        anchors: Further events that happened in it.
        carried: How many messages it repeats, which are not shown again.
        repeated: How many further ones it repeats at another place.
        system: The system prompt, in the first turn of a page and where it changed.
        system_changed: Whether it is another one than in the call before.
        system_changes: Which of its lines are others than there.
        asked: The new messages.
        reply: What came back, None for nothing.
        unread: Why nothing of the call can be shown, or "".
        attempt: Which attempt it is, and of how many; 1 of 1 for a call that was made once.
    """

    number: int
    exchange: str
    seq: int
    start_seq: int
    end_seq: int
    start_id: int
    end_id: int
    anchors: list[int]
    state: str
    stalled: bool
    upstream: str
    dialect: str
    model: str
    stream: bool
    started_us: int
    dur_us: int | None
    ttft_us: int | None
    tok_in: int | None
    tok_out: int | None
    tok_cached: int | None
    tok_reasoning: int | None
    cost_nano: int | None
    finish: str
    http_status: int | None
    error: str
    error_type: str
    outcome: str
    attempts: int
    attempt: int
    attempts_of: int
    retry_of: int
    replay_of: str
    received: int
    carried: int
    repeated: int
    rewritten: bool
    system: Excerpt | None
    system_changed: bool
    system_changes: list[Line]
    asked: list[Card]
    reply: Card | None
    unread: str
    findings: list[Spotted]

    @property
    def odd_finish(self) -> str:
        """Why the model stopped, where that was not because it had said everything."""
        return "" if self.finish.lower() in _ORDINARY else self.finish


_ORDINARY = {"", "stop", "end_turn", "completed", "tool_calls", "tool_use", "function_call",
             "stop_sequence", "done"}  # fmt: skip


class Budget:
    """
    How much text a page may still show.

    Attributes:
        marks: What was found in texts of the page.
    """

    def __init__(self, size: int = PAGE) -> None:
        self._left = size
        self.marks = Marks()

    def excerpt(self, text: str, href: str = "") -> Excerpt:
        """Return the beginning of a text, or all of it, with what was found in it."""
        marks = self.marks.of(text)
        limit = LARGEST if self._left > 0 else _SHORT
        if len(text) * 4 <= limit:
            size = len(text.encode("utf-8", "surrogatepass"))
            self._left -= size
            return self._excerpt(text, size, size, href, marks)
        data = text.encode("utf-8", "surrogatepass")
        shown = data[:limit].decode("utf-8", "ignore") if len(data) > limit else text
        length = len(shown.encode("utf-8", "surrogatepass"))
        self._left -= length
        return self._excerpt(shown, length, len(data), href, marks)

    def _excerpt(self, text: str, shown: int, size: int, href: str, marks: list[Mark]) -> Excerpt:
        if not marks:
            return Excerpt(text, shown, size, href)
        cut = self.marks.cut(text, marks)
        return Excerpt("".join(run.text for run in cut), shown, size, href, cut)
