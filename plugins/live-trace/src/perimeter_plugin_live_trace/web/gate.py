"""Stands before every route: applies the rules, and puts the headers on every answer."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode

from litestar.types import ASGIApp, Message, Send

from perimeter_plugin_live_trace.web.answering import read_headers
from perimeter_plugin_live_trace.web.ask import SLASH, quote_path
from perimeter_plugin_live_trace.web.attempts import TooMany, address_of
from perimeter_plugin_live_trace.web.errors import Problem, body, request_id, wants_json
from perimeter_plugin_live_trace.web.preferences import read_prefs
from perimeter_plugin_live_trace.web.render import Renderer
from perimeter_plugin_live_trace.web.reply import Reply
from perimeter_plugin_live_trace.web.security import (
    HEADERS,
    MONTH,
    Denied,
    Rules,
    TokenNeeded,
    cookies,
    retry_after,
    set_cookie,
)


_log = logging.getLogger(__name__)
_OPEN = ("/static/", "/login")
"""What can be asked without the token."""
_BEARER = ("www-authenticate", 'Bearer realm="perimeter"')


class Gate:
    """Checks requests, and answers those that are refused."""

    def __init__(self, app: ASGIApp, rules: Rules, renderer: Renderer) -> None:
        """Stand before an application."""
        self.app, self.rules, self.renderer = app, rules, renderer

    async def __call__(self, scope: Any, receive: Any, send: Send) -> None:
        """Let a request through, or refuse it."""
        if str(scope["type"]) != "http":
            await self.app(scope, receive, send)
            return
        headers = read_headers(scope)
        scope["path"] = exact_path(scope)
        answer = guarded(send)
        try:
            self.rules.check(scope["method"], scope["path"], headers)
            self.check_token(scope, headers)
        except Denied as denied:
            problem = Problem(denied.status, denied.title, denied.text, request_id())
            _log.warning("refused %s: %s (request %s)", scope["path"], denied, problem.request)
            page, media_type = body(self.renderer, problem, scope["path"], headers)
            await Reply(page, media_type, denied.status).send(answer)
        except TokenNeeded as needed:
            if scope["path"] == "/health" and not needed.given:
                await self.say_health().send(answer)
                return
            await self.ask_token(scope, headers, answer, wrong=needed.given)
        except TooMany as many:
            await self.ask_token(scope, headers, answer, wait=many.seconds)
        except Entered as entered:
            await Reply(b"", "text/plain", 303, entered.headers).send(answer)
        else:
            await self.app(scope, receive, answer)

    def check_token(self, scope: Any, headers: Mapping[str, str]) -> None:
        """
        Check the token, which an address may carry once.

        Raises:
            TokenNeeded: It is not given, or is a wrong one.
            Entered: The address carried it: a cookie carries it from now on.
            TooMany: It is a token, and others before it were wrong.
        """
        if scope["path"].startswith(_OPEN):
            return
        pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = next((value for name, value in pairs if name == "token"), "")
        who = address_of(scope)
        if scope["method"] == "GET" and given and self.rules.is_token(who, given):
            rest = urlencode([pair for pair in pairs if pair[0] != "token"])
            to = quote_path(scope["path"]) + (f"?{rest}" if rest else "")
            raise Entered(to, self.cookie(scope))
        self.rules.check_token(who, headers, given)

    def say_health(self) -> Reply:
        """Return what anybody may know, such as the check of a container: only whether it works."""
        well = self.rules.site.ingest.state in {"open", "busy"}
        words, status = (b"ok\n", 200) if well else (b"not ok\n", 503)
        return Reply(words, "text/plain; charset=utf-8", status)

    def cookie(self, scope: Any) -> str:
        """Return the cookie of somebody who has the token."""
        tls = scope["scheme"] == "https"
        return set_cookie(self.rules.cookie, self.rules.session(), age=MONTH, tls=tls)

    async def ask_token(
        self,
        scope: Any,
        headers: Mapping[str, str],
        send: Send,
        *,
        wrong: bool = False,
        wait: int = 0,
    ) -> None:
        """Answer with the login page, or with JSON where a program asks; perhaps it has to wait."""
        path = scope["path"]
        status, how = (429, retry_after(wait)) if wait else (401, _BEARER)
        if wants_json(path):
            text = "" if wait else "Send it as “Authorization: Bearer …”."
            page, media_type = body(self.renderer, Problem(status, text=text), path, headers)
            await Reply(page, media_type, status, (how,)).send(send)
            return
        prefs = read_prefs(cookies(headers).get("lt_prefs", ""))
        query = scope["query_string"].decode("latin-1") if not (wrong or wait) else ""
        next_ = quote_path(path) + (f"?{query}" if query and "token=" not in query else "")
        page = self.renderer.plain("login.html", next=next_, wrong=wrong, wait=wait, prefs=prefs)
        more = (how,) if wait else ()
        await Reply(page, "text/html; charset=utf-8", status, more).send(send)


class Entered(Exception):
    """The token was in the address: go on without it, with a cookie."""

    def __init__(self, to: str, cookie: str) -> None:
        super().__init__(to)
        self.headers = (("location", to), ("set-cookie", cookie))


def exact_path(scope: Any) -> str:
    """Return the path with a sign for each `/` that belongs to a part of it."""
    raw = scope.get("raw_path")
    if not raw or b"%" not in raw:
        return str(scope["path"])
    parts = raw.partition(b"?")[0].decode("latin-1").split("/")
    return "/".join(unquote(part).replace("/", SLASH) for part in parts)


def guarded(send: Send) -> Send:
    """Return a `send` that adds the headers an answer has not set itself."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            there = {name.lower() for name, _ in message.get("headers", ())}
            more = [
                (name.encode(), value.encode())
                for name, value in HEADERS.items()
                if name.encode() not in there
            ]
            message["headers"] = [*message.get("headers", ()), *more]
        await send(message)

    return sending
