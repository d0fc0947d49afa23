"""How a route answers: it is asked, its function runs, its view is rendered."""

from __future__ import annotations

import logging
import secrets
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

import attrs
import peewee
from litestar.types import Scope

from perimeter_plugin_live_trace.store import StoreError, TooSlow
from perimeter_plugin_live_trace.web.ask import Ask, Params, is_local, plain, read_range
from perimeter_plugin_live_trace.web.errors import Problem, body, request_id
from perimeter_plugin_live_trace.web.page import Download, NotFound, Redirect, Refused, Route
from perimeter_plugin_live_trace.web.preferences import COOKIE, read_prefs
from perimeter_plugin_live_trace.web.render import Renderer, twin
from perimeter_plugin_live_trace.web.reply import Reply
from perimeter_plugin_live_trace.web.security import SANDBOX, Denied, Rules, cookies, set_cookie
from perimeter_plugin_live_trace.web.site import Changes, Site


_log = logging.getLogger(__name__)
HTML = "text/html; charset=utf-8"
_YEAR = 365 * 24 * 3600
SLOW = "Narrow the span of time, or ask for less."
"""What is said where a query takes too long."""


@attrs.frozen
class Asked:
    """
    A request, read: what the thread needs of it.

    Attributes:
        path: Its path, with signs for characters that belong to a part.
        parts: The variable parts of the path.
        query: Names and values.
        headers: By lower-case name.
        form: The body, as names and values.
        tls: Whether it came over TLS.
    """

    path: str
    parts: Mapping[str, str]
    query: Sequence[tuple[str, str]]
    headers: Mapping[str, str]
    form: Sequence[tuple[str, str]] = ()
    tls: bool = False


@attrs.frozen
class Answering:
    """Answers requests; everything here runs in a thread of the pool."""

    site: Site
    reader: Any
    changes: Changes
    renderer: Renderer
    rules: Rules
    clock: Callable[[], float] = time.time

    def answer(self, route: Route, asked: Asked) -> Reply:
        """Answer, whatever happens."""
        try:
            return self._answer(route, asked)
        except Exception as error:  # noqa: BLE001 -- whatever it is, the reader gets a page
            return self.failed(error, asked.path, asked.headers)

    def failed(self, error: Exception, path: str, headers: Mapping[str, str]) -> Reply:
        """Return the page that says what went wrong."""
        problem = _problem(error)
        if problem.status >= 500:
            _log.error("request %s for %s failed", problem.request, path, exc_info=error)
        page, media_type = body(self.renderer, problem, path, headers)
        return Reply(page, media_type, problem.status).compressed(headers)

    def _answer(self, route: Route, asked: Asked) -> Reply:
        jar = cookies(asked.headers)
        form_session = jar.get(self.rules.form_cookie, "")
        if route.kind == "action":
            form = dict(asked.form)
            token = form.get("csrf", "") or asked.headers.get("x-csrf-token", "")
            self.rules.check_form(form_session, token)
        fresh = "" if form_session else secrets.token_hex(16)
        rev = self.reader.rev() if route.kind == "page" else 0
        ask = self._ask(asked, jar, fresh or form_session, rev)
        result = self._call(route, ask)
        if isinstance(result, Redirect):
            return self._redirect(result, asked.tls)
        if isinstance(result, Download):
            return download(result)
        if ask.json:
            return Reply(twin(result), "application/json").compressed(asked.headers)
        page = self.renderer.page(route.template, ask, result, nav=route.nav, title=route.title)
        reply = Reply(page, HTML).compressed(asked.headers)
        if route.kind == "fragment":
            return reply
        return reply.adding(*self._cookies(fresh, ask.notice, asked.tls))

    def _call(self, route: Route, ask: Ask) -> Any:
        try:
            return route.call(ask)
        except (sqlite3.OperationalError, peewee.OperationalError):
            if route.kind == "action":
                raise
            return route.call(ask)  # a lock may be gone the next time

    def _ask(self, asked: Asked, jar: Mapping[str, str], form_session: str, rev: int) -> Ask:
        prefs = read_prefs(jar.get(COOKIE, ""))
        params = Params(asked.query)
        now_us = int(self.clock() * 1_000_000)
        json = asked.path.endswith(".json")
        return Ask(
            reader=self.reader,
            writer=self.changes,
            site=self.site,
            prefs=prefs,
            now_us=now_us,
            range=read_range(params, prefs, now_us),
            params=params,
            path=_parts(asked.parts, json),
            form=dict(asked.form),
            fields=asked.form,
            target=asked.path.removesuffix(".json"),
            csrf=self.rules.form_token(form_session),
            notice=unquote(jar.get(self.rules.notice_cookie, ""))[:500],
            json=json,
            rev=rev,
        )

    def _redirect(self, to: Redirect, tls: bool) -> Reply:
        # Whatever a form sent back, it stays one header of ASCII.
        url = quote(to.url, safe="/?#&=:@%+,;~!$'()*[]", errors="replace")
        headers = [("location", url if is_local(url) else "/")]
        if to.notice:
            value = quote(to.notice[:400])
            headers.append(_cookie(self.rules.notice_cookie, value, age=60, tls=tls))
        if to.prefs is not None:
            headers.append(_cookie(COOKIE, to.prefs.cookie(), age=_YEAR, tls=tls, script=True))
        return Reply(b"", "text/plain", 303, tuple(headers))

    def _cookies(self, fresh: str, notice: str, tls: bool) -> list[tuple[str, str]]:
        headers = []
        if fresh:
            headers.append(_cookie(self.rules.form_cookie, fresh, age=_YEAR, tls=tls))
        if notice:  # it has been said now
            headers.append(_cookie(self.rules.notice_cookie, "", age=0, tls=tls))
        return headers


