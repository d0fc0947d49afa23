"""Proxies with live trace, run as users run them."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import attrs
import psutil

from patient_provider import Provider
from proxies import Proxy, is_gone, running, wait_until


@attrs.define
class Traced:
    """A proxy with live trace."""

    proxy: Proxy
    provider: Provider
    folder: Path
    file: str = "data/live_trace/live-trace.db"

    @property
    def database(self) -> Path:
        """Where its traces are."""
        return self.folder / self.file

    @property
    def url(self) -> str:
        """Where the dashboard says that it is."""
        return str(wait_until(lambda: re.search(r"dashboard: (\S+)", self.proxy.said))[1])

    @property
    def child(self) -> int:
        """The live-trace process that runs now."""
        found = wait_until(lambda: children(self.proxy.process.pid))
        return int(found[-1])

    @property
    def socket(self) -> str:
        """Where the live-trace process listens for workers."""
        found = psutil.Process(self.child).net_connections("unix")
        return str(next(each.laddr for each in found if "/trace-" in str(each.laddr)))

    def child_after(self, before: int) -> int:
        """Wait until another process has taken the place of one; return it."""

        def other() -> int | None:
            found = [pid for pid in children(self.proxy.process.pid) if pid != before]
            return found[-1] if found else None

        found: int = wait_until(other)
        return found

    def rows(self, query: str, *params: Any) -> list[Any]:
        """Read the database."""
        with closing(sqlite3.connect(f"{self.database.as_uri()}?mode=ro", uri=True)) as connection:
            return connection.execute(query, params).fetchall()

    def calls(self) -> int:
        """Count the calls that are over and stored."""
        if not self.database.exists():
            return 0
        try:
            return int(self.rows("SELECT count(*) FROM calls WHERE state = 'ok'")[0][0])
        except sqlite3.OperationalError:  # its tables are still being made
            return 0

    def wait_for_calls(self, number: int) -> None:
        """Wait until so many calls are stored."""
        wait_until(lambda: self.calls() >= number)


def children(pid: int) -> list[int]:
    """Return the live-trace processes that a process has started and that live."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += (task / "children").read_text(encoding="ascii").split()
    return sorted(int(each) for each in found if not is_gone(int(each)) and _is_trace(int(each)))


def _is_trace(pid: int) -> bool:
    try:
        return b"live_trace.process" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return False


@contextmanager
def traced(
    folder: Path,
    monkeypatch: Any,
    options: str = "",
    workers: int = 1,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    **more: Any,
) -> Iterator[Traced]:
    """Run a proxy with live trace in front of a provider, with all of its data in a folder."""
    monkeypatch.setenv("PERIMETER_DATA_DIR", str(folder / "data"))
    table = f'[plugins.live_trace]\nserver_port = {port}\nserver_host = "{host}"\n{options}'
    provider = Provider()
    with provider.serving(), running(folder, provider, workers, table) as proxy:
        yield Traced(proxy, provider, folder, **more)
