"""
What any proxy that follows conversations must get right: plain cases, step by step.

A conversation is a list of messages; a step sends the first so many of them. Where a step's end is
followed by a message of the model, that is what it answers, unless the case says otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from conversation_turns import Results, Said, User
from driver import DIALECTS, Playing, Proxy, Talk, asks, client, fresh
from perimeter.model import Event


every_dialect = pytest.mark.parametrize("dialect", DIALECTS)
with_ids = pytest.mark.parametrize("dialect", DIALECTS[:3])

Json = dict[str, Any]


def user(text: str) -> Json:
    """Return a message of a user, alike in the three APIs that have messages."""
    return {"role": "user", "content": text}


def assistant(text: str) -> Json:
    """Return a message of the model, in the same way."""
    return {"role": "assistant", "content": text}


def names(playing: Playing) -> list[str]:
    """Return the names of a call's events."""
    return [event.name for event in playing.events]


def texts(playing: Playing) -> list[str]:
    """Return the words of the messages that were new to a call, but for system prompts."""
    return [message.text for message in playing.news if message.role != "system"]


class Steps:
    """Sends the beginnings of a list of messages, and relays what is next in it."""

    def __init__(self, proxy: Proxy, dialect: str, messages: Sequence[Json], **body: Any) -> None:
        self._proxy = proxy
        self._client = client(dialect)
        self._messages = list(messages)
        self._body = body
        self._field = "input" if dialect == "openai.responses" else "messages"
        self.sessions: list[str] = []
        self.calls: list[Playing] = []

    def send(self, count: int, answer: int = 1) -> Playing:
        """
        Send the first so many messages.

        Args:
            count: How many.
            answer: So many of the next messages are what the model answers; 0 gives another answer.
        """
        body = {"model": "m", self._field: self._messages[:count], **self._body}
        playing = self._proxy.open(self._client, body)
        self.relay(playing, self._messages[count : count + answer])
        self.sessions.append(playing.session)
        self.calls.append(playing)
        return playing

    def relay(self, playing: Playing, said: Sequence[Json]) -> None:
        """Relay messages of the model, as the API has them in its replies."""
        if not said:
            playing.answer("Something else.")
        elif self._client.dialect == "openai.responses":
            items = [self._item(item) for item in said]
            playing.relay(dump({"id": fresh("resp_"), "model": "m", "output": items}))
        elif self._client.dialect == "anthropic.messages":
            [message] = said
            content = message["content"]
            blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
            reply = {"id": fresh("msg_"), "type": "message", "role": "assistant", "model": "m"}
            playing.relay(dump({**reply, "content": blocks, "stop_reason": "end_turn"}))
        else:
            [message] = said
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            playing.relay(dump({"id": fresh("chatcmpl-"), "model": "m", "choices": [choice]}))

    def _item(self, item: Json) -> Json:
        if isinstance(item.get("content"), str):
            parts = [{"type": "output_text", "text": item["content"], "annotations": []}]
            return {"type": "message", "role": "assistant", "content": parts}
        return {"type": "message", **item} if "role" in item else item


def dump(value: Json) -> bytes:
    """Write JSON."""
    return json.dumps(value).encode()


