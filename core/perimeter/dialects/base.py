"""What a provider's API is to the proxy; public, so that plugins can contribute further ones."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import attrs
from attrs.validators import instance_of

from perimeter.calls import LLMReply, LLMRequest, StreamParser


NEVER = re.compile(r"(?!)")
"""A pattern for what no path leads to."""

POST = frozenset({"POST"})
GENERATED_CODE = "stream_interrupted"
"""What `end_stream` gives as the code, where the provider's shape has a place for one."""


def to_json(value: dict[str, Any]) -> bytes:
    """
    Write compact JSON that is one line of ASCII whatever is in it.

    So it can stand in an SSE or NDJSON event as it is, and text that can't be encoded (lone
    surrogates, from bytes of an upstream) does no harm.
    """
    return json.dumps(value, separators=(",", ":")).encode("ascii")


Operation = Literal["chat", "text_completion", "embeddings", ""]
"""What a call asks for, in OpenTelemetry's words; "" is not a call of a model."""

CONVERSATIONS: frozenset[Operation] = frozenset({"chat", "text_completion"})
"""Operations whose calls belong to sessions."""


@attrs.frozen
class Dialect:
    r"""
    One API of one kind of provider: its paths, how to read it, and how it says what went wrong.

    A plugin contributes its own through the hook `dialects()`: an instance of one of the classes
    here where another server speaks the same language under another path, or of a subclass, which
    says what it can read by `operation` and the three methods that read.

        @attrs.frozen
        class AcmeTalk(OpenAIDialect):
            def end_stream(self, reason: str) -> bytes:
                return to_json({"fault": reason}) + b"\n"

        @hookimpl
        def dialects(self) -> list[Dialect]:
            return [
                AcmeTalk("acme.talk", "openai", re.compile(r"/talk\Z")),
                OpenAIChat("acme.chat", "openai", re.compile(r"/v3/chat\Z")),
            ]

    Attributes:
        name: `<provider>.<api>`; a label of metrics, so one of a small number. `"raw"` means that
            nobody knows what such a path carries.
        upstream_type: The `type` of the upstreams whose API it is, such as `"openai"`.
        pattern: Searched in the raw path, percent-encoding untouched, without the query. Anchored
            at the end only where compatible servers put the same API under a path of their own.
        methods: The methods that belong to it, upper-case.
        operation: What its calls ask for; "" where there are none to be read.
        links_replies: Whether a request may name a reply by its id, instead of repeating it.
    """

    operation: ClassVar[Operation] = ""
    links_replies: ClassVar[bool] = False

    name: str = attrs.field(validator=instance_of(str))
    upstream_type: str = attrs.field(validator=instance_of(str))
    pattern: re.Pattern[str] = attrs.field(validator=instance_of(re.Pattern))
    methods: frozenset[str] = attrs.field(default=POST, validator=instance_of(frozenset))

    def read_request(self, body: bytes, path: str = "") -> LLMRequest:
        """
        Read a request.

        Args:
            body: Content codings undone.
            path: Where it was sent to; some APIs have the model there.

        Raises:
            ParseError: It can't be read.
        """
        return LLMRequest()

    def read_reply(self, body: bytes) -> LLMReply:
        """
        Read a reply that was not streamed, or the body of an error.

        Args:
            body: Content codings undone.

        Raises:
            ParseError: It can't be read.
        """
        return LLMReply()

    def stream_parser(self) -> StreamParser | None:
        """Return a new reader of a stream; None where nothing can be read."""
        return None

    def error(self, status: int, message: str, code: str) -> bytes:
        """
        Return the body (JSON) of an error that the proxy itself answers with.

        Args:
            status: The HTTP status that goes with it.
            message: For people.
            code: For programs, such as `"upstream_timeout"`.
        """
        kind = "server_error" if status >= 500 else "invalid_request_error"
        return to_json({"error": {"message": message, "type": kind, "code": code}})

    def end_stream(self, reason: str) -> bytes:
        """
        Return the event that the proxy appends where it ends a stream in its middle.

        Clients of the provider must take it for a failure, never for an ordinary end.

        Args:
            reason: For people.

        Returns:
            The event, in the framing that the API streams in; b"" where nothing can be said, then
            the connection is cut visibly.
        """
        return b""


RAW = Dialect("raw", "raw", NEVER)
"""For everything that no dialect covers: passed on, understood by nobody."""


@attrs.frozen
class UpstreamType:
    """
    What `type` in `[upstreams.<name>]` means.

    Attributes:
        name: The type.
        dialects: The provider's APIs.
        fallback: Says errors for the provider's other paths; its name is `"raw"`.
        credential_header: Header that the configured key goes into, lower-case.
        credential_prefix: What stands before the key there.
        credential_headers: All headers that credentials may be in; those of the client are removed
            where the configured key replaces them.
        credential_query: The same for query parameters.
        owns: Searched in the raw path: what else is this provider's, and can't be another's. With
            several upstreams configured, such paths go to the one of this type.
    """

    name: str
    dialects: tuple[Dialect, ...]
    fallback: Dialect
    credential_header: bytes = b"authorization"
    credential_prefix: bytes = b"Bearer "
    credential_headers: tuple[bytes, ...] = (b"authorization",)
    credential_query: tuple[str, ...] = ()
    owns: re.Pattern[str] = NEVER


class DialectTable:
    """Finds the dialect of a request. Remembers paths, since most requests share a few."""

    _REMEMBERED = 1024
    _LONGEST = 512  # characters; what is remembered must not add up to much

    __slots__ = ("_dialects", "_known")

    def __init__(self, dialects: Sequence[Dialect]) -> None:
        """
        Prepare the table.

        Args:
            dialects: The first that fits is taken.
        """
        self._dialects = tuple(dialects)
        self._known: dict[tuple[str, str], Dialect] = {}

    def match(self, method: str, path: str) -> Dialect:
        """
        Return the dialect of a request, `RAW` where there is none.

        Args:
            method: As it was sent.
            path: As it was sent, without the query.
        """
        found = self._known.get((method, path))
        return self._look_up(method, path) if found is None else found

    def _look_up(self, method: str, path: str) -> Dialect:
        found = RAW
        for dialect in self._dialects:
            if method in dialect.methods and dialect.pattern.search(path):
                found = dialect
                break
        if len(path) <= self._LONGEST:
            if len(self._known) >= self._REMEMBERED:
                self._known.clear()
            self._known[method, path] = found
        return found
