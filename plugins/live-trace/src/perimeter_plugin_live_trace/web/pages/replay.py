"""Edit and replay: a recorded call as a form, and what came back beside what had come back then."""

from __future__ import annotations

import re
from typing import Any

import attrs
import msgspec

from perimeter.dialects import Dialect
from perimeter_plugin_live_trace.api.sessions import find
from perimeter_plugin_live_trace.queries.names import AgentName, agent_names
from perimeter_plugin_live_trace.queries.reading import headers
from perimeter_plugin_live_trace.replay.draft import (
    BadDraft,
    Draft,
    Shape,
    draft_of,
    request_of,
    shape_of,
    system_role,
)
from perimeter_plugin_live_trace.replay.results import (
    Comparison,
    Earlier,
    compared,
    earlier,
    recorded,
    side_of_answer,
    side_of_call,
)
from perimeter_plugin_live_trace.replay.sending import Credentials, NotSent, Target, send
from perimeter_plugin_live_trace.store import models
from perimeter_plugin_live_trace.web.page import Ask, NotFound, Redirect, Refused, Route, page


PATH = "/sessions/{id}/calls/{number}/replay"
TEMPLATE = "pages/replay.html"
_MOST_BODY = 2 * 1024 * 1024
"""Bytes of a request that can be edited in a page."""
_MOST_FORM = 16 * 1024 * 1024
_MASK = re.compile(rb"\*{8,}")
"""How redaction writes what it masks."""
_OFF = "Edit and replay is switched off: replay = false in the configuration of live trace."


class ReplayView(msgspec.Struct, frozen=True, kw_only=True):
    """
    The page.

    Attributes:
        why_not: Why the call can't be sent again, or "".
        problems: What was wrong with what was typed or sent.
        changed: The fields that differ from the recorded request.
        comparison: Both answers, once there are two.
        masked: Whether the recorded request has masked secrets in it.
    """

    title: str
    session: str
    session_title: str
    number: int
    upstream: str
    dialect: str
    target: str
    why_not: str
    problems: list[str]
    draft: Draft | None
    changed: list[str]
    comparison: Comparison | None
    earlier: list[Earlier]
    masked: bool
    streamed: bool


@attrs.frozen
class Recorded:
    """A recorded call, and how it can be sent again."""

    session: Any
    call: Any
    agent: AgentName
    dialect: Dialect
    shape: Shape | None
    body: bytes
    why_not: str
    proxy: str

    @property
    def draft(self) -> Draft | None:
        """The form for the request as it was recorded."""
        if self.shape is None or self.why_not:
            return None
        return draft_of(self.shape, self.body, self.call.target)

    @property
    def target(self) -> Target:
        """Where it goes again."""
        query = self.call.target.partition("?")[2]
        return Target(self.proxy, self.call.upstream, self.session.workflow, self.dialect, query)


def _recorded(ask: Ask) -> Recorded:
    if not ask.site.config.replay:
        raise NotFound(_OFF)
    session = find(ask.reader, ask.path["id"])
    number, table = ask.path["number"], models.Call
    digits = number.isascii() and number.isdigit() and len(number) < 10
    here = (table.session_id == session.id) & (table.number == (int(number) if digits else -1))
    call = ask.reader.one(table.select().where(here))
    if call is None:
        raise NotFound(f"session {session.public_id} has no call {number[:20]}")
    agent = agent_names(ask.reader, [call.agent_id])[call.agent_id or 0]
    shape = shape_of(call.dialect)
    why_not = _why_not(ask, call, shape)
    body = b"" if why_not else ask.reader.body(call)
    if len(body) > _MOST_BODY:
        why_not = f"The request is too large to be edited here: {len(body):,} bytes."
    proxy = ask.site.proxy_url
    dialect = ask.reader.known.dialect(call.dialect)
    return Recorded(session, call, agent, dialect, shape, body, why_not, proxy)


def _why_not(ask: Ask, call: Any, shape: Shape | None) -> str:
    if shape is None or call.method != "POST":
        return f"Calls of this API ({call.dialect or 'unknown'}) can't be edited."
    if call.envelope_blob is None:
        return "Nothing was kept of the request."
    if call.request_cut:
        return "Only a part of the request was kept: it was too large."
    if not ask.site.proxy_url:
        return "No proxy is connected, and replays are sent through it."
    return ""


@page(PATH, template=TEMPLATE, nav="sessions", title="Edit and replay")
def replay(ask: Ask) -> ReplayView:
    """Show the form, and the result that the address names."""
    found = _recorded(ask)
    exchange = ask.params.text("result")
    if not exchange:
        return _view(ask, found)
    call = recorded(ask.reader, exchange, found.call.exchange, waits=0)
    if call is None:
        ask.params.problems.append("That replay is not here any more.")
        return _view(ask, found)
    comparison = compared(_before(ask, found), side_of_call(ask.reader, call))
    return _view(ask, found, draft=_sent(ask, found, call), comparison=comparison)


