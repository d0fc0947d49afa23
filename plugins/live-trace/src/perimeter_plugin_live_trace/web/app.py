"""The application: every route of the dashboard, behind the gate."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from litestar import Litestar, Request, Response
from litestar.exceptions import HTTPException
from litestar.types import ASGIApp, ControllerRouterHandler

from perimeter_plugin_live_trace import api, mcp
from perimeter_plugin_live_trace.web import assets, pages
from perimeter_plugin_live_trace.web.answering import Answering, read_headers
from perimeter_plugin_live_trace.web.attempts import Attempts
from perimeter_plugin_live_trace.web.errors import Problem, body, request_id
from perimeter_plugin_live_trace.web.gate import Gate
from perimeter_plugin_live_trace.web.live import Live
from perimeter_plugin_live_trace.web.page import Changes, Route, Site
from perimeter_plugin_live_trace.web.render import Renderer
from perimeter_plugin_live_trace.web.routing import login, page_handlers, static
from perimeter_plugin_live_trace.web.security import Rules, needs_token


_THREADS = 4
"""That answer pages: more only wait for each other."""


class Dashboard(Litestar):
    """A Litestar application with a gate before everything, routes that do not exist included."""

    gate: ASGIApp | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        if self.gate is None:
            await self.inner(scope, receive, send)
        else:
            await self.gate(scope, receive, send)

    async def inner(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request that the gate let through."""
        await super().__call__(scope, receive, send)


def create_app(
    site: Site,
    reader: Any,
    changes: Changes,
    *,
    routes: Sequence[Route] | None = None,
    handlers: Sequence[ControllerRouterHandler] = (),
    clock: Callable[[], float] = time.monotonic,
) -> Dashboard:
    """
    Return the application.

    Args:
        site: What the dashboard knows of itself; its owner keeps it up to date.
        reader: The database.
        changes: Where changes of users go.
        routes: The pages; all there are by default.
        handlers: Further Litestar handlers.
        clock: Seconds that never go back.

    Raises:
        ValueError: Others can reach the address, and there is no token.
    """
    if needs_token(site.host) and not site.token:
        raise ValueError(f"a dashboard on {site.host} needs a token: others can reach it")
    renderer = Renderer(assets.load())
    rules = Rules(site, Attempts(clock))
    answering = Answering(site, reader, changes, renderer, rules)
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="page")
    live = Live(site, reader, renderer.assets.version, pool)
    app = Dashboard(
        route_handlers=[
            *page_handlers(pages.ROUTES if routes is None else routes, answering, pool),
            static(renderer),
            *login(rules, renderer),
            live.handler(),
            *api.handlers(reader),
            mcp.mount(site, reader, changes),
            *handlers,
        ],
        exception_handlers={HTTPException: failing(renderer), Exception: failing(renderer)},
        on_shutdown=[lambda: pool.shutdown(wait=False, cancel_futures=True)],
        openapi_config=None,
        logging_config=None,
    )
    app.gate = Gate(app.inner, rules, renderer)
    return app


def failing(renderer: Renderer) -> Callable[[Request[Any, Any, Any], Exception], Response[bytes]]:
    """Return what answers when no route does, or one fails."""

    def answer(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
        status = getattr(error, "status_code", 500)
        text = "" if status < 500 else "The log has the details."
        problem = Problem(status, text=text, request=request_id() if status >= 500 else "")
        if status >= 500 and request.logger:
            request.logger.error("request %s failed", problem.request, exc_info=error)
        headers = read_headers(request.scope)
        page, media_type = body(renderer, problem, request.scope["path"], headers)
        more = dict(getattr(error, "headers", None) or {})
        kind = media_type.partition(";")[0]  # Litestar adds the charset
        return Response(page, status_code=status, media_type=kind, headers=more)

    return answer
