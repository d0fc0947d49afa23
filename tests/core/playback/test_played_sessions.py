"""Which sessions played exchanges belong to, and when these end."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest

from perimeter.model import Outcome
from perimeter.playback import Head, Recorded, RecordedSession
from perimeter.settings import SessionSettings
from playing import BEGAN, chat, play, stream


def turn(number: int, history: list[Any], found: str = "ses-a", **changes: Any) -> Recorded:
    """Return a call that carries a history."""
    body = json.dumps({"model": "gpt-4o", "messages": history}).encode()
    headers = ((b"content-length", b"%d" % len(body)),)
    made = chat(number, at=number * 2.0, body=body, headers=headers)
    recorded = RecordedSession(found, "agent-7", "new" if number == 1 else "prefix")
    return attrs.evolve(made, **{"session": recorded, **changes})


def conversation(turns: int) -> list[list[Any]]:
    """Return the growing history of one conversation."""
    history: list[Any] = [{"role": "system", "content": "You are terse."}]
    grown = []
    for number in range(1, turns + 1):
        history = [*history, {"role": "user", "content": f"question {number}"}]
        grown.append(history)
        history = [*history, {"role": "assistant", "content": f"answer {number}"}]
    return grown


async def test_recorded_sessions_win():
    """The recorded ids count, with agent, evidence and score, whatever the content suggests."""
    histories = conversation(2)
    fuzzy = RecordedSession("elsewhere", "agent-9", "fuzzy", 0.75)
    witness = await play(turn(1, histories[0]), turn(2, histories[1], session=fuzzy))

    assert witness.ended["ex-1"].session.id == "ses-a"
    session = witness.ended["ex-2"].session
    assert (session.id, session.agent_id) == ("elsewhere", "agent-9")
    start = [event for event in witness.events if event.name == "llm.call.start"][1]
    assert start.session_id == "elsewhere"
    assert start.agent_id == "agent-9"
    assert start.attributes["session.match"] == "fuzzy"
    assert start.attributes["session.score"] == 0.75
    assert [event.name for event in witness.events].count("session.start") == 2


async def test_what_is_new_is_still_found():
    """Within the recorded session the history tells which messages are new."""
    witness = await play(*[turn(n, history) for n, history in enumerate(conversation(3), 1)])

    starts = [event for event in witness.events if event.name == "llm.call.start"]
    new = [
        [message.text for message in event.attributes["llm.request.messages"]] for event in starts
    ]
    assert new[1:] == [["question 2"], ["question 3"]]
    assert [event.attributes["session.match"] for event in starts] == ["new", "prefix", "prefix"]
    assert {event.session_id for event in witness.events} == {"ses-a"}
    assert len({event.trace_id for event in witness.events}) == 1


def linked(number: int, after: str = "", status: int = 200) -> Recorded:
    """Return a call of the Responses API that refers to the one before it."""
    asked: dict[str, Any] = {"model": "gpt-4o", "input": "yes"}
    if after:
        asked["previous_response_id"] = after
    body = json.dumps(asked).encode()
    part = {"type": "output_text", "text": f"answer {number}", "annotations": []}
    said = {"type": "message", "role": "assistant", "content": [part]}
    reply: dict[str, Any] = {"id": f"resp_{number}", "object": "response", "model": "m"}
    reply |= {"output": [said]} if status == 200 else {"error": {"message": "no"}}
    return chat(
        number,
        at=number * 2.0,
        target="/v1/responses",
        headers=((b"content-length", b"%d" % len(body)),),
        body=body,
        head=Head(0.5, status, ((b"content-type", b"application/json"),)),
        chunks=[(0.75, json.dumps(reply).encode())],
        session=RecordedSession("ses-a", "agent-7", "link" if after else "new"),
    )


async def test_links_are_followed():
    """A call that refers to another one brings only news, and its repetition is one."""
    witness = await play(linked(1), linked(2, "resp_1", 500), linked(3, "resp_1"))

    starts = [event.attributes for event in witness.events if event.name == "llm.call.start"]
    new = [[message.text for message in each.get("llm.request.messages", [])] for each in starts]
    assert new[:2] == [["yes"], ["yes"]]
    assert [each.get("call.retry_of") for each in starts] == [None, None, "ex-2"]
    assert {event.session_id for event in witness.events} == {"ses-a"}


async def test_a_session_is_kept_where_the_request_can_not_be_read():
    """A body that was not recorded whole does not cost the call its session."""
    broken = chat(2, at=3.0, body=b"{", truncated=True, session=RecordedSession("ses-1"))
    witness = await play(chat(1), broken)

    assert witness.ended["ex-2"].session.id == "ses-1"
    assert [event.name for event in witness.events].count("session.start") == 1


async def test_resolved_anew():
    """With `resolve` the conversation is found by its evidence, under an id of its own."""
    recordings = [turn(n, history, f"wrong-{n}") for n, history in enumerate(conversation(3), 1)]
    witness = await play(*recordings, resolve=True)

    ids = {exchange.session.id for exchange in witness.ended.values()}
    assert len(ids) == 1
    assert not ids & {"wrong-1", "wrong-2", "wrong-3"}
    starts = [event for event in witness.events if event.name == "llm.call.start"]
    assert [event.attributes["session.match"] for event in starts] == [
        "new",
        "fingerprint",
        "fingerprint",
    ]


async def test_an_exchange_without_session_is_placed():
    """Where the recording has no session, a call is placed by its evidence among the others."""
    histories = conversation(2)
    witness = await play(turn(1, histories[0]), turn(2, histories[1], session=None))

    assert witness.ended["ex-2"].session.id == "ses-a"


async def test_ids_that_clients_send_are_no_hindrance():
    """A call whose client names its session is in that session, as it was."""
    named = ((b"x-cylestio-conversation-id", b"mine"), *chat().headers)
    recorded = chat(headers=named, session=RecordedSession("mine", "agent-1", "header"))
    witness = await play(recorded, attrs.evolve(chat(2, at=2.0), headers=named, session=None))

    assert {exchange.session.id for exchange in witness.ended.values()} == {"mine"}
    assert witness.ended["ex-1"].original.header("x-cylestio-conversation-id") == "mine"


async def test_sessions_without_matching():
    """Where the configuration matches nothing, the recorded session is the call's all the same."""
    witness = await play(chat(), settings={"session": SessionSettings(enabled=False)})

    assert witness.ended["ex-1"].session.id == "ses-1"


