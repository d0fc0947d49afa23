"""Whatever clients do, in whatever order: what is always true of sessions."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings, target
from hypothesis import strategies as st

from conversation_turns import Said, User
from driver import TABLE, Playing, Proxy, Talk, client, sizes
from lives import Conversations
from perimeter.sessions.memory import Limits


TestConversations = Conversations.TestCase
TestConversations.settings = settings(
    max_examples=150, stateful_step_count=40, suppress_health_check=[HealthCheck.too_slow]
)


# -- what is kept


operations = st.tuples(
    st.sampled_from(["open", "go on", "answer", "fail", "named", "linked", "reset"]),
    st.integers(0, 9),
    st.sampled_from([0.0, 1.0, 20.0, 70.0]),
)


@given(most=st.integers(1, 5), done=st.lists(operations, max_size=60))
def test_nothing_is_kept_for_ever(most: int, done: list[tuple[str, int, float]]) -> None:
    """However sessions come and go, there are never too many, and nothing of them stays."""
    proxy = Proxy(Limits(max_sessions=most, ttl=60.0, completion_timeout=15.0))
    talks: list[Talk] = []
    running: list[Playing] = []
    for what, number, seconds in done:
        running += _do(proxy, what, number, talks, running)
        proxy.later(seconds)
        held = sizes(proxy.store)
        assert held["MemoryStore._records"] <= most
        assert proxy.store.active <= most
    target(float(len(talks)))
    for playing in running:
        playing.answer("At last.")
    proxy.later(61)
    assert not any(sizes(proxy.store).values()), sizes(proxy.store)
    assert proxy.store.active == 0


def _do(
    proxy: Proxy, what: str, number: int, talks: list[Talk], running: list[Playing]
) -> list[Playing]:
    if what in {"answer", "fail"}:
        if running:
            playing = running.pop(number % len(running))
            playing.answer(
                "Yes, of course, whatever you say."
            ) if what == "answer" else playing.fail()
        return []
    link = {}
    if what == "go on" and talks:
        talk = talks[number % len(talks)]
        talk.turns += [Said("Yes, of course, whatever you say.", id=f"resp_{number}"), User("And?")]
    else:
        headers = [("x-cylestio-session-id", f"chat-{number}")] if what == "named" else []
        text = "Start over!" if what == "reset" else f"Question {number % 3}"
        talk = Talk(proxy, client("openai.responses"), "", [User(text)], headers)
        link = {"previous_response_id": f"resp_{number}"} if what == "linked" else {}
        talks.append(talk)
    return [talk.send(**link)]


# -- what is no conversation


NAMES = (
    "messages", "input", "contents", "role", "content", "parts", "type", "text", "tool_calls", "id",
    "function", "name", "arguments", "system", "instructions", "tool_use_id", "tool_call_id",
    "call_id", "output", "choices", "message", "delta", "usage", "error", "candidates", "prompt",
    "model", "previous_response_id", "conversation", "functionCall", "functionResponse", "args",
    "response", "source", "data", "image_url", "url", "metadata", "user_id", "tools", "stream",
)  # fmt: skip
WORDS = (
    "user", "assistant", "model", "system", "tool", "text", "tool_use", "tool_result", "message",
    "function_call", "function_call_output", "reasoning", "output_text", "image", "error", "",
)  # fmt: skip
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(WORDS)
    | st.text()
    | st.text(st.characters(codec=None))
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(), inner, max_size=6)
    ),
    max_leaves=25,
)
objects = st.dictionaries(st.sampled_from(NAMES), values, max_size=8)
calls = [name for name, dialect in TABLE.items() if dialect.operation]


@given(bodies=st.lists(st.tuples(objects, objects | values), min_size=1, max_size=3))
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_any_json_is_followed(bodies: list[tuple[Any, Any]]) -> None:
    """No request and no reply, if it is JSON at all, keeps a call from having its two events."""
    for dialect in calls:
        proxy, who = Proxy(), client(dialect)
        playings = [proxy.open(who, dump(request)) for request, _ in (*bodies, bodies[0])]
        for playing, (_, reply) in zip(playings, bodies, strict=False):
            playing.relay(dump(reply))
        playings[-1].fail()
        for playing in playings:
            told = [event.name for event in playing.events]
            assert told.count("llm.call.start") == 1
            assert told.count("llm.call.finish") + told.count("llm.call.error") == 1
        proxy.later(3600)
        assert not any(sizes(proxy.store).values())


def dump(value: Any) -> bytes:
    """Write JSON, lone halves of surrogate pairs included."""
    return json.dumps(value).encode()
