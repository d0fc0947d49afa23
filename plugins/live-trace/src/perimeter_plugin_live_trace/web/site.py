"""What the dashboard knows of itself and of the proxy: facts that every page may show."""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

import attrs

from perimeter import Secret, __version__
from perimeter_plugin_live_trace.config import Config
from perimeter_plugin_live_trace.store.histogram import Histogram


_Result = TypeVar("_Result")


class Changes(Protocol):
    """Where changes of users go: they run one after the other in the writer's thread."""

    def change(self, what: Callable[..., _Result]) -> _Result:
        """Run one change in a transaction and return its result; waits for it."""


@attrs.define
class Retention:
    """
    When what is too old or too much was deleted.

    Attributes:
        last_us: When that ran last, or None.
        next_us: When it runs next, about; None where nothing is deleted.
        deleted: Sessions that it has deleted since the start.
    """

    last_us: int | None = None
    next_us: int | None = None
    deleted: int = 0

    def ran(self, now_us: int, deleted: int, wait_us: int) -> None:
        """Note that it ran."""
        self.last_us, self.next_us = now_us, now_us + wait_us
        self.deleted += deleted


@attrs.define
class Ingest:
    """
    How the stream of records from the proxy does; the process keeps it up to date.

    Attributes:
        expected: Whether a proxy is meant to be connected: not when a database is only looked at.
        connected: Workers that are connected.
        lost: Records that workers had to drop so far.
        unwritten: Records that came, and could not be stored for trouble with the database.
        waiting: Bytes that wait in workers to be sent.
        commit_us: How long the newest transaction with records took.
        lag_us: Age of the newest batch when it was committed: that of its oldest record.
        ages: The ages of all batches so far.
        last_us: When the last record came, or None.
        state: Of the writer: `open`, `busy`, `full`, `read-only` or `gone`.
        problem: What is wrong with the writer, for people, or "".
        retention: When old sessions were deleted.
        plugins: The plugins of the proxy, see `State`; `costs` and `errors` of all its workers.
    """

    expected: bool = False
    connected: int = 0
    lost: int = 0
    unwritten: int = 0
    waiting: int = 0
    commit_us: int = 0
    lag_us: int = 0
    ages: Histogram = attrs.Factory(Histogram)
    last_us: int | None = None
    state: str = "open"
    problem: str = ""
    retention: Retention = attrs.Factory(Retention)
    plugins: list[dict[str, Any]] = attrs.Factory(list)

    @property
    def missing(self) -> int:
        """Records that are not in the database, wherever they were lost."""
        return self.lost + self.unwritten


@attrs.define(eq=False)
class Site:
    """
    Facts about this dashboard.

    Attributes:
        config: The plugin's options.
        version: Perimeter's.
        host: The address that the dashboard is really bound to.
        port: The port that it is really bound to.
        token: What it asks for, or "" for nothing.
        proxy_url: Where the proxy listens, such as `http://127.0.0.1:4000`, or "".
        ingest: How the stream from the proxy does.
        extensions: What other plugins contribute, by plugin: `perimeter.dashboard.Contribution`.
        secret: Key of what forms and logins are signed with.
        closing: Set when the process ends: live streams end, too.
        live_clients: How many live streams are open.
        facts: Anything else, by name.
    """

    config: Config = attrs.Factory(Config)
    version: str = __version__
    host: str = "127.0.0.1"
    port: int = 7100
    token: Secret = attrs.Factory(lambda: Secret(""))
    proxy_url: str = ""
    ingest: Ingest = attrs.Factory(Ingest)
    extensions: Mapping[str, Any] = attrs.Factory(dict)
    secret: bytes = attrs.field(factory=lambda: secrets.token_bytes(32), repr=False)
    closing: bool = False
    live_clients: int = 0
    facts: dict[str, Any] = attrs.Factory(dict)

    @property
    def url(self) -> str:
        """Where a browser of this machine finds it."""
        host = "127.0.0.1" if self.host in {"", "0.0.0.0", "::"} else self.host  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host == "localhost" or is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether an address is one of the machine itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
