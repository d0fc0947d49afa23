"""Exchanges for the printer's tests."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from perimeter import Exchange, Outcome, Request, Response


class SomeDialect:
    """All that the printer reads of a dialect."""

    name = "openai.chat"


@pytest.fixture
def make_exchange() -> Callable[..., Exchange]:
    """Return a function that makes exchanges that went upstream one millisecond ago."""

    def make(body: bytes | None = b"{}", **changes: Any) -> Exchange:
        values: dict[str, Any] = {
            "id": "ex-019a0b3f00000001",
            "method": "POST",
            "path": "/v1/chat/completions",
            "query": "",
            "headers": (),
        } | changes
        target = {name: values.pop(name) for name in ("method", "path", "query", "headers")}
        request = Request(body=body, **target)
        return Exchange(
            original=request,
            request=request,
            upstream="openai",
            dialect=SomeDialect(),  # type: ignore[arg-type]  # it has what is read
            started_at=1_769_860_800.0,
            started=100.0,
            sent=100.001,
            **values,
        )

    return make


@pytest.fixture
def end() -> Callable[..., Exchange]:
    """Return a function that lets an exchange end as the proxy would."""

    def finish(
        exchange: Exchange,
        body: bytes = b"",
        *,
        status: int | None = 200,
        framing: str | None = None,
        outcome: Outcome = Outcome.COMPLETED,
        capture: int = 1_000_000,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> Exchange:
        if status is not None:
            exchange.response = Response(status, headers, framing)
            exchange.response.record(body, capture)
            exchange.first_byte_at = 100.21 if body else None
        exchange.ended = 103.21
        exchange.outcome = outcome
        exchange.attempts = 1
        return exchange

    return finish


@pytest.fixture
def without_colors() -> Callable[[str], str]:
    """Return a function that takes colours out of a text."""
    return lambda text: re.sub(r"\x1b\[[0-9;]*m", "", text)
