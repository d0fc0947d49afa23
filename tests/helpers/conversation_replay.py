"""Plays conversations to resolvers of sessions, in this process and without HTTP."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from hashlib import blake2b
from itertools import count
from random import Random
from typing import Any, Protocol

from conversations import Play
from perimeter.context import Clock
from perimeter.dialects import UPSTREAM_TYPES, DialectTable
from perimeter.framing import framing_of
from perimeter.metrics import Metrics
from perimeter.model import Event, Exchange, Request, Response, Session
from perimeter.pricing import PriceTable
from perimeter.sessions.evidence import Resolution
from perimeter.sessions.memory import MemoryStore
from perimeter.sessions.stores import limits_of
from perimeter.settings import SessionSettings
from perimeter.tracking import TrackedCall, Tracker
from perimeter.verdicts import Headers


_WORKFLOW = "/agent-workflow/"
_CREDENTIALS = frozenset({"authorization", "x-api-key", "x-goog-api-key"})
_CONTENT_TYPES = {
    "json": "application/json",
    "sse": "text/event-stream",
    "ndjson": "application/x-ndjson",
    "aws-eventstream": "application/vnd.amazon.eventstream",
}


_RESPONSE_ID = re.compile(rb'"id"\s*:\s*"(resp_\w+)"')


class Resolver(Protocol):
    """Puts requests together to sessions."""

    def ask(self, play: Play) -> str:
        """Take a request; return its session."""

    def answer(self, play: Play) -> None:
        """Take the response to a request that was asked before."""

    def close(self) -> None:
        """Let go of everything."""


def replay(plays: Sequence[Play], resolver: Resolver, *, parallel: int | None = None) -> list[str]:
    """
    Play requests in order; return the session of each.

    Args:
        plays: The requests.
        resolver: Who is asked.
        parallel: A seed: responses come late then, between requests of others, but before the next
            request of their own conversation. None: each comes before the next request.
    """
    if parallel is None:
        return [feed(play, resolver) for play in plays]
    rng = Random(parallel)
    under_way: dict[int, Play] = {}
    found = []
    for play in plays:
        if before := under_way.pop(play.conversation, None):
            resolver.answer(before)
        found.append(resolver.ask(play))
        under_way[play.conversation] = play
        if rng.random() < 0.5:
            resolver.answer(under_way.pop(rng.choice(list(under_way))))
    for play in under_way.values():
        resolver.answer(play)
    return found


def feed(play: Play, resolver: Resolver) -> str:
    """Play one request and its response; return its session."""
    session = resolver.ask(play)
    resolver.answer(play)
    return session


# -- the simple rule


class ExactPrefix:
    """
    The latest request whose messages are exactly the beginning of this one's.

    Knows tenants and the protocol's own links, but nothing of what was answered. How a message is
    written does not matter where it can't mean anything: nulls, `cache_control`, order of keys, and
    a text that is a list of one part.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, str] = {}
        self._links: dict[str, str] = {}
        self._numbers = count()

    def ask(self, play: Play) -> str:
        """Find the longest known beginning."""
        chain, body = self._chain(play)
        previous = body.get("previous_response_id")
        session = self._links.get(previous) if isinstance(previous, str) else None
        for key in reversed(chain[:-1]):
            session = session or self._known.get(key)
        session = session or f"s{next(self._numbers)}"
        if chain:
            self._known[chain[-1]] = session
        return session

    def answer(self, play: Play) -> None:
        """Remember the response's id."""
        chain, _ = self._chain(play)
        if (
            chain
            and play.dialect.endswith("responses")
            and (found := _RESPONSE_ID.search(play.reply))
        ):
            self._links[found[1].decode()] = self._known[chain[-1]]

    def close(self) -> None:
        """There is nothing."""

    def _chain(self, play: Play) -> tuple[list[bytes], dict[str, Any]]:
        body = _object(play.request)
        messages = body.get("messages", body.get("contents", body.get("input")))
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        if not isinstance(messages, list):
            return [], body
        credentials = [value for name, value in play.headers if name.lower() in _CREDENTIALS]
        hashed = blake2b(repr((credentials, _split_path(play.path)[0])).encode())
        hashed.update(str(body.get("previous_response_id")).encode())
        chain = []
        for message in messages:
            hashed.update(json.dumps(_plain(message), sort_keys=True).encode() + b"\0")
            chain.append(hashed.digest())
        return chain, body


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if not isinstance(value, dict):
        return value
    plain = {
        key: _plain(each)
        for key, each in value.items()
        if each is not None and key != "cache_control"
    }
    if isinstance(plain.get("content"), str):
        plain["content"] = [{"type": "text", "text": plain["content"]}]
    return plain


# -- the proxy's own


def _published(session: Session | None, event: Event) -> None:
    """Nobody listens."""


class Perimeter:
    """
    The proxy's own resolver, with all that lies between the wire and it.

    Attributes:
        resolutions: What was decided, by place in the order of the requests; None for no call.
        defects: Calls that could not be followed.
    """

    def __init__(self, settings: SessionSettings | None = None) -> None:
        settings = settings or SessionSettings()
        clock = Clock()
        self.resolutions: list[Resolution | None] = []
        self.defects: list[Play] = []
        self._tracker = Tracker(
            settings,
            MemoryStore(limits_of(settings), clock.time, bytes(32)),
            Metrics(clock.monotonic),
            PriceTable.packaged(),
            _published,
            observed=False,
            clock=clock,
        )
        self._dialects = DialectTable(
            [dialect for kind in UPSTREAM_TYPES.values() for dialect in kind.dialects]
        )
        self._runner = asyncio.Runner()
        self._calls: dict[int, TrackedCall] = {}
        self._numbers = count()

    def ask(self, play: Play) -> str:
        """Read a request as the gateway does, and find its session."""
        number = next(self._numbers)
        exchange = self._exchange(play, number)
        call = self._tracker.follow(exchange)
        if call is not None:
            self._runner.run(self._tracker.begin(call))
            self._calls[id(play)] = call
        self.resolutions.append(call.resolution if call is not None else None)
        return exchange.session.id if exchange.session is not None else f"none-{number}"

    def answer(self, play: Play) -> None:
        """Read the response as the gateway does."""
        call = self._calls.pop(id(play), None)
        if call is None:
            return
        content_type = _CONTENT_TYPES.get(play.kind, "application/octet-stream")
        headers: Headers = ((b"content-type", content_type.encode()),)
        framing = framing_of(content_type, call.exchange.dialect.name)
        response = call.exchange.response = Response(play.status, headers, framing)
        call.opened()
        response.record(play.reply, len(play.reply))
        call.passed(play.reply)
        call.answered()
        call.ended()
        if call.broken:
            self.defects.append(play)

    def close(self) -> None:
        """End the loop."""
        self._runner.close()

    def _exchange(self, play: Play, number: int) -> Exchange:
        workflow, path = _split_path(play.path)
        path, _, query = path.partition("?")
        headers: Headers = tuple(
            (name.lower().encode("latin-1"), value.encode("latin-1", "replace"))
            for name, value in play.headers
            if name.lower() != "content-encoding"  # bodies are kept decoded
        )
        request = Request("POST", path, query, headers, play.request)
        dialect = self._dialects.match("POST", path)
        return Exchange(f"x{number}", request, request, "any", dialect, 0.0, 0.0, workflow)


def _split_path(path: str) -> tuple[str | None, str]:
    if not path.startswith(_WORKFLOW):
        return None, path
    workflow, _, rest = path.removeprefix(_WORKFLOW).partition("/")
    return workflow, f"/{rest}"
