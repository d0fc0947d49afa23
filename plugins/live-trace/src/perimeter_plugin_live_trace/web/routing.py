"""Litestar handlers for pages, static files and the login."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any

from litestar import Request
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, Method, Receive, Scope

from perimeter_plugin_live_trace.web.answering import (
    HTML,
    Answering,
    read_headers,
    read_query,
    read_request,
)
from perimeter_plugin_live_trace.web.ask import is_local
from perimeter_plugin_live_trace.web.attempts import TooMany, address_of
from perimeter_plugin_live_trace.web.errors import Problem, body
from perimeter_plugin_live_trace.web.page import Route
from perimeter_plugin_live_trace.web.preferences import COOKIE, read_prefs
from perimeter_plugin_live_trace.web.render import Renderer
from perimeter_plugin_live_trace.web.reply import Reply
from perimeter_plugin_live_trace.web.security import MONTH, Rules, cookies, retry_after, set_cookie


_FOREVER = "public, max-age=31536000, immutable"
_READ: tuple[Method, ...] = ("GET", "HEAD")
_LONGEST_TOKEN = 10_000
"""Bytes of the login's form."""


class TooLong(Exception):
    """A form is longer than it may be."""


def page_handlers(
    routes: Sequence[Route], answering: Answering, pool: Executor
) -> list[HTTPRouteHandler]:
    """Return a handler per page, fragment and action, and one per JSON twin with an own path."""
    found = []
    for route in routes:
        found.append(_handler(route, route.path, answering, pool))
        if route.kind == "page" and not route.path.endswith(("}", "/")):
            found.append(_handler(route, route.path + ".json", answering, pool))
    return found


def _handler(route: Route, path: str, answering: Answering, pool: Executor) -> HTTPRouteHandler:
    async def handle(request: Request[Any, Any, Any]) -> ASGIApp:
        try:
            form = await read_form(route, request.receive)
        except TooLong:
            return _problem(answering.renderer, 413, request.scope).app(pool)
        asked = read_request(request.scope, form)
        loop = asyncio.get_running_loop()
        reply = await loop.run_in_executor(pool, answering.answer, route, asked)
        return reply.app(pool)

    methods: Sequence[Method] = ("POST",) if route.kind == "action" else _READ
    return handler(re.sub(r"\{(\w+)\}", r"{\1:str}", path), methods, handle)


def handler(path: str, methods: Sequence[Method], function: Any) -> HTTPRouteHandler:
    """Return a Litestar handler whose function makes an ASGI application of a request."""
    made = HTTPRouteHandler(
        path,
        http_method=list(methods),
        include_in_schema=False,
        status_code=200,
    )
    result: HTTPRouteHandler = made(function)
    return result


def _problem(renderer: Renderer, status: int, scope: Scope) -> Reply:
    page, media_type = body(renderer, Problem(status), scope["path"], read_headers(scope))
    return Reply(page, media_type, status)


async def read_form(route: Route, receive: Receive) -> bytes:
    """
    Read the form of an action; nothing for others.

    Raises:
        TooLong: It is longer than the route allows.
    """
    return await read_body(receive, route.limit) if route.kind == "action" else b""


async def read_body(receive: Receive, limit: int) -> bytes:
    """
    Read the body of a request.

    Raises:
        TooLong: It is longer than the limit.
    """
    pieces, size, more = [], 0, True
    while more:
        message: Any = await receive()
        more = message.get("more_body", False)
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if size > limit:
            raise TooLong
    return b"".join(pieces)


def static(renderer: Renderer) -> HTTPRouteHandler:
    """Return the handler of static files; an address with another version has none."""
    assets = renderer.assets

    async def handle(request: Request[Any, Any, Any]) -> ASGIApp:
        parts = request.path_params
        known = parts["version"] == assets.version
        file = assets.files.get(str(parts["path"]).lstrip("/")) if known else None
        if file is None:
            return _problem(renderer, 404, request.scope).app()
        packed = "gzip" in read_headers(request.scope).get("accept-encoding", "")
        reply = Reply(file.compressed if packed else file.data, file.media_type).adding(
            ("cache-control", _FOREVER), ("vary", "Accept-Encoding")
        )
        return (reply.adding(("content-encoding", "gzip")) if packed else reply).app()

    return handler("/static/{version:str}/{path:path}", _READ, handle)


def login(rules: Rules, renderer: Renderer) -> list[HTTPRouteHandler]:
    """Return the handlers of the login: a form with one field, and what it sends."""

    def page(
        request: Request[Any, Any, Any], to: str, *, wrong: bool = False, wait: int = 0
    ) -> Reply:
        prefs = read_prefs(cookies(read_headers(request.scope)).get(COOKIE, ""))
        shown = renderer.plain("login.html", next=to, wrong=wrong, wait=wait, prefs=prefs)
        if wait:
            return Reply(shown, HTML, 429, (retry_after(wait),))
        return Reply(shown, HTML, 401 if wrong else 200)

    async def show(request: Request[Any, Any, Any]) -> ASGIApp:
        if not rules.site.token:
            return Reply(b"", "text/plain", 303, (("location", "/"),)).app()
        return page(request, "/").app()

    async def enter(request: Request[Any, Any, Any]) -> ASGIApp:
        try:
            form = dict(
                read_query((await read_body(request.receive, _LONGEST_TOKEN)).decode("latin-1"))
            )
        except TooLong:
            return _problem(renderer, 413, request.scope).app()
        to = form.get("next", "/") if is_local(form.get("next", "/")) else "/"
        try:
            right = rules.is_token(address_of(request.scope), form.get("token", "").strip())
        except TooMany as many:
            return page(request, to, wait=many.seconds).app()
        if not right:
            return page(request, to, wrong=True).app()
        tls = request.scope["scheme"] == "https"
        cookie = set_cookie(rules.cookie, rules.session(), age=MONTH, tls=tls)
        return Reply(b"", "text/plain", 303, (("location", to), ("set-cookie", cookie))).app()

    return [handler("/login", _READ, show), handler("/login", ("POST",), enter)]
