"""
Scenarios in which conversations are easily mixed up, lost or torn apart; a test for each of them.

The numbers are those of a list of weaknesses that proxies of this kind have. What is asserted is
what the design of sessions says: the same id for all calls of one conversation, another one for
any other, and events that tell each message and each result of a tool once.
"""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from conversation_turns import Said, User
from driver import DIALECTS, Playing, Proxy, Talk, Time, asks, client, fresh, sizes
from perimeter.sessions.memory import NAMES, Limits
from perimeter.sessions.records import ASKED, INDEXED, WORDS
from perimeter.sessions.stores import open_store
from perimeter.settings import SessionSettings


every_dialect = pytest.mark.parametrize("dialect", DIALECTS)
with_ids = pytest.mark.parametrize("dialect", DIALECTS[:3])  # Gemini's calls have none

TEMPLATE = "Review the following contract. List every clause that limits liability. " * 3


def texts(playing: Playing) -> list[str]:
    """Return the words of the messages that were new to a call, but for system prompts."""
    return [message.text for message in playing.news if message.role != "system"]


def names(playing: Playing) -> list[str]:
    """Return the names of a call's events."""
    return [event.name for event in playing.events]


@every_dialect
def test_s01_common_beginnings(dialect: str) -> None:
    """Of 20 reviews that begin with the same 200 characters, each answer stays with its own."""
    proxy = Proxy()
    talks = [Talk(proxy, client(dialect)) for _ in range(20)]
    running = [
        talk.open(User(f"{TEMPLATE}\nContract no. {number}")) for number, talk in enumerate(talks)
    ]
    for number in reversed(range(20)):  # the last one is answered first
        said = Said("No such clause was found.", id=fresh("resp_"))
        running[number].answer(said)
        talks[number].turns.append(said)
    for talk in talks[7:] + talks[:7]:
        talk.ask("Are you sure?")
    assert len({talk.session for talk in talks}) == 20


@every_dialect
def test_s02_identical_starts(dialect: str) -> None:
    """Identical starts at the same time, continued in any order, are as many conversations."""
    for order in itertools.permutations(range(4)):
        proxy = Proxy()
        talks = [Talk(proxy, client(dialect)) for _ in range(4)]
        running = [talk.open(User("Solve the riddle.")) for talk in talks]
        for number, (talk, playing) in enumerate(zip(talks, running, strict=True)):
            said = Said(f"My answer is {number}.", id=fresh("resp_"))
            playing.answer(said)
            talk.turns.append(said)
        for number in order:
            talks[number].ask("Why?", f"Because of {number}.")
        for number in reversed(order):
            talks[number].ask("Really?")
        assert len({talk.session for talk in talks}) == 4, order


@with_ids
def test_s03_only_call_ids_differ(dialect: str) -> None:
    """Replies without words, the same call but for its id, tell two conversations apart."""
    for order in itertools.permutations(range(3)):
        proxy = Proxy()
        talks = [Talk(proxy, client(dialect)) for _ in range(3)]
        running = [talk.open(User("What is the weather?")) for talk in talks]
        for talk, playing in zip(talks, running, strict=True):
            said = Said(calls=(asks("weather", '{"city": "Rome"}'),), id=fresh("resp_"))
            playing.answer(said)
            talk.turns.append(said)
        for number in order:
            playing = talks[number].give("Sunny.", reply="It is sunny.")
            assert playing.method == "fingerprint"
        for number in order:
            talks[number].ask("Thank you.")
        assert len({talk.session for talk in talks}) == 3, order


def test_s04_parallel_calls_in_responses() -> None:
    """Two function calls in one response, sent back one after the other, with both outputs."""
    proxy = Proxy()
    talk = Talk(proxy, client("openai.responses", habits={"keep_nulls": True}))
    calls = (asks("weather", '{"city": "Rome"}'), asks("weather", '{"city": "Oslo"}'))
    talk.ask("Where is it warmer?", Said(calls=calls, id=fresh("resp_")))
    second = talk.give("21", "9", reply="In Rome.")
    third = talk.ask("And tomorrow?")
    assert talk.session
    assert [second.method, third.method] == ["fingerprint", "fingerprint"]
    results = [event for event in second.events if event.name == "tool.result"]
    assert [event.attributes["tool.call_id"] for event in results] == [call.id for call in calls]
    assert "tool.result" not in names(third)
    assert texts(third) == ["And tomorrow?"]


