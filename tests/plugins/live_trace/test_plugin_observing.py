"""What the plugin tells of what it observes, and what it keeps to itself."""

from __future__ import annotations

import attrs
import pytest

from perimeter.context import Jobs, PluginContext, Services
from perimeter.dialects import RAW, UPSTREAM_TYPES
from perimeter.metrics import Metrics
from perimeter.model import Event, Exchange, Outcome, Request, Response, Session
from perimeter.verdicts import Block
from perimeter_plugin_live_trace import LiveTrace
from perimeter_plugin_live_trace.config import Config
from perimeter_plugin_live_trace.records import Answered, Asked, Happened


CHAT = next(each for each in UPSTREAM_TYPES["openai"].dialects if each.name == "openai.chat")
HEADERS = ((b"content-type", b"application/json"),)


@pytest.fixture
def plugin():
    """Return the plugin, which is not connected to anybody."""
    context = PluginContext(
        "live_trace", Metrics().plugin("live_trace"), Services(), Jobs("live_trace")
    )
    return LiveTrace(Config(), context)


def told(plugin):
    """Return the records that wait."""
    return plugin._sender._new


def exchange(**more):
    """Make an exchange that has gone well."""
    request = Request("POST", "/v1/chat/completions", "a=b", HEADERS, b'{"model":"m"}')
    response = Response(200, HEADERS, parts=[b"{}"], size=2)
    given = {"dialect": CHAT, "response": response, "outcome": Outcome.COMPLETED, **more}
    return Exchange(
        id="ex-1", original=request, request=request, upstream="u", started_at=10.0, started=1.0,
        ended=1.5, attempts=1, **given,
    )  # fmt: skip


def test_an_exchange(plugin):
    """A request is told of when it has gone upstream, and its answer when all is over."""
    made = exchange(workflow_id="w")
    plugin.on_request(made)
    plugin.on_response(made)
    asked, answered = told(plugin)

    assert isinstance(asked, Asked)
    assert (asked.exchange, asked.workflow, asked.body) == ("ex-1", "w", b'{"model":"m"}')
    assert asked.target == "/v1/chat/completions?a=b"
    assert isinstance(answered, Answered)
    assert (answered.status, answered.body, answered.size) == (200, b"{}", 2)
    assert (answered.at, answered.duration) == (10.5, 0.5)


def test_an_exchange_that_a_guard_ended(plugin):
    """One that never went upstream is told of, too, with what was decided."""
    made = exchange(outcome=Outcome.BLOCKED)
    made.verdicts = [("guard", Block("no"))]
    plugin.on_response(made)
    asked, answered = told(plugin)

    assert isinstance(asked, Asked)
    assert (answered.outcome, answered.verdicts) == ("blocked", [("guard", "Block")])


def test_an_exchange_that_failed(plugin):
    """Why it failed is told."""
    made = exchange(outcome=Outcome.UPSTREAM_ERROR, response=None, error=OSError("it broke"))
    plugin.on_request(made)
    plugin.on_error(made)

    assert [type(each) for each in told(plugin)] == [Asked, Answered]
    assert (told(plugin)[1].error, told(plugin)[1].status) == ("it broke", 0)


@pytest.mark.parametrize("more", [{"recorded": False}, {"dialect": RAW}])
def test_what_is_nobodys_business(plugin, more):
    """Exchanges that may not be kept, and those with no model, are not told of."""
    made = exchange(**more)
    made.response = attrs.evolve(made.response, framing="sse")
    plugin.on_request(made)
    plugin.on_response_start(made)
    assert not plugin._streams
    plugin.on_response(made)
    plugin.on_session_event(None, Event("x", 1.0, recorded=False))

    assert not told(plugin)


def test_streams_are_watched_until_they_end(plugin):
    """Nothing is kept of an exchange that is over."""
    made = exchange()
    made.response = attrs.evolve(made.response, framing="sse")
    plugin.on_request(made)
    plugin.on_response_start(made)
    assert list(plugin._streams) == ["ex-1"]
    plugin.on_response(made)

    assert not plugin._streams
    assert not plugin._asked


@pytest.mark.parametrize("name", ["llm.call.start", "llm.call.finish", "llm.call.error"])
def test_messages_are_not_sent_twice(plugin, name):
    """What is in the bodies is left out of events, which stay as they are for other plugins."""
    attributes = {"llm.request.messages": [1], "llm.response.content": [2], "llm.model": "m"}
    event = Event(name, 1.0, "t", "s", attributes=attributes)
    plugin.on_session_event(Session("ses-1", "agent"), event)
    (record,) = told(plugin)

    assert isinstance(record, Happened)
    assert record.attributes == {"llm.model": "m"}
    assert (record.session, record.agent, record.trace) == ("ses-1", "agent", "t")
    assert len(event.attributes) == 3
