"""Health: of the dashboard, its database and the stream from the proxy; for people and machines."""

from __future__ import annotations

from typing import Any

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from perimeter_plugin_live_trace.queries import health as ask_health
from perimeter_plugin_live_trace.queries.health import Check, Store, tone
from perimeter_plugin_live_trace.store import Histogram
from perimeter_plugin_live_trace.web import formats
from perimeter_plugin_live_trace.web.page import Ask, Download, page
from perimeter_plugin_live_trace.web.site import Retention


AGES = (0.5, 0.99, 1.0)
"""Quantiles of the ages of batches that are shown."""


class StatusView(msgspec.Struct, frozen=True):
    """The page."""

    title: str
    state: str
    checks: list[Check]
    store: Store
    storage: str
    max_age_s: float
    max_sessions: int
    max_size: int
    retention: Retention
    live_clients: int
    expected: bool
    connected: int
    last_us: int | None
    version: str
    address: str
    facts: dict[str, Any]


@page("/status", template="pages/health.html", nav="health", title="Health")
def status(ask: Ask) -> StatusView:
    """Show how everything does, with the thresholds."""
    store = ask_health.store(ask.reader)
    checks, site = _checks(ask, store), ask.site
    return StatusView(
        title="Health",
        state=ask_health.overall([check.tone for check in checks]),
        checks=checks,
        store=store,
        storage=site.config.storage_mode,
        max_age_s=site.config.max_age,
        max_sessions=site.config.max_sessions,
        max_size=site.config.max_size,
        retention=site.ingest.retention,
        live_clients=site.live_clients,
        expected=site.ingest.expected,
        connected=site.ingest.connected,
        last_us=site.ingest.last_us,
        version=site.version,
        address=site.url,
        facts=ask_health.facts(site),
    )


def _checks(ask: Ask, store: Store) -> list[Check]:
    ingest = ask.site.ingest
    writer = {"open": "ok", "busy": "medium"}.get(ingest.state, "critical")
    found = [
        Check("Writer", ingest.state.capitalize(), writer, ingest.problem or "Stores what comes.")
    ]
    found.append(_proxy(ask))
    found.append(
        Check(
            "Writer lag",
            formats.duration(ingest.lag_us),
            tone(ingest.lag_us, ask_health.LAG_AMBER_US, ask_health.LAG_RED_US),
            _of_lags(ingest.ages) + "Amber from 2 s, red from 10 s.",
        )
    )
    found.append(
        Check(
            "Dropped records",
            formats.si(ingest.missing, exact=True),
            tone(ingest.missing, 1, 1000),
            "Could not be stored. Amber from 1, red from 1,000.",
        )
    )
    found.append(
        Check(
            "Waiting in the proxy",
            formats.size(ingest.waiting),
            tone(ingest.waiting, 8 * 1024**2, 48 * 1024**2),
            "Not sent yet. Amber from 8 MiB, red from 48 MiB.",
        )
    )
    return [*found, *_disk(store)]


def _of_lags(ages: Histogram) -> str:
    """Return what there is to say of the ages of batches so far."""
    about = "Age of a batch's oldest record when it is stored"
    usual, most = ages.quantile(0.5), ages.quantile(1.0)
    if usual is None or most is None:
        return f"{about}. "
    return f"{about}; usually {formats.duration(usual)}, {formats.duration(most)} at most. "


def _proxy(ask: Ask) -> Check:
    ingest = ask.site.ingest
    if not ingest.expected:
        return Check("Proxy", "not expected", "ok", "This dashboard only shows a database.")
    if ingest.connected:
        workers = formats.plural(ingest.connected, "worker")
        return Check("Proxy", workers, "ok", "Connected and sending.")
    return Check("Proxy", "not connected", "medium", "Nothing new comes; it may have been stopped.")


def _disk(store: Store) -> list[Check]:
    wal = tone(store.wal, ask_health.WAL_AMBER, ask_health.WAL_RED)
    found = [
        Check("Database", formats.size(store.size), "ok", "On disk, the log included."),
        Check(
            "Write-ahead log",
            formats.size(store.wal),
            wal,
            "Amber from 64 MiB, red from 512 MiB: somebody reads for very long then.",
        ),
    ]
    if store.free is not None:
        free = tone(-store.free, -ask_health.DISK_AMBER, -ask_health.DISK_RED)
        about = "Amber below 2 GiB, red below 256 MiB."
        found.append(Check("Free on that disk", formats.size(store.free), free, about))
    return found


@page("/health", template="pages/health.html")
def health(ask: Ask) -> Download:
    """Answer machines in JSON, whether asked with `.json` or not."""
    ingest, tones = ask.site.ingest, [check.tone for check in _checks(ask, _store(ask))]
    body = {
        "status": ask_health.overall(tones),
        "service": "live_trace",
        "version": ask.site.version,
        "database": {"state": ingest.state, "problem": ingest.problem, "bytes": ask.reader.size()},
        "proxy": {"expected": ingest.expected, "connected": ingest.connected},
        "lag_seconds": ingest.lag_us / 1e6,
        "dropped": ingest.missing,
    }
    return Download("", "application/json", iter([msgspec.json.encode(body) + b"\n"]))


def _store(ask: Ask) -> Store:
    return ask_health.store(ask.reader)


@page("/metrics", template="pages/health.html")
def metrics(ask: Ask) -> Download:
    """Answer Prometheus."""
    text = generate_latest(_registry(ask))
    return Download("", "text/plain; version=0.0.4; charset=utf-8", iter([text]))


def _registry(ask: Ask) -> CollectorRegistry:
    """Return the figures of this process, as they are now."""
    registry, store, ingest = CollectorRegistry(), _store(ask), ask.site.ingest
    gauges = {
        "database_bytes": ("Bytes of the database on disk, its log included.", store.size),
        "wal_bytes": ("Bytes of the write-ahead log.", store.wal),
        "disk_free_bytes": ("Bytes that are free on the disk of the database.", store.free or 0),
        "lag_seconds": ("Age of the newest batch when it was stored.", ingest.lag_us / 1e6),
        "waiting_bytes": ("Bytes that wait in the proxy.", ingest.waiting),
        "proxy_workers": ("Workers of the proxy that are connected.", ingest.connected),
        "live_clients": ("Live streams that are open.", ask.site.live_clients),
        "writer_up": ("Whether the writer can store.", int(ingest.state == "open")),
        "commit_seconds": (
            "How long it took to store the newest records.",
            ingest.commit_us / 1e6,
        ),
    }
    for name, (about, value) in gauges.items():
        Gauge(f"perimeter_live_trace_{name}", about, registry=registry).set(value)
    about = "Age of a batch's oldest record when it was stored, since the start."
    ages = Gauge("perimeter_live_trace_batch_age_seconds", about, ["quantile"], registry=registry)
    for share in AGES:
        ages.labels(f"{share:g}").set((ingest.ages.quantile(share) or 0) / 1e6)
    rows = Gauge("perimeter_live_trace_rows", "Rows that are kept.", ["table"], registry=registry)
    for table, count in store.rows.items():
        rows.labels(table).set(count)
    lost = Counter("perimeter_live_trace_dropped", "Records that were dropped.", registry=registry)
    lost.inc(ingest.missing)
    return registry


routes = (status, health, metrics)