def function(call_id: str, name: str = "get_weather", arguments: str = "{}") -> Json:
    """Return a tool call of a chat completion."""
    return {
        "id": call_id,
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def chat_call(*calls: Json) -> Json:
    """Return a message of a chat completion that calls tools and says nothing."""
    return {"role": "assistant", "content": None, "tool_calls": list(calls)}


def tool(call_id: str, text: str) -> Json:
    """Return a tool's result."""
    return {"role": "tool", "tool_call_id": call_id, "content": text}


# -- where calls belong


@every_dialect
def test_basic(dialect: str) -> None:
    """A conversation of three calls is one session."""
    proxy = Proxy()
    talk = Talk(proxy, client(dialect))
    calls = [talk.ask(text) for text in ("What is 2+2?", "And 3+3?", "And 4+4?")]
    assert talk.session
    assert [call.found.is_new for call in calls] == [True, False, False]
    assert len(proxy.named("session.start")) == 1


@pytest.mark.parametrize("dialect", ["openai.chat", "openai.responses", "anthropic.messages"])
def test_the_same_conversation_twice(dialect: str) -> None:
    """What is said once more from the beginning is another conversation."""
    proxy = Proxy()
    messages = [user("Hi"), assistant("Hello, what can I do?"), user("Nothing.")]
    sessions = []
    for _ in range(2):
        steps = Steps(proxy, dialect, messages)
        for count, answer in ((1, 1), (2, 0), (3, 0)):
            steps.send(count, answer)
        assert len(set(steps.sessions)) == 1
        sessions.append(steps.sessions[0])
    assert sessions[0] != sessions[1]


@every_dialect
def test_interleaved(dialect: str) -> None:
    """Two conversations whose calls alternate keep their sessions."""
    proxy = Proxy()
    talks = [Talk(proxy, client(dialect), system="You help.") for _ in range(2)]
    for step in range(4):
        for number, talk in enumerate(talks):
            talk.ask(f"Question {step} of {number}", "Yes.")
    assert talks[0].session != talks[1].session


def test_tools_of_chat_completions() -> None:
    """Calls, results, answers and further calls are one session, also where a step ends oddly."""
    proxy = Proxy()
    messages = [
        user("What is the weather in Rome?"),
        chat_call(function("call_x1y2z3w4")),
        tool("call_x1y2z3w4", "21 degrees"),
        assistant("It is warm."),
        user("And in Oslo?"),
        chat_call(function("call_a9b8c7d6")),
        tool("call_a9b8c7d6", "9 degrees"),
    ]
    steps = Steps(proxy, "openai.chat", messages)
    for count in (1, 3, 5, 7):
        steps.send(count)
    assert len(set(steps.sessions)) == 1
    told = [event.attributes["tool.result"] for event in proxy.named("tool.result")]
    assert told == ["21 degrees", "9 degrees"]


@pytest.mark.parametrize("dialect", ["openai.chat", "openai.responses", "anthropic.messages"])
def test_two_messages_of_the_user_in_a_row(dialect: str) -> None:
    """A second message before the model has answered is the same session."""
    steps = Steps(
        Proxy(),
        dialect,
        [user("Hello"), assistant("Hi!"), user("Tell me a joke."), user("A short one.")],
    )
    first = steps.send(1)
    steps.send(3, 0)
    last = steps.send(4, 0)
    assert set(steps.sessions) == {first.session}
    assert texts(last)[-1] == "A short one."


def test_items_of_responses() -> None:
    """A function call, its output and lists of output texts are one session."""
    call = {"type": "function_call", "call_id": "call_q8w7e6", "name": "add", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "call_q8w7e6", "output": "4"}
    answer = {"role": "assistant", "content": [{"type": "output_text", "text": "It is 4."}]}
    proxy = Proxy()
    steps = Steps(proxy, "openai.responses", [user("2+2?"), call, output, answer, user("Sure?")])
    for count in (1, 3, 5):
        steps.send(count)
    assert len(set(steps.sessions)) == 1
    assert [event.attributes["tool.name"] for event in proxy.named("tool.result")] == ["add"]


def test_blocks_of_anthropic() -> None:
    """Blocks of tool use and results are one session."""
    use = {"type": "tool_use", "id": "toolu_01A9b8c7", "name": "add", "input": {"a": 2}}
    result = {"type": "tool_result", "tool_use_id": "toolu_01A9b8c7", "content": "4"}
    proxy = Proxy()
    messages = [
        user("2+2?"),
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [result]},
        {"role": "assistant", "content": [{"type": "text", "text": "It is 4."}]},
        user("Sure?"),
    ]
    steps = Steps(proxy, "anthropic.messages", messages)
    for count in (1, 3, 5):
        steps.send(count)
    assert len(set(steps.sessions)) == 1
    assert [event.attributes["tool.name"] for event in proxy.named("tool.result")] == ["add"]


