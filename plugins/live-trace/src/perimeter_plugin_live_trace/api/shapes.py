"""What the API answers about sessions, exactly: the OpenAPI schema is made from these."""

from __future__ import annotations

from typing import Any

import msgspec


class Problem(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Why there is no answer."""

    error: str
    detail: str = ""


class SessionSummary(msgspec.Struct, kw_only=True):
    """
    A session in a list.

    Attributes:
        status: `active`, `done`, or `error` where its last call failed.
        message_count: Calls of models.
        unpriced_calls: Calls whose cost is not known, and not in `total_cost_usd`.
        p95_response_time_ms: 95 of 100 calls were answered in this time.
    """

    id: str
    title: str
    agent_id: str | None
    workflow_id: str | None
    status: str
    is_active: bool
    is_completed: bool
    created_at: str
    last_activity: str
    duration_minutes: float
    models: list[str]
    total_events: int
    message_count: int
    tool_uses: int
    errors: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    total_tokens: int
    total_cost_usd: float
    unpriced_calls: int
    p95_response_time_ms: float | None
    findings: int


class RiskAnalysis(msgspec.Struct, kw_only=True):
    """
    What security tests say.

    Attributes:
        evaluation_status: `NOT_TESTED` as long as no detector looks at the traffic, else
            `COMPLETE`.
        security_report: Undecided findings by severity; null where nothing is tested.
        summary: The same in words.
    """

    evaluation_status: str
    security_report: dict[str, int] | None = None
    behavioral_analysis: dict[str, Any] | None = None
    pii_analysis: dict[str, Any] | None = None
    summary: str = "not tested"


class Session(SessionSummary, kw_only=True):
    """A session."""

    model: str | None
    provider: str | None
    run: str | None
    recognised_by: str
    avg_response_time_ms: float | None
    error_rate: float | None
    tool_usage_details: dict[str, int]
    available_tools: list[str]
    system_prompt: str | None
    tags: dict[str, str]


class Event(msgspec.Struct, kw_only=True):
    """
    Something that happened.

    Attributes:
        id: Its number in the database.
        seq: Its number in the session, from 1 on.
        attributes: As docs/hooks.md has them; long texts are cut, and say so.
    """

    id: int
    seq: int
    schema_version: str
    timestamp: str
    span_id: str
    name: str
    level: str
    agent_id: str | None
    session_id: str | None
    attributes: dict[str, Any]


class Moment(msgspec.Struct, kw_only=True):
    """An event in a line."""

    id: int
    timestamp: str
    event_type: str
    description: str
    level: str
    details: dict[str, Any]


class SessionDetail(msgspec.Struct, kw_only=True):
    """
    A session with a page of its events, oldest first.

    Attributes:
        events: The events.
        timeline: The same events, each in a line.
        next: `after` of the next page, or null.
    """

    session: Session
    events: list[Event]
    timeline: list[Moment]
    risk_analysis: RiskAnalysis
    last_updated: str
    next: str | None
