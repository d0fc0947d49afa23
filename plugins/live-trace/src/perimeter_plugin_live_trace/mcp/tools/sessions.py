"""Tools that find and compare sessions, and tell how their calls were recognised."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from perimeter_plugin_live_trace.api import agents as api_agents
from perimeter_plugin_live_trace.api.limits import cursor, read_cursor
from perimeter_plugin_live_trace.api.sessions import (
    dollars,
    find,
    sessions_page,
    summaries,
    summary,
)
from perimeter_plugin_live_trace.mcp.arguments import (
    After,
    AgentId,
    Limit,
    SessionId,
    Since,
    WorkflowId,
    plain,
    since_us,
)
from perimeter_plugin_live_trace.mcp.tool import Arguments, Here, Tool
from perimeter_plugin_live_trace.queries.names import agent_names
from perimeter_plugin_live_trace.store import models
from perimeter_plugin_live_trace.web.formats import iso


STATUSES = {
    "": "",
    "active": "active",
    "done": "done",
    "error": "error",
    "ACTIVE": "active",
    "COMPLETED": "done",
    "ERROR": "error",
}
"""Words for the state of a session; the upper-case ones are of the API's predecessor."""
METHODS = {
    "header": "The client named the session in a header.",
    "link": "The request names an earlier response or a conversation of the provider.",
    "fingerprint": "The request repeats a reply, or ids in it, that was relayed before.",
    "prefix": "The messages continue those of an earlier call.",
    "fuzzy": "Most of the messages are those of an earlier call; the score says how many.",
    "reset": "The last message asks for a new beginning, so a new conversation began.",
    "new": "Nothing connects it to an earlier call: a new conversation began.",
}
"""What the names of evidence mean."""


class GetWorkflowSessions(Arguments):
    """Which sessions."""

    workflow_id: WorkflowId = ""
    agent_id: AgentId = ""
    status: Literal["", "active", "done", "error", "ACTIVE", "COMPLETED", "ERROR"] = ""
    model: Annotated[str, Meta(max_length=200, description="Only with calls of this model.")] = ""
    tag: Annotated[
        str, Meta(max_length=600, description="Only with this tag, as `key:value` or `key`.")
    ] = ""
    errors_only: Annotated[bool, Meta(description="Only where a call or a tool failed.")] = False
    since: Since = ""
    limit: Limit = 20
    after: After = ""


def get_workflow_sessions(here: Here, given: GetWorkflowSessions) -> dict[str, Any]:
    """Return a page of sessions."""
    rows, following = sessions_page(
        here.reader, _condition(here, given), given.limit, given.after or None
    )
    return {"sessions": plain(summaries(here.reader, rows)), "count": len(rows), "next": following}


def _condition(here: Here, given: GetWorkflowSessions) -> Any:
    table = models.Session
    condition = table.last_us >= since_us(given.since)
    if given.workflow_id:
        name = "" if given.workflow_id == api_agents.UNASSIGNED else given.workflow_id
        condition &= table.workflow == name
    if given.agent_id:
        condition &= table.agent_id == api_agents.find(here.reader, given.agent_id).id
    if given.status:
        condition &= table.status == STATUSES[given.status]
    if given.errors_only:
        condition &= table.errors > 0
    if given.model:
        uses = models.SessionModel
        having = uses.select(uses.session_id).where(uses.model == given.model)
        condition &= table.id.in_(having)
    return condition & table.id.in_(_tagged(given.tag)) if given.tag else condition


def _tagged(text: str) -> Any:
    key, separator, value = text.partition(":")
    tag = models.Tag
    condition = tag.key == key
    if separator:
        condition &= tag.value == value
    return tag.select(tag.session_id).where(condition)


class CompareSessions(Arguments):
    """Which two sessions."""

    first: SessionId
    second: SessionId
    limit: Annotated[int, Meta(ge=1, le=100, description="Calls to compare at most.")] = 50


