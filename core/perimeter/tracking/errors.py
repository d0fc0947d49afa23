"""What kind of error a call ended with, in words that go with its provider's."""

from __future__ import annotations

from perimeter.calls import LLMReply
from perimeter.model import Exchange, Outcome


_ANSWERED, _RESPONDED = Outcome.COMPLETED, Outcome.RESPONDED
_COMMON = {
    401: "authentication_error",
    403: "permission_denied",
    404: "not_found",
    429: "rate_limit_error",
}
_TYPES = {
    "anthropic": {
        400: "invalid_request_error",
        500: "api_error",
        529: "overloaded_error",
        **_COMMON,
    },
    "": {
        400: "bad_request",
        500: "server_error",
        502: "bad_gateway",
        503: "service_unavailable",
        **_COMMON,
    },
}


def error_of(exchange: Exchange, reply: LLMReply | None) -> tuple[str, str] | None:
    """
    Return the type and the message of the error that a call ended with.

    Args:
        exchange: It has ended.
        reply: What could be read of the answer.

    Returns:
        None for a call that did not fail. What the provider says comes first, then why the exchange
        ended early, then its status.
    """
    status = exchange.response.status if exchange.response else 0
    said, kind = (reply.error, reply.error_type) if reply else ("", "")
    outcome = exchange.outcome
    if status < 400 and not said and (outcome is _ANSWERED or outcome is _RESPONDED):
        return None
    if exchange.outcome is Outcome.BLOCKED:
        return "blocked", said or "a guard refused the call"
    if exchange.error is not None and not said:
        code = getattr(exchange.error, "code", "error")
        truncated = exchange.outcome is Outcome.TRUNCATED
        return "truncated" if truncated else code, str(exchange.error)
    if not kind and status < 400:
        kind = "error"
    kind = kind or _by_status(exchange.dialect.upstream_type, status)
    return kind, said or f"HTTP {status} error"


def _by_status(vendor: str, status: int) -> str:
    return _TYPES.get(vendor, _TYPES[""]).get(status, f"http_{status}")
