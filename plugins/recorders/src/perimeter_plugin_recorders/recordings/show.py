"""One recording, for people."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime

import attrs

from perimeter.calls import LLMReply, Media, Message, Other, Part, Text, Thinking, ToolCall
from perimeter_plugin_recorders.lines import Fields
from perimeter_plugin_recorders.recordings.fidelity import fidelity
from perimeter_plugin_recorders.recordings.har import reason_of
from perimeter_plugin_recorders.recordings.models import reply_of, request_of
from perimeter_plugin_recorders.recordings.recording import Recording


_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_SHORT = 200
_LONG = 4000


@attrs.frozen
class Row:
    """A line that is shown: what it is about, and what there is to say; a heading without label."""

    label: str
    text: str
    heading: bool = False
    bad: bool = False


def rows(recording: Recording, *, full: bool = False) -> Iterator[Row]:
    """
    Yield what is to be shown of a recording.

    Args:
        recording: The exchange.
        full: Whether to show everything: header fields, and texts of any length.
    """
    yield from _about(recording)
    yield Row("", "Request", heading=True)
    yield from _request(recording, full=full)
    yield Row("", "Response", heading=True)
    yield from _response(recording, full=full)
    yield Row("", "Timing", heading=True)
    yield from _timing(recording)
    yield Row("", "Fidelity", heading=True)
    yield from _fidelity(recording)


def plain(text: str) -> str:
    """Return a text without characters that could steer a terminal."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))