def compare_sessions(here: Here, given: CompareSessions) -> dict[str, Any]:
    """Return two sessions side by side."""
    pair = [find(here.reader, public_id) for public_id in (given.first, given.second)]
    names = agent_names(here.reader, [row.agent_id for row in pair])
    told = [summary(row, names) for row in pair]
    calls = [_calls(here, row.id, given.limit) for row in pair]
    count = max(len(calls[0]), len(calls[1]))
    return {
        "first": told[0],
        "second": told[1],
        "difference": {
            name: round(told[1][name] - told[0][name], 9)
            for name, value in told[0].items()
            if type(value) in {int, float} and type(told[1][name]) in {int, float}
        },
        "calls": [
            {"number": at + 1, "first": _at(calls[0], at), "second": _at(calls[1], at)}
            for at in range(count)
        ],
        "truncated": any(row.turns > given.limit for row in pair),
    }


def _at(calls: list[dict[str, Any]], at: int) -> dict[str, Any] | None:
    return calls[at] if at < len(calls) else None


def _calls(here: Here, session_id: int, limit: int) -> list[dict[str, Any]]:
    """Return the first calls of a session, each with what was said in a line."""
    table, event = models.Call, models.Event
    query = table.select().where(table.session_id == session_id).order_by(table.number)
    rows = here.reader.rows(query.limit(limit))
    wanted = [seq for row in rows for seq in (row.start_seq, row.end_seq) if seq > 0]
    lines = event.select(event.seq, event.preview).where(
        (event.session_id == session_id) & event.seq.in_(wanted)
    )
    previews = dict(here.reader.rows(lines))
    return [
        {
            "model": row.model,
            "state": row.state,
            "asked": previews.get(row.start_seq, ""),
            "answered": previews.get(row.end_seq, ""),
            "input_tokens": row.tok_in,
            "output_tokens": row.tok_out,
            "cost_usd": None if row.cost_nano is None else dollars(row.cost_nano),
            "duration_ms": None if row.dur_us is None else row.dur_us / 1000,
            "finish_reason": row.finish,
        }
        for row in rows
    ]


class ExplainSessionMatch(Arguments):
    """Which session."""

    session_id: SessionId
    limit: Limit = 50
    after: After = ""


def explain_session_match(here: Here, given: ExplainSessionMatch) -> dict[str, Any]:
    """Return how each call of a session was found to belong to it."""
    session = find(here.reader, given.session_id)
    start = read_cursor(given.after, 1)[0] if given.after else 0
    table = models.Call
    query = table.select().where((table.session_id == session.id) & (table.number > start))
    rows = here.reader.rows(query.order_by(table.number).limit(given.limit + 1))
    shown = rows[: given.limit]
    return {
        "session_id": session.public_id,
        "recognised_by": session.match,
        "meaning": _meaning(session.match),
        "calls": [_matched(row) for row in shown],
        "next": cursor(shown[-1].number) if len(rows) > len(shown) else None,
    }


def _matched(row: Any) -> dict[str, Any]:
    return {
        "number": row.number,
        "at": iso(row.started_us),
        "method": row.match,
        "score": row.score,
        "meaning": _meaning(row.match),
        "messages": row.messages,
        "carried_messages": row.carried,
        "context_rewritten": bool(row.rewritten),
        "retry_of": row.retry_of or None,
        "replay_of": row.replay_of or None,
    }


def _meaning(method: str) -> str:
    for name, words in METHODS.items():
        if method.startswith(name):
            return words
    return "No evidence was recorded." if not method else f"Evidence of the kind {method}."


TOOLS: tuple[Tool[Any], ...] = (
    Tool(
        "get_workflow_sessions",
        "List sessions",
        "Sessions (conversations), newest activity first, of one workflow or agent or of all, by"
        " status, model, tag, errors and time. Returns ids, titles, totals and `next`.",
        GetWorkflowSessions,
        get_workflow_sessions,
    ),
    Tool(
        "compare_sessions",
        "Compare two sessions",
        "Two sessions side by side: totals, their difference (second minus first), and call by call"
        " what was asked and answered, tokens, cost and time.",
        CompareSessions,
        compare_sessions,
    ),
    Tool(
        "explain_session_match",
        "Explain how a session was recognised",
        "By which evidence each call was found to belong to its session, with the score of fuzzy"
        " matches, how many messages it repeats, and whether its context was rewritten.",
        ExplainSessionMatch,
        explain_session_match,
    ),
)