@pytest.mark.parametrize("keep", [True, False], ids=["items", "words"])
@pytest.mark.parametrize("dialect", ["openai.responses", "anthropic.messages"])
def test_s05_reasoning_and_words_before_a_call(dialect: str, *, keep: bool) -> None:
    """Reasoning and words that come before a call, sent back or left out, do not matter."""
    habits = {"keep_nulls": keep, "drop_thinking": not keep}
    talk = Talk(Proxy(), client(dialect, habits=habits))
    talk.ask("Find it.", Said("I look.", "Where may it be?", (asks("search"),), fresh("resp_")))
    second = talk.give("Here.", reply=Said("Found.", "That was easy.", id=fresh("resp_")))
    third = talk.ask("Thanks.")
    assert talk.session
    assert [second.method, third.method] == ["fingerprint", "fingerprint"]
    assert len(second.news) == 1
    assert texts(third) == ["Thanks."]


@pytest.mark.parametrize("dialect", ["openai.chat", "anthropic.messages"])
def test_s06_answer_split_into_messages(dialect: str) -> None:
    """A framework that makes two messages of words and call goes on with the same session."""
    talk = Talk(Proxy(), client(dialect, habits={"split": True}))
    talk.ask("Find it.", Said("I look.", calls=(asks("search"),), id=fresh("resp_")))
    second = talk.give("Here.", reply="Found.")
    assert talk.session
    assert second.method == "fingerprint"
    assert names(second) == ["tool.result", "llm.call.start", "llm.call.finish"]
    assert len(second.news) == 1


@every_dialect
def test_s07_retry_of_the_first_turn(dialect: str) -> None:
    """What is sent again after a failure is the same session; after a success it is another one."""
    talk = Talk(Proxy(), client(dialect), system="Be brief.")
    first = talk.open(User("Hello")).fail(503)
    second = talk.open().lose()
    third = talk.open().answer("Hi!")
    assert talk.session
    assert second.event("llm.call.start").attributes["call.retry_of"] == first.exchange.id
    assert third.event("llm.call.start").attributes["call.retry_of"] == second.exchange.id
    assert [first.news, second.news, third.news] == [first.news, [], []]
    assert names(third) == ["llm.call.start", "llm.call.finish"]
    fourth = talk.open()
    fifth = talk.open()  # while the fourth is in flight
    assert len({first.session, fourth.session, fifth.session}) == 3


@every_dialect
def test_s07_retry_that_the_client_announces(dialect: str) -> None:
    """An attempt that an SDK counts is a retry also where the proxy saw no failure."""
    talk = Talk(Proxy(), client(dialect))
    first = talk.open(User("Hello"))
    second = talk.open(headers=[("x-stainless-retry-count", "1")]).answer("Hi!")
    assert talk.session
    assert second.event("llm.call.start").attributes["call.retry_of"] == first.exchange.id


@every_dialect
def test_s08_stranger_with_a_stored_history(dialect: str) -> None:
    """A history that was not relayed here does not go on with whoever else said hello."""
    proxy = Proxy()
    talks = [Talk(proxy, client(dialect)) for _ in range(2)]
    for talk in talks:
        talk.ask("Hello", f"Hello! How may I help you today? {fresh('')}")
        talk.ask("Tell me a joke.")
    stored = [User("Hello"), Said("Good morning, what do you need?", id=fresh("resp_"))]
    stranger = Talk(proxy, client(dialect), turns=[*stored])
    playing = stranger.ask("Tell me a joke.")
    assert playing.method == "new"
    assert stranger.session not in {talk.session for talk in talks}
    stranger.ask("Another one.")
    assert stranger.session


