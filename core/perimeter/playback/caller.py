"""The client's side of an exchange that is played back: sends what was sent, hears nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from perimeter.gateway.client import EXTENSION, Scope
from perimeter.gateway.routing import UPSTREAM_PREFIX, WORKFLOW_PREFIX
from perimeter.playback.recorded import Recorded
from perimeter.playback.timeline import Timeline
from perimeter.settings import UPSTREAM_TYPE_NAMES
from perimeter.verdicts import header


if TYPE_CHECKING:
    from perimeter.model import Exchange

CALLER = "perimeter.caller"
"""Where a scope has the `Caller`."""


class Caller:
    """
    Stands for the client, and for its connection too, so that nobody watches it for a departure.

    Attributes:
        recorded: What happened.
        timeline: The clock.
        exchange: The exchange, once the gateway has made it.
        bad_request: As a `Connection` has it.
    """

    def __init__(self, recorded: Recorded, timeline: Timeline) -> None:
        self.recorded = recorded
        self.timeline = timeline
        self.exchange: Exchange | None = None
        self.bad_request = False

    def __str__(self) -> str:
        return self.recorded.id

    @property
    def has_body(self) -> bool:
        """Whether the request has a body that the gateway asks for."""
        headers = self.recorded.headers
        declared = header(headers, b"content-length") or header(headers, b"transfer-encoding")
        return bool(self.recorded.body) or (declared or b"0") != b"0"

    async def until(self, at: float) -> None:
        """Wait until so many seconds after the exchange began."""
        exchange = self.exchange
        began = exchange.started if exchange is not None else -math.inf
        await self.timeline.until(began + at, self)

    def scope(self) -> Scope:
        """Return what an ASGI server would have made of the request."""
        recorded = self.recorded
        path, _, query = recorded.target.partition("?")
        kind = recorded.upstream_type if recorded.upstream_type in UPSTREAM_TYPE_NAMES else "raw"
        raw = f"{UPSTREAM_PREFIX}{kind}/{path.removeprefix('/')}"
        if recorded.workflow_id:
            raw = f"{WORKFLOW_PREFIX}{recorded.workflow_id}{raw}"
        headers = list(recorded.headers)
        if recorded.body and not (
            header(recorded.headers, b"content-length")
            or header(recorded.headers, b"transfer-encoding")
        ):
            headers.append((b"content-length", b"%d" % len(recorded.body)))
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": recorded.method,
            "scheme": "http",
            "path": unquote(raw),
            "raw_path": _bytes(raw),
            "query_string": _bytes(query),
            "root_path": "",
            "headers": headers,
            "client": (recorded.client, 0) if recorded.client else None,
            "server": None,
            "extensions": {EXTENSION: self},
            CALLER: self,
        }

    async def receive(self) -> dict[str, Any]:
        """Send the body, as late as it had come: the request went upstream right after."""
        if self.exchange is not None and self.exchange.sent is None:
            await self.until(self.recorded.sent or 0.0)
        return {"type": "http.request", "body": self.recorded.body, "more_body": False}

    async def send(self, message: Any) -> None:
        """Take a part of the response."""

    # -- the connection

    def on_lost(self, callback: Callable[[], None] | None) -> None:
        """Never call it: the recording itself tells of departures."""

    def unstarted(self) -> None:
        """Nothing to do, as in all of these."""

    def bodiless(self) -> None:
        """See `unstarted`."""

    def unframed(self) -> None:
        """See `unstarted`."""

    def last(self, size: int) -> None:
        """See `unstarted`."""

    def cut(self) -> None:
        """See `unstarted`."""

    def drop(self) -> None:
        """See `unstarted`."""


def _bytes(text: str) -> bytes:
    """Return what stood in the request line; a recording of another product may have any text."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
