"""What is left to do when the clients have their answers."""

from __future__ import annotations

import asyncio
import logging
import time

from perimeter import application
from perimeter.gateway.afterwards import Afterwards
from perimeter.sessions.memory import Limits, MemoryStore
from perimeter.settings import Settings, UpstreamSettings


async def test_it_waits_for_the_end_of_the_round_and_keeps_the_order():
    """All of a round is done together, in its order, before what the loop is told later."""
    done, afterwards = [], Afterwards()
    loop = asyncio.get_running_loop()

    afterwards.add(lambda: done.append("first"))
    loop.call_soon(done.append, "later")
    afterwards.add(lambda: done.append("second"))
    assert done == []
    await asyncio.sleep(0)

    assert done == ["first", "second", "later"]


async def test_what_is_added_meanwhile_comes_next():
    """Work that makes work is not lost, and is not done twice."""
    done, afterwards = [], Afterwards()

    afterwards.add(lambda: afterwards.add(lambda: done.append("then")))
    afterwards.run()
    assert done == []
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert done == ["then"]


async def test_a_defect_stops_nothing_else(caplog):
    """One exchange whose end can't be told does not keep the others from it."""
    done, afterwards = [], Afterwards()

    afterwards.add(lambda: 1 // 0)
    afterwards.add(lambda: done.append("told"))
    with caplog.at_level(logging.ERROR):
        afterwards.run()

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

    app.gateway.afterwards.add(lambda: order.append("told"))
    await app.shutdown()

    assert order == ["told", "closed"]