@every_dialect
def test_s09_regenerated_and_edited(dialect: str) -> None:
    """Another answer, or another question in its place, is a branch, with all its events."""
    talk = Talk(Proxy(), client(dialect))
    first = talk.ask("Name a river.", "The Danube, which ends in the Black Sea.")
    talk.ask("How long is it?", "2,850 kilometres.")
    edited = talk.fork(2)
    playing = edited.ask("Where does it begin?", "In the Black Forest.")
    assert playing.session == first.session
    assert texts(playing) == ["Where does it begin?"]
    assert names(playing) == ["llm.call.start", "llm.call.finish"]
    again = edited.fork(3)
    playing = again.step(reply="In Donaueschingen.")
    assert playing.session == first.session
    assert names(playing) == ["llm.call.start", "llm.call.finish"]
    assert texts(playing) == []  # it was told when it was asked first
    for branch in (talk, edited, again):
        playing = branch.ask("Thanks.")
        assert playing.session == first.session
        assert texts(playing) == ["Thanks."]


@every_dialect
def test_s09_regenerated_after_results(dialect: str) -> None:
    """Another answer to the same results of tools does not tell these once more."""
    proxy = Proxy()
    talk = Talk(proxy, client(dialect))
    talk.ask("Look.", Said(calls=(asks("look"), asks("find")), id=fresh("resp_")))
    talk.give("Here.", "There.", reply="It is neither here nor there.")
    again = talk.fork(3)
    playing = again.step(reply="It is both here and there.")
    assert again.session == talk.session
    assert names(playing) == ["llm.call.start", "llm.call.finish"]
    assert len(proxy.named("tool.result")) == 2
    assert {event.attributes["tool.name"] for event in proxy.named("tool.result")} == {
        "look",
        "find",
    }


@every_dialect
def test_s10_sliding_window(dialect: str) -> None:
    """A client that drops the oldest turns stays in its session, and nothing is told twice."""
    proxy = Proxy()
    talk = Talk(proxy, client(dialect), system="You are an agent.")
    for number in range(8):
        call = asks("look", f'{{"n": {number}}}')
        talk.ask(f"Question {number}", Said(f"Let me look at {number}.", "", (call,)))
        talk.give(f"Result {number}", reply=f"This is what I found for number {number}.")
        if len(talk.turns) > 8:
            del talk.turns[:4]
    assert talk.session
    told = Counter(event.attributes["tool.result"] for event in proxy.named("tool.result"))
    assert len(told) == 8
    assert set(told.values()) == {1}
    said = Counter(
        message.text
        for event in proxy.named("llm.call.start")
        for message in event.attributes.get("llm.request.messages", ())
        if message.role == "user" and message.text
    )
    assert said == Counter(f"Question {number}" for number in range(8))


@every_dialect
def test_s10_window_that_begins_like_another(dialect: str) -> None:
    """What is left of a history belongs to who had all of it, not to who once began alike."""
    proxy = Proxy()
    talk, other = Talk(proxy, client(dialect)), Talk(proxy, client(dialect))
    for number in range(4):
        talk.ask("Go on.", f"Of course, I am happy to help you with that! This is part {number}.")
    other.ask("Go on.", "Of course, I am happy to help you with that! This is the beginning.")
    del talk.turns[:2]
    talk.ask("Go on.")
    other.ask("Go on.")
    assert talk.session != other.session


@every_dialect
def test_s11_compaction(dialect: str) -> None:
    """A history of which a summary and the last turns are left goes on with its session."""
    talk = Talk(Proxy(), client(dialect), system="You are an agent.")
    for number in range(6):
        talk.ask(f"Do step {number} of the plan.")
    talk.turns[:8] = [User("Summary of what happened: steps 0 to 3 are done.")]
    playing = talk.ask("Do step 6 of the plan.")
    assert talk.session
    assert texts(playing) == ["Do step 6 of the plan."]
    talk.ask("Do step 7 of the plan.")
    assert talk.session


def test_s11_nothing_left_but_a_summary() -> None:
    """Where nothing of the history is left, the client's own id of the execution is the link."""
    proxy = Proxy()
    run = [("x-claude-code-session-id", "8d1f7a52-run")]
    talk = Talk(proxy, client("anthropic.messages"), headers=run)
    talk.ask("Do the first step.")
    other = Talk(proxy, client("anthropic.messages"), headers=run)
    other.ask("Summary: the first step is done. Do the second one.")
    assert talk.session != other.session
    starts = [event.attributes["run.id"] for event in proxy.named("session.start")]
    assert starts == ["8d1f7a52-run", "8d1f7a52-run"]


