"""
Litestar handlers of the API.

What is asked wrongly is answered with 400, what is not there with 404, both as JSON that says why.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from litestar import Litestar, Request, Response, Router, get
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig, ResponseSpec
from litestar.params import PathParameter, QueryParameter

from perimeter import __version__
from perimeter_plugin_live_trace.api.agent_shapes import AgentDetail, Dashboard
from perimeter_plugin_live_trace.api.agents import agent_detail, dashboard
from perimeter_plugin_live_trace.api.limits import BadCursor
from perimeter_plugin_live_trace.api.sessions import session_detail
from perimeter_plugin_live_trace.api.shapes import Problem, SessionDetail
from perimeter_plugin_live_trace.store import Reader, StoreError
from perimeter_plugin_live_trace.web.ask import plain
from perimeter_plugin_live_trace.web.page import NotFound


_log = logging.getLogger(__name__)

After = Annotated[
    str | None,
    QueryParameter(description="The `next` of an earlier answer: go on where it ended."),
]
Workflow = Annotated[
    str | None,
    QueryParameter(description="Only agents of this workflow; `unassigned` for those of none."),
]
AgentId = Annotated[str, PathParameter(description="Id of an agent.")]
SessionId = Annotated[str, PathParameter(description="Id of a session.")]
Agents = Annotated[int, QueryParameter(ge=1, le=200, description="Agents at most.")]
Sessions = Annotated[int, QueryParameter(ge=1, le=200, description="Sessions at most.")]
Events = Annotated[int, QueryParameter(ge=1, le=500, description="Events at most.")]


def _failure(description: str) -> ResponseSpec:
    return ResponseSpec(Problem, description=description, generate_examples=False)


_BAD = _failure("Something that was asked is invalid.")
_GONE = _failure("There is no such thing, or it was deleted.")
_AWAY = _failure("The database can't be read right now.")


def handlers(reader: Reader, *, clock: Callable[[], float] = time.time) -> list[Any]:
    """
    Return the handlers for the dashboard's application.

    Args:
        reader: The database.
        clock: Tells the time, seconds of Unix time.
    """

    @get("/api/docs/openapi.json", include_in_schema=False, sync_to_thread=False)
    def openapi() -> dict[str, Any]:
        return document()

    router = Router(
        "/", route_handlers=[*_routes(reader, clock), openapi], exception_handlers=_FAILURES
    )
    return [router]


def _routes(reader: Reader, clock: Callable[[], float]) -> list[Any]:
    def now_us() -> int:
        return int(clock() * 1_000_000)

    @get(
        "/api/dashboard",
        summary="All agents",
        response_description="What was asked for.",
        description="Agents, newest activity first, and the newest session.",
        tags=["live trace"],
        responses={400: _BAD, 503: _AWAY},
        sync_to_thread=True,
    )
    def get_dashboard(
        agent_workflow_id: Workflow = None, limit: Agents = 50, after: After = None
    ) -> Dashboard:
        return dashboard(reader, agent_workflow_id, limit, after, now_us())

    @get(
        "/api/agent/{agent_id:str}",
        summary="An agent",
        response_description="What was asked for.",
        description="What an agent did, with a page of its sessions, newest activity first.",
        tags=["live trace"],
        responses={400: _BAD, 404: _GONE, 503: _AWAY},
        sync_to_thread=True,
    )
    def get_agent(agent_id: AgentId, limit: Sessions = 20, after: After = None) -> AgentDetail:
        return agent_detail(reader, plain(agent_id), limit, after, now_us())

    @get(
        "/api/session/{session_id:str}",
        summary="A session",
        response_description="What was asked for.",
        description=(
            "A session with a page of its events, oldest first. A page may hold fewer events than "
            "asked for where they are large; `next` tells whether there are more."
        ),
        tags=["live trace"],
        responses={400: _BAD, 404: _GONE, 503: _AWAY},
        sync_to_thread=True,
    )
    def get_session(
        session_id: SessionId, limit: Events = 100, after: After = None
    ) -> SessionDetail:
        return session_detail(reader, plain(session_id), limit, after, now_us())

    return [get_dashboard, get_agent, get_session]


@cache
def document() -> dict[str, Any]:
    """Return the OpenAPI document of the API."""
    config = OpenAPIConfig(
        title="Perimeter live trace",
        version=__version__,
        description="Reads what live trace recorded. Texts are masked as they are stored.",
    )
    routes = _routes(Reader(Path()), time.time)  # they are described, and never called
    return Litestar(routes, openapi_config=config, logging_config=None).openapi_schema.to_schema()


def _missing(_: Request[Any, Any, Any], error: NotFound) -> Response[Problem]:
    return _problem(404, "Nothing is here", str(error))


def _bad_cursor(_: Request[Any, Any, Any], error: BadCursor) -> Response[Problem]:
    return _problem(400, "That request could not be understood", str(error))


def _away(_: Request[Any, Any, Any], error: StoreError) -> Response[Problem]:
    _log.warning("the API can't read the database: %s", error)
    return _problem(503, "The database can't be read right now", str(error))


def _refused(_: Request[Any, Any, Any], error: HTTPException) -> Response[Problem]:
    wrong = error.extra if isinstance(error.extra, list) else []
    said = [f"{each.get('key', '')}: {each.get('message', '')}" for each in wrong]
    return _problem(error.status_code, "That request could not be understood", "; ".join(said))


def _problem(status: int, error: str, detail: str) -> Response[Problem]:
    return Response(Problem(error=error, detail=detail[:1000]), status_code=status)


_FAILURES: Any = {
    NotFound: _missing,
    BadCursor: _bad_cursor,
    StoreError: _away,
    HTTPException: _refused,
}
