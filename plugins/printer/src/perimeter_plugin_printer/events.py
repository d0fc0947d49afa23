"""Say in fields what happened in a session."""

from __future__ import annotations

import math
from collections.abc import Callable

from perimeter import Event
from perimeter_plugin_printer.config import PrinterConfig
from perimeter_plugin_printer.line import SESSION_STYLE, Field, Line, counted, session_fields, short
from perimeter_plugin_printer.records import Happened
from perimeter_plugin_printer.text import human_seconds, value_text


SESSION_EVENTS = frozenset({"session.start", "session.end"})
TOOL_EVENTS = frozenset({"tool.execution", "tool.result"})


def happened(record: Happened, config: PrinterConfig) -> Line:
    """Say what happened; only for the names in `SESSION_EVENTS` and `TOOL_EVENTS`."""
    event = record.event
    session, agent = event.session_id or "", event.agent_id or ""
    fields = session_fields(session, agent) if config.show_sessions else []
    sign, tell = _EVENTS[event.name]
    fields += tell(event, config.max_body_chars)
    return Line(event.timestamp, sign, event.name, SESSION_STYLE, fields, session=session)


def _session_start(event: Event, _limit: int) -> list[Field]:
    told = event.attributes
    resumed = bool(told.get("session.resumed"))
    fields = [Field("", "", "resumed" if resumed else "started")]
    if event.agent_id:
        fields.append(Field("", "", short(event.agent_id), "bold", elastic=True))
    if model := told.get("llm.model"):
        fields.append(Field("model", short(model), short(model), "cyan", expendable=True))
    if match := told.get("session.match"):
        score = told.get("session.score")
        scored = isinstance(score, float) and math.isfinite(score)
        human = f"match {short(match)}" + (f" {score:.2f}" if scored else "")
        fields.append(Field("match", short(match), human, "dim", expendable=True))
        if scored:
            fields.append(Field("score", f"{score:.3f}", ""))
    if resumed:
        fields.append(Field("resumed", "true", ""))
    return fields


def _session_end(event: Event, _limit: int) -> list[Field]:
    fields = [Field("", "", "ended"), *_duration(event, "session.duration_ms", "after ")]
    count = event.attributes.get("session.events_count")
    if isinstance(count, int):
        fields.append(counted("events", count, "event"))
    return fields


def _tool_execution(event: Event, limit: int) -> list[Field]:
    params = value_text(event.attributes.get("tool.params", ""), limit)
    return [*_tool(event), Field("params", params, params, elastic=True)]


def _tool_result(event: Event, limit: int) -> list[Field]:
    fields = _tool(event)
    status = short(event.attributes.get("tool.status") or "")
    if status:
        failed = event.level == "ERROR" or status == "error"
        fields.append(Field("status", status, status, "red" if failed else "green"))
    fields += _duration(event, "tool.execution_time_ms", "")
    result = event.attributes.get("error.message") or event.attributes.get("tool.result", "")
    text = value_text(result, limit)
    fields.append(Field("result", text, text, elastic=True))
    return fields


def _tool(event: Event) -> list[Field]:
    exchange = event.attributes.get("call.id")
    name = short(event.attributes.get("tool.name") or "unknown")
    fields = [Field("exchange", exchange, "")] if isinstance(exchange, str) else []
    return [*fields, Field("tool", name, f"  {name}", "bold")]


def _duration(event: Event, attribute: str, prefix: str) -> list[Field]:
    milliseconds = event.attributes.get(attribute)
    if not isinstance(milliseconds, int | float) or not math.isfinite(milliseconds):
        return []
    seconds = milliseconds / 1000
    return [Field("seconds", f"{seconds:.3f}", prefix + human_seconds(seconds))]


_EVENTS: dict[str, tuple[str, Callable[[Event, int], list[Field]]]] = {
    "session.start": ("●", _session_start),
    "session.end": ("○", _session_end),
    "tool.execution": ("⚙", _tool_execution),
    "tool.result": ("↳", _tool_result),
}