@every_dialect
def test_s12_volatile_system_prompt(dialect: str) -> None:
    """The time in a system prompt does not matter; a difference far behind does."""
    proxy = Proxy()
    talk = Talk(proxy, client(dialect))
    for minute in range(3):
        talk.system = f"Now: 2026-03-01T12:0{minute}:17Z. {TEMPLATE} You are a lawyer."
        talk.ask(f"Question {minute}")
    assert talk.session
    other = Talk(proxy, client(dialect), f"Now: 2026-03-01T12:00:17Z. {TEMPLATE} You are a poet.")
    other.ask("Question 0")
    assert other.session != talk.session
    agents = [event.agent_id for event in proxy.named("llm.call.start")]
    assert len(set(agents[:3])) == 1
    assert agents[3] not in agents[:3]


@every_dialect
def test_s13_tenants(dialect: str) -> None:
    """The same words under other credentials or workflows are other conversations."""
    proxy = Proxy()
    talks = [
        Talk(proxy, client(dialect, credential=credential, workflow=workflow))
        for credential, workflow in [("k1", ""), ("k2", ""), ("k1", "a"), ("k1", "b")]
    ]
    for question in ("Ping", "Ping again", "And again"):
        for talk in talks:
            talk.ask(question, "Pong, as always, whoever asks.")
    assert len({talk.session for talk in talks}) == 4
    assert [event.attributes["session.match"] for event in proxy.named("session.start")] == [
        "new"
    ] * 4
    stolen = Talk(proxy, client(dialect, credential="k3"), turns=[*talks[0].turns])
    stolen.ask("Who am I?")
    assert stolen.session not in {talk.session for talk in talks}


def test_s13_named_sessions_of_two_workflows() -> None:
    """An id that two workflows use is shown as it is, and stands for two sessions."""
    proxy = Proxy()
    for workflow in ("a", "b"):
        named = [("x-cylestio-conversation-id", "chat-1")]
        talk = Talk(proxy, client(workflow=workflow), headers=named)
        assert talk.ask("Hello").found.is_new
        assert talk.ask("Bye").session == "chat-1"
    assert len({event.trace_id for event in proxy.events}) == 2
    assert proxy.store.active == 2


def test_s13_conversation_that_moves_to_another_provider() -> None:
    """A history goes on in its session whichever API it is sent to."""
    proxy = Proxy()
    talk = Talk(proxy, client("openai.chat"), system="Be brief.")
    for dialect in (*DIALECTS, *reversed(DIALECTS)):
        talk.client = client(dialect)
        playing = talk.ask(f"Question to {dialect}")
        assert texts(playing) == [f"Question to {dialect}"]
    assert talk.session


@every_dialect
def test_s14_results_of_tools(dialect: str) -> None:
    """Where only the tools' results differ, each conversation goes on from its own."""
    for order in ((0, 1, 2), (2, 0, 1), (1, 2, 0)):
        proxy = Proxy()
        talks = [Talk(proxy, client(dialect)) for _ in range(3)]
        for talk in talks:  # nothing at all tells them apart until here
            talk.ask("Look.", Said(calls=(asks("look", "{}", "call_1"),), id=fresh("resp_")))
        for talk in talks:
            talk.sessions.clear()
        for number, talk in enumerate(talks):
            talk.give(f"Result {number}", reply="Done.")
        for number in order:
            talks[number].ask("Once more.", "Done.")
        assert len({talk.session for talk in talks}) == 3


IMAGE = "iVBORw0KGgo" + 40 * "A"


