"""Recorded errors as what they were."""

from __future__ import annotations

from perimeter.errors import (
    ClientDisconnected,
    ExchangeError,
    GuardFailed,
    ProxyError,
    RequestRejected,
    ShuttingDown,
    UpstreamClosed,
    UpstreamConnectError,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamTimeout,
)
from perimeter.model import Outcome
from perimeter.playback.recorded import Recorded


GOOD = frozenset({Outcome.COMPLETED, Outcome.RESPONDED, Outcome.BLOCKED})
"""Outcomes without an error."""

BROKEN_OFF = "the recording ends here"
"""Said of exchanges whose end was not recorded, because the proxy that recorded was killed."""

_USUAL: dict[Outcome, type[ExchangeError]] = {
    Outcome.TRUNCATED: UpstreamClosed,
    Outcome.UPSTREAM_ERROR: UpstreamError,
    Outcome.CLIENT_DISCONNECTED: ClientDisconnected,
    Outcome.REJECTED: RequestRejected,
    Outcome.PROXY_ERROR: ProxyError,
}
_KNOWN: dict[str, type[ExchangeError]] = {
    each.__name__: each
    for each in (
        *_USUAL.values(),
        GuardFailed,
        ShuttingDown,
        UpstreamConnectError,
        UpstreamProtocolError,
        UpstreamTimeout,
    )
}


def failure_of(recorded: Recorded) -> ExchangeError | None:
    """Return the error that an exchange ended with, None where there was none."""
    if recorded.outcome is None:
        return ShuttingDown(BROKEN_OFF)
    if recorded.outcome in GOOD:
        return None
    name, message = recorded.error or ("", f"recorded as {recorded.outcome}")
    kind = _KNOWN.get(name) or _USUAL[recorded.outcome]
    if kind is RequestRejected:
        status = recorded.head.status if recorded.head is not None else 400
        return RequestRejected(status, "rejected", message)
    if kind is GuardFailed:
        return GuardFailed("", message)
    if kind is UpstreamTimeout:
        began = recorded.head is not None and not recorded.own
        return UpstreamTimeout(message, phase="idle" if began else "first_byte")
    return kind(message)
