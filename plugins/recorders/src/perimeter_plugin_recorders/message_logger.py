"""The message logger: keeps conversations, one line for each request, reply or error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from perimeter import hookimpl
from perimeter.events import to_json
from perimeter_plugin_recorders.config import MessageLoggerConfig
from perimeter_plugin_recorders.encoding import to_line, weight, weight_of
from perimeter_plugin_recorders.sink import Sink, open_journal


if TYPE_CHECKING:
    from perimeter import Event, Exchange, PluginContext
    from perimeter.calls import LLMRequest

FORMAT = "perimeter-messages"

_KINDS = {"llm.call.start": "request", "llm.call.finish": "reply", "llm.call.error": "error"}

_SYSTEM_ROLES = frozenset({"system", "developer"})

_MOST_STARTED = 10_000
"""Calls that may have begun without being on their way; only guards keep them there."""

_NAMES = {
    "llm.model": "model",
    "llm.vendor": "provider",
    "agent_workflow.id": "workflow",
    "llm.request.stream": "stream",
    "llm.request.params": "params",
    "llm.request.total_messages": "total_messages",
    "llm.request.problem": "problem",
    "call.retry_of": "retry_of",
    "session.match": "match",
    "session.tags": "tags",
    "run.id": "run",
    "http.status_code": "status",
    "llm.response.id": "response_id",
    "llm.response.finish_reason": "finish_reason",
    "llm.response.content": "message",
    "llm.response.problem": "problem",
    "llm.response.duration_ms": "duration_ms",
    "llm.response.time_to_first_token_ms": "time_to_first_token_ms",
    "llm.cost_usd": "cost_usd",
}
"""What attributes of events are called in a line."""

_USAGE = "llm.usage."


@attrs.define(eq=False)
class Said:
    """
    A request, reply or error that is to be logged.

    Attributes:
        event: What happened.
        system: The system prompt, where it is to be logged with it.
        history: The request, where all of its messages are logged.
    """

    event: Event
    system: str = ""
    history: LLMRequest | None = None


@attrs.define(eq=False)
class MessageLogger:
    """Log conversations: the new messages of each request, and what was answered."""

    Config: ClassVar[type[MessageLoggerConfig]] = MessageLoggerConfig

    config: MessageLoggerConfig
    context: PluginContext
    _sink: Sink = attrs.field(init=False)
    _prompt: tuple[str | None, str] = (None, "")  # of the session that has just begun
    _started: dict[str, Said] = attrs.field(factory=dict)  # by exchange, with full_history only

    @hookimpl
    def startup(self) -> None:
        """Start the thread that writes."""
        journal = open_journal(self.context, self.config, "messages", FORMAT)
        self._sink = Sink(self.context, self.config, journal)
        self._sink.start()

    @hookimpl
    async def shutdown(self) -> None:
        """Write what waits."""
        await self._sink.stop()

    @hookimpl
    def on_session_event(self, event: Event) -> None:
        """Log what was said in a call."""
        if event.name == "session.start":
            prompt = event.attributes.get("prompt")
            self._prompt = (event.session_id, prompt if isinstance(prompt, str) else "")
        elif event.name in _KINDS and event.recorded:
            self._take(event)

    @hookimpl
    def on_request(self, exchange: Exchange) -> None:
        """Log all messages of a request, where that is wanted."""
        said = self._started.pop(exchange.id, None)
        if said is not None:
            said.history = exchange.llm_request
            self._put(said)

    @hookimpl
    def on_response(self, exchange: Exchange) -> None:
        """Forget a request that a guard has answered."""
        self._started.pop(exchange.id, None)

    @hookimpl
    def on_error(self, exchange: Exchange) -> None:
        """Forget a request that went nowhere."""
        self._started.pop(exchange.id, None)

    def _take(self, event: Event) -> None:
        said = Said(event)
        if event.name == "llm.call.start":
            session, prompt = self._prompt
            if session == event.session_id and self.config.include_system_prompts:
                said.system = prompt
            self._prompt = (None, "")
            if self.config.full_history and len(self._started) < _MOST_STARTED:
                self._started[event.attributes["call.id"]] = said
                return
        self._put(said)

    def _put(self, said: Said) -> None:
        held = weight(said.event) + len(said.system)
        if said.history is not None:
            held += weight_of(said.history.messages)
        self._sink.put(held, self._lines, said)

    def _lines(self, said: Said) -> Iterable[bytes]:
        """Make the line, in the thread."""
        return (to_line(self._line(said), redact=self.context.redact),)

    def _line(self, said: Said) -> dict[str, Any]:
        event, history = said.event, said.history
        if history is not None:
            messages = {"llm.request.messages": list(history.messages)}
            event = attrs.evolve(event, attributes={**event.attributes, **messages})
        attributes = to_json(event)["attributes"]
        line: dict[str, Any] = {
            "type": _KINDS[event.name],
            "timestamp": _moment(event.timestamp),
            "exchange": attributes.get("call.id"),
            "session": event.session_id,
            "agent": event.agent_id,
        }
        for name, value in attributes.items():
            if name in _NAMES:
                line[_NAMES[name]] = value
        if said.system or (history is not None and history.system):
            line |= self._system(said)
        if event.name == "llm.call.start":
            line["messages"] = self._messages(attributes)
        else:
            line |= _outcome(attributes)
        return line

    def _system(self, said: Said) -> dict[str, str]:
        if not self.config.include_system_prompts:
            return {}
        return {"system": said.system or (said.history.system if said.history else "")}

    def _messages(self, attributes: Mapping[str, Any]) -> list[Any]:
        messages: list[Any] = attributes.get("llm.request.messages", [])
        if self.config.include_system_prompts:
            return messages
        return [each for each in messages if each["role"] not in _SYSTEM_ROLES]


def _outcome(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Say what a call used up, and why it failed where it did."""
    usage = {
        name.removeprefix(_USAGE): value
        for name, value in attributes.items()
        if name.startswith(_USAGE)
    }
    outcome: dict[str, Any] = {"usage": usage} if usage else {}
    if "error.type" in attributes:
        kind, message = attributes["error.type"], attributes.get("error.message", "")
        outcome["error"] = {"type": kind, "message": message}
    return outcome


def _moment(timestamp: float) -> str:
    moment = datetime.fromtimestamp(timestamp, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