@every_dialect
def test_long_system_prompt(dialect: str) -> None:
    """Realistic bodies with a long system prompt: the first is new, the others go on."""
    proxy = Proxy()
    system = "You are a patient teacher of mathematics. " * 40
    talk = Talk(proxy, client(dialect, tools=("add", "multiply")), system)
    calls = [talk.ask(text) for text in ("What is 12*12?", "Why?", "And the root of that?")]
    assert talk.session
    assert [call.method for call in calls] == ["new", "fingerprint", "fingerprint"]


GROWING = [
    user("Compare Rome and Oslo."),
    chat_call(function("call_1a2b3c4d"), function("call_5e6f7g8h")),
    tool("call_1a2b3c4d", "21"),
    tool("call_5e6f7g8h", "9"),
    assistant("Rome is warmer."),
    user("By how much?"),
    assistant("By 12 degrees."),
]


def test_every_state_of_a_history() -> None:
    """Seven growing states of one history, some of which end with the model, are one session."""
    proxy = Proxy()
    steps = Steps(proxy, "openai.chat", GROWING)
    for count in range(1, 8):
        steps.send(count, int(count in {1, 4, 6}))
    assert len(set(steps.sessions)) == 1
    assert proxy.store.active == 1
    assert [event.attributes["tool.result"] for event in proxy.named("tool.result")] == ["21", "9"]


def test_every_state_of_a_history_of_responses() -> None:
    """The same with the items of Responses and two calls at once."""
    proxy = Proxy()
    calls = [
        {"type": "function_call", "call_id": call_id, "name": "look", "arguments": "{}"}
        for call_id in ("call_1a2b3c4d", "call_5e6f7g8h")
    ]
    outputs = [
        {"type": "function_call_output", "call_id": call["call_id"], "output": output}
        for call, output in zip(calls, ("21", "9"), strict=True)
    ]
    messages = [user("Compare."), *calls, *outputs, assistant("Rome."), user("By how much?")]
    steps = Steps(proxy, "openai.responses", messages)
    answers = {1: 2, 5: 1}
    for count in range(1, 8):
        steps.send(count, answers.get(count, 0))
    assert len(set(steps.sessions)) == 1
    assert proxy.store.active == 1
    assert [event.attributes["tool.result"] for event in proxy.named("tool.result")] == ["21", "9"]


@with_ids
@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["A first", "B first"])
def test_identical_starts_told_by_call_ids(dialect: str, order: Sequence[int]) -> None:
    """Two identical starts go on with different calls, each in its session, whoever is first."""
    proxy = Proxy()
    talks = [Talk(proxy, client(dialect), "You help.") for _ in range(2)]
    running = [talk.open(User("Look.")) for talk in talks]
    for number in order:
        said = Said(calls=(asks("look"),), id=fresh("resp_"))
        running[number].answer(said)
        talks[number].turns.append(said)
    for number in order:
        talks[number].give("Here.", reply="I see.")
    for number in order:
        talks[number].ask("What?")
    assert talks[0].session != talks[1].session
    assert proxy.store.active == 2


# -- what is told


def results_of(playing: Playing) -> list[Event]:
    """Return the events of tools' results."""
    return [event for event in playing.events if event.name == "tool.result"]


def test_results_are_told_once_with_names() -> None:
    """Of a history of nine messages the results that come last are told, and never again."""
    proxy = Proxy()
    steps = Steps(
        proxy,
        "openai.chat",
        [
            user("5*3?"),
            chat_call(function("call_11aa22bb", "calculator")),
            tool("call_11aa22bb", "15"),
            assistant("15."),
            user("And 7*2 and 8*2?"),
            chat_call(
                function("call_33cc44dd", "calculator"), function("call_55ee66ff", "calculator")
            ),
            tool("call_33cc44dd", "14"),
            tool("call_55ee66ff", "16"),
            assistant("14 and 16."),
            user("Thanks."),
        ],
    )
    calls = [steps.send(count) for count in (1, 3, 5, 8, 10)]
    told = [[event.attributes["tool.result"] for event in results_of(call)] for call in calls]
    assert told == [[], ["15"], [], ["14", "16"], []]
    assert {event.attributes["tool.name"] for event in proxy.named("tool.result")} == {"calculator"}
    assert results_of(steps.send(10, 0)) == []


