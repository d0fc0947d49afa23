"""From what is observed to records: as little work as possible, because it is done on the loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from perimeter_plugin_live_trace.records import Answered, Asked, Happened


if TYPE_CHECKING:
    from perimeter import Event, Exchange, PluginContext, Session

IN_BODIES = ("llm.request.messages", "llm.response.content")
"""Attributes that the other process takes from the bodies, which are sent anyway."""
_DESCRIBED = ("name", "distribution", "version", "state", "hooks")


def asked(exchange: Exchange) -> Asked:
    """Tell of a request, as it went upstream."""
    request = exchange.request
    body = request.body or b""
    return Asked(
        exchange.id,
        exchange.started_at,
        exchange.dialect.name,
        exchange.dialect.operation,
        exchange.upstream,
        exchange.workflow_id or "",
        request.method,
        request.target,
        tuple(exchange.original.headers),
        body,
        len(body),
    )


def answered(exchange: Exchange) -> Answered:
    """Tell how an exchange ended."""
    response = exchange.response
    duration = exchange.duration or 0.0
    return Answered(
        exchange.id,
        exchange.started_at + duration,
        str(exchange.outcome or ""),
        response.status if response is not None else 0,
        tuple(response.headers) if response is not None else (),
        response.body if response is not None else b"",
        response.size if response is not None else 0,
        duration,
        exchange.overhead or 0.0,
        str(exchange.error) if exchange.error is not None else "",
        exchange.attempts,
        [(plugin, type(verdict).__name__) for plugin, verdict in exchange.verdicts],
    )


def happened(session: Session | None, event: Event) -> Happened:
    """Tell of an event."""
    attributes = event.attributes
    if event.name in {"llm.call.start", "llm.call.finish", "llm.call.error"}:
        attributes = {key: value for key, value in attributes.items() if key not in IN_BODIES}
    return Happened(
        event.name,
        event.timestamp,
        event.trace_id,
        event.span_id,
        event.level,
        event.session_id or (session.id if session is not None else None),
        event.agent_id or (session.agent_id if session is not None else None),
        attributes,
    )


def plugins(context: PluginContext) -> list[dict[str, Any]]:
    """Return what there is to say of plugins, without their options, and what their hooks cost."""
    costs = context.hook_calls()
    return [
        {**{key: each[key] for key in _DESCRIBED}, "costs": costs.get(each["name"], {})}
        for each in context.plugins()
    ]


def weight(record: object) -> int:
    """Return about how many bytes a record keeps in memory."""
    if isinstance(record, Asked | Answered):
        return 1000 + len(record.body)
    return 1000
