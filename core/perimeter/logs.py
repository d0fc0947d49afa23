"""Logging: text for people or JSON for machines, to standard error or a rotated file.

Masking happens in the formatters, on the finished text, so that it covers tracebacks too and cannot
be got round by a logger of a library. What is logged never holds bodies; that is the callers' part.
"""

import json
import logging
import os
import re
import sys
from collections.abc import Iterable
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler, WatchedFileHandler
from pathlib import Path
from typing import IO, Any

from perimeter import redaction
from perimeter.errors import ConfigError, Problem
from perimeter.options import MASK, Secret
from perimeter.settings import LoggingSettings


EXTRAS = ("exchange", "session", "plugin")
"""Attributes that callers may give through `extra`; each is written with the message."""

_SHORTEST_SECRET = 6
"""Configured values below this length are not searched for: they would blot out ordinary words."""

_HEADERS = "|".join(sorted(name.decode("ascii") for name in redaction.CREDENTIAL_HEADERS))
_CREDENTIAL = re.compile(
    # A header that carries credentials, as a line, in JSON or in the repr of a dict or of tuples.
    rf"(?P<header>\b(?:{_HEADERS}|api_key|(?:set-)?cookie|password|[a-z_]*secret))"
    r"(?P<separator>\\?[\"']?\s*[:=,]\s*b?\\?[\"']?)(?P<quoted>[^\"'\\\r\n]+)"
    # In a log, unlike in a conversation, these words hardly ever are prose.
    r"|(?P<scheme>\b(?:bearer|basic)\s+)[\w.~+/=-]{6,}"
    r"|(?P<address>://)[^/@\s\"']+(?=@)",
    re.IGNORECASE,
)
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {
    ord("\n"): "\\n",
    ord("\r"): "\\r",
    ord("\t"): "\\t",
}


class Masker:
    """Replaces what looks like a credential, and the configured secrets whatever they look like.

    Args:
        secrets: What the configuration holds.

    """

    def __init__(self, secrets: Iterable[Secret] = ()) -> None:
        texts = sorted({secret.reveal() for secret in secrets}, key=len, reverse=True)
        known = [re.escape(text) for text in texts if len(text) >= _SHORTEST_SECRET]
        self._known = re.compile("|".join(known)) if known else None

    def __call__(self, text: str) -> str:
        """Return the text without credentials."""
        if self._known is not None:
            text = self._known.sub(MASK, text)
        return redaction.text(_CREDENTIAL.sub(_masked, text))


def _masked(match: re.Match[str]) -> str:
    """Keep what says that there was a credential, and of which kind."""
    kept = ("header", "separator", "scheme", "address")
    return "".join(match[name] or "" for name in kept) + MASK


class TextFormatter(logging.Formatter):
    """One line per record: time, level, logger, message; tracebacks follow on their own lines."""

    def __init__(self, mask: Masker) -> None:
        super().__init__()
        self._mask = mask

    def format(self, record: logging.LogRecord) -> str:
        """Write a record; with its line breaks escaped, it cannot forge other records."""
        extras = "".join(f" {key}={value}" for key, value in _extras(record))
        message = (record.getMessage() + extras).translate(_CONTROL)
        text = f"{_time(record)} {record.levelname:<7} {record.name}: {message}"
        trace = _traceback(self, record)
        return self._mask(f"{text}\n{trace}" if trace else text)


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, logger, message, extras and exception."""

    def __init__(self, mask: Masker) -> None:
        super().__init__()
        self._mask = mask

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        fields: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": self._mask(record.getMessage()),
            **{key: self._mask(str(value)) for key, value in _extras(record)},
        }
        trace = _traceback(self, record)
        if trace:
            fields["exception"] = self._mask(trace)
        return json.dumps(fields, ensure_ascii=False)


def _extras(record: logging.LogRecord) -> Iterable[tuple[str, Any]]:
    return [(key, getattr(record, key)) for key in EXTRAS if hasattr(record, key)]


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    parts = [formatter.formatException(record.exc_info)] if record.exc_info else []
    parts += [formatter.formatStack(record.stack_info)] if record.stack_info else []
    return "\n".join(parts)


class _Discreet(logging.Handler):
    """A handler that cannot show a record's content when it fails to write it."""

    _complained = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - as in logging
        """Say once that the log cannot be written; the default prints the unmasked record."""
        if not self._complained:
            self._complained = True
            sys.stderr.write(f"perimeter: cannot write the log: {sys.exc_info()[1]}\n")


class ErrorStreamHandler(_Discreet, logging.StreamHandler[Any]):
    """Writes to standard error."""


class PrivateFileHandler(_Discreet, RotatingFileHandler):
    """Writes to a file that only its owner can read, and starts a new one when it is full."""

    def rotate_if_full(self) -> None:
        """Start a new file if this one is full."""
        path = Path(self.baseFilename)
        with self.lock or nullcontext(), suppress(OSError):
            if self.maxBytes and path.stat().st_size >= self.maxBytes:
                self.doRollover()

    def _open(self) -> IO[Any]:  # type: ignore[override]
        return open(self.baseFilename, self.mode, encoding="utf-8", opener=_private)


class FollowingFileHandler(_Discreet, WatchedFileHandler):
    """Writes to a file that another process rotates; only its owner can read it."""

    def _open(self) -> IO[Any]:  # type: ignore[override]
        return open(self.baseFilename, self.mode, encoding="utf-8", opener=_private)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def configure(
    settings: LoggingSettings, secrets: Iterable[Secret] = (), *, follows: bool = False
) -> None:
    """Set up logging for this process, in place of what an earlier call set up.

    Libraries (uvicorn, httpx and others) are heard from warnings on, at any level: their lower
    levels name every request, and httpcore's show headers.

    Args:
        settings: The `[logging]` table.
        secrets: Values that are masked wherever they appear.
        follows: Whether another process writes to the same file too, and rotates it.

    Raises:
        ConfigError: If the file cannot be written.

    """
    handler = _handler(settings, follows=follows)
    mask = Masker(secrets)
    handler.setFormatter(JsonFormatter(mask) if settings.format == "json" else TextFormatter(mask))
    root = logging.getLogger()
    for old in [each for each in root.handlers if isinstance(each, _Discreet)]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    level = logging.getLevelNamesMapping()[settings.level]
    root.setLevel(max(level, logging.WARNING))
    logging.getLogger("perimeter").setLevel(level)


def rotate() -> None:
    """Rotate the file if it is full; it may be others that have filled it."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, PrivateFileHandler):
            handler.rotate_if_full()


def _handler(settings: LoggingSettings, *, follows: bool) -> logging.Handler:
    if not settings.file:
        return ErrorStreamHandler()
    try:
        if follows:
            return FollowingFileHandler(settings.file, encoding="utf-8")
        return PrivateFileHandler(
            Path(settings.file),
            maxBytes=settings.max_file_size,
            backupCount=settings.backup_count,
            encoding="utf-8",
        )
    except OSError as error:
        message = f"{settings.file} cannot be written: {error.strerror}"
        raise ConfigError([Problem(message, key="logging.file")]) from error
