"""Journals in folders, and proxies that record."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from perimeter import application as applications
from perimeter.settings import RecordingSettings, Settings, UpstreamSettings
from perimeter.testing import serve
from perimeter_plugin_recorders.journal import Journal, JournalOptions, Line, files, lines
from perimeter_plugin_recorders.journal.clock import SystemClock


@attrs.define
class HandClock(SystemClock):
    """A clock that is set by hand."""

    now: float = 1_769_860_800.0  # 2026-01-31 12:00:00 UTC

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock() -> HandClock:
    """Return a clock that stands still."""
    return HandClock()


MakeJournal = Callable[..., Journal]


@pytest.fixture
def journal(tmp_path: Path, clock: HandClock) -> Iterator[MakeJournal]:
    """Return a function that makes journals in one folder, which are closed at the end."""
    made: list[Journal] = []

    def make(
        prefix: str = "recording",
        *,
        folder: Path | None = None,
        header: Callable[[], bytes] | None = None,
        os_write: Any = None,
        **options: Any,
    ) -> Journal:
        where = folder or tmp_path / "files"
        more = {} if os_write is None else {"os_write": os_write}
        log = logging.getLogger("perimeter.plugin.recorder")
        made.append(
            Journal(
                JournalOptions(where, prefix, "7", **options),
                header=header,
                clock=clock,
                log=log,
                **more,
            )
        )
        return made[-1]

    yield make
    for each in made:
        each.close()


def content(folder: Path) -> list[bytes]:
    """Return all lines of a folder's files."""
    return [line.data for path in files(folder) for line in lines(path) if isinstance(line, Line)]


@pytest.fixture
def content_of() -> Callable[[Path], list[bytes]]:
    """Return a function that returns all lines of a folder's files."""
    return content


@pytest.fixture
def records_of() -> Callable[[Path], list[dict[str, Any]]]:
    """Return a function that returns what the lines of a folder's files say, without headers."""

    def read(folder: Path) -> list[dict[str, Any]]:
        records = [json.loads(line) for line in content(folder)]
        return [record for record in records if record.get("type") != "file"]

    return read


@attrs.define
class Recorded:
    """A proxy that records, and where to."""

    url: str
    folder: Path
    application: applications.Application

    def metric(self, name: str) -> float:
        """Return the value of a metric without labels."""
        body, _ = self.application.metrics.render("")
        for line in body.decode().splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[1])
        raise KeyError(name)


Record = Callable[..., AbstractContextManager[Recorded]]


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Record:
    """Return a context manager that runs a proxy with a recorder; its files are whole after it."""
    monkeypatch.setenv("PERIMETER_DATA_DIR", str(tmp_path / "data"))

    @contextmanager
    def run(
        app: Any,
        plugin: str,
        *,
        redact: bool = True,
        kind: str = "openai",
        plugins: dict[str, type] | None = None,
        **options: Any,
    ) -> Iterator[Recorded]:
        folder = tmp_path / "recorded"
        with serve(app) as base_url:
            settings = Settings(
                upstreams={"main": UpstreamSettings(type=kind, base_url=base_url)},
                recording=RecordingSettings(redact=redact),
                plugins={
                    **{name: {} for name in plugins or {}},
                    plugin: {"folder": str(folder), "flush_interval": 0.05, **options},
                },
            )
            application = applications.build(settings, plugins=plugins)
            with serve(application.asgi, lifespan="on") as url:
                yield Recorded(url, folder, application)

    return run
