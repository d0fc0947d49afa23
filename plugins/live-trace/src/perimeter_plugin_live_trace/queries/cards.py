"""Messages as cards: their parts in order, and tools together with their results."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urlencode

import msgspec

from perimeter.calls import Media, Message, Other, Part, Thinking, ToolCall, ToolResult
from perimeter.calls import Text as Words
from perimeter_plugin_live_trace.queries.turns import Budget, Card, Piece, ToolUse


LINE = 140
"""Characters of a tool's arguments in a line."""
_BLANK = re.compile(r"\s+")


class Cards:
    """
    Makes cards of the messages of one call.

    Args:
        budget: How much text the page may show.
        waiting: Tools that wait for their results, by their ids; shared by all calls of a page.
        events: Of the call: id, seq, kind, name, dur_us, status.
    """

    def __init__(
        self, budget: Budget, waiting: dict[str, deque[ToolUse]], events: Sequence[Any]
    ) -> None:
        self._budget, self._waiting = budget, waiting
        self.start_id = next((each.id for each in events if each.kind == "llm.call.start"), 0)
        ends = ("llm.call.finish", "llm.call.error")
        self.end_id = next((each.id for each in events if each.kind in ends), 0)
        self._tools = [each for each in events if each.kind.startswith("tool.")]
        self.uses: list[ToolUse] = []

    def messages(self, messages: Iterable[tuple[int, Message]], *, edited: bool) -> list[Card]:
        """Return cards for the new messages of a request; what tools gave back goes to them."""
        cards = []
        for index, message in messages:
            pieces = [
                self._piece(part, f"message-{index}-{place}", self.start_id)
                for place, part in enumerate(message.parts)
                if not (isinstance(part, ToolResult) and self._answer(part, index, place))
            ]
            if pieces or not message.parts:
                own = edited and message.role in {"assistant", "model"}
                cards.append(Card(message.role, pieces, "edited" if own else "", index))
        return cards

    def results(self, messages: Sequence[Message]) -> None:
        """Take only what tools gave back."""
        for index, message in enumerate(messages):
            for place, part in enumerate(message.parts):
                if isinstance(part, ToolResult):
                    self._answer(part, index, place)

    def reply(self, message: Message) -> Card:
        """Return the card of a reply; its tools wait for their results from now on."""
        pieces = [
            self._piece(part, f"reply-{place}", self.end_id or self.start_id)
            for place, part in enumerate(message.parts)
        ]
        for piece in pieces:
            if piece.tool is not None:
                self._waiting.setdefault(piece.tool.id, deque()).append(piece.tool)
        return Card("assistant", pieces)

    def part(self, name: str, event_id: int | None = None) -> str:
        """Return the address of a part of the call."""
        own = self.start_id if event_id is None else event_id
        return f"/events/{own}/body?{urlencode({'part': name})}" if own else ""

    def _piece(self, part: Part, name: str, event_id: int) -> Piece:
        href = self.part(name, event_id)
        if isinstance(part, Words):
            return Piece("text", self._budget.excerpt(part.text, href))
        if isinstance(part, Thinking):
            return Piece("thinking", self._budget.excerpt(part.text, href))
        if isinstance(part, ToolCall):
            return Piece("tool", tool=self._use(part, href))
        if isinstance(part, ToolResult):  # of a tool on an earlier page
            body = self._budget.excerpt(part.text, href)
            return Piece(
                "tool",
                tool=ToolUse(part.call_id, "", "", self._budget.excerpt(""), body, part.is_error),
            )
        return Piece(*_label(part))

    def _use(self, part: ToolCall, href: str) -> ToolUse:
        marked = bool(self._budget.marks.of(part.arguments))
        # Marks count in the words as they were written, so these stay as they are.
        text = part.arguments if marked else _pretty(part.arguments)
        arguments = self._budget.excerpt(text, href)
        use = ToolUse(
            id=part.id or part.name,
            name=part.name,
            line=one_line(arguments.text if marked else part.arguments),
            arguments=arguments,
            server=part.server,
        )
        self._time(use)
        self.uses.append(use)
        return use

    def _time(self, use: ToolUse) -> None:
        """Say how long a tool took: its events have its name and come in the order of calls."""
        for kind in ("tool.execution", "tool.result"):
            event = next((e for e in self._tools if e.kind == kind and e.name == use.name), None)
            if event is None:
                continue
            self._tools.remove(event)
            use.seq = use.seq or event.seq
            use.dur_us = event.dur_us if use.dur_us is None else use.dur_us
            use.failed = use.failed or event.status == "error"

    def _answer(self, part: ToolResult, index: int, place: int) -> bool:
        """Give a result to the tool that waits for it; say whether there is one."""
        waiting = self._waiting.get(part.call_id)
        if not waiting:
            return False
        use = waiting.popleft()
        use.result = self._budget.excerpt(part.text, self.part(f"message-{index}-{place}"))
        use.failed = use.failed or part.is_error
        return True


def _label(part: Part) -> tuple[str, None, str]:
    if isinstance(part, Media):
        size = f" · {part.size:,} characters" if part.size else " · by address"
        return "media", None, f"{part.type or 'media'}{size}"
    return "other", None, part.type if isinstance(part, Other) else type(part).__name__


def one_line(arguments: str) -> str:
    """Return a tool's arguments in a line: `query="Paris", limit=3`."""
    try:
        fields = msgspec.json.decode(arguments[:20_000], type=dict[str, msgspec.Raw])
        text = ", ".join(f"{name}={bytes(value).decode()}" for name, value in fields.items())
    except (ValueError, RecursionError, msgspec.MsgspecError):
        text = arguments[: 4 * LINE]
    text = _BLANK.sub(" ", text)
    return text if len(text) <= LINE else text[: LINE - 1] + "…"


def _pretty(arguments: str) -> str:
    try:
        return msgspec.json.format(arguments, indent=2)
    except (ValueError, RecursionError, msgspec.MsgspecError):
        return arguments


def signature(message: Message) -> tuple[Any, ...]:
    """Return what two messages have in common that say the same."""
    role = "assistant" if message.role == "model" else message.role
    return (role, *_said(message.parts))


def same_words(one: Iterable[Part], other: Iterable[Part]) -> bool:
    """Whether two messages say the same, blanks and reasoning aside."""
    return _said(one) == _said(other)


def _said(parts: Iterable[Part]) -> tuple[Any, ...]:
    listed = list(parts)
    words = _BLANK.sub(" ", " ".join(part.text for part in listed if isinstance(part, Words)))
    rest: list[Any] = [words.strip()]
    for part in listed:
        if isinstance(part, ToolCall):
            rest.append((part.name, _canonical(part.arguments)))
        elif isinstance(part, ToolResult):
            rest.append((part.call_id, part.text))
        elif isinstance(part, (Media, Other)):
            rest.append(part.digest)
    return tuple(rest)


def _canonical(arguments: str) -> bytes | str:
    try:
        return msgspec.json.encode(msgspec.json.decode(arguments), order="deterministic")
    except (ValueError, RecursionError, msgspec.MsgspecError):
        return arguments
