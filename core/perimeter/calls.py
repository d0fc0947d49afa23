"""
The model of a call: what every provider's request and reply are turned into.

Parsers are tolerant: whatever is not understood becomes `Other`, and only input that is not what it
claims to be at all (JSON that is broken, or is no object) is a `ParseError`, which becomes an event
and never touches traffic.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from perimeter.errors import PerimeterError


class ParseError(PerimeterError):
    """A body or an event can't be read; the message says why, without quoting content."""


class _Plain(msgspec.Struct, frozen=True, gc=False):
    """
    What calls are made of: thousands of these in the history of one request.

    Not attrs classes, because these are made many times as fast (a frozen attrs class of nine
    fields takes over a microsecond), and because the garbage collector need not look at them again
    and again: nothing in them can refer back.
    """


class Text(_Plain, frozen=True, gc=False):
    """Words."""

    text: str


class Thinking(_Plain, frozen=True, gc=False):
    """
    A model's reasoning, as far as the provider shows it.

    Attributes:
        text: "" where it is encrypted, redacted or withheld.
    """

    text: str


class ToolCall(_Plain, frozen=True, gc=False):
    """
    A model asks for a tool.

    Attributes:
        id: The provider's id of the call, or "" where there is none (Gemini); never proof alone.
        name: The tool's name.
        arguments: As the model wrote them: JSON text, perhaps broken, perhaps "".
        server: Whether the provider runs the tool itself (web search, code execution).
    """

    id: str
    name: str
    arguments: str
    server: bool = False


class ToolResult(_Plain, frozen=True, gc=False):
    """
    What a tool gave back.

    Attributes:
        call_id: The id of the call it answers, or the tool's name where calls have no ids.
        text: Its words, media left out.
        is_error: Whether the client said that the tool failed.
        media: Digests of media in it.
    """

    call_id: str
    text: str
    is_error: bool = False
    media: tuple[Media, ...] = ()


class Media(_Plain, frozen=True, gc=False):
    """
    An image, sound, film or document. Never decoded.

    Attributes:
        digest: SHA-256 (hex, first 32 digits) of the data as sent (base64 text), or of the address.
        type: Its media type where it is said, else its kind, such as `image`.
        size: Characters of the data as sent; 0 for an address.
    """

    digest: str
    type: str
    size: int = 0


class Other(_Plain, frozen=True, gc=False):
    """
    A part that this version does not understand.

    Attributes:
        type: What the provider calls it.
        digest: Of its JSON, as for `Media`.
    """

    type: str
    digest: str = ""


Part = Text | Thinking | ToolCall | ToolResult | Media | Other


class Message(_Plain, frozen=True, gc=False):
    """One turn: whose it is (`system`, `user`, `assistant`, `tool` …) and what it consists of."""

    role: str
    parts: tuple[Part, ...] = ()

    @property
    def text(self) -> str:
        """Its words, without thinking, tools and media."""
        return "\n".join(part.text for part in self.parts if isinstance(part, Text))


class Usage(_Plain, frozen=True, gc=False):
    """
    Tokens, counted alike for every provider.

    Attributes:
        input: All tokens of the prompt, cached ones included (OpenAI counts them in, Anthropic
            out; here they are always in).
        output: All tokens of the answer, reasoning included.
        cache_read: Of the input, what came from a cache.
        cache_write: Of the input, what was written to a cache.
        reasoning: Of the output, what was reasoning.
    """

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0


class LLMRequest(_Plain, frozen=True, gc=False):
    """
    A request.

    Attributes:
        model: The model asked for, or "".
        messages: The conversation so far, system messages that stand inside it included.
        system: The system prompt where the API has a place of its own for it, or the leading system
            or developer messages, as plain text.
        tools: Names of the tools that are offered.
        params: Sampling parameters and other scalars, by the API's names.
        stream: Whether a stream is asked for.
        previous_response_id: The protocol link to an earlier response, or "".
        conversation: The protocol link to a stored conversation, or "".
        user: What the client says about whom it acts for, in the API's own field; "" for nothing.
    """

    model: str = ""
    messages: tuple[Message, ...] = ()
    system: str = ""
    tools: tuple[str, ...] = ()
    params: Mapping[str, Any] = {}
    stream: bool = False
    previous_response_id: str = ""
    conversation: str = ""
    user: str = ""


class LLMReply(_Plain, frozen=True, gc=False):
    """
    A reply, streamed or not.

    Attributes:
        id: The provider's id, or "".
        model: The model that answered, or "".
        message: What it said; None where there is none (an error, embeddings).
        finish_reason: In the provider's own words, or "".
        usage: None where the provider did not say.
        error: The provider's error message, also of one inside a 200 or a stream; "" for none.
        error_type: What the provider calls that kind of error, such as `rate_limit_error`; "" where
            it does not say.
    """

    id: str = ""
    model: str = ""
    message: Message | None = None
    finish_reason: str = ""
    usage: Usage | None = None
    error: str = ""
    error_type: str = ""


class StreamParser(Protocol):
    """
    Reads a stream event by event.

    A parser may have an attribute `ending`, a `re.Pattern[bytes]` that finds something in the event
    which makes `finished` true. Its events are then handed over several at a time, some of them
    later than they came, which costs a fraction of reading each as it comes.
    """

    @property
    def finished(self) -> bool:
        """Whether the model has said all that it will say; usage may still come."""

    def feed(self, event: bytes) -> None:
        """
        Take one whole event of the dialect's framing.

        Raises:
            ParseError: It can't be read; the parser goes on with the next one.
        """

    def reply(self) -> LLMReply:
        """Return the reply as far as it has come; callable at any time."""
