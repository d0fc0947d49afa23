"""Who calls: from a request and its headers to the evidence that sessions are found by."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from urllib.parse import parse_qs
from zlib import crc32

import attrs

from perimeter.calls import LLMRequest
from perimeter.dialects import CONVERSATIONS
from perimeter.model import Exchange, Request
from perimeter.sessions.agents import agent_of
from perimeter.sessions.evidence import Evidence
from perimeter.sessions.fingerprints import History, key_of
from perimeter.sessions.headers import Labels


_CREDENTIALS = {
    b"x-perimeter-token": 0,
    b"authorization": 1,
    b"x-api-key": 2,
    b"api-key": 3,
    b"x-goog-api-key": 4,
}
"""Headers that say who a client is, the strongest first."""
_REMEMBERED = 1024
_PADDING = 60
"""So many characters more than a reset phrase has, spaces and marks, may be around it."""
_NOTHING = LLMRequest()


class Tenants:
    """
    Seeds for keys, by workflow and credential: tenants never share a key.

    A credential is never kept in clear where its seed is, and can't be told from it.
    """

    def __init__(self, secret: bytes) -> None:
        """
        Prepare.

        Args:
            secret: Of the session store, at most 64 bytes; the same for all who share the store.
        """
        self._secret = secret
        self._seeds: dict[tuple[str | None, bytes], int] = {}

    def seed(self, workflow_id: str | None, credential: bytes) -> int:
        """Return a seed of 64 bits."""
        seed = self._seeds.get((workflow_id, credential))
        if seed is None:
            if len(self._seeds) >= _REMEMBERED:
                self._seeds.clear()
            data = (workflow_id or "").encode("utf-8", "surrogatepass") + b"\0" + credential
            digest = blake2b(data, digest_size=8, key=self._secret).digest()
            seed = int.from_bytes(digest)
            self._seeds[workflow_id, credential] = seed
        return seed


def credential_of(request: Request) -> bytes:
    """Return what a client proves who it is with, b"" where there is nothing of the kind."""
    found = [field for field in request.headers if field[0] in _CREDENTIALS]
    if len(found) > 1:
        found.sort(key=lambda field: _CREDENTIALS[field[0]])
    for _, value in found:
        if value:
            # The same key is sent with and without a scheme, as providers want it.
            return value[7:] if value[:7].lower() == b"bearer " else value
    if "key=" in request.query:
        return "".join(parse_qs(request.query).get("key", ())).encode("utf-8", "surrogatepass")
    return b""


@attrs.define(eq=False)
class Identifier:
    """
    Makes the evidence of calls.

    Attributes:
        tenants: Seeds of keys.
        reset_phrases: Last words that begin a new session, as `plain` writes them.
    """

    tenants: Tenants
    reset_phrases: frozenset[str]
    _models: dict[str, int] = attrs.field(factory=dict, init=False)
    _longest: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._longest = max(map(len, self.reset_phrases), default=-_PADDING) + _PADDING

    def history(self, exchange: Exchange, request: LLMRequest | None) -> History:
        """Return the conversation that a request carries; an empty one for what is none."""
        talks = exchange.dialect.operation in CONVERSATIONS
        told = request if request is not None and talks else _NOTHING
        return History(told, self.seed_of(exchange))

    def seed_of(self, exchange: Exchange) -> int:
        """Return the seed of an exchange's tenant."""
        return self.tenants.seed(exchange.workflow_id, credential_of(exchange.original))

    def evidence(
        self,
        exchange: Exchange,
        request: LLMRequest | None,
        labels: Labels,
        history: History,
    ) -> Evidence:
        """
        Return what a call tells about its session.

        Args:
            exchange: The exchange.
            request: What is asked for; None where it can't be read.
            labels: What its headers say.
            history: What `history` returned.
        """
        told = request or _NOTHING
        agent = agent_of(told.system)
        return Evidence(
            exchange_id=exchange.id,
            history=history,
            name=self._shared(exchange, "session", labels.session_id),
            session_id=labels.session_id,
            links=tuple(_links(told, history.seed)) if _is_linked(told) else (),
            system=agent.key,
            model=self._model(told.model),
            run=self._shared(exchange, "run", labels.run_id),
            agent_id=labels.agent_id or agent.id,
            workflow_id=exchange.workflow_id,
            retry=labels.retry,
            reset=self._resets(told),
        )

    def _shared(self, exchange: Exchange, kind: str, name: str) -> int:
        """Return the key of a name that is the same for all credentials, 0 for none."""
        if not name:
            return 0
        return key_of(self.tenants.seed(exchange.workflow_id, b""), kind, name)

    def _model(self, name: str) -> int:
        """Return a model in short; the same object for the same model, of which many are kept."""
        found = self._models.get(name)
        if found is None:
            if len(self._models) >= _REMEMBERED:
                self._models.clear()
            found = self._models[name] = crc32(name.encode("utf-8", "surrogatepass"))
        return found

    def _resets(self, request: LLMRequest) -> bool:
        if not request.messages or request.messages[-1].role != "user":
            return False
        text = request.messages[-1].text
        return len(text) <= self._longest and plain(text) in self.reset_phrases


def plain(text: str) -> str:
    """Return words in lower case, single-spaced, without punctuation at either end."""
    return " ".join(text.lower().split()).strip(" .,;:!?'\"()*")


def _is_linked(request: LLMRequest) -> bool:
    return bool(request.previous_response_id or request.conversation)


def _links(request: LLMRequest, seed: int) -> Iterable[int]:
    if request.previous_response_id:
        yield response_key(seed, request.previous_response_id)
    if request.conversation:
        yield key_of(seed, "conversation", request.conversation)


def response_key(seed: int, response_id: str) -> int:
    """Return the key that a response is referred to by."""
    return key_of(seed, "response", response_id)
