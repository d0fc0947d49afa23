"""What can be configured about the printer."""

from __future__ import annotations

from typing import Any, Literal

import attrs

from perimeter import option


def _not_negative(_instance: Any, _attribute: Any, value: int) -> None:
    if value < 0:
        raise ValueError(f"must be 0 or more, not {value}")


@attrs.frozen
class PrinterConfig:
    """The `[plugins.printer]` table. Errors and guards' decisions are always printed."""

    log_requests: bool = option(True, help="Print a line when a request goes upstream.")
    log_responses: bool = option(True, help="Print a line when a response is complete.")
    log_body: bool = option(
        False, help="Also print the text of requests and responses, with secrets masked."
    )
    show_sessions: bool = option(
        True, help="Say which conversation a line belongs to, and when one starts or ends."
    )
    show_tools: bool = option(True, help="Print a line for each tool call and each tool result.")
    show_usage: bool = option(True, help="Say in a response's line what it took: tokens and cost.")
    max_body_chars: int = option(
        2000,
        help="How many characters of a body, a tool's parameters or its result are printed.",
        validator=_not_negative,
    )
    color: Literal["auto", "always", "never"] = option(
        "auto",
        help='"auto" colours on a terminal unless NO_COLOR is set; "always" and "never" insist.',
    )
    output: Literal["stdout", "stderr"] = option("stdout", help="Where to print.")
