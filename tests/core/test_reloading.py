"""A new configuration for a running application."""

from __future__ import annotations

import attrs
import pytest

from perimeter import application as applications
from perimeter.configuration.changes import applicable
from perimeter.settings import (
    RecordingSettings,
    ServerSettings,
    SessionSettings,
    Settings,
    UpstreamSettings,
)


class Connections:
    """Stands for a transport, and notes that it was closed."""

    connections = 0

    def __init__(self, settings: UpstreamSettings) -> None:
        self.settings = settings
        self.closed = False

    async def close(self) -> None:
        """Note it."""
        self.closed = True


def table(port: int) -> UpstreamSettings:
    """Return an upstream's table."""
    return UpstreamSettings(type="openai", base_url=f"http://127.0.0.1:{port}")


@pytest.fixture
def settings() -> Settings:
    """A configuration with two upstreams."""
    return Settings(upstreams={"a": table(1), "b": table(2)})


async def test_only_changed_upstreams_are_made_anew(settings: Settings) -> None:
    """Those that stay keep their connections; a replaced one is closed as nobody uses it."""
    application = applications.build(settings, transport=Connections)  # type: ignore[arg-type]
    before = dict(application.upstreams)

    application.reload(attrs.evolve(settings, upstreams={"a": table(1), "b": table(3)}))
    await application.gateway.retirement.close()

    assert application.upstreams["a"] is before["a"]
    assert application.upstreams["b"] is not before["b"]
    closed = [each.transport.closed for each in before.values()]  # type: ignore[attr-defined]
    assert closed == [False, True]
    assert application.gateway.router.to("b") is application.upstreams["b"]
    await application.shutdown()


def test_what_applies_and_what_waits(settings: Settings) -> None:
    """What can't change stays as it was and is named; the rest is as wanted."""
    wanted = attrs.evolve(
        settings,
        server=ServerSettings(port=1, workers=2, capture_limit=5, shutdown_timeout=1.0),
        session=SessionSettings(max_sessions=200),
        recording=RecordingSettings(redact=False),
        plugins={"x": {}},
        default_upstream="b",
    )

    now, waiting = applicable(settings, wanted)

    assert waiting == ["server.port", "server.workers", "session", "recording", "plugins"]
    assert now.server == ServerSettings(capture_limit=5, shutdown_timeout=1.0)
    assert (now.session, now.recording) == (SessionSettings(), RecordingSettings())
    assert (now.default_upstream, now.plugins) == ("b", {})


def test_the_order_of_plugins_counts(settings: Settings) -> None:
    """Plugins are called in the order of their tables, which can't change while they run."""
    old, new = ({"x": {}, "y": {}}, {"y": {}, "x": {}})

    _, waiting = applicable(
        attrs.evolve(settings, plugins=old), attrs.evolve(settings, plugins=new)
    )

    assert waiting == ["plugins"]
