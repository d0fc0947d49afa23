"""Implements every hook, and writes down the name of each that is called."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ClassVar

import attrs
from litestar import get

from perimeter import (
    Block,
    Chunk,
    Event,
    Exchange,
    PluginContext,
    Respond,
    Rewrite,
    StreamGuard,
    Verdict,
    hookimpl,
    option,
)


@attrs.frozen
class WitnessConfig:
    """The [plugins.witness] table."""

    file: str = option("seen.txt", help="File in the plugin's folder that names are added to.")


@attrs.define
class PassingGuard:
    """Lets every event of a stream pass."""

    witness: Witness

    def feed(self, event: bytes) -> Sequence[bytes]:
        """Let it pass."""
        self.witness.saw("feed")
        return [event]

    def close(self, reason: str) -> Sequence[bytes]:
        """Hold nothing back."""
        self.witness.saw(f"close {reason}")
        return []


@attrs.define(eq=False)
class Witness:
    """Writes down which of its hooks were called."""

    Config: ClassVar[type[WitnessConfig]] = WitnessConfig

    config: WitnessConfig
    context: PluginContext

    def saw(self, hook: str) -> None:
        """Write down a hook's name."""
        with (self.context.data_dir / self.config.file).open("a", encoding="utf-8") as file:
            file.write(f"{hook}\n")

    @hookimpl
    def routes(self) -> Sequence[Any]:
        """Contribute a page."""
        self.saw("routes")
        return [hello]

    @hookimpl
    def dialects(self) -> Sequence[Any]:
        """Contribute no dialect."""
        self.saw("dialects")
        return []

    @hookimpl
    def session_stores(self) -> dict[str, Any]:
        """Contribute no store."""
        self.saw("session_stores")
        return {}

    @hookimpl
    def dashboard(self) -> Any:
        """Contribute nothing to show."""
        self.saw("dashboard")

    @hookimpl
    async def supervise(self) -> Callable[[], Awaitable[None]]:
        """Set up what there is one of."""
        self.saw("supervise")

        async def close() -> None:
            self.saw("closer")

        return close

    @hookimpl
    async def startup(self) -> None:
        """Prepare."""
        self.saw("startup")

    @hookimpl
    def shutdown(self) -> None:
        """Let go."""
        self.saw("shutdown")

    @hookimpl
    async def guard_request(self, exchange: Exchange) -> Block | Respond | Rewrite | None:
        """Decide as the request's header asks for."""
        self.saw("guard_request")
        verdict = exchange.original.header("x-witness")
        if verdict == "block":
            return Block("the witness refuses")
        if verdict == "respond":
            return Respond(b'{"answered": "by the witness"}')
        if verdict == "rewrite":
            return Rewrite(body=exchange.request.body.replace(b"2 + 3", b"4 + 5"))
        return None

    @hookimpl
    def guard_response(self, exchange: Exchange) -> Block | Rewrite | None:
        """Let it pass."""
        self.saw("guard_response")

    @hookimpl
    def guard_stream(self, exchange: Exchange) -> StreamGuard | None:
        """Watch every event."""
        self.saw("guard_stream")
        return PassingGuard(self)

    @hookimpl
    def on_request(self, exchange: Exchange) -> None:
        """Observe."""
        self.saw("on_request")

    @hookimpl
    def on_response_start(self, exchange: Exchange) -> None:
        """Observe."""
        self.saw("on_response_start")

    @hookimpl
    def on_chunk(self, exchange: Exchange, chunk: Chunk) -> None:
        """Observe."""
        self.saw("on_chunk")

    @hookimpl
    def on_response(self, exchange: Exchange) -> None:
        """Observe, and tell everybody."""
        self.saw("on_response")
        self.context.emit(Event("witness.saw", self.context.clock.time()))

    @hookimpl
    def on_error(self, exchange: Exchange, error: Exception) -> None:
        """Observe."""
        self.saw("on_error")

    @hookimpl
    def on_verdict(self, exchange: Exchange, plugin: str, verdict: Verdict) -> None:
        """Observe."""
        self.saw(f"on_verdict {plugin} {type(verdict).__name__}")

    @hookimpl
    def on_session_event(self, event: Event) -> None:
        """Observe; arguments that are not needed may be left out."""
        self.saw(f"on_session_event {event.name}")


@get("/hello", sync_to_thread=False)
def hello() -> str:
    """Greet."""
    return "hello"