def download(file: Download) -> Reply:
    """Return a file as an answer that is made while it is sent."""
    headers = [("content-security-policy", SANDBOX)]
    if file.name:
        name = quote(file.name, safe="")
        headers.append(("content-disposition", f"attachment; filename*=UTF-8''{name}"))
    return Reply(iter(file.pieces), file.media_type, 200, tuple(headers))


def read_query(text: str) -> list[tuple[str, str]]:
    """Return the names and values of a query or a form; those beyond a sane number are left."""
    try:
        return parse_qsl(text, keep_blank_values=True, max_num_fields=2000, errors="replace")
    except ValueError:
        return []


def _parts(parts: Mapping[str, str], json: bool) -> dict[str, str]:
    return {
        name: plain(value.removesuffix(".json") if json else value) for name, value in parts.items()
    }


def _problem(error: Exception) -> Problem:
    if isinstance(error, NotFound):
        return Problem(404, text=str(error))
    if isinstance(error, Denied):
        return Problem(error.status, error.title, error.text, request_id())
    if isinstance(error, Refused):
        return Problem(409, "That could not be done", str(error))
    if isinstance(error, TooSlow):
        return Problem(503, "That took too long", SLOW, request_id())
    if isinstance(error, (StoreError, sqlite3.Error, peewee.DatabaseError)):
        text = str(error) if isinstance(error, StoreError) else ""
        return Problem(503, text=text or "Try again in a moment.", request=request_id())
    return Problem(500, text="The log has the details.", request=request_id())


def read_request(scope: Scope, form: bytes = b"") -> Asked:
    """Return what a thread needs of a request."""
    return Asked(
        path=scope["path"],
        parts={name: str(value) for name, value in scope["path_params"].items()},
        query=read_query(scope["query_string"].decode("latin-1")),
        headers=read_headers(scope),
        form=read_query(form.decode("utf-8", "replace")),
        tls=scope["scheme"] == "https",
    )


def read_headers(scope: Scope) -> dict[str, str]:
    """Return the headers of a request, the last one of each name."""
    return {
        name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
    }


def _cookie(name: str, value: str, *, age: int, tls: bool, script: bool = False) -> tuple[str, str]:
    return "set-cookie", set_cookie(name, value, age=age, script=script, tls=tls)
