"""What is left to do when the clients have their answers."""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial

from perimeter import application
from perimeter.gateway.afterwards import AT_ONCE, Afterwards
from perimeter.sessions.memory import Limits, MemoryStore
from perimeter.settings import Settings, UpstreamSettings


async def test_it_waits_for_the_end_of_the_round():
    """All of a round is done together, what is due first, before what the loop is told later."""
    done, afterwards = [], Afterwards()
    loop = asyncio.get_running_loop()

    afterwards.later(lambda: done.append("told"))
    loop.call_soon(done.append, "later")
    afterwards.next(lambda: done.append("known"))
    assert done == []
    await asyncio.sleep(0)

    assert done == ["known", "told", "later"]


async def test_many_ends_take_several_rounds():
    """Of very many ends a part is told in each round, in order; what is due is done at once."""
    done, due, afterwards = [], [], Afterwards()

    for number in range(8 * AT_ONCE):
        afterwards.later(partial(done.append, number))
        afterwards.next(partial(due.append, number))
    lengths = []
    while len(done) < 8 * AT_ONCE:
        await asyncio.sleep(0)
        lengths.append(len(done))
        assert len(due) == 8 * AT_ONCE

    assert lengths == [4 * AT_ONCE, 6 * AT_ONCE, 7 * AT_ONCE, 8 * AT_ONCE]
    assert done == list(range(8 * AT_ONCE))


async def test_what_is_added_meanwhile_comes_next():
    """Work that makes work is not lost, and is not done twice."""
    done, afterwards = [], Afterwards()

    afterwards.later(lambda: afterwards.next(lambda: done.append("then")))
    await asyncio.sleep(0)
    assert done == []
    await asyncio.sleep(0)
    assert done == ["then"]
    afterwards.later(lambda: afterwards.later(lambda: done.append("at last")))
    afterwards.finish()

    assert done == ["then", "at last"]


async def test_a_defect_stops_nothing_else(caplog):
    """One exchange whose end can't be told does not keep the others from it."""
    done, afterwards = [], Afterwards()

    afterwards.later(lambda: 1 // 0)
    afterwards.later(lambda: done.append("told"))
    with caplog.at_level(logging.ERROR):
        afterwards.finish()

    assert done == ["told"]
    assert "ZeroDivisionError" in caplog.text


async def test_all_ends_are_told_before_the_proxy_stops(upstream):
    """What ended in the very last moment is told before sessions and plugins are shut down."""
    table = UpstreamSettings(type="openai", base_url=upstream.url)
    store = MemoryStore(Limits(), time.time)
    app = application.build(Settings(upstreams={"default": table}), store=store)
    await app.startup()
    order = []
    close, store.close = store.close, lambda: order.append("closed") or close()

    app.gateway.afterwards.later(lambda: order.append("told"))
    await app.shutdown()

    assert order == ["told", "closed"]
