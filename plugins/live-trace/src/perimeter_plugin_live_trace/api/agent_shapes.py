"""What the API answers about agents, exactly: the OpenAPI schema is made from these."""

from __future__ import annotations

import msgspec

from perimeter_plugin_live_trace.api.shapes import RiskAnalysis, SessionSummary


class Behaviour(msgspec.Struct, kw_only=True):
    """How alike an agent's sessions are; null as long as nothing has tested it."""

    stability: float | None = None
    predictability: float | None = None
    confidence: float | None = None


class AnalysisSummary(msgspec.Struct, kw_only=True):
    """What tests say of an agent, in numbers; null where nothing is tested."""

    failed_checks: int | None
    warnings: int | None
    behavioral: Behaviour
    action_required: bool
    completed_sessions: int
    total_sessions: int


class AgentSummary(msgspec.Struct, kw_only=True):
    """
    An agent in the list.

    Attributes:
        id_short: The beginning of the id.
        active_sessions: Those that have not ended.
        total_messages: Calls of models.
        total_tools: Executions of tools.
        unique_tools: Different tools that were executed.
        avg_response_time_ms: Of calls that ended; null if there are none.
        risk_status: `ok`, `warning`, or null where nothing is tested.
        current_sessions: Sessions that tests can look at, of `min_sessions_required`.
    """

    id: str
    id_short: str
    display_name: str
    agent_workflow_id: str | None
    total_sessions: int
    active_sessions: int
    completed_sessions: int
    total_messages: int
    total_tokens: int
    total_cost_usd: float
    total_tools: int
    unique_tools: int
    total_errors: int
    avg_response_time_ms: float | None
    first_seen: str
    last_seen: str
    last_seen_relative: str
    risk_status: str | None
    current_sessions: int
    min_sessions_required: int
    analysis_summary: AnalysisSummary


class Dashboard(msgspec.Struct, kw_only=True):
    """
    All agents, newest activity first.

    Attributes:
        sessions_count: Sessions that are kept, of all agents asked for.
        refresh_interval: Seconds after which asking again makes sense.
        next: `after` of the next page, or null.
    """

    agents: list[AgentSummary]
    sessions_count: int
    latest_session: SessionSummary | None
    agent_workflow_id: str | None
    last_updated: str
    refresh_interval: int
    next: str | None


class Agent(msgspec.Struct, kw_only=True):
    """
    An agent.

    Attributes:
        tool_usage_details: Executions by tool.
        available_tools: Tools that were offered to it.
        tools_utilization_percent: How many of those it used; null where none were offered.
    """

    id: str
    display_name: str
    agent_workflow_id: str | None
    first_seen: str
    last_seen: str
    total_sessions: int
    active_sessions: int
    completed_sessions: int
    total_messages: int
    total_tokens: int
    total_tools: int
    total_errors: int
    total_cost_usd: float
    avg_response_time_ms: float | None
    avg_messages_per_session: float | None
    error_rate: float | None
    tool_usage_details: dict[str, int]
    available_tools: list[str]
    used_tools: list[str]
    tools_utilization_percent: float | None


class Patterns(msgspec.Struct, kw_only=True):
    """
    What an agent's sessions are like.

    Attributes:
        sessions_looked_at: The newest ones; all other numbers are of these.
        tool_usage_rate: Percent of sessions that executed a tool.
        most_productive_session: Id of the one with the most tools executed.
    """

    sessions_looked_at: int
    avg_session_duration_minutes: float | None
    max_session_duration_minutes: float | None
    avg_messages_per_session: float | None
    max_messages_per_session: int | None
    avg_tools_per_session: float | None
    tool_usage_rate: float | None
    sessions_with_errors: int
    most_productive_session: str | None


class TokenSummary(msgspec.Struct, kw_only=True):
    """Tokens and their cost, in US dollars; `total_cost` leaves out models of unknown price."""

    total: int
    input: int
    output: int
    cached: int
    total_cost: float
    models_used: int
    pricing_last_updated: str


class ModelUsage(msgspec.Struct, kw_only=True):
    """What an agent did with a model."""

    model: str
    requests: int
    input_tokens: int
    output_tokens: int
    total_tokens: int
    cached_tokens: int
    avg_response_time_ms: float | None
    p95_response_time_ms: float | None
    errors: int
    cost: float


class ToolUsage(msgspec.Struct, kw_only=True):
    """What an agent did with a tool; times are null where no result came back."""

    tool: str
    executions: int
    avg_duration_ms: float | None
    max_duration_ms: float | None
    failures: int
    successes: int
    failure_rate: float | None


class Day(msgspec.Struct, kw_only=True):
    """A day (UTC) of calls."""

    date: str
    requests: int
    errors: int
    tokens: int
    input_tokens: int
    output_tokens: int
    cost: float


class ToolDay(msgspec.Struct, kw_only=True):
    """A day (UTC) of tools."""

    date: str
    executions: int
    failures: int


class Analytics(msgspec.Struct, kw_only=True):
    """Numbers of everything that is kept of an agent; days of the last 90."""

    token_summary: TokenSummary
    models: list[ModelUsage]
    tools: list[ToolUsage]
    timeline: list[Day]
    tool_timeline: list[ToolDay]


class AgentDetail(msgspec.Struct, kw_only=True):
    """
    All about an agent.

    Attributes:
        sessions: Its sessions, newest activity first, a page of them.
        next: `after` of the next page of sessions, or null.
    """

    agent: Agent
    patterns: Patterns
    analytics: Analytics
    risk_analysis: RiskAnalysis
    sessions: list[SessionSummary]
    last_updated: str
    next: str | None
