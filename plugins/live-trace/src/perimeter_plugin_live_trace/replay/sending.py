"""
Sends an edited request through the proxy.

It goes to the proxy that this dashboard belongs to, and from there to the upstream that the
recorded call went to, by name: there is no way to say an address. The key is the proxy's own, or
one that was typed for this one request; that one is in no log, no record and no page.
"""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import attrs
import httpx

from perimeter.dialects import UPSTREAM_TYPES, Dialect, UpstreamType
from perimeter_plugin_live_trace.queries.reading import header
from perimeter_plugin_live_trace.replay.draft import Request


SECONDS = 120.0
"""That an answer may take."""
MOST_ANSWER = 8 * 1024 * 1024
"""Bytes of an answer that are read."""
REPLAY_OF = "x-perimeter-replay-of"
TAG = "replay-of"
"""The label of the session that a replay makes; its value is the id of the recorded exchange."""

_AT_ONCE = 2
_KEPT = (
    "anthropic-version",
    "anthropic-beta",
    "openai-beta",
    "openai-organization",
    "openai-project",
)
"""Headers of the recorded request that decide how a provider reads it."""
_SECRET = re.compile(r"[\x21-\x7e]{1,4096}")
_slots = threading.BoundedSemaphore(_AT_ONCE)


class NotSent(Exception):
    """The request could not be sent, or was not answered; the message says why, for people."""


@attrs.frozen
class Credentials:
    """
    What was typed for one request.

    Attributes:
        key: The provider's key; "" for the proxy's own.
        token: The proxy's client token; "" for none.
    """

    key: str = attrs.field(default="", repr=False)
    token: str = attrs.field(default="", repr=False)

    def check(self) -> None:
        """
        Check that both can stand in a header.

        Raises:
            NotSent: One can't; it is not quoted.
        """
        for name, value in (("key", self.key), ("token", self.token)):
            if value and not _SECRET.fullmatch(value):
                raise NotSent(f"The {name} has characters that no {name} has.")


@attrs.frozen
class Answer:
    """
    What came back.

    Attributes:
        exchange: The proxy's id of the exchange, "" where it does not say.
        seconds: Until the end of the answer.
    """

    status: int
    body: bytes = attrs.field(repr=False)
    exchange: str
    seconds: float


@attrs.frozen
class Target:
    """
    Where a request goes.

    Attributes:
        proxy: The proxy's address.
        upstream: The name of the upstream.
        workflow: The workflow of the recorded call, or "".
        dialect: The API.
        query: The query of the recorded call; credentials in it are left out.
    """

    proxy: str
    upstream: str
    workflow: str
    dialect: Dialect
    query: str = ""

    def url(self, path: str) -> str:
        """Return the address for a path of the provider."""
        workflow = f"/agent-workflow/{quote(self.workflow, safe='')}" if self.workflow else ""
        query = self._query()
        base = f"{self.proxy.rstrip('/')}{workflow}/-/to/{quote(self.upstream, safe='')}"
        return f"{base}/{path.lstrip('/')}" + (f"?{query}" if query else "")

    @property
    def kind(self) -> UpstreamType | None:
        """The type of the provider, None for one that a plugin brought."""
        return UPSTREAM_TYPES.get(self.dialect.upstream_type)

    def _query(self) -> str:
        secret = {*(self.kind.credential_query if self.kind else ()), "key", "alt"}
        pairs = parse_qsl(self.query, keep_blank_values=True)
        return urlencode([pair for pair in pairs if pair[0] not in secret])


def send(
    target: Target,
    request: Request,
    *,
    exchange: str,
    agent: str,
    recorded: list[tuple[str, str]],
    credentials: Credentials,
) -> Answer:
    """
    Send a request, and wait for all of the answer.

    Args:
        target: Where to.
        request: What.
        exchange: The exchange that it repeats.
        agent: The agent's id, where a client had named it; else "".
        recorded: The headers of the recorded request.
        credentials: What was typed.

    Raises:
        NotSent: There is no answer.
    """
    credentials.check()
    headers = _headers(target, exchange, agent, recorded, credentials)
    with _slot():
        began = time.monotonic()
        try:
            # The environment's proxies are for the world outside, and this one is ours.
            with httpx.Client(timeout=SECONDS, trust_env=False, follow_redirects=False) as client:
                return _sent(client, target.url(request.path), request.body, headers, began)
        except httpx.TimeoutException:
            raise NotSent(f"There was no answer within {SECONDS:.0f} seconds.") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            told = str(error) or type(error).__name__
            raise NotSent(
                f"No whole answer came from the proxy at {target.proxy}: {told}."
            ) from None


@contextmanager
def _slot() -> Iterator[None]:
    if not _slots.acquire(blocking=False):
        raise NotSent("Other replays are under way: try again when they are done.")
    try:
        yield
    finally:
        _slots.release()


def _sent(
    client: httpx.Client, url: str, body: bytes, headers: Mapping[str, str], began: float
) -> Answer:
    with client.stream("POST", url, content=body, headers=headers) as response:
        pieces, size = [], 0
        for piece in response.iter_bytes():
            pieces.append(piece)
            size += len(piece)
            if size > MOST_ANSWER:
                raise NotSent("The answer is longer than can be shown.")
            if time.monotonic() - began > SECONDS:
                raise NotSent(f"There was no whole answer within {SECONDS:.0f} seconds.")
    exchange = response.headers.get("x-perimeter-exchange-id", "")
    return Answer(response.status_code, b"".join(pieces), exchange, time.monotonic() - began)


def _headers(
    target: Target,
    exchange: str,
    agent: str,
    recorded: list[tuple[str, str]],
    credentials: Credentials,
) -> dict[str, str]:
    made = {name: value for name in _KEPT if (value := header(recorded, name))}
    made |= {
        "content-type": "application/json",
        REPLAY_OF: exchange,
        # A session of its own: the conversation that it was taken from must stay what it was.
        "x-perimeter-conversation-id": f"replay-{secrets.token_hex(6)}",
        "x-perimeter-tags": f"{TAG}:{exchange}",
    }
    if agent:
        made["x-perimeter-agent-id"] = agent
    if credentials.token:
        made["x-perimeter-token"] = credentials.token
    if credentials.key:
        made |= _credential(target.kind, credentials.key)
    return made


def _credential(kind: UpstreamType | None, key: str) -> dict[str, Any]:
    if kind is None:
        return {"authorization": f"Bearer {key}"}
    return {kind.credential_header.decode(): kind.credential_prefix.decode() + key}
