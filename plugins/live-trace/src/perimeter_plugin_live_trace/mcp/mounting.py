"""
What answers at `/mcp`, with the SDK.

It is stateless: every request is answered by itself, and nothing is kept between two of them, so
there is nothing that clients could leave behind. A client that accepts `text/event-stream` is
answered with an event stream, others with JSON.
"""

from __future__ import annotations

import logging
from typing import Any

import attrs
from mcp.server.lowlevel.server import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings

from perimeter_plugin_live_trace.mcp.server import server
from perimeter_plugin_live_trace.mcp.tool import Here
from perimeter_plugin_live_trace.mcp.tools import all_tools
from perimeter_plugin_live_trace.store import Reader
from perimeter_plugin_live_trace.web.page import Changes, Site


_MOST_BODY = 1024 * 1024
"""Bytes of a request."""
_JSON, _SSE = b"application/json", b"text/event-stream"
_BOTH = _JSON + b", " + _SSE

# It says for every request that it has begun and that it is over.
logging.getLogger("mcp").setLevel(logging.WARNING)


def endpoint(site: Site, reader: Reader, changes: Changes | None = None) -> Endpoint:
    """Return what answers at `/mcp`; see `mount`."""
    here = Here(reader, site)
    return Endpoint(server(here, all_tools(site, reader, changes)), site)


@attrs.frozen
class Endpoint:
    """Answers requests to one address."""

    server: Server[Any]
    site: Site

    async def answer(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        if scope["method"] != "POST":
            await _refuse(send)
            return
        streams = wants_stream(scope["headers"])
        headers = [(name, value) for name, value in scope["headers"] if name != b"accept"]
        scope = {**scope, "headers": [*headers, (b"accept", _BOTH)]}
        manager = StreamableHTTPSessionManager(
            self.server,
            json_response=not streams,
            stateless=True,
            security_settings=security(self.site),
            max_request_body_size=_MOST_BODY,
        )
        async with manager.run():
            answer = Streamed(send).send if streams else send
            await manager.handle_request(scope, receive, answer)


def wants_stream(headers: Any) -> bool:
    """Whether a request accepts an event stream, by name."""
    accepted = b",".join(value for name, value in headers if name == b"accept").lower()
    kinds = [kind.split(b";")[0].strip() for kind in accepted.split(b",")]
    return _SSE in kinds


def security(site: Site) -> TransportSecuritySettings:
    """
    Return the SDK's own checks of host and origin, which come after those of the dashboard.

    Where the dashboard listens on all addresses there is no list of names, and its own check, which
    takes addresses but no names, has to do.
    """
    if not site.is_loopback:
        return TransportSecuritySettings(enable_dns_rebinding_protection=False)
    names = ["127.0.0.1", "localhost", "[::1]", *site.config.allowed_hosts]
    hosts = [each for name in names for each in (name, f"{name}:*")]
    origins = [f"{scheme}://{host}" for host in hosts for scheme in ("http", "https")]
    return TransportSecuritySettings(allowed_hosts=hosts, allowed_origins=origins)


@attrs.define
class Streamed:
    """Turns a whole JSON answer into an event stream of one event; leaves errors as they are."""

    _send: Any
    _start: Any = None
    _body: bytes = b""

    async def send(self, message: Any) -> None:
        """Pass a message on, or keep it until the answer is whole."""
        if message["type"] == "http.response.start":
            kinds = [value for name, value in message["headers"] if name == b"content-type"]
            whole = message["status"] == 200 and any(kind.startswith(_JSON) for kind in kinds)
            if whole:
                self._start = message
                return
        if self._start is None:
            await self._send(message)
            return
        self._body += message.get("body", b"")
        if not message.get("more_body", False):
            await self._finish()

    async def _finish(self) -> None:
        start, self._start = self._start, None
        kept = {b"content-type", b"content-length"}
        headers = [pair for pair in start["headers"] if pair[0] not in kept]
        headers += [(b"content-type", _SSE), (b"x-accel-buffering", b"no")]
        await self._send({**start, "headers": headers})
        # JSON has no line breaks of its own here: the SDK writes it compact.
        body = b"event: message\r\ndata: " + self._body + b"\r\n\r\n"
        await self._send({"type": "http.response.body", "body": body, "more_body": False})


async def _refuse(send: Any) -> None:
    """Say that there is neither a stream to open nor a session to end, as the protocol has it."""
    body = b'{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"only POST is answered"}}'
    headers = [(b"allow", b"POST"), (b"content-type", _JSON)]
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": 405, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
