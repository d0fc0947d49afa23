"""What calls say, in a few words: for titles, previews and the search."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import attrs

from perimeter.calls import LLMReply, Media, Message, ParseError, Text, ToolCall, ToolResult
from perimeter.dialects import RAW, Dialect
from perimeter.framing import cutter
from perimeter_plugin_live_trace.store import texts
from perimeter_plugin_live_trace.store.search import MOST_CHARACTERS, index_words


_MOST_READ = 4 * 1024 * 1024
"""Bytes of a new message that are read for a few words."""
_MOST_STREAMED = 256 * 1024
"""Bytes of a stream that are; it takes long to read."""
_MOST_MESSAGES = 20


@attrs.frozen
class Said:
    """
    What one side said.

    Attributes:
        preview: In a line, masked.
        words: For the index.
        title: What a session that begins with it is called.
    """

    preview: str = ""
    words: str = ""
    title: str = ""


NOTHING = Said()


Excerpt = Callable[[str, int], str]
"""Takes the beginning of a text, masked."""


def _excerpt(masked: bytes) -> Excerpt:
    r"""
    Return what takes the beginnings of texts that were read from masked JSON.

    Secrets in it are masked as they stand there, and need no second look but where letters may have
    been written in another way: as `\u0073`.
    """
    return texts.excerpt if b"\\u" in masked or b"\\/" in masked else texts.beginning


def described(text: str, *, preview: str = "", excerpt: Excerpt = texts.excerpt) -> Said:
    """
    Return what is kept of a text.

    Args:
        text: The text.
        preview: What its line is made of where there is no text.
        excerpt: Takes the beginning of a text.
    """
    kept = excerpt(text, MOST_CHARACTERS) if text else ""
    line = texts.line(kept) or texts.line(excerpt(preview, 4 * texts.PREVIEW))
    return Said(line, index_words(kept))


def of_request(
    dialect: Dialect, target: str, key: str, items: Sequence[bytes], *, first: bool
) -> Said:
    """
    Return what the new messages of a request say.

    Args:
        dialect: Its dialect.
        target: Path and query that it was sent to.
        key: The member of the body that the messages are from.
        items: The new messages, masked, or the last one where none is new.
        first: Whether there was no call before it in its session.
    """
    some = _some(items)
    if dialect is RAW or not some:
        return NOTHING
    body = b'{"%s":[%s]}' % (key.encode(), b",".join(some))
    return of_body(dialect, target, body, first=first)


def of_body(dialect: Dialect, target: str, body: bytes, *, first: bool = True) -> Said:
    """Return what the body of a request says, masked, as `of_request` does."""
    if len(body) > _MOST_MESSAGES * _MOST_READ:
        return NOTHING
    try:
        request = dialect.read_request(body, target.partition("?")[0])
    except ParseError:
        return NOTHING
    asked = [message for message in request.messages if first or message.role != "assistant"]
    text = "\n".join(_texts(asked))
    last = next(_last(asked), "")
    title = next(_texts(message for message in asked if message.role == "user"), "")
    excerpt = _excerpt(body)
    line, name = (excerpt(each, 4 * texts.PREVIEW) for each in (last, title))
    kept = index_words(excerpt(text, MOST_CHARACTERS))
    return Said(texts.line(line), kept, texts.line(name, texts.TITLE))


def of_reply(dialect: Dialect, body: bytes, framing: str | None) -> Said:
    """
    Return what a reply says.

    Args:
        dialect: Its dialect.
        body: Masked, content-encoding undone.
        framing: Of the stream that it is, or None.
    """
    if dialect is RAW or not body:
        return NOTHING
    try:
        reply = _streamed(dialect, body, framing) if framing else dialect.read_reply(body)
    except ParseError:
        return NOTHING
    excerpt = _excerpt(body)
    if reply is None or reply.message is None:
        return described("", preview=reply.error if reply is not None else "", excerpt=excerpt)
    parts = reply.message.parts
    calls = ", ".join(f"{part.name}({part.arguments})" for part in parts if type(part) is ToolCall)
    return described(reply.message.text, preview=calls, excerpt=excerpt)


def _streamed(dialect: Dialect, body: bytes, framing: str) -> LLMReply | None:
    parser = dialect.stream_parser()
    if parser is None:
        return None
    cut = cutter(framing)
    for event in (*cut.feed(body[:_MOST_STREAMED]), cut.flush()):
        try:
            parser.feed(event)
        except ParseError:
            continue
    return parser.reply()


def _some(items: Sequence[bytes]) -> list[bytes]:
    """Return the first and the last ones of many messages, and none that is very long."""
    chosen = items
    if len(items) > _MOST_MESSAGES:
        half = _MOST_MESSAGES // 2
        chosen = [*items[:half], *items[-half:]]
    return [item for item in chosen if len(item) <= _MOST_READ]


def _texts(messages: Iterable[Message]) -> Iterator[str]:
    for message in messages:
        for part in message.parts:
            if type(part) is Text and part.text and not part.text.isspace():
                yield part.text


def _last(messages: Sequence[Message]) -> Iterator[str]:
    """Yield what was said, the last first."""
    for message in reversed(messages):
        for part in reversed(message.parts):
            if type(part) in {Text, ToolResult} and part.text and not part.text.isspace():  # type: ignore[union-attr]  # both have it
                yield part.text  # type: ignore[union-attr]  # see above
            elif type(part) is Media:
                yield f"[{part.type}]"


def of_attributes(name: str, attributes: Mapping[str, object]) -> Said:
    """Return what an event says that is none of a call."""
    for key in _TELLING.get(name, ("message", "text", "reason")):
        value = attributes.get(key)
        if isinstance(value, str) and value:
            return described(value)
    return NOTHING


_TELLING = {
    "tool.result": ("tool.result", "error.message"),
    "llm.call.error": ("error.message", "error.type"),
    "security.finding": ("finding.title", "finding.rule"),
    "session.end": ("session.end_reason",),
    "session.start": ("llm.model",),
}
"""Which attributes tell what happened, by the event's name."""