def test_result_of_a_call_that_nobody_saw() -> None:
    """A result whose call was not relayed has no known tool."""
    playing = Steps(Proxy(), "openai.chat", [user("Hi"), tool("call_zz99yy88", "5")]).send(2)
    [event] = results_of(playing)
    assert event.attributes["tool.name"] == "unknown"
    assert "tool.execution_time_ms" not in event.attributes


def test_start_of_a_session() -> None:
    """The start of a session says who begins it and with what, and leaves out what there is not."""
    proxy = Proxy()
    full = Talk(proxy, client(tools=("add",)), "You help.").ask("Hi")
    bare = Talk(proxy, client()).ask("Hi")
    assert full.event("session.start").attributes == {
        "client.type": "gateway",
        "llm.vendor": "openai",
        "llm.model": "gpt-4o",
        "tools": ["add"],
        "prompt": "You help.",
        "session.match": "new",
    }
    assert bare.event("session.start").attributes.keys() == {
        "client.type",
        "llm.vendor",
        "llm.model",
        "session.match",
    }


# -- what others got wrong


def test_b1_linked_responses_have_all_their_events() -> None:
    """A request with only what is new, behind a link, tells its results and its start."""
    proxy = Proxy()
    talk = Talk(proxy, client("openai.responses"))
    said = Said(calls=(asks("look"), asks("find")), id=fresh("resp_"))
    talk.step(User("One"), Said("Two"), User("Three, so that it is long."), reply=said)
    for _ in range(3):
        talk.turns[:] = [Results(tuple((call, "a result") for call in said.calls))]
        playing = talk.send(previous_response_id=said.id)
        said = Said(calls=(asks("look"), asks("find")), id=fresh("resp_"))
        playing.answer(said)
        assert playing.method == "link"
        assert names(playing) == [
            "tool.result",
            "tool.result",
            "llm.call.start",
            "llm.call.finish",
            "tool.execution",
            "tool.execution",
        ]
        assert [event.attributes["tool.name"] for event in results_of(playing)] == ["look", "find"]
    assert talk.session


def test_b2_input_that_is_a_string() -> None:
    """An input that is a string is one message, however long it is."""
    proxy = Proxy()
    who = client("openai.responses")
    link: Json = {}
    for text in ("A rather long first question, of many characters.", "Short?", "And this one?"):
        playing = proxy.open(who, {"input": text, **link})
        said = Said("Yes.", id=fresh("resp_"))
        playing.answer(said)
        start = playing.event("llm.call.start").attributes
        assert texts(playing) == [text]
        assert start["llm.request.total_messages"] == 1
        link = {"previous_response_id": said.id}
    assert len({event.session_id for event in proxy.events}) == 1


@every_dialect
def test_b3_retries_have_a_start(dialect: str) -> None:
    """Each attempt has a start and an end of its own, and says which one it repeats."""
    proxy = Proxy()
    talk = Talk(proxy, client(dialect))
    talk.ask("Hello")
    calls = [
        talk.open(User("And now?")).fail(529),
        talk.open().fail(500),
        talk.open().answer("So."),
    ]
    assert talk.session
    ends = ["llm.call.error", "llm.call.error", "llm.call.finish"]
    assert [names(call) for call in calls] == [["llm.call.start", end] for end in ends]
    starts = [call.event("llm.call.start").attributes for call in calls]
    ids = [call.exchange.id for call in calls]
    assert [start.get("call.retry_of") for start in starts] == [None, *ids[:2]]
    assert [texts(call) for call in calls] == [["And now?"], [], []]