def image_body(dialect: str, data: str, *further: str) -> dict[str, Any]:
    """Return a request about an image, with what was said since."""
    say = [
        ("assistant" if number % 2 == 0 else "user", text) for number, text in enumerate(further)
    ]
    words = {"text": "Describe this."}
    later = [{"role": role, "content": text} for role, text in say]
    url = f"data:image/png;base64,{data}"
    match dialect:
        case "openai.chat":
            parts = [{"type": "text", **words}, {"type": "image_url", "image_url": {"url": url}}]
            return {"messages": [{"role": "user", "content": parts}, *later]}
        case "openai.responses":
            parts = [{"type": "input_text", **words}, {"type": "input_image", "image_url": url}]
            return {"input": [{"role": "user", "content": parts}, *later]}
        case "anthropic.messages":
            source = {"type": "base64", "media_type": "image/png", "data": data}
            parts = [{"type": "image", "source": source}, {"type": "text", **words}]
            return {"messages": [{"role": "user", "content": parts}, *later]}
    inline = {"inlineData": {"mimeType": "image/png", "data": data}}
    turns = [
        {"role": "model" if role == "assistant" else role, "parts": [{"text": text}]}
        for role, text in say
    ]
    return {"contents": [{"role": "user", "parts": [words, inline]}, *turns]}


@every_dialect
def test_s15_images(dialect: str) -> None:
    """The same question about two images, and the same answer, are two conversations."""
    proxy, who = Proxy(), client(dialect)
    first = [proxy.open(who, image_body(dialect, IMAGE + end)) for end in "ABC"]
    for playing in first:
        playing.answer("A cat.")
    for end, before in zip("BAC", (first[1], first[0], first[2]), strict=True):
        body = image_body(dialect, IMAGE + end, "A cat.", "Are you sure?")
        playing = proxy.open(who, body).answer("Yes.")
        assert playing.session == before.session
        assert texts(playing) == ["Are you sure?"]
    assert len({playing.session for playing in first}) == 3


@every_dialect
def test_s16_after_a_pause(dialect: str) -> None:
    """Who comes back after the session's end resumes it, and the history is not told again."""
    proxy = Proxy()
    talk = Talk(proxy, client(dialect))
    talk.ask("Look.", Said(calls=(asks("look"),), id=fresh("resp_")))
    talk.give("Here.", reply="I see.")
    [ended] = proxy.later(31 * 60)
    assert ended.reason == "idle"
    playing = talk.ask("I am back.")
    assert talk.session
    assert playing.found.resumed
    assert names(playing) == ["session.start", "llm.call.start", "llm.call.finish"]
    assert playing.event("session.start").attributes["session.resumed"]
    assert texts(playing) == ["I am back."]


@every_dialect
def test_s16_after_it_was_forgotten(dialect: str) -> None:
    """Of a history that is not known any more, old results of tools are not told again."""
    proxy = Proxy()
    talk = Talk(proxy, client(dialect))
    talk.ask("Look.", Said(calls=(asks("look"),), id=fresh("resp_")))
    talk.give("Here.", reply="I see.")
    proxy.later(61 * 60)
    playing = talk.ask("I am back.")
    assert playing.method == "new"
    assert names(playing) == ["session.start", "llm.call.start", "llm.call.finish"]
    assert len(proxy.named("tool.result")) == 1


def test_s16_long_call() -> None:
    """A session is not over, and not forgotten, while one of its calls runs."""
    proxy = Proxy()
    talk = Talk(proxy)
    running = talk.open(User("Think about it for hours."))
    for _ in range(6):
        assert not proxy.later(29 * 60)
    said = Said("This is the result of long thinking.")
    running.answer(said)
    talk.turns.append(said)
    assert not proxy.later(29 * 60)
    talk.ask("Thanks.")
    assert talk.session
    assert len(proxy.later(31 * 60)) == 1


def test_s16_named_session() -> None:
    """A session that its client names goes on under that name, however long it was away."""
    proxy = Proxy()
    talk = Talk(proxy, headers=[("x-cylestio-session-id", "chat-1")])
    for seconds in (0, 31 * 60, 24 * 3600):
        proxy.later(seconds)
        talk.ask(f"After {seconds} seconds")
    assert talk.session == "chat-1"
    starts = [event.attributes.get("session.resumed") for event in proxy.named("session.start")]
    assert starts == [None, True, None]
    assert len({event.trace_id for event in proxy.events}) == 1