def _sent(ask: Ask, found: Recorded, call: Any) -> Draft | None:
    """Return the form as it was sent, to go on from."""
    if found.shape is None or call.request_cut:
        return None
    try:
        return draft_of(found.shape, ask.reader.body(call), call.target)
    except BadDraft:
        return None


@page("/events/{id}/replay", template=TEMPLATE, nav="sessions", title="Edit and replay")
def replay_event(ask: Ask) -> Redirect:
    """Lead from an event of a call to the form for the call."""
    if not ask.site.config.replay:
        raise NotFound(_OFF)
    event, call, session = models.Event, models.Call, models.Session
    number = ask.path["id"]
    digits = number.isascii() and number.isdigit() and len(number) < 18
    query = (
        event.select(call.number, session.public_id)
        .join(call, on=(call.id == event.call_id))
        .join(session, on=(session.id == call.session_id))
        .where(event.id == (int(number) if digits else -1))
    )
    found = ask.reader.one(query)
    if found is None:
        raise NotFound(f"event {number[:20]} belongs to no call of a session")
    return Redirect(ask.url(PATH, id=found.public_id, number=found.number))


def _before(ask: Ask, found: Recorded) -> Any:
    return side_of_call(ask.reader, found.call)


def _view(
    ask: Ask,
    found: Recorded,
    *,
    draft: Draft | None = None,
    problems: list[str] | None = None,
    comparison: Comparison | None = None,
) -> ReplayView:
    wrong = list(problems or [])
    original, why_not = None, found.why_not
    try:
        original = found.draft
    except BadDraft as bad:
        why_not = bad.problems[0]
    shown = draft or original
    return ReplayView(
        title=f"Replay call {found.call.number}",
        session=found.session.public_id,
        session_title=found.session.title,
        number=found.call.number,
        upstream=found.call.upstream,
        dialect=found.call.dialect,
        target=found.call.target,
        why_not=why_not,
        problems=wrong,
        draft=shown,
        changed=shown.changed(original) if shown is not None and original is not None else [],
        comparison=comparison,
        earlier=earlier(ask.reader, found.call.exchange),
        masked=_MASK.search(found.body) is not None,
        streamed=bool(found.call.stream),
    )


def send_again(ask: Ask) -> ReplayView | Redirect:
    """Send what was typed; where that fails, show the form again, as it was."""
    if not ask.site.config.replay:
        raise Refused(_OFF)
    found = _recorded(ask)
    if found.why_not or found.shape is None:
        raise Refused(found.why_not)
    typed = _typed(ask, found)
    try:
        path = found.call.target.partition("?")[0]
        request = request_of(found.shape, typed, path, system_role(found.body))
        answer = send(
            found.target,
            request,
            exchange=found.call.exchange,
            agent=_named(found.agent),
            recorded=headers(ask.reader, found.call.request_headers_blob),
            credentials=Credentials(ask.form.get("key", ""), ask.form.get("token", "")),
        )
    except BadDraft as bad:
        return _view(ask, found, draft=typed, problems=bad.problems)
    except NotSent as problem:
        return _view(ask, found, draft=typed, problems=[str(problem)])
    call = recorded(ask.reader, answer.exchange, found.call.exchange)
    if call is not None and call.state == "ok":
        here = ask.url(PATH, id=found.session.public_id, number=found.call.number,
                       result=answer.exchange)  # fmt: skip
        return Redirect(f"{here}#result", "The call was sent again.")
    # What failed, or was not recorded, is shown here, where what was typed is still in the form.
    after = (
        side_of_call(ask.reader, call)
        if call is not None
        else side_of_answer(ask.reader.known.prices, found.dialect, request.model, answer)
    )
    comparison = compared(_before(ask, found), after)
    return _view(ask, found, draft=typed, comparison=comparison)


def _typed(ask: Ask, found: Recorded) -> Draft:
    original = found.draft
    has_system = original is not None and original.system is not None

    def field(name: str) -> str:
        return ask.form.get(name, "").replace("\r\n", "\n")  # as forms send it

    return Draft(
        model=field("model").strip(),
        system=field("system") if has_system else None,
        messages=field("messages"),
        tools=field("tools"),
        parameters=field("parameters"),
    )


def _named(agent: AgentName) -> str:
    """Return the agent's id where a client had given it; others follow from the system prompt."""
    plain = agent.key.isprintable() and agent.key.isascii() and len(agent.key) <= 256
    return agent.key if plain and not agent.key.startswith("prompt-") else ""


routes = (
    replay,
    replay_event,
    Route("action", PATH, send_again, TEMPLATE, "sessions", "Edit and replay", _MOST_FORM),
)
