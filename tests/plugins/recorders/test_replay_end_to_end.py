"""Real traffic, recorded by `http_recorder` and replayed, gives the same exchanges and events."""

from __future__ import annotations

import asyncio
import json
import random
import socket
from pathlib import Path
from typing import Any

import attrs
import pytest

from live_traffic import all_kinds
from perimeter import application
from perimeter.playback import Player
from perimeter.settings import RecordingSettings, ServerSettings, Settings, UpstreamSettings
from perimeter.simulator import Simulator
from perimeter.testing import serve
from perimeter_plugin_recorders import EventRecorder, HttpRecorder
from perimeter_plugin_recorders.replay import Source
from playing import LAST, TIMES, Witness, ends, same_events, told


PLUGINS = {"http_recorder": HttpRecorder, "event_recorder": EventRecorder, "witness": Witness}


@attrs.frozen
class Both:
    """What was seen live and in the replay, and the folders of the event recorder."""

    live: Witness
    played: Witness
    wire: Path
    live_events: Path
    played_events: Path
    source: Source


async def record(folder: Path, settings: Settings, provider: str) -> Witness:
    """Let all kinds of traffic through a proxy that records them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{probe.getsockname()[1]}"
        patience: dict[str, Any] = {"idle_timeout": 0.4, "first_byte_timeout": 0.4}
        upstreams = {
            "openai": UpstreamSettings(type="openai", base_url=provider, **patience),
            "anthropic": UpstreamSettings(type="anthropic", base_url=provider, **patience),
            "gone": UpstreamSettings(type="openai", base_url=nobody, prefix="/gone"),
        }
        live = attrs.evolve(settings, upstreams=upstreams, default_upstream="openai")
        built = application.build(live, plugins=PLUGINS)
        with serve(built.asgi) as proxy:
            await all_kinds(proxy, proxy + "/gone")
    found = built.registry.plugins["witness"].instance
    assert isinstance(found, Witness)
    return found


@pytest.fixture(scope="module", params=[True, False], ids=["redacted", "exact"])
def both(request, tmp_path_factory) -> Both:
    """Record, and replay with other folders."""
    folder = tmp_path_factory.mktemp("traffic")

    def settings(events: str) -> Settings:
        return Settings(
            server=ServerSettings(port=0),
            recording=RecordingSettings(redact=request.param),
            plugins={
                "http_recorder": {"folder": str(folder / "wire")},
                "event_recorder": {"folder": str(folder / events)},
                "witness": {},
            },
        )

    with serve(Simulator(tokens_per_second=4000)) as provider:
        live = asyncio.run(record(folder, settings("live"), provider))
    source = Source(folder / "wire")
    source.scan()
    asyncio.run(Player(settings("again"), plugins=PLUGINS).play(source))
    return Both(live, LAST[0], folder / "wire", folder / "live", folder / "again", source)


def test_nothing_is_lost(both):
    """Every exchange is recorded, none is skipped, and the replay records no wire."""
    assert both.played.ended.keys() == both.live.ended.keys()
    assert both.source.skipped == []
    assert both.source.broken_off == 0


def test_every_exchange_is_the_same(both):
    """Ids, sessions, agents, workflows, statuses, outcomes, errors, bodies and times are equal."""
    for name, then in both.live.ended.items():
        now = both.played.ended[name]
        for field in ("outcome", "upstream", "workflow_id", "client", "attempts", "session"):
            assert getattr(now, field) == getattr(then, field), (name, field)
        assert (type(now.error), str(now.error)) == (type(then.error), str(then.error))
        assert now.started_at == then.started_at
        assert now.duration == pytest.approx(then.duration, abs=1e-6)
        assert now.original.target == then.original.target
        assert (now.original.body or b"") == (then.original.body or b"")
        assert (now.response and now.response.status) == (then.response and then.response.status)


def test_hooks_are_called_alike(both):
    """The same hooks are called in the same order, and chunks are cut where they were cut."""
    for name, then in both.live.ended.items():
        if then.response is not None and then.response.header("content-encoding"):
            continue  # recorded decoded where secrets are masked
        assert told(both.played, name) == told(both.live, name)


def test_they_end_in_the_same_order(both):
    """What overlapped overlaps as it did."""
    assert ends(both.played) == ends(both.live)


def test_events_are_the_same(both):
    """Every event is there again: names, levels, agents, sessions, tags, usage, durations."""
    same_events(both.live, both.played)


def test_recorded_events_are_the_same(both):
    """The event recorder writes the same events of the replay as it wrote of the traffic."""

    then, now = recorded(both.live_events), recorded(both.played_events)

    assert now == then
    assert len(then) > 100


async def test_a_recording_that_was_cut(both, tmp_path):
    """Whatever a killed proxy leaves of a recording is played: nothing hangs, nothing raises."""
    whole = b"".join(path.read_bytes() for path in sorted(both.wire.iterdir()))
    path = tmp_path / "recording-1.jsonl"
    for size in random.Random(5).sample(range(len(whole)), 6):
        path.write_bytes(whole[:size])
        source = Source(path)
        source.scan()
        await Player(Settings(plugins={"witness": {}}), plugins=PLUGINS).play(source)
        began = whole[:size].count(b'{"type":"request"') - (not whole[:size].endswith(b"\n"))
        assert began <= source.total <= began + 1
        assert len(LAST[0].ended) == source.total
        for name, exchange in LAST[0].ended.items():
            assert exchange.started_at == both.live.ended[name].started_at


def recorded(folder: Path) -> list[str]:
    """Return the events in a folder, in an order of their own, without what is new each time."""
    found = []
    for path in folder.rglob("events*.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            event = json.loads(line)
            if "name" not in event:
                continue  # the first line tells of the file
            for new in ("span_id", "timestamp", *([] if event["session_id"] else ["trace_id"])):
                del event[new]
            left_out = {*TIMES, "parent_span_id", "session.events_count"}
            said = event["attributes"].items()
            event["attributes"] = {name: value for name, value in said if name not in left_out}
            found.append(json.dumps(event, sort_keys=True))
    return sorted(found)
