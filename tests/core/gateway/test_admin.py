"""Health, metrics and configuration, and who may see them."""

from __future__ import annotations

import json

import pytest

import perimeter
from faults import request
from perimeter.options import Secret


def get(path: str, *fields: str, host: str = "localhost", method: str = "GET") -> bytes:
    """Return a raw request."""
    lines = [f"{method} {path} HTTP/1.1", f"host: {host}", "connection: close", *fields, "", ""]
    return "\r\n".join(lines).encode()


async def answer(proxy, *arguments, **options) -> tuple[int, bytes]:
    """Return status and body of the answer to a request."""
    head, _, body = (await proxy.request(get(*arguments, **options))).partition(b"\r\n\r\n")
    return int(head.split()[1]), body


async def test_health(start):
    """Health says who it is, its version and since when it runs, to any Host."""
    proxy = await start()

    status, body = await answer(proxy, "/health", host="probe.example")

    health = json.loads(body)
    assert status == 200
    assert health["status"] == "healthy"
    assert health["service"] == "perimeter"
    assert health["version"] == perimeter.__version__
    assert health["uptime_seconds"] >= 0


@pytest.mark.parametrize("path", ["/health", "/metrics", "/config"])
async def test_head(start, path):
    """HEAD works on admin routes, without a body."""
    proxy = await start()

    assert await answer(proxy, path, method="HEAD") == (200, b"")


async def test_metrics_count_what_happened(start):
    """A request appears under its upstream, dialect, status and outcome, in both formats."""
    proxy = await start()
    await proxy.request(request(stream=False))

    _, text = await answer(proxy, "/metrics", host="prometheus.example")
    _, openmetrics = await answer(proxy, "/metrics", "accept: application/openmetrics-text")

    line = (
        b'perimeter_requests_total{dialect="openai.chat",outcome="completed",'
        b'status="200",upstream="default"} 1.0'
    )
    assert line in text
    assert openmetrics.endswith(b"# EOF\n")
    for name in (
        b"perimeter_request_duration_seconds_count",
        b"perimeter_time_to_first_byte_seconds_count",
        b"perimeter_overhead_seconds_count",
        b"perimeter_requests_in_flight 0",
        b'perimeter_upstream_connections{upstream="default"} 1',
        b"perimeter_hook_seconds_count",
        b"perimeter_build_info",
        b"perimeter_plugin_info",
    ):
        assert name in text, name


async def test_config_masks_secrets(start):
    """The effective configuration is shown with every secret masked, plugins with their state."""
    proxy = await start(api_key=Secret("very" + "secret"))

    status, body = await answer(proxy, "/config")

    config = json.loads(body)
    assert status == 200
    assert b"verysecret" not in body
    assert config["upstreams"]["default"]["api_key"] == "***"
    assert {"hooklog": "loaded"}.items() <= {
        each["name"]: each["state"] for each in config["plugins"]
    }.items()


@pytest.mark.parametrize(
    ("fields", "host", "expected"),
    [
        ([], "localhost:4000", 200),
        ([], "127.0.0.1", 200),
        ([], "[::1]:4000", 200),
        ([], "evil.example", 403),
        (["origin: http://evil.example"], "localhost", 403),
        (["origin: http://localhost:9"], "localhost", 200),
        ([], "named.example", 200),
    ],
)
async def test_config_checks_host_and_origin(start, fields, host, expected):
    """A page that rebinds its name to loopback gets a real 403."""
    proxy = await start(server={"allowed_hosts": ["named.example"]})

    assert (await answer(proxy, "/config", *fields, host=host))[0] == expected


@pytest.mark.parametrize(
    ("token", "fields", "expected"),
    [
        ("", [], 403),
        ("", ["authorization: Bearer x"], 403),
        ("x", [], 401),
        ("x", ["authorization: Bearer y"], 401),
        ("x", ["authorization: Basic x"], 401),
        ("x", ["authorization: Bearer x"], 200),
    ],
)
async def test_config_off_loopback(start, token, fields, expected):
    """Reachable from elsewhere, the configuration needs the admin token, and one must be set."""
    proxy = await start(server={"host": "0.0.0.0", "admin_token": Secret(token)})

    assert (await answer(proxy, "/config", *fields))[0] == expected
    assert (await answer(proxy, "/health"))[0] == 200
    assert (await answer(proxy, "/metrics"))[0] == 200
    assert (await proxy.request(request(stream=False))).startswith(b"HTTP/1.1 200 ")
