"""Arguments that several tools share, and what they mean."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from perimeter_plugin_live_trace.mcp.tool import Arguments, ToolProblem


_DAY_US = 24 * 3600 * 1_000_000
_PAST_US = 4_102_444_800_000_000  # 2100: later ones are no times of ours

Limit = Annotated[int, Meta(ge=1, le=100, description="How many to return at most.")]
After = Annotated[
    str, Meta(max_length=200, description="`next` of an earlier answer, to get the next page.")
]
SessionId = Annotated[str, Meta(min_length=1, max_length=512, description="Id of a session.")]
AgentId = Annotated[str, Meta(max_length=512, description="Id of an agent.")]
WorkflowId = Annotated[str, Meta(max_length=512, description="Id of a workflow.")]
Days = Annotated[int, Meta(ge=1, le=3650, description="How many days back, today included.")]
Since = Annotated[
    str, Meta(max_length=40, description="Only what happened since, such as 2026-01-31T12:00Z.")
]


class Nothing(Arguments):
    """No arguments."""


class Page(Arguments):
    """A page of a list."""

    limit: Limit = 20
    after: After = ""


def since_us(text: str) -> int:
    """
    Return a time in microseconds, 0 for none.

    Raises:
        ToolProblem: It is no time.
    """
    if not text:
        return 0
    try:
        moment = datetime.fromisoformat(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        us = int(moment.timestamp() * 1e6)
    except (ValueError, OverflowError):
        raise ToolProblem(f"since is a time such as 2026-01-31T12:00Z, not {text!r}") from None
    return min(max(us, 0), _PAST_US)


def days_us(days: int, now_us: int) -> tuple[int, int]:
    """Return begin and end of the last days (UTC), today included."""
    end = (now_us // _DAY_US + 1) * _DAY_US
    return max(end - days * _DAY_US, 0), end


def plain(value: Any) -> Any:
    """Return structs as JSON values."""
    return msgspec.to_builtins(value, str_keys=True)
