"""
What detectors tell: the event `security.finding`, and where in a call something was found.

A detector publishes the event with these attributes; all but the first are optional:

| Attribute | Meaning |
|---|---|
| `finding.rule` | What is looked for, such as `prompt-injection` or `pii.email` |
| `finding.title` | What was found, for people; it must not have the words themselves in it |
| `finding.severity` | `low`, `medium`, `high` or `critical` |
| `finding.owasp` | The risk of the OWASP LLM Top 10 of 2025, such as `LLM01` |
| `finding.detector` | What found it |
| `finding.confidence` | From 0 to 1 |
| `finding.evidence` | Where it stands: what `evidence` returns |
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Literal

from perimeter import redaction


Direction = Literal["", "request", "response", "tool"]

SAMPLE = 200
"""Characters of a sample."""


def evidence(
    text: str,
    start: int,
    end: int,
    *,
    kind: str = "",
    direction: Direction = "",
    ptr: str = "",
) -> dict[str, Any]:
    """
    Return where something was found, as the attribute `finding.evidence`.

    Args:
        text: All of the text that it stands in: of a part of a message, a system prompt, or what a
            tool gave back. It is only looked at.
        start: Where it begins there, in code points.
        end: Where it ends.
        kind: What kind of personal data it is, such as `email`; it is shown only to those who ask
            for it then.
        direction: Which way it went.
        ptr: Where the text stands, for people: such as `/messages/3/content`.

    Raises:
        ValueError: That is no part of the text.
    """
    if not 0 <= start < end <= len(text):
        message = f"{start} to {end} is no part of a text of {len(text)} characters"
        raise ValueError(message)
    stored = redaction.text(text)
    return {
        "sample": "" if kind else stored[start : min(end, start + SAMPLE)],
        "start": start,
        "end": end,
        "text_sha": digest(stored),
        "kind": kind,
        "direction": direction,
        "ptr": ptr,
    }


def digest(stored: str) -> str:
    """Return what a text is known by again; of the text as it is stored, without its secrets."""
    return sha256(stored.encode("utf-8", "surrogatepass")).hexdigest()[:32]
