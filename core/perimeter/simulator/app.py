"""The simulator's ASGI app: routes, keys, faults, and a record of what came."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Literal

import attrs

from perimeter.simulator import (
    anthropic_messages,
    embeddings,
    models,
    openai_chat,
    openai_responses,
)
from perimeter.simulator.delivery import Cut, Delivery, Pace
from perimeter.simulator.desk import Desk
from perimeter.simulator.faults import FAULT_HEADER, Faults
from perimeter.simulator.providers import ANTHROPIC, OPENAI, Provider, Refusal
from perimeter.simulator.settings import SimulatorSettings
from perimeter.simulator.skills import SKILLS, Skill
from perimeter.simulator.wire import (
    Query,
    Receive,
    Reply,
    Scope,
    Send,
    Sleep,
    disconnected,
    read_body,
)


_Endpoint = Callable[[Query, Desk], Reply]

_ROUTES: dict[str, dict[str, _Endpoint]] = {
    "/v1/chat/completions": {"POST": openai_chat.complete},
    "/v1/responses": {"POST": openai_responses.respond},
    "/v1/responses/{id}": {"GET": openai_responses.get_response},
    "/v1/embeddings": {"POST": embeddings.embed},
    "/v1/models": {"GET": models.list_models},
    "/v1/models/{id}": {"GET": models.get_model},
    "/v1/messages": {"POST": anthropic_messages.create_message},
    "/v1/messages/count_tokens": {"POST": anthropic_messages.count_tokens},
}
_MOST_COUNTED_FAULTS = 1000


@attrs.define(eq=False)
class RecordedRequest:
    """
    A request that the simulator got.

    Attributes:
        headers: As they came: order, case and repetitions kept.
        outcome: `"answered"`, `"cut"` (by a fault), `"disconnected"` (the client left first), or
            None while it is being answered.
    """

    method: str
    path: str
    query: str
    headers: list[tuple[bytes, bytes]]
    body: bytes
    outcome: Literal["answered", "cut", "disconnected"] | None = None

    def header(self, name: str) -> str | None:
        """Return the first value of a header, or None."""
        wanted = name.lower().encode("latin-1")
        found = (value.decode("latin-1") for key, value in self.headers if key.lower() == wanted)
        return next(found, None)


class Simulator:
    """
    A simulated LLM provider, as an ASGI app.

    Attributes:
        settings: How it behaves.
        requests: What it was asked, oldest first; the newest `max_recorded`.
    """

    def __init__(
        self,
        settings: SimulatorSettings | None = None,
        *,
        skills: Sequence[Skill] = SKILLS,
        sleep: Sleep = asyncio.sleep,
        clock: Callable[[], float] = time.time,
        **changes: Any,
    ) -> None:
        """
        Make a simulator.

        Args:
            settings: How it behaves; as fast as it can, accepting every key, when None.
            skills: What its model can do, the first one with an answer wins.
            sleep: Waits so many seconds; tests put something here that does not.
            clock: Returns Unix time.
            **changes: Single settings, by their name in `SimulatorSettings`.
        """
        self.settings = attrs.evolve(settings or SimulatorSettings(), **changes)
        self.requests: deque[RecordedRequest] = deque(maxlen=self.settings.max_recorded)
        self._desk = Desk(self.settings, skills, clock)
        self._pace = Pace(self.settings, sleep)
        self._faults_had: Counter[str] = Counter()
        Faults.parse(self.settings.faults)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's scope, as ASGI has it."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_body(receive, self.settings.max_body_size)
        query = _query(scope, body or b"")
        record = RecordedRequest(
            query.method,
            query.path,
            scope["query_string"].decode("latin-1"),
            list(scope["headers"]),
            query.body,
        )
        self.requests.append(record)
        delivery = self._prepare(query, send, too_large=body is None)
        gone = await _unless(delivery.run(), disconnected(receive), record)
        record.outcome = record.outcome or ("disconnected" if gone else "answered")

    def _prepare(self, query: Query, send: Send, *, too_large: bool) -> Delivery:
        provider = _provider(query)
        request_id = self._desk.new_id("req_")
        faults = Faults()
        try:
            faults = self._faults(query)
            reply = self._reply(query, provider, faults, too_large=too_large)
        except Refusal as refusal:
            reply = Reply(provider.error(refusal, request_id), refusal.status)
        headers = [(provider.request_id_header, request_id)]
        if faults.retry_after is not None and reply.status >= 400:
            headers.append(("retry-after", faults.retry_after))
        return Delivery(reply, faults, headers, self._pace, send)

    def _faults(self, query: Query) -> Faults:
        text = query.headers.get(FAULT_HEADER, self.settings.faults)
        faults = Faults.parse(text)
        if faults.times is None:
            return faults
        if len(self._faults_had) >= _MOST_COUNTED_FAULTS:
            self._faults_had.clear()
        self._faults_had[text] += 1
        return faults if self._faults_had[text] <= faults.times else Faults()

    def _reply(self, query: Query, provider: Provider, faults: Faults, *, too_large: bool) -> Reply:
        if too_large:
            raise Refusal(413)
        if faults.status is not None:
            raise Refusal(faults.status, faults.message)
        self._check_key(query, provider)
        endpoint = _endpoint(query)
        if provider is ANTHROPIC and "anthropic-version" not in query.headers:
            raise Refusal(400, "anthropic-version: header is required")
        return endpoint(query, self._desk)

    def _check_key(self, query: Query, provider: Provider) -> None:
        keys = self.settings.api_keys
        if keys and provider.key(query.headers) not in keys:
            raise Refusal(401)


def _query(scope: Scope, body: bytes) -> Query:
    headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
    return Query(scope["method"], scope["path"], headers, body)


def _provider(query: Query) -> Provider:
    anthropic = query.path.startswith("/v1/messages") or "anthropic-version" in query.headers
    return ANTHROPIC if anthropic else OPENAI


def _endpoint(query: Query) -> _Endpoint:
    methods = _ROUTES.get(query.path) or _ROUTES.get(query.path.rpartition("/")[0] + "/{id}")
    if methods is None:
        raise Refusal(404, f"Invalid URL ({query.method} {query.path})")
    if query.method not in methods:
        raise Refusal(405, f"Not allowed to {query.method} on {query.path}")
    return methods[query.method]


async def _unless(
    work: Coroutine[Any, Any, None], end: Coroutine[Any, Any, None], record: RecordedRequest
) -> bool:
    """Do the work unless the end comes first; return whether it did."""
    loop = asyncio.get_running_loop()
    tasks = loop.create_task(work), loop.create_task(end)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if tasks[0].done():
            tasks[0].result()
        return not tasks[0].done()
    except Cut:
        record.outcome = "cut"
        return False
    finally:
        await _stop(tasks)


async def _stop(tasks: Sequence[asyncio.Future[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _lifespan(receive: Receive, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