@every_dialect
def test_b4_shorter_histories_have_all_their_events(dialect: str) -> None:
    """A call whose history was cut back or changed has a start, with what is new in it."""
    proxy = Proxy()
    talk = Talk(proxy, client(dialect))
    for number in range(5):
        talk.ask(f"Question {number}", f"The answer to that is surely {number}.")
    for keep in (8, 6, 4, 2):
        branch = talk.fork(keep)
        playing = branch.ask(f"Another question after {keep}")
        assert playing.session == talk.session
        assert names(playing) == ["llm.call.start", "llm.call.finish"]
        assert texts(playing) == [f"Another question after {keep}"]
    assert len(proxy.named("session.start")) == 1


@every_dialect
def test_b4_changed_answer(dialect: str) -> None:
    """An answer that the client has changed does not take the call's events away."""
    talk = Talk(Proxy(), client(dialect))
    for number in range(4):
        talk.ask(f"Question {number}", f"The answer to that is surely {number}.")
    talk.turns[3] = Said("I would rather have had another answer here.")
    playing = talk.ask("So?")
    assert talk.session
    assert names(playing) == ["llm.call.start", "llm.call.finish"]
    assert texts(playing)[-1] == "So?"


def test_b5_spans() -> None:
    """Each call and each tool has a span of its own, whatever else goes on in its session."""
    proxy = Proxy()
    headers = [("x-cylestio-session-id", "shared")]
    talks = [Talk(proxy, headers=headers) for _ in range(2)]
    running = [talk.open(User(f"Question {number}")) for number, talk in enumerate(talks)]
    for playing, talk in zip(running, talks, strict=True):
        said = Said(calls=(asks("look"), asks("look"), asks("look")), id=fresh("resp_"))
        playing.answer(said)
        talk.turns.append(said)
    for playing, talk in zip(running, talks, strict=True):
        mine = playing.event("llm.call.start").span_id
        assert playing.event("llm.call.finish").span_id == mine
        results = results_of(talk.give("1", "2", "3", reply="Done."))
        executions = [event for event in playing.events if event.name == "tool.execution"]
        spans = [event.span_id for event in executions]
        assert [event.span_id for event in results] == spans
        assert len({mine, *spans}) == 4
    spans = [event.span_id for event in proxy.events if event.name != "session.start"]
    assert len(set(spans)) == 4 + 6


@every_dialect
def test_b5_two_calls_of_one_tool(dialect: str) -> None:
    """Two results of the same tool have the spans of their calls, also where there are no ids."""
    proxy = Proxy()
    talk = Talk(proxy, client(dialect))
    said = Said(calls=(asks("look", "[1]", ""), asks("look", "[2]", "")), id=fresh("resp_"))
    if dialect != "gemini.generate":  # where there are no ids at all
        said = Said(calls=(asks("look"), asks("look")), id=fresh("resp_"))
    asked = [event for event in talk.ask("Look.", said).events if event.name == "tool.execution"]
    results = results_of(talk.give("1", "2", reply="I see."))
    assert [event.span_id for event in results] == [event.span_id for event in asked]
    assert all("tool.execution_time_ms" in event.attributes for event in results)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_b6_events_of_one_span_can_be_told_apart(*, stream: bool) -> None:
    """Of the two events that share a call's span one is its start and the other its end."""
    proxy = Proxy()
    talk = Talk(proxy, client(habits={"stream": stream}))
    talk.ask("Look.", Said("Let me look.", calls=(asks("look"),)))
    talk.give("Here.", reply="I see.")
    talk.open(User("And?")).fail(500)
    told = [(event.span_id, event.name) for event in proxy.events]
    assert len(set(told)) == len(told)
    ends = {"llm.call.finish", "llm.call.error"}
    for start in proxy.named("llm.call.start"):
        there = [name for span, name in told if span == start.span_id]
        there.remove("llm.call.start")
        assert len(ends.intersection(there)) == 1
