"""Which plugins take part, how fast it goes, and what is held meanwhile."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import attrs
import pytest

from perimeter import hookimpl
from perimeter.errors import ConfigError
from perimeter.playback import Player, load_settings
from perimeter.settings import ServerSettings, Settings
from playing import BEGAN, LAST, NoOptions, Witness, chat, play, stream


@attrs.define(eq=False)
class Wire:
    """A recorder, which must not record what is played back."""

    Config = NoOptions
    replays = False

    config: Any
    context: Any

    @hookimpl
    def startup(self) -> None:
        raise AssertionError("it takes part")


async def test_plugins_that_do_not_replay_are_left_out():
    """A class with `replays = False` is not even built, and the player says so."""
    witness = await play(chat(), plugins={"wire": Wire})

    assert list(witness.ended) == ["ex-1"]
    settings = Settings(plugins={"wire": {}, "witness": {}})
    assert Player(settings, plugins={"wire": Wire, "witness": Witness}).left_out == ["wire"]


async def test_nothing_to_play():
    """Without recordings nothing is started."""
    LAST.clear()
    await play_none()

    assert LAST == []


async def play_none() -> None:
    """Play nothing."""
    await Player(Settings(plugins={"witness": {}}), plugins={"witness": Witness}).play([])


async def test_only_what_is_open_is_held():
    """Recordings are asked for as they begin, one ahead."""
    taken: list[str] = []
    seen: list[int] = []

    def recordings() -> Any:
        for number in range(50):
            taken.append(f"ex-{number}")
            yield chat(number, at=number * 1.0)

    player = Player(Settings(plugins={"witness": {}}), plugins={"witness": Witness})
    await player.play(recordings(), lambda _, __: seen.append(len(taken)))

    assert [held - number for number, held in enumerate(seen)][:48] == [2] * 48


class Busy:
    """Writes slowly, through a short queue."""

    Config = NoOptions

    def __init__(self, config: Any, context: Any) -> None:
        self.written: list[str] = []
        self.worker = context.worker(self.write, queue=10, batch=2, linger=0.0)

    @hookimpl
    def startup(self) -> None:
        BUSY[:] = [self]

    def write(self, batch: list[str]) -> None:
        time.sleep(0.001)
        self.written += batch

    @hookimpl
    def on_response(self, exchange: Any) -> None:
        self.worker.put(exchange.id)


BUSY: list[Busy] = []


async def test_plugins_can_keep_up():
    """At full speed a plugin's queue does not overflow: the player waits for it."""
    recordings = [chat(number, at=number * 0.001) for number in range(200)]
    player = Player(Settings(plugins={"busy": {}}), plugins={"busy": Busy})
    await player.play(recordings)

    assert BUSY[0].worker.dropped == 0
    assert len(BUSY[0].written) == 200


async def test_the_same_id_twice_at_once():
    """Two exchanges of the same id, as careless copies make them, do not hold each other up."""
    witness = await play(stream(1), stream(1, at=0.1), stream(1, at=0.2))

    assert [value.duration for value in witness.values("on_response")] == [pytest.approx(4.25)] * 3


async def test_one_after_the_other():
    """With a delay no two exchanges overlap, and that much real time is between them."""
    began = time.monotonic()
    witness = await play(stream(1), chat(2, at=0.1), chat(3, at=60.0), delay=0.02)

    ends = [exchange.id for exchange in witness.values("on_response")]
    assert ends == ["ex-1", "ex-2", "ex-3"]
    first, second = witness.ended["ex-1"], witness.ended["ex-2"]
    assert second.started >= first.ended
    assert second.duration == pytest.approx(0.8)
    assert witness.ended["ex-3"].started_at == BEGAN + 60.0
    assert time.monotonic() - began >= 0.04


async def test_as_fast_as_asked():
    """With a speed it takes at least its share of the recorded time, and times stay the same."""
    began = time.monotonic()
    witness = await play(stream(1), chat(2, at=0.1), speed=100.0)

    assert time.monotonic() - began >= 0.0425
    assert witness.ended["ex-1"].duration == 4.25


async def test_stopping():
    """After `stop` nothing begins, and what runs goes to its end without a wait."""
    player = Player(Settings(plugins={"witness": {}}), plugins={"witness": Witness}, speed=0.001)

    def recordings() -> Any:
        yield stream(1)
        asyncio.get_running_loop().call_later(0.01, player.stop)
        yield chat(2, at=3600.0)

    await player.play(recordings())

    assert list(LAST[0].ended) == ["ex-1"]
    assert LAST[0].ended["ex-1"].duration == 4.25


async def test_stopped_before_it_begins():
    """A player that was stopped already begins nothing."""
    player = Player(Settings(plugins={"witness": {}}), plugins={"witness": Witness})
    player.stop()
    await player.play([chat(1)])

    assert LAST[0].ended == {}


async def test_clients_need_no_token():
    """What was let in then is let in now; recorded tokens are masked."""
    from perimeter.options import Secret

    server = ServerSettings(tokens=[Secret("t" * 20)], max_body_size=10, body_budget=10)
    settings = Settings(server=server, plugins={"witness": {}})
    await Player(settings, plugins={"witness": Witness}).play([chat()])

    assert LAST[0].ended["ex-1"].outcome == "completed"


def test_settings_are_those_of_run(tmp_path, monkeypatch):
    """The file chooses the plugins, and needs no upstream; what is wrong in it is told."""
    pytest.importorskip("perimeter_plugin_printer", reason="a plugin has to be installed for this")
    monkeypatch.chdir(tmp_path)
    good = tmp_path / "good.toml"
    good.write_text("[plugins.printer]\n")
    bad = tmp_path / "bad.toml"
    bad.write_text("[plugins.printer]\nnonsense = 1\n[server]\nport = 'x'\n")

    assert list(load_settings(good, environ={}).plugins) == ["printer"]
    assert list(load_settings(None, ["printer"], environ={}).plugins) == ["printer"]
    with pytest.raises(ConfigError) as caught:
        load_settings(bad, environ={})
    assert len(caught.value.problems) == 2
