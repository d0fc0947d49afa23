"""When a request is sent again, and how long to wait before."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from time import time

from perimeter.errors import UpstreamClosed, UpstreamError
from perimeter.settings import UpstreamSettings
from perimeter.upstream import UpstreamHead
from perimeter.verdicts import header


FIRST_DELAY = 0.1
"""Seconds before the first repetition; doubled each time."""


def retry_delay(
    settings: UpstreamSettings,
    attempts: int,
    error: UpstreamError | None,
    head: UpstreamHead | None,
) -> float | None:
    """
    Return the seconds to wait before sending again, or None not to.

    Args:
        settings: The upstream's table.
        attempts: How often the request was sent.
        error: Why there is no response, or None.
        head: The response's head, or None.
    """
    if attempts > settings.max_retries:
        return None
    backoff = FIRST_DELAY * 2.0 ** (attempts - 1)
    if error is not None:
        # Only what can't have had an effect upstream (design: before anything can have happened).
        if not error.retry_safe:
            return None
        # Nothing is wrong with an upstream that has closed an idle connection.
        return 0.0 if isinstance(error, UpstreamClosed) else min(backoff, settings.retry_max_delay)
    if head is None or head.status not in settings.retry_statuses:
        return None
    asked = retry_after(head)
    if asked is None:
        return min(backoff, settings.retry_max_delay)
    return asked if asked <= settings.retry_max_delay else None


def retry_after(head: UpstreamHead) -> float | None:
    """Return what a Retry-After field asks for (RFC 9110 §10.2.3), in seconds, or None."""
    value = header(head.headers, b"retry-after")
    if value is None:
        return None
    text = value.decode("latin-1").strip()
    try:
        if text.isascii() and text.replace(".", "", 1).isdigit():
            return float(text)
        return max(0.0, parsedate_to_datetime(text).timestamp() - time())
    except (ValueError, TypeError, OverflowError):
        return None