def test_s16_eviction() -> None:
    """Under load the conversation that was quiet for longest goes, and says so; others stay."""
    proxy = Proxy(Limits(max_sessions=100))
    quiet, lively = Talk(proxy), Talk(proxy)
    quiet.ask("Hello from the quiet one")
    lively.ask("Hello from the lively one")
    for number in range(300):
        Talk(proxy).ask(f"Somebody else, no. {number}")
        if number % 50 == 0:
            lively.ask(f"Still here at {number}")
    assert lively.session
    assert proxy.store.active == 100
    ends = proxy.named("session.end")
    assert ends[0].session_id == quiet.session
    assert {event.attributes["session.end_reason"] for event in ends} == {"evicted"}
    assert len(ends) == 202


def steps_of(action: Any) -> int:
    """Return how many calls of functions something takes."""
    count = 0

    def note(frame: FrameType, what: str, argument: Any) -> None:
        nonlocal count
        count += what in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        action()
    finally:
        sys.setprofile(before)
    return count


def test_s17_cost() -> None:
    """What a call, a sweep and an eviction cost does not grow with the number of sessions."""
    costs = []
    for sessions in (100, 3000):
        proxy = Proxy(Limits(max_sessions=sessions))
        for number in range(sessions):
            Talk(proxy).ask(f"Question {number}", "The answer is the same for everybody.")
        talk = Talk(proxy)
        costs.append(
            (
                steps_of(lambda talk=talk: talk.ask("A new one", "Yes.")),  # with an eviction
                steps_of(lambda talk=talk: talk.ask("It goes on", "No.")),
                steps_of(proxy.store.sweep),
            )
        )
    for small, large in zip(*costs, strict=True):
        assert large <= small + 20, costs


def test_s18_growth() -> None:
    """What is kept of a conversation has a bound, however long it is."""
    proxy = Proxy()
    who = client("openai.responses")
    talk = Talk(proxy, who)
    for number in range(3 * WORDS):
        call = asks("look", f'{{"n": {number}}}')
        talk.ask(f"Question {number}", Said(f"Answer {number}, I guess.", calls=(call,)))
        del talk.turns[:-40]
    assert talk.session
    held = sizes(proxy.store)
    [record] = proxy.store._records.values()  # memory is seen nowhere else
    assert len(record.words) <= WORDS
    assert len(record.turns) <= INDEXED
    assert len(record.asked) <= ASKED
    assert len(record.names) <= NAMES + 1
    assert max(held.values()) <= NAMES + 1, held


@every_dialect
def test_s19_several_workers(dialect: str) -> None:
    """A conversation goes on in its session whichever worker a call of it comes to."""
    first = Proxy(name="1-")
    second = Proxy(store=first.store, clock=first.clock, name="2-")
    workers = (first, second)
    talks = [Talk(first, client(dialect)) for _ in range(3)]
    for turn in range(4):
        for number, talk in enumerate(talks):
            talk.proxy = workers[(turn + number) % 2]
            playing = talk.ask("The same question", f"Answer {turn} to client {number}.")
            assert texts(playing) == ["The same question"]
    failed = talks[0].open(User("And now?")).fail()
    talks[0].proxy = first if talks[0].proxy is second else second
    again = talks[0].open().answer("So.")
    assert again.found.retry_of == failed.exchange.id
    assert len({talk.session for talk in talks}) == 3
    traces = {(event.session_id, event.trace_id) for each in workers for event in each.events}
    assert len(traces) == 3
    assert len(first.later(3600)) == 3
    assert not second.later(0)


@every_dialect
async def test_s19_restart(dialect: str, tmp_path: Path) -> None:
    """After a restart a conversation goes on in its session, and nothing of it is told again."""
    clock = Time()
    chosen = SessionSettings(store="sqlite", store_path=str(tmp_path / "sessions.sqlite3"))
    sessions: list[set[str]] = []
    talks = [Talk(Proxy(), client(dialect), "You help.") for _ in range(3)]
    for run in range(3):
        store = open_store(chosen, {}, clock.time, tmp_path)
        proxy = Proxy(store=store, clock=clock, name=f"{run}-")
        for number, talk in enumerate(talks):
            talk.proxy = proxy
            talk.turns.append(User("The same question"))
            playing = await proxy.open_later(talk.client, talk.body())
            said = Said(f"Answer {run} to client {number}.", id=fresh("resp_"))
            playing.answer(said)
            talk.turns.append(said)
            talk.sessions.append(playing.session)
            assert texts(playing) == ["The same question"]
            assert playing.found.is_new == (run == 0)
            assert playing.found.resumed == (run > 0)
        await proxy.tracker.stop()
        clock.now += 5
        sessions.append({talk.session for talk in talks})
    assert sessions[0] == sessions[1] == sessions[2]
    assert len(sessions[0]) == 3


