"""A recorded call as a command for the shell."""

from __future__ import annotations

import re
import shlex
from typing import Any

from perimeter.dialects import UPSTREAM_TYPES, Dialect
from perimeter_plugin_live_trace.queries.reading import Header


LONG = 32 * 1024
"""Bytes from which on a body goes in through standard input: arguments have a limit."""
_KEYS = {
    "openai": ("Authorization: Bearer ", "OPENAI_API_KEY"),
    "anthropic": ("x-api-key: ", "ANTHROPIC_API_KEY"),
    "gemini": ("x-goog-api-key: ", "GEMINI_API_KEY"),
}
_TOLD = re.compile(
    r"(accept|content-type|anthropic-(version|beta)|openai-\w+|x-perimeter-[\w-]+)\Z", re.IGNORECASE
)
"""Headers that are said again; the others are the client's own business."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def curl(call: Any, dialect: Dialect, body: bytes, fields: list[Header], proxy: str) -> str:
    """
    Return the command that sends a call again; keys are variables of the environment.

    Args:
        call: A row of `Call`.
        dialect: Its dialect.
        body: Of the request.
        fields: Its headers.
        proxy: Where the proxy listens.
    """
    url = shlex.quote(_url(call, dialect, proxy))
    lines = [f"curl -sS -X {shlex.quote(call.method or 'POST')} {url}"]
    told = [f"{name}: {_CONTROL.sub(' ', value)}" for name, value in fields if _TOLD.match(name)]
    lines += [f"-H {shlex.quote(each)}" for each in told]
    key = _KEYS.get(dialect.upstream_type) or _KEYS.get(call.upstream)
    if key:
        lines.append(f'-H "{key[0]}${key[1]}"')
    note = "# Only a part of the body was kept.\n" if call.request_cut else ""
    text = body.decode("utf-8", "replace").replace("\0", "\ufffd")
    if not text:
        return note + _joined(lines)
    if len(body) <= LONG:
        return note + _joined([*lines, f"--data-raw {shlex.quote(text)}"])
    mark = _mark(text)
    return f"{note}{_joined([*lines, '--data-binary @-'])} <<'{mark}'\n{text}\n{mark}"


def _joined(lines: list[str]) -> str:
    return " \\\n  ".join(lines)


def _mark(text: str) -> str:
    """Return a line that ends the body, and is none of it."""
    lines, mark = set(text.splitlines()), "BODY"
    while mark in lines:
        mark += "_"
    return mark


def _url(call: Any, dialect: Dialect, proxy: str) -> str:
    """Return where it goes, without keys that stood in its address."""
    path, _, query = call.target.partition("?")
    kind = UPSTREAM_TYPES.get(dialect.upstream_type)
    secret = {f"{name}=" for name in kind.credential_query} if kind else set()
    kept = [pair for pair in query.split("&") if pair and not any(map(pair.startswith, secret))]
    return _CONTROL.sub("", proxy + path + (f"?{'&'.join(kept)}" if kept else ""))
