"""What differs between the two providers outside their bodies: errors, keys, request ids."""

from __future__ import annotations

from typing import Any

import attrs


class Refusal(Exception):
    """
    A request that is answered with an error.

    Attributes:
        status: The HTTP status.
        message: What is wrong, or "" for the provider's usual words.
        param: The offending parameter, where the provider names it.
        code: The machine-readable code, where the provider has one.
    """

    def __init__(
        self, status: int, message: str = "", *, param: str | None = None, code: str | None = None
    ) -> None:
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        super().__init__(message)


@attrs.frozen
class Provider:
    """
    One provider's manners.

    Attributes:
        name: `"openai"` or `"anthropic"`.
        request_id_header: The response header that carries the request's id.
        kinds: Status to (error type, error code, usual message).
    """

    name: str
    request_id_header: str
    kinds: dict[int, tuple[str, str | None, str]]

    def error(self, refusal: Refusal, request_id: str) -> dict[str, Any]:
        """Return the body of an error response."""
        usual = self.kinds[500 if refusal.status >= 500 else 400]
        kind, code, message = self.kinds.get(refusal.status, usual)
        error = {"type": kind, "message": refusal.message or message}
        if self.name == "anthropic":
            return {"type": "error", "error": error, "request_id": request_id}
        return {"error": {**error, "param": refusal.param, "code": refusal.code or code}}

    def key(self, headers: dict[str, str]) -> str:
        """Return the API key that a request came with, or an empty string."""
        bearer = headers.get("authorization", "")
        key = bearer[7:] if bearer[:7].lower() == "bearer " else ""
        return (self.name == "anthropic" and headers.get("x-api-key")) or key


OPENAI = Provider(
    "openai",
    "x-request-id",
    {
        400: ("invalid_request_error", None, "The request is invalid."),
        401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
        403: ("invalid_request_error", "permission_denied", "You may not use this."),
        404: ("invalid_request_error", None, "There is nothing here."),
        413: ("invalid_request_error", None, "The request is too large."),
        429: ("requests", "rate_limit_exceeded", "Rate limit reached for requests."),
        500: ("server_error", None, "The server had an error while processing your request."),
        503: ("server_error", None, "The server is overloaded. Please try again later."),
    },
)
"""OpenAI: `{"error": {…}}`; the message of a 401 never quotes the key."""

ANTHROPIC = Provider(
    "anthropic",
    "request-id",
    {
        400: ("invalid_request_error", None, "The request is invalid."),
        401: ("authentication_error", None, "invalid x-api-key"),
        403: ("permission_error", None, "You may not use this."),
        404: ("not_found_error", None, "Not found"),
        413: ("request_too_large", None, "Request exceeds the maximum allowed number of bytes."),
        429: ("rate_limit_error", None, "This request would exceed your rate limit."),
        500: ("api_error", None, "Internal server error"),
        504: ("timeout_error", None, "Request timed out."),
        529: ("overloaded_error", None, "Overloaded"),
    },
)
"""Anthropic: `{"type": "error", "error": {…}, "request_id": …}`."""
