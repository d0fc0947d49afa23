"""
Recordings as a cassette of vcrpy: YAML, of which strings are written as JSON has them.

That needs no YAML library, since a JSON string is a YAML one but for characters that YAML does not
print; those are escaped.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator

from perimeter_plugin_recorders.lines import Fields
from perimeter_plugin_recorders.recordings.har import reason_of, url_of
from perimeter_plugin_recorders.recordings.recording import Recording


_UNPRINTABLE = re.compile("[\x7f-\xa0\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})
_ENCODING = frozenset({"content-encoding"})


def playable(recording: Recording) -> str:
    """Return why a recording can't be played back; "" where it can."""
    if recording.head is None:
        return "has no response"
    if recording.request.streamed or recording.request.truncated:
        return "its request is not recorded whole"
    if not recording.complete:
        return "its response is not recorded whole"
    if recording.outcome in {"client_disconnected", "truncated"}:
        return f"its response is cut short ({recording.outcome})"
    return ""


def cassette(recordings: Iterable[Recording], base_url: str = "") -> Iterator[str]:
    """
    Yield the pieces of a cassette.

    Args:
        recordings: The playable ones.
        base_url: Where the requests went to; each provider's own address if "".
    """
    yield "interactions:\n"
    empty = True
    for recording in recordings:
        empty = False
        yield from _interaction(recording, base_url)
    if empty:
        yield "[]\n"
    yield "version: 1\n"


def _interaction(recording: Recording, base_url: str) -> Iterator[str]:
    request, status = recording.request, recording.status or 0
    body = request.data
    yield "- request:\n"
    yield f"    body: {_content(body) if body else 'null'}\n"
    yield from _headers(request.headers, _HOP | _ENCODING if request.decoded else _HOP)
    yield f"    method: {_text(request.method)}\n"
    yield f"    uri: {_text(url_of(recording, base_url))}\n"
    yield "  response:\n"
    yield f"    body:\n      string: {_content(recording.content())}\n"
    yield from _headers(recording.head.headers if recording.head else [], _HOP | _ENCODING)
    yield f"    status:\n      code: {status}\n      message: {_text(reason_of(status))}\n"


def _headers(fields: Fields, without: frozenset[str]) -> Iterator[str]:
    values: dict[str, list[str]] = {}
    for name, value in fields:
        if name.lower() not in without:
            values.setdefault(name.lower(), []).append(value)
    yield "    headers:\n" if values else "    headers: {}\n"
    for name, each in values.items():
        yield f"      {_text(name)}:\n"
        yield from (f"      - {_text(value)}\n" for value in each)


def _content(data: bytes) -> str:
    try:
        return _text(data.decode())
    except UnicodeDecodeError:
        return f'!!binary "{b64encode(data).decode()}"'


def _text(value: str) -> str:
    written = json.dumps(value, ensure_ascii=False)
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", written)
