"""Recordings of HTTP traffic written by hand, line by line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


BEGAN = 1_767_225_600.5
"""When the recorded traffic began: 2026-01-01, half a second after midnight UTC."""

FILE = {
    "type": "file",
    "format": "perimeter-recording",
    "version": 1,
    "perimeter": "0.1.0",
    "created_at": BEGAN,
    "worker": "1",
    "redacted": True,
}


def exchange(
    number: int = 1, *, at: float = 0.0, session: str = "ses-a", **parts: Any
) -> list[dict[str, Any]]:
    """
    Return the lines of an exchange.

    Args:
        number: Makes its id and its content.
        at: Seconds after `BEGAN`.
        session: Its session.
        parts: `request`, `head`, `chunk` and `end`: what is different in these lines.
    """
    question = {"role": "user", "content": f"question {number}"}
    body = json.dumps({"model": "gpt-4o", "messages": [question]})
    said = {"role": "assistant", "content": f"answer {number}"}
    reply = json.dumps({"id": f"r-{number}", "model": "gpt-4o", "choices": [{"message": said}]})
    name = f"ex-{number}"
    request = {
        "type": "request",
        "exchange": name,
        "at": BEGAN + at,
        "method": "POST",
        "target": "/v1/chat/completions",
        "headers": [["content-type", "application/json"], ["content-length", str(len(body))]],
        "upstream": "openai",
        "upstream_type": "openai",
        "dialect": "openai.chat",
        "client": "192.0.2.7",
        "text": body,
    }
    head = {
        "type": "head",
        "exchange": name,
        "at": 0.5,
        "status": 200,
        "headers": [["content-type", "application/json"], ["content-length", str(len(reply))]],
    }
    chunk = {"type": "chunk", "exchange": name, "at": 0.75, "text": reply}
    end = {
        "type": "end",
        "exchange": name,
        "at": 1.0,
        "outcome": "completed",
        "attempts": 1,
        "sent": 0.001,
        "session": {"id": session, "agent_id": "agent-7", "match": "new"},
        "received": "0" * 64,
        "delivered": "0" * 64,
        "size": len(reply),
    }
    lines = {"request": request, "head": head, "chunk": chunk, "end": end}
    return [{**line, **parts.get(kind, {})} for kind, line in lines.items() if parts.get(kind, 1)]


def write(path: Path, *lines: Any, head: dict[str, Any] | None = None) -> Path:
    """Write a file; what is no dictionary is written as it is."""
    data = [FILE if head is None else head, *lines]
    texts = [line if isinstance(line, str) else json.dumps(line) + "\n" for line in data]
    path.write_text("".join(texts), encoding="utf-8")
    return path