def test_s20_overlapping_calls() -> None:
    """Two calls of one session at the same time each have their own span, messages and results."""
    proxy = Proxy()
    headers = [("x-cylestio-session-id", "shared")]
    talks = [Talk(proxy, system=f"Agent {number}", headers=headers) for number in range(3)]
    running = [talk.open(User(f"Question of agent {number}")) for number, talk in enumerate(talks)]
    for number in (1, 2, 0):
        said = Said(calls=(asks("look"), asks("find")), id=fresh("resp_"))
        running[number].answer(said)
        talks[number].turns.append(said)
    for number in (2, 0, 1):
        playing = talks[number].give(f"1 of {number}", f"2 of {number}", reply="Done.")
        results = [event for event in playing.events if event.name == "tool.result"]
        asked = [event for event in running[number].events if event.name == "tool.execution"]
        assert [event.span_id for event in results] == [event.span_id for event in asked]
        assert len({event.span_id for event in results}) == 2
        parent = running[number].event("llm.call.start").span_id
        assert {event.attributes["parent_span_id"] for event in (*results, *asked)} == {parent}
    for number, playing in enumerate(running):
        assert texts(playing) == [f"Question of agent {number}"]
        spans = [playing.event(f"llm.call.{what}").span_id for what in ("start", "finish")]
        assert spans[0] == spans[1]
    assert len({playing.event("llm.call.start").span_id for playing in running}) == 3
    assert len(proxy.named("session.start")) == 1
    told = len(proxy.events)
    [ended] = proxy.later(3600)
    assert ended.events == told


@pytest.mark.parametrize("sent", ["x" * 10_000, "a\tb", "a\u009fb", "a\u202eb", " "])
def test_s21_ids_that_are_none(sent: str) -> None:
    """An id that is too long or can't be shown is left out, and the call is found otherwise."""
    proxy = Proxy()
    talk = Talk(proxy, headers=[("x-cylestio-conversation-id", sent)])
    first, second = talk.ask("Hello"), talk.ask("And now?")
    assert first.session == second.session != sent
    assert [first.method, second.method] == ["new", "fingerprint"]
    start = first.event("llm.call.start").attributes
    if sent.strip():
        [problem] = start["label.problems"]
        assert problem.startswith("x-cylestio-conversation-id: ")
        assert sent not in problem
    assert all(sent not in repr(event) for event in proxy.events) or not sent.strip()


@pytest.mark.parametrize("sent", ["x" * 256, "../../etc/passwd", "a'; DROP TABLE x", "Größe 日本"])
def test_s21_ids_that_are_odd(sent: str) -> None:
    """An id that can be shown is shown as it was sent."""
    proxy = Proxy()
    talk = Talk(proxy, headers=[("x-cylestio-conversation-id", sent)])
    playing = talk.ask("Hello")
    assert playing.session == sent
    assert "label.problems" not in playing.event("llm.call.start").attributes


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_s22_previous_response(*, stream: bool) -> None:
    """A request that names the response that it follows goes on with that one's session."""
    proxy = Proxy()
    who = client("openai.responses", habits={"stream": stream})
    talks = [Talk(proxy, who) for _ in range(3)]
    for talk in talks:
        talk.ask("Hello", "Hi!")
    for talk in talks[1:] + talks[:1]:
        said = talk.turns[-1]
        assert isinstance(said, Said)
        talk.turns.clear()
        playing = talk.open(User("And now?"))
        assert playing.method == "new"  # without the link it can't be told
        talk.sessions.pop()
        playing = talk.send(previous_response_id=said.id).answer("Now this.")
        assert playing.method == "link"
        assert texts(playing) == ["And now?"]
    assert len({talk.session for talk in talks}) == 3


