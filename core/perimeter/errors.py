"""
Everything Perimeter raises on purpose.

    PerimeterError
    ├── ConfigError                 configuration can't be used; carries every problem found
    ├── PluginError                 a plugin can't be loaded or started; carries its name
    ├── ExchangeError               why an exchange ended without a complete upstream response
    │   ├── RequestRejected         the client's request was refused before going anywhere
    │   ├── ClientDisconnected      the client left first
    │   ├── GuardFailed             a fail-closed guard raised or ran out of time
    │   ├── ShuttingDown            the proxy's own shutdown deadline cut the exchange
    │   ├── ProxyError              a defect of the proxy itself
    │   └── UpstreamError           the provider's side
    │       ├── UpstreamConnectError    no connection, so nothing was sent
    │       ├── UpstreamTimeout         nothing came for too long; `phase` says when
    │       ├── UpstreamProtocolError   what came is not HTTP
    │       └── UpstreamClosed          the connection ended before the response did
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import attrs


class PerimeterError(Exception):
    """Base class of all errors that Perimeter raises on purpose."""


@attrs.frozen
class Problem:
    """One thing that is wrong with the configuration, and where."""

    message: str
    file: str | None = None
    key: str | None = None
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        place = self.file or ""
        for number in (self.line, self.column):
            place += f":{number}" if place and number is not None else ""
        return ": ".join(part for part in (place, self.key, self.message) if part)


class ConfigError(PerimeterError):
    """
    The configuration can't be used.

    Attributes:
        problems: Everything that is wrong, not only the first thing.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class PluginError(PerimeterError):
    """A plugin can't be loaded or started."""

    def __init__(self, plugin: str, message: str) -> None:
        self.plugin = plugin
        super().__init__(f"plugin {plugin!r}: {message}")


class ExchangeError(PerimeterError):
    """
    Why an exchange ended without a complete upstream response.

    Attributes:
        status: The HTTP status that the client is answered with, if its head has not been sent.
        code: A short machine-readable name of the reason, part of the answer.
    """

    status = 502
    code = "proxy_error"


class RequestRejected(ExchangeError):
    """The client's request was refused before it went anywhere."""

    def __init__(self, status: int, code: str, message: str) -> None:
        self.status = status
        self.code = code
        super().__init__(message)


class ClientDisconnected(ExchangeError):
    """The client left before it had the whole response."""

    status = 499
    code = "client_disconnected"


class GuardFailed(ExchangeError):
    """A guard that fails closed raised, or took longer than its time budget."""

    status = 503
    code = "guard_failed"

    def __init__(self, plugin: str, message: str) -> None:
        self.plugin = plugin
        super().__init__(message)


class ShuttingDown(ExchangeError):
    """The proxy stopped and its shutdown deadline came before the response's end."""

    status = 503
    code = "shutting_down"


class ProxyError(ExchangeError):
    """A defect of the proxy itself."""

    status = 500
    code = "proxy_error"


class UpstreamError(ExchangeError):
    """
    The provider's side failed.

    Attributes:
        retry_safe: Whether nothing can have happened upstream yet, so that sending again is safe.
    """

    status = 502
    code = "upstream_error"

    def __init__(self, message: str, *, retry_safe: bool = False) -> None:
        self.retry_safe = retry_safe
        super().__init__(message)


class UpstreamConnectError(UpstreamError):
    """No connection could be made; nothing was sent."""

    code = "upstream_unreachable"

    def __init__(self, message: str) -> None:
        super().__init__(message, retry_safe=True)


class UpstreamTimeout(UpstreamError):
    """
    Nothing came for too long.

    Attributes:
        phase: What was being waited for.
    """

    status = 504
    code = "upstream_timeout"

    def __init__(
        self, message: str, *, phase: Literal["connect", "pool", "first_byte", "idle"]
    ) -> None:
        self.phase = phase
        super().__init__(message, retry_safe=phase in {"connect", "pool"})


class UpstreamProtocolError(UpstreamError):
    """What the upstream sent is not HTTP, or contradicts itself."""

    code = "upstream_protocol_error"


class UpstreamClosed(UpstreamError):
    """The upstream closed its connection before the response was complete."""

    code = "upstream_closed"
