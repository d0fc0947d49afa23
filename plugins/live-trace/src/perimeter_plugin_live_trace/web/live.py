"""
What has changed, as it changes: hints over Server-Sent Events, never contents.

A hint names sessions by number, with the revision and the last event of each; the browser then asks
for what it shows. One poller per process looks at the database, and only while somebody listens.
Nothing is kept per client: where it is, is the number of the last hint that it got, and what it
missed is one query.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from typing import Any

import attrs
import msgspec
from litestar import Request
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, Receive, Send

from perimeter_plugin_live_trace.web.answering import read_headers
from perimeter_plugin_live_trace.web.reply import Reply
from perimeter_plugin_live_trace.web.routing import handler
from perimeter_plugin_live_trace.web.site import Site


PERIOD = 0.25
"""Seconds between two looks at the database."""
GAP = 0.5
"""Least seconds between two hints to a client."""
ALIVE = 15.0
"""Seconds of silence after which a comment is sent."""
MOST = 500
"""Sessions that a hint names at most; where there are more, it says `many`."""
BEHIND = 100_000
"""Revisions after which a client had better read its page again."""
_HEADERS = (("x-accel-buffering", "no"), ("cache-control", "no-store"))


@attrs.define(eq=False)
class Live:
    """
    Tells open streams which sessions have changed.

    Attributes:
        site: Says when the process ends; counts the open streams.
        reader: The database.
        build: Changes with the static files: a page of another build must be loaded again.
        pool: Where queries run.
    """

    site: Site
    reader: Any
    build: str
    pool: Executor
    _rev: int = 0
    _poller: asyncio.Task[None] | None = None
    _moved: asyncio.Condition = attrs.Factory(asyncio.Condition)

    def handler(self) -> HTTPRouteHandler:
        """Return the handler of `/live`."""

        async def handle(request: Request[Any, Any, Any]) -> ASGIApp:
            asked = read_headers(request.scope).get("last-event-id", "")
            last = asked or request.query_params.get("after", "")
            return self.stream(int(last[:18]) if last.isascii() and last.isdigit() else None)

        return handler("/live", ("GET",), handle)

    def stream(self, last: int | None) -> ASGIApp:
        """Return a stream that goes on after a revision."""

        async def answer(_: Any, receive: Any, send: Send) -> None:
            if self.site.closing:
                await Reply(b"", "text/plain", 503, (("retry-after", "2"),)).send(send)
                return
            await send(Reply(iter(()), "text/event-stream", 200, _HEADERS).start())
            self.site.live_clients += 1
            talk = asyncio.create_task(self._talk(send, last))  # noqa: TID251 -- awaited below
            gone = asyncio.create_task(_disconnected(receive))  # noqa: TID251
            try:
                await asyncio.wait({talk, gone}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                self.site.live_clients -= 1
                for task in (talk, gone):
                    task.cancel()
                await asyncio.gather(talk, gone, return_exceptions=True)
            if not gone.done() or gone.cancelled():
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        return answer

    async def _talk(self, send: Send, last: int | None) -> None:
        rev = await self._look()
        self._listen()
        await _write(send, b"retry: 2000\n\n" + frame("hello", rev, {"rev": rev, "v": self.build}))
        if last is not None and not rev - BEHIND <= last <= rev:
            await _write(send, frame("reset", rev, {"rev": rev}))
            last = None
        at = rev if last is None else last
        while not self.site.closing:
            if at < self._rev:
                at, hint = await self._run(self.hint, at)
                await _write(send, frame("hint", at, hint))
                await asyncio.sleep(GAP)
            elif not await self._wait(at):
                await _write(send, b": alive\n\n")

    async def _wait(self, at: int) -> bool:
        """Wait for a newer revision, or the end; False when there was neither for a while."""

        async def moved() -> None:
            async with self._moved:
                await self._moved.wait_for(lambda: self._rev > at or self.site.closing)

        try:
            await asyncio.wait_for(moved(), ALIVE)
        except TimeoutError:
            return False
        return True

    def _listen(self) -> None:
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll())  # noqa: TID251 -- kept in _poller

    async def _poll(self) -> None:
        version = -1
        while self.site.live_clients and not self.site.closing:
            try:
                newest = await self._run(self.reader.data_version)
                if newest != version:
                    await self._look()
                    version = newest
            except Exception:  # noqa: BLE001 -- the database is busy or gone; the pages say so
                version = -1
            await asyncio.sleep(PERIOD)
        async with self._moved:
            self._moved.notify_all()

    async def _look(self) -> int:
        rev: int = await self._run(self.reader.rev)
        if rev != self._rev:
            async with self._moved:
                self._rev = rev
                self._moved.notify_all()
        return rev

    def hint(self, after: int) -> tuple[int, dict[str, Any]]:
        """Return what has changed after a revision, and the revision up to which that is all."""
        rows = self.reader.sql(
            "SELECT id, rev, last_seq, turns FROM sessions WHERE rev > ? ORDER BY rev LIMIT ?",
            (after, MOST + 1),
        )
        agents = self.reader.sql(
            "SELECT id FROM agents WHERE rev > ? ORDER BY rev LIMIT ?", (after, MOST)
        )
        found = self.reader.sql("SELECT count(*) FROM finding_groups WHERE rev > ?", (after,))
        newest = max([self._rev, *(row[1] for row in rows)])
        hint: dict[str, Any] = {"a": [row[0] for row in agents], "f": found[0][0]}
        if len(rows) > MOST:
            return newest, {**hint, "s": [], "many": True}
        return newest, {**hint, "s": [row[:3] for row in rows]}

    async def _run(self, function: Any, *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self.pool, function, *args)


def frame(event: str, number: int, data: dict[str, Any]) -> bytes:
    """Return an event as the stream writes it."""
    return b"event: %s\nid: %d\ndata: %s\n\n" % (event.encode(), number, msgspec.json.encode(data))


async def _write(send: Send, data: bytes) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": True})


async def _disconnected(receive: Receive) -> None:
    message: Any = await receive()
    while message["type"] != "http.disconnect":
        message = await receive()
