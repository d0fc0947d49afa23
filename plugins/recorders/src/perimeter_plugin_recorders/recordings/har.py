"""Recordings as an HTTP archive (HAR 1.2), which browsers and many tools read."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from perimeter import __version__
from perimeter_plugin_recorders.lines import Fields
from perimeter_plugin_recorders.recordings.fidelity import fidelity
from perimeter_plugin_recorders.recordings.recording import Recording, field


_UNKNOWN = -1

HOSTS = {
    "openai": "https://api.openai.com",
    "anthropic": "https://api.anthropic.com",
    "gemini": "https://generativelanguage.googleapis.com",
    "ollama": "http://localhost:11434",
}
"""Where providers are; a recording does not say."""


def har(recordings: Iterable[Recording], base_url: str = "") -> Iterator[str]:
    """
    Yield the pieces of an archive, so that it need not fit into memory.

    Args:
        recordings: In the order in which they began.
        base_url: Where the requests went to; each provider's own address if "".
    """
    creator = msgspec.json.encode({"name": "perimeter", "version": __version__}).decode()
    yield f'{{"log":{{"version":"1.2","creator":{creator},"entries":['
    separator = "\n"
    for recording in recordings:
        yield separator + msgspec.json.encode(entry(recording, base_url)).decode()
        separator = ",\n"
    yield "\n]}}\n"


def url_of(recording: Recording, base_url: str = "") -> str:
    """Return the address that a request went to."""
    if not base_url:
        host = field(recording.request.headers, "host") or "localhost"
        base_url = HOSTS.get(recording.request.upstream_type, f"http://{host}")
    return base_url.rstrip("/") + recording.request.target


def reason_of(status: int) -> str:
    """Return a status's usual words."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def entry(recording: Recording, base_url: str = "") -> dict[str, Any]:
    """Return an entry of the archive."""
    timings = _timings(recording)
    return {
        "startedDateTime": datetime.fromtimestamp(recording.started_at, UTC).isoformat(),
        "time": sum(timings.values()),
        "request": _request(recording, base_url),
        "response": _response(recording),
        "cache": {},
        "timings": timings,
        "comment": recording.end.outcome if recording.end else "no end was recorded",
        "_perimeter": _own(recording),
    }


def _request(recording: Recording, base_url: str) -> dict[str, Any]:
    request = recording.request
    made: dict[str, Any] = {
        "method": request.method,
        "url": url_of(recording, base_url),
        "httpVersion": "HTTP/1.1",
        "cookies": [],
        "headers": _pairs(request.headers),
        "queryString": _pairs(parse_qsl(recording.query, keep_blank_values=True)),
        "headersSize": _UNKNOWN,
        "bodySize": len(request.data),
    }
    if request.data:
        media_type = field(request.headers, "content-type") or "application/octet-stream"
        text = request.text if request.text is not None else request.base64 or ""
        posted: dict[str, Any] = {"mimeType": media_type, "params": [], "text": text}
        if request.base64 is not None:
            posted["_encoding"] = "base64"
        made["postData"] = posted
    return made


def _response(recording: Recording) -> dict[str, Any]:
    head = recording.head
    status = head.status if head else 0
    body = recording.content()
    content: dict[str, Any] = {
        "size": len(body),
        "mimeType": recording.header("content-type") or "x-unknown",
    }
    try:
        content["text"] = body.decode()
    except UnicodeDecodeError:
        content |= {"text": b64encode(body).decode(), "encoding": "base64"}
    return {
        "status": status,
        "statusText": reason_of(status),
        "httpVersion": "HTTP/1.1",
        "cookies": [],
        "headers": _pairs(head.headers if head else []),
        "content": content,
        "redirectURL": recording.header("location"),
        "headersSize": _UNKNOWN,
        "bodySize": recording.stored if head else _UNKNOWN,
    }


def _timings(recording: Recording) -> dict[str, float]:
    """Return milliseconds: sending is what the proxy took, waiting lasts until the head."""
    end, head = recording.end, recording.head
    whole = recording.ended_at - recording.started_at
    sent = min((end.sent or 0.0) if end else 0.0, whole)
    headed = min(max(head.at if head else whole, sent), whole)
    moments = {"send": sent, "wait": headed - sent, "receive": whole - headed}
    return {name: round(seconds * 1000, 3) for name, seconds in moments.items()}


def _own(recording: Recording) -> dict[str, Any]:
    """Return what this format has no place for."""
    request, end = recording.request, recording.end
    found = fidelity(recording)
    return {
        "exchange": recording.id,
        "session": recording.session,
        "agent": end.session.agent_id if end and end.session else None,
        "workflow": request.workflow_id,
        "upstream": request.upstream,
        "dialect": request.dialect,
        "outcome": recording.outcome,
        "error": list(end.error) if end and end.error else None,
        "complete": recording.complete,
        "delivered": found.delivered,
        "recorded": found.recorded,
        "chunks": [[round(chunk.at * 1000, 3), len(chunk.data)] for chunk in recording.chunks],
    }


def _pairs(fields: Fields) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in fields]
