"""The ASGI app that answers as a provider did."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import attrs
import msgspec

from perimeter.dialects import RAW, UPSTREAM_TYPES, Dialect, DialectTable
from perimeter.encoding import DecodeError, decode
from perimeter.simulator import FAULT_HEADER as ITS_HEADER
from perimeter.simulator import Faults, Refusal
from perimeter_plugin_recorders.recordings.models import dialect_of
from perimeter_plugin_recorders.serving.canonical import Asked, asked
from perimeter_plugin_recorders.serving.delivery import Cut, Delivery, Send, Sleep
from perimeter_plugin_recorders.serving.library import Library, told


FAULT_HEADER = "x-perimeter-fault"
"""The request header that asks for faults, in the words of core's simulator."""

STATUS = "/-/recordings"
"""Where the server tells of itself (GET), and `/reset` below it begins again (POST)."""

MOST_BODY = 64 * 1024 * 1024
"""Bytes of a request's body."""

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]

_DIALECTS = DialectTable([each for kind in UPSTREAM_TYPES.values() for each in kind.dialects])


def app(
    path: Path,
    *,
    speed: float | None = None,
    ignore: Sequence[str] = (),
    sleep: Sleep = asyncio.sleep,
) -> Provider:
    """
    Return an ASGI app that answers from recordings.

    Args:
        path: A file or a folder of recordings.
        speed: How many times faster than recorded; None for as fast as possible.
        ignore: JSON fields of requests that do not count: names with dots between them, `*` for
            any, such as `user` or `metadata.*`.
        sleep: Waits so many seconds; tests put something here that does not.

    Raises:
        OSError: There is no such file or folder.
    """
    return Provider(Library.of(path, ignore), speed, sleep)


@attrs.define(eq=False)
class Provider:
    """
    Answers as a provider did.

    Attributes:
        library: The recordings.
        speed: How many times faster than recorded; None for as fast as possible.
        sleep: Waits so many seconds.
        matched: How many requests were answered from a recording.
        unmatched: What was asked that is not recorded, in words, the newest 100.
    """

    library: Library
    speed: float | None = None
    sleep: Sleep = asyncio.sleep
    matched: int = 0
    unmatched: list[str] = attrs.field(factory=list)
    _faults_had: Counter[str] = attrs.field(factory=Counter)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's scope, as ASGI has it."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        body = await _read(receive)
        if body is None:
            await _answer(send, 413, RAW.error(413, "The request is too large.", "too_large"))
        elif scope["path"].startswith(STATUS):
            await self._tell(scope, send)
        else:
            answer = self._answer(scope, headers, body, send)
            await _unless_gone(answer, receive)

    async def _answer(self, scope: Scope, headers: dict[str, str], body: bytes, send: Send) -> None:
        request = self._request(scope, headers, body)
        dialect = _dialect(request, headers)
        try:
            faults = self._faults(headers.get(FAULT_HEADER, ""))
        except Refusal as refusal:
            said = refusal.message.replace(ITS_HEADER, FAULT_HEADER)
            await _answer(send, 400, dialect.error(400, said, "unknown_fault"))
            return
        if faults.status is not None:
            await self._fail(faults, faults.status, dialect, send)
            return
        recording = self.library.find(request)
        if recording is None:
            await self._miss(request, dialect, send)
            return
        self.matched += 1
        spoken = dialect_of(recording)
        await Delivery(recording, spoken, faults, self.speed, send, self.sleep).run()

    def _request(self, scope: Scope, headers: dict[str, str], body: bytes) -> Asked:
        if coding := headers.get("content-encoding", ""):
            try:
                body = decode(body, coding, MOST_BODY)
            except DecodeError:
                pass  # compared as it is
        path = scope.get("raw_path", scope["path"].encode()).decode("latin-1").partition("?")[0]
        query = scope["query_string"].decode("latin-1")
        content_type = headers.get("content-type", "")
        target = f"{path}?{query}"
        return asked(scope["method"], target, body, content_type, self.library.ignore)

    def _faults(self, text: str) -> Faults:
        faults = Faults.parse(text)
        if faults.times is None:
            return faults
        self._faults_had[text] += 1
        return faults if self._faults_had[text] <= faults.times else Faults()

    async def _fail(self, faults: Faults, status: int, dialect: Dialect, send: Send) -> None:
        if faults.slow_head:
            await self.sleep(faults.slow_head)
        message = faults.message or f"Status {status}, as {FAULT_HEADER} asks."
        more = [] if faults.retry_after is None else [("retry-after", faults.retry_after)]
        await _answer(send, status, dialect.error(status, message, "requested_fault"), more)

    async def _miss(self, request: Asked, dialect: Dialect, send: Send) -> None:
        near = self.library.nearest(request)
        message = told(request, near)
        self.unmatched = [*self.unmatched[-99:], message]
        more = [("x-should-retry", "false")]
        if near is not None:
            more.append(("x-perimeter-nearest", near[0].id))
        await _answer(send, 404, dialect.error(404, message, "no_recording"), more)

    async def _tell(self, scope: Scope, send: Send) -> None:
        if scope["path"] == f"{STATUS}/reset" and scope["method"] == "POST":
            self.library.reset()
            self._faults_had.clear()
            self.matched, self.unmatched = 0, []
        elif scope["path"] != STATUS or scope["method"] != "GET":
            await _answer(send, 404, RAW.error(404, f"Only {STATUS} is here.", "not_found"))
            return
        told_of = {
            "recordings": self.library.served,
            "matched": self.matched,
            "unmatched": self.unmatched,
            "skipped": [str(each) for each in self.library.skipped],
        }
        await _answer(send, 200, msgspec.json.encode(told_of))


def _dialect(request: Asked, headers: dict[str, str]) -> Dialect:
    """Return who says errors: the API of the path, or the one that its headers are of."""
    found = _DIALECTS.match(request.method, request.path)
    if found is not RAW:
        return found
    kind = "anthropic" if "anthropic-version" in headers else "openai"
    return UPSTREAM_TYPES[kind].fallback


async def _answer(
    send: Send, status: int, body: bytes, more: Sequence[tuple[str, str]] = ()
) -> None:
    fields = [
        ("content-type", "application/json"),
        ("content-length", str(len(body))),
        *more,
    ]
    pairs = [(k.encode("latin-1"), v.encode("latin-1", "replace")) for k, v in fields]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})


async def _read(receive: Receive) -> bytes | None:
    """Read a request's body; None when it is too large, or the client left."""
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MOST_BODY:
            return None
        if not message.get("more_body"):
            return b"".join(parts)


async def _unless_gone(answer: Coroutine[Any, Any, None], receive: Receive) -> None:
    """Answer, unless the client leaves first; a cut is a return before the last piece."""
    loop = asyncio.get_running_loop()
    tasks = loop.create_task(answer), loop.create_task(_gone(receive))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if tasks[0].done():
            tasks[0].result()
    except Cut:
        return
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