def human_bytes(size: float) -> str:
    """Return a number of bytes in words."""
    for unit in ("bytes", "KB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"
        size /= 1000
    return ""


def human_seconds(seconds: float) -> str:
    """Return a duration in words."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms" if seconds >= 0.01 else f"{seconds * 1000:.1f} ms"
    return f"{seconds:.2f} s" if seconds < 120 else f"{seconds / 60:,.1f} min"


def human_time(moment: float) -> str:
    """Return a time of this machine's zone."""
    try:
        return f"{datetime.fromtimestamp(moment).astimezone():%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return f"{moment:g}"


def _about(recording: Recording) -> Iterator[Row]:
    request, end = recording.request, recording.end
    session = end.session if end else None
    yield Row("exchange", recording.id)
    yield Row("recorded", f"{human_time(recording.started_at)} in {recording.place}")
    if session:
        evidence = f" (by {session.match})" if session.match else ""
        yield Row("session", session.id + evidence)
        if session.agent_id:
            yield Row("agent", session.agent_id)
    if request.workflow_id:
        yield Row("workflow", request.workflow_id)
    yield Row("upstream", f"{request.upstream or '-'} ({request.dialect})")
    outcome = recording.outcome or "no end was recorded"
    error = f" - {': '.join(filter(None, end.error))}" if end and end.error else ""
    yield Row("outcome", outcome + error, bad=outcome not in {"completed", "responded"})


def _request(recording: Recording, *, full: bool) -> Iterator[Row]:
    request = recording.request
    yield Row("", f"{request.method} {request.target}")
    if full:
        yield from _fields(request.headers)
    if request.streamed:
        yield Row("body", "passed through unread, not recorded")
        return
    said = request_of(recording)
    about = [said.model, "streamed" if said.stream else "", _counted(len(said.tools), "tool")]
    about += [f"{name} {value}" for name, value in said.params.items()]
    size = human_bytes(len(request.data)) + (", cut off" if request.truncated else "")
    yield Row("body", ", ".join(filter(None, [size, *about])))
    if said.tools:
        yield Row("tools", _cut(", ".join(said.tools), _limit(full)))
    if said.system and not any(each.role in {"system", "developer"} for each in said.messages):
        yield Row("system", _cut(said.system, _limit(full, _SHORT)))
    yield from _messages(said.messages, full=full)
    if not said.model and not said.messages and request.data:
        yield Row("", _cut(recording.asked().decode("utf-8", "replace"), _limit(full, _SHORT)))
    if recording.sent is not None:
        sent = recording.sent
        yield Row(
            "changed", f"a plugin had it sent as {sent.target}, {human_bytes(len(sent.data))}"
        )


def _messages(messages: tuple[Message, ...], *, full: bool) -> Iterator[Row]:
    shown = messages if full else messages[-6:]
    if left := len(messages) - len(shown):
        yield Row("", f"… {_counted(left, 'earlier message')}")
    for message in shown:
        yield Row(message.role, _parts(message, _limit(full, _SHORT)))


def _response(recording: Recording, *, full: bool) -> Iterator[Row]:
    head = recording.head
    if head is None:
        yield Row("", "none")
        return
    yield Row("", f"{head.status} {reason_of(head.status)}".strip(), bad=head.status >= 400)
    if full:
        yield from _fields(head.headers)
    reply = reply_of(recording)
    size = human_bytes(recording.stored)
    pieces = f" in {_counted(recording.pieces, 'chunk')}" if head.framing else ""
    kind = recording.header("content-type").partition(";")[0]
    yield Row("body", ", ".join(filter(None, [size + pieces, kind, reply.model])))
    yield from _reply(recording, reply, full=full)


def _reply(recording: Recording, reply: LLMReply, *, full: bool) -> Iterator[Row]:
    if reply.error:
        kind = f"{reply.error_type}: " if reply.error_type else ""
        yield Row("error", _cut(kind + reply.error, _limit(full)), bad=True)
    if reply.message is not None:
        yield Row(reply.message.role or "assistant", _parts(reply.message, _limit(full)))
    elif not reply.error and recording.chunks:
        yield Row("", _cut(recording.content().decode("utf-8", "replace"), _limit(full, _SHORT)))
    if reply.finish_reason:
        yield Row("finish", reply.finish_reason)
    if (usage := reply.usage) is not None:
        more = [f"{usage.cache_read} of it cached"] if usage.cache_read else []
        more += [f"{usage.reasoning} reasoning"] if usage.reasoning else []
        text = f"{usage.input} tokens in, {usage.output} out"
        yield Row("usage", ", ".join([text, *more]))


def _timing(recording: Recording) -> Iterator[Row]:
    end, head = recording.end, recording.head
    if end and end.sent is not None:
        times = f", {end.attempts} attempts" if end.attempts > 1 else ""
        yield Row("sent", f"after {human_seconds(end.sent)}{times}")
    if head:
        yield Row("head", f"after {human_seconds(head.at)}")
    if recording.chunks and head:
        first, last = recording.chunks[0].at, recording.chunks[-1].at
        yield Row("first byte", f"after {human_seconds(first)}")
        if len(recording.chunks) > 1 and last > first:
            rate = (len(recording.chunks) - 1) / (last - first)
            pace = f"{len(recording.chunks):,} chunks, {rate:,.0f} per second"
            yield Row("last byte", f"after {human_seconds(last)}, {pace}")
    if end:
        yield Row("end", f"after {human_seconds(end.at)}")


def _fidelity(recording: Recording) -> Iterator[Row]:
    found = fidelity(recording)
    yield Row("delivered", found.delivered, bad=found.delivered.startswith(("changed", "cut")))
    yield Row("recorded", found.recorded)
    if recording.end and recording.end.delivered:
        yield Row("sha256", recording.end.delivered)


def _fields(headers: Fields) -> Iterator[Row]:
    for name, value in headers:
        yield Row("", plain(f"{name}: {value}"))


def _parts(message: Message, limit: int) -> str:
    return _cut("\n".join(filter(None, (_part(part) for part in message.parts))), limit)


def _part(part: Part) -> str:
    match part:
        case Text(text):
            return text
        case Thinking(text):
            return f"(thinking) {text}" if text else "(thinking, not shown)"
        case ToolCall():
            return f"→ {part.name}({part.arguments})"
        case Media():
            return f"({part.type}, {human_bytes(part.size)})" if part.size else f"({part.type})"
        case Other():
            return f"({part.type})"
        case result:
            failed = "failed: " if result.is_error else ""
            return f"← {failed}{result.text}"


def _limit(full: bool, usual: int = _LONG) -> int:
    return 1 << 40 if full else usual


def _cut(text: str, limit: int) -> str:
    text = plain(text).strip()
    left = len(text) - limit
    return text if left <= 0 else f"{text[:limit]}… (and {left:,} more characters)"


def _counted(number: int, word: str) -> str:
    if not number:
        return ""
    return f"1 {word}" if number == 1 else f"{number:,} {word}s"