@pytest.mark.parametrize("field", ["previous_response_id", "conversation", "conversation object"])
def test_s22_link_to_what_is_not_known(field: str) -> None:
    """What the first call seen refers to is a link for the next ones too."""
    proxy = Proxy()
    link = {field: "resp_before_the_restart"}
    if field == "conversation object":
        link = {"conversation": {"id": "conv_1"}}  # type: ignore[dict-item]
    talk = Talk(proxy, client("openai.responses"), turns=[User("Go on.")])
    first = talk.send(**link).answer("Yes.")
    second = talk.send(**link).answer("Once more.")
    assert [first.method, second.method] == ["new", "link"]
    assert talk.session
    other = {**link, next(iter(link)): "another"}
    assert talk.send(**other).session != first.session


def test_s22_response_of_a_failed_stream() -> None:
    """A stream that broke off had an id; who goes on from it is in the same session."""
    proxy = Proxy()
    talk = Talk(proxy, client("openai.responses", habits={"stream": True}))
    said = Said("A long answer that is never heard to its end.", id=fresh("resp_"))
    first = talk.open(User("Tell me.")).answer(said, until=600)
    assert names(first)[-1] == "llm.call.error"
    talk.turns[:] = [User("Go on.")]
    assert talk.send(previous_response_id=said.id).method == "link"
    assert talk.session


def test_s23_messages_that_are_none() -> None:
    """A body with things among its messages that are none is followed like any other."""
    proxy = Proxy()
    odd = ["hello", None, 5, [], {"role": "user", "content": "Hello"}]
    first = proxy.open(client(), {"messages": odd}).answer("Hi, whoever you are, and all of you!")
    assert names(first) == ["session.start", "llm.call.start", "llm.call.finish"]
    answer = {"role": "assistant", "content": "Hi, whoever you are, and all of you!"}
    last = {"role": "user", "content": "Bye"}
    second = proxy.open(client(), {"messages": [*odd, answer, last]}).answer("Bye!")
    assert second.session == first.session
    assert texts(second) == ["Bye"]


def test_s24_prefill() -> None:
    """An answer that the client begins is none that another session gave."""
    proxy = Proxy()
    who = client("anthropic.messages")
    plain = [Talk(proxy, who) for _ in range(2)]
    plain[0].open(User("List three colours."))
    plain[1].ask("List three colours.", "Red, green, blue.")
    begun = {"role": "assistant", "content": "Here is the JSON: {"}
    question = {"role": "user", "content": "List three colours."}
    prefilled = proxy.open(who, {"messages": [question, begun]}).answer('"a": "red"}')
    assert prefilled.method == "new"
    whole = {"role": "assistant", "content": 'Here is the JSON: {"a": "red"}'}
    further = {"role": "user", "content": "More."}
    second = proxy.open(who, {"messages": [question, whole, further]}).answer("No.")
    assert second.session == prefilled.session
    assert texts(second) == ["More."]
    plain[1].ask("More.")
    assert len({plain[0].session, plain[1].session, prefilled.session}) == 3


def test_s25_side_calls() -> None:
    """A title, a summary or a sub-agent is a session of its own in the same execution."""
    proxy = Proxy()
    run = [("x-claude-code-session-id", "run-1")]
    who = client("anthropic.messages")
    main = Talk(proxy, who, "You are a coding agent.", headers=run)
    title = Talk(proxy, who, "Summarise in five words.", headers=run)
    helper = Talk(proxy, who, "You are a searcher.", headers=run)
    stranger = Talk(proxy, who, "You are a coding agent.", headers=[(run[0][0], "run-2")])
    main.ask("Fix the bug.", "I ask a helper to search for it first.")
    title.ask("Fix the bug.", "Fixing the bug")
    helper.ask("Search for the bug.")
    stranger.ask("Fix the bug.", "I ask a helper to search for it first.")
    main.ask("Go on.")  # what the stranger was answered is the same, and newer
    stranger.ask("Go on.")
    helper.ask("Search further.")
    sessions = {main.session, title.session, helper.session, stranger.session}
    assert len(sessions) == 4
    runs = {event.session_id: event.attributes["run.id"] for event in proxy.named("session.start")}
    assert runs == {
        main.session: "run-1",
        title.session: "run-1",
        helper.session: "run-1",
        stranger.session: "run-2",
    }
    assert len({event.agent_id for event in proxy.events}) == 3
