"""Say in fields what became of an exchange."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import attrs
import msgspec

from perimeter import Block, Outcome, Respond, Rewrite, Stop, Verdict, redaction
from perimeter_plugin_printer.config import PrinterConfig
from perimeter_plugin_printer.line import Field, Line, counted, session_fields, short
from perimeter_plugin_printer.records import Call, Decided, Ended, Sent
from perimeter_plugin_printer.text import (
    body_text,
    human_cost,
    human_count,
    human_seconds,
    human_size,
)


_LONGEST_TARGET = 2000
_LONGEST_REASON = 1000
_LARGEST_PARSED = 4 * 1024 * 1024
_LARGEST_DECODED = 16 * 1024 * 1024

_ANSWERED = frozenset({Outcome.COMPLETED, Outcome.RESPONDED, Outcome.BLOCKED})


@attrs.define
class _Head:
    """The two members of a request that are shown. Parsing skips the rest of it."""

    model: Any = None
    stream: Any = None


def sent(record: Sent, config: PrinterConfig) -> Line:
    """Say that a request went upstream."""
    head = _head(record.body)
    shown = {"upstream", "dialect", "method", "path"}
    fields = _call(record.call, shown, config)
    if record.workflow:
        workflow = short(record.workflow)
        fields.append(Field("workflow", workflow, f"workflow {workflow}", "dim", expendable=True))
    if isinstance(head.model, str):
        model = short(head.model)
        fields.append(Field("model", model, model, "cyan"))
    if head.stream is True:
        fields.append(Field("stream", "true", "stream", "dim", expendable=True))
    if record.size is not None:
        fields.append(_size(record.size))
    body = ""
    if config.log_body and record.body:
        body = body_text(record.body, config.max_body_chars)
    return Line(record.at, "→", "request", "bold blue", fields, body, record.call.session)


def ended(record: Ended, config: PrinterConfig) -> Line:
    """Say how an exchange ended."""
    failed = record.outcome not in _ANSWERED
    content = None if record.response is None else record.response.content(_LARGEST_DECODED)
    fields = _call(record.call, {"method", "path"} if failed else set(), config)
    fields += _outcome(record)
    if config.show_usage:
        fields += _usage(record)
    if record.status is not None:
        fields.append(_size(record.size))
    if record.framing:
        fields += _stream(record, record.framing, content)
    human = human_seconds(record.seconds)
    fields.append(Field("seconds", f"{record.seconds:.3f}", human, "bold"))
    body = body_text(content, config.max_body_chars) if config.log_body and content else ""
    sign, word, style = ("✗", "error", "bold red") if failed else ("←", "response", "bold blue")
    return Line(record.at, sign, word, style, fields, body, record.call.session)


def decided(record: Decided, config: PrinterConfig) -> Line:
    """Say what a guard decided."""
    sign, word, style = _VERDICTS[record.verdict]
    fields = _call(record.call, {"method", "path"}, config)
    plugin = short(record.plugin)
    fields.append(Field("plugin", plugin, f"{word} by {plugin}", style))
    reason = redaction.excerpt(record.reason, _LONGEST_REASON)
    if reason:
        fields.append(Field("reason", reason, reason, elastic=True))
    return Line(record.at, sign, word, style, fields, session=record.call.session)


def count_events(framing: str, body: bytes) -> int | None:
    """
    Return how many events a whole stream has, or None where counting would take parsing.

    Bytes are counted in C. Cutting the stream up would compete with the event loop for the
    interpreter, only to say the same.
    """
    if framing == "sse":
        return body.count(b"\ndata:") + body.startswith(b"data:")
    if framing == "ndjson":
        return body.count(b"\n") + bool(body and not body.endswith(b"\n"))
    return None


def _call(call: Call, shown: Collection[str], config: PrinterConfig) -> list[Field]:
    """Say which exchange: everything on plain lines, what is `shown` on a terminal."""
    path = redaction.excerpt(call.path, _LONGEST_TARGET)
    if call.query:
        path += "?" + redaction.query(call.query)[:_LONGEST_TARGET]
    fields = [
        Field("upstream", call.upstream, call.upstream, expendable=True),
        Field("dialect", call.dialect, call.dialect, "dim", expendable=True),
        Field("method", short(call.method), short(call.method), "bold"),
        Field("path", path, path, elastic=True),
    ]
    where = [each if each.key in shown else attrs.evolve(each, human="") for each in fields]
    session = session_fields(call.session, call.agent) if config.show_sessions else []
    return [*session, Field("exchange", call.id, call.short_id, "dim"), *where]


def _size(size: int) -> Field:
    return Field("size", str(size), human_size(size), expendable=True)


def _head(body: bytes | None) -> _Head:
    if not body or len(body) > _LARGEST_PARSED:
        return _Head()
    try:
        return msgspec.json.decode(body, type=_Head)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _Head()


def _outcome(record: Ended) -> list[Field]:
    fields = []
    if record.status is not None:
        style = _STATUS_STYLES.get(record.status // 100, "bold red")
        fields.append(Field("status", str(record.status), str(record.status), style))
    usual = record.outcome == Outcome.COMPLETED
    human = "" if usual else record.outcome.replace("_", " ")
    fields.append(Field("outcome", record.outcome, human, "red"))
    if record.code:
        reason = redaction.excerpt(record.reason, _LONGEST_REASON)
        fields.append(Field("code", record.code, "" if reason else record.code))
        fields.append(Field("reason", reason, reason, elastic=True))
    fields += _said(record)
    if record.attempts > 1:
        attempts = str(record.attempts)
        human = f"{attempts} attempts"
        fields.append(Field("attempts", attempts, human, "yellow", expendable=True))
    return fields


def _said(record: Ended) -> list[Field]:
    """Say what kind of error the call ended with, unless that is why its exchange failed."""
    told = record.told
    if not told.failed or told.error == record.reason or told.error_type == record.code:
        return []
    kind, message = short(told.error_type), redaction.excerpt(told.error, _LONGEST_REASON)
    fields = [Field("error_type", kind, kind, "red")]
    if message:
        fields.append(Field("error", message, message, elastic=True))
    return fields


def _usage(record: Ended) -> list[Field]:
    fields = []
    usage, cost = record.usage, record.told.cost
    if usage is not None:
        human = f"{human_count(usage.input)}→{human_count(usage.output)} tok"
        if usage.cache_read:
            human += f" ({human_count(usage.cache_read)} cached)"
        fields += [
            Field("input_tokens", str(usage.input), human),
            Field("output_tokens", str(usage.output), ""),
        ]
        if usage.cache_read:
            fields.append(Field("cached_tokens", str(usage.cache_read), ""))
    if cost is not None and math.isfinite(cost):
        plain = f"{cost:.9f}".rstrip("0").rstrip(".")
        fields.append(Field("cost_usd", plain, human_cost(cost), "cyan"))
    return fields


_STATUS_STYLES = {2: "bold green", 3: "bold cyan", 4: "bold yellow"}


def _stream(record: Ended, framing: str, content: bytes | None) -> list[Field]:
    fields = [Field("stream", framing, "")]
    count = None if content is None or record.partial else count_events(framing, content)
    if count is not None:
        fields.append(counted("events", count, "event"))
    if record.first_byte is not None:
        human = f"first byte {human_seconds(record.first_byte)}"
        fields.append(Field("first_byte", f"{record.first_byte:.3f}", human, expendable=True))
    return fields


_VERDICTS: dict[type[Verdict], tuple[str, str, str]] = {
    Block: ("⛔", "blocked", "bold red"),
    Stop: ("⛔", "stopped", "bold red"),
    Respond: ("↩", "answered", "yellow"),
    Rewrite: ("✎", "rewritten", "yellow"),
}