@pytest.mark.parametrize("gap", [1799.0, 1802.5])
async def test_sessions_end_in_recorded_time(gap):
    """A session that was quiet for long ends on the way, within a second, as in a proxy."""
    witness = await play(chat(1), chat(2, at=gap + 0.8))

    ends = [event for event in witness.events if event.name == "session.end"]
    first = next(event for event in ends if event.session_id == "ses-1")
    if gap < 1800:
        assert first.attributes["session.end_reason"] == "shutdown"
        return
    assert first.attributes["session.end_reason"] == "idle"
    assert 1800.8 <= first.timestamp - BEGAN <= 1802.0
    assert first.attributes["session.duration_ms"] == pytest.approx(749.0)


async def test_years_between_exchanges_take_no_time():
    """Long gaps are jumped over once all sessions have ended."""
    witness = await play(chat(1), chat(2, at=3 * 365 * 86_400.0))

    assert len(witness.ended) == 2


async def test_tools_keep_their_times():
    """A tool's result refers to the call that asked for it, with the time that it took."""
    asked = {"id": "call_abc123", "type": "function"}
    asked["function"] = {"name": "add", "arguments": '{"a":1}'}
    message = {"role": "assistant", "content": None, "tool_calls": [asked]}
    reply = {"id": "x", "model": "gpt-4o", "choices": [{"index": 0, "message": message}]}
    data = json.dumps(reply).encode()
    head = Head(0.5, 200, ((b"content-type", b"application/json"),))
    history: list[Any] = [{"role": "user", "content": "sum"}]
    after = [*history, message, {"role": "tool", "tool_call_id": "call_abc123", "content": "1"}]
    first = turn(1, history, head=head, chunks=[(0.75, data)], ended=1.0)
    witness = await play(first, turn(2, after))

    [result] = [event for event in witness.events if event.name == "tool.result"]
    assert result.attributes["tool.name"] == "add"
    assert result.attributes["tool.execution_time_ms"] == pytest.approx(1000.0)


async def test_agents_of_workflows():
    """The same id under two workflows is two sessions."""
    session = RecordedSession("same", "agent-7", "header")
    witness = await play(
        chat(1, workflow_id="a", session=session),
        chat(2, at=2.0, workflow_id="b", session=session),
    )

    assert [event.name for event in witness.events].count("session.start") == 2
    assert {exchange.session.workflow_id for exchange in witness.ended.values()} == {"a", "b"}


async def test_streams_that_end_later_are_no_reason_to_end_a_session():
    """A session with an open call does not end, however long that takes."""
    chunks = list(stream().chunks)
    long = stream(1, chunks=[*chunks[:-1], (3999.0, chunks[-1][1])], ended=4000.0)
    witness = await play(long, chat(2, at=3900.0))

    end = next(
        event
        for event in witness.events
        if event.name == "session.end" and event.session_id == "ses-1"
    )
    assert end.attributes["session.end_reason"] == "shutdown"
    assert witness.ended["ex-1"].outcome is Outcome.COMPLETED
