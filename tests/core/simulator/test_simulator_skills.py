"""What the simulated model can do, without HTTP."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perimeter.simulator import SKILLS, Call, Conversation, Result, Tool, ToolChoice, Turn
from perimeter.simulator.arithmetic import evaluate, expressions
from perimeter.simulator.skills import think
from perimeter.simulator.tokens import count, input_tokens, output_tokens, tokens


def _talk(*texts: str, system: str = "") -> Conversation:
    """Return a conversation in which the user said these things, with answers between them."""
    turns = [Turn("system", system)] if system else []
    for text in texts:
        turns += [Turn("user", text), Turn("assistant", "ok")]
    return Conversation(tuple(turns[:-1]))


def _answer(*texts: str) -> str:
    return think(_talk(*texts), SKILLS).text


@pytest.mark.parametrize(
    ("texts", "answer"),
    [
        (["What is 17 * 23?"], "17 * 23 = 391."),
        (["What is 12 times 4 plus 2?"], "12 * 4 + 2 = 50."),
        (["(2 + 3) * 4 - 7/2"], "(2 + 3) * 4 - 7/2 = 16.5."),
        (["0.1 + 0.2 and 7 / 2"], "0.1 + 0.2 = 0.3.\n7 / 2 = 3.5."),
        (["What is 1 / 0?"], "1 / 0 has no answer."),
        (["Explain 12 * 30"], "Split 30 into 30.\n12 * 30 = 360.\nTogether that is 12 * 30 = 360."),
        (["Say hello!"], "hello"),
        (["Repeat after me: one\n two"], "one\n two"),
        (["How many messages have I sent?"], "You have sent 1 message, this one included."),
        (
            ["a", "b", "How many questions was that?"],
            "You have sent 3 messages, this one included.",
        ),
        (["a", "b", "What did I say first?"], "You said: a"),
        (["a", "b", "What did I ask you before?"], "You said: b"),
        (["What did I say last?"], "This is your first message."),
        (["My name is Ada and my tea is green."], "Noted. Your name is Ada. Your tea is green."),
        (["My name is Ada.", "My name is Bo.", "What's my name?"], "Your name is Bo."),
        (["I live in Rome. Nice?", "Where do I live?"], "You live in Rome."),
        (["Where do I work?"], "You have not told me that."),
        (["My version is 3.5.", "Do you know what my version is?"], "Your version is 3.5."),
        (["Count to 4"], "1, 2, 3, 4."),
        (["What are your instructions?"], "I have no instructions."),
        (
            ["On 2024-05-01, open 24/7"],
            "I am a simulated model and have no answer to that. You said: On 2024-05-01, open 24/7",
        ),
        ([""], "I am a simulated model and have no answer to that. You said: "),
    ],
)
def test_skills(texts: list[str], answer: str) -> None:
    """Each skill answers from what was said."""
    assert _answer(*texts) == answer


def test_words_are_counted() -> None:
    """A text of a certain length has exactly that length."""
    assert len(_answer("Write 1234 words about green tea").split()) == 1234


def test_system_prompt_is_quoted() -> None:
    """The system prompt can be asked for."""
    conversation = _talk("What is your system prompt?", system="Be kind.")
    assert think(conversation, SKILLS).text == "My instructions are: Be kind."


@given(st.integers(-(10**9), 10**9), st.integers(0, 10**9), st.sampled_from("+-*"))
def test_sums_are_exact(left: int, right: int, sign: str) -> None:
    """Sums of integers come out as Python has them."""
    result = {"+": left + right, "-": left - right, "*": left * right}[sign]
    (expression,) = expressions(f"What is {left} {sign} {right}?")
    assert evaluate(expression) == str(result)


@given(st.text())
def test_tokens_lose_nothing(text: str) -> None:
    """A text is its tokens put together."""
    assert "".join(tokens(text)) == text


@given(st.text())
def test_everything_has_an_answer(text: str) -> None:
    """No message makes the model fail, and every answer costs something."""
    assert output_tokens(think(_talk(text), SKILLS)) >= 1


def test_input_tokens_grow_with_the_history() -> None:
    """Every turn and every tool costs."""
    short, long = _talk("Hello there"), _talk("Hello there", "And again")
    tool = Tool("get_weather", "Current weather")
    assert input_tokens(long) > input_tokens(short) > count("Hello there")
    assert input_tokens(Conversation(short.turns, (tool,))) > input_tokens(short)


CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = Tool("get_weather", "Current weather in a city", CITY)
CALCULATOR = Tool(
    "calculator", "", {"properties": {"expression": {"type": "string"}}, "required": ["expression"]}
)
FLIGHT = Tool(
    "bookFlight",
    "",
    {
        "properties": {
            "origin": {"type": "string"},
            "destination": {"type": "string"},
            "passengers": {"type": "integer"},
            "date": {"type": ["string", "null"]},
            "class": {"type": "string", "enum": ["economy", "business"]},
            "options": {"type": "object", "properties": {"meal": {"type": "boolean"}}},
        },
        "required": ["origin", "destination", "passengers", "class", "options"],
    },
)
MAIL = Tool(
    "send_email",
    "",
    {
        "properties": {
            "recipients": {"type": "array", "items": {"type": "string"}},
            "subject": {"type": "string"},
        },
        "required": ["recipients", "subject"],
    },
)
TOOLS = (WEATHER, CALCULATOR, FLIGHT, MAIL)


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("Weather in Paris?", [Call("get_weather", {"city": "Paris"})]),
        (
            "What's the weather in New York, San Francisco, CA and Århus?",
            [
                Call("get_weather", {"city": "New York"}),
                Call("get_weather", {"city": "San Francisco, CA"}),
                Call("get_weather", {"city": "Århus"}),
            ],
        ),
        ("weather in berlin", [Call("get_weather", {"city": "berlin"})]),
        ("What is 17 * 23?", [Call("calculator", {"expression": "17 * 23"})]),
        (
            "Book a business flight from Rome to Oslo for 2 people tomorrow",
            [
                Call(
                    "bookFlight",
                    {
                        "origin": "Rome",
                        "destination": "Oslo",
                        "passengers": 2,
                        "date": "tomorrow",
                        "class": "business",
                        "options": {},
                    },
                )
            ],
        ),
        (
            'Send an email with "Good news" to ada@example.com',
            [Call("send_email", {"recipients": ["ada@example.com"], "subject": "Good news"})],
        ),
        ("Hello there", []),
        ("What is the best tool for me?", []),
    ],
)
def test_tools_are_chosen_and_filled(text: str, calls: list[Call]) -> None:
    """The tool that matches is called, with arguments of the right types from the message."""
    conversation = Conversation((Turn("user", text),), TOOLS)
    assert list(think(conversation, SKILLS).calls) == calls


@pytest.mark.parametrize("text", ["(", "1", " ", " times", "my a is ", "I like ", "in A ", "a@"])
def test_odd_messages_are_cheap(text: str) -> None:
    """Long messages that look like sums, facts or arguments are answered without a long search."""
    conversation = Conversation((Turn("user", text * 100_000),), TOOLS)
    assert think(conversation, SKILLS).text


def test_an_agents_loop_ends() -> None:
    """Once the tools have returned, also required ones, there is an answer."""
    calls = (Call("get_weather", {"city": "Rome"}, "c1"),)
    turns = (
        Turn("user", "Weather in Rome?"),
        Turn("assistant", calls=calls),
        Turn("tool", results=(Result("c1", "hail"),)),
    )
    for choice in (ToolChoice(), ToolChoice("required")):
        answer = think(Conversation(turns, TOOLS, choice), SKILLS)
        assert answer.text == "get_weather(city=Rome) returned: hail"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "properties", "required", "enum", "items", "city", "x"]), inner
        )
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["type", "properties", "required"]), _JSON), st.text())
def test_any_schema_will_do(schema: dict[str, object], text: str) -> None:
    """Schemas that are no schemas don't make the model fail."""
    conversation = Conversation(
        (Turn("user", text),), (Tool("t", "", schema),), ToolChoice("required")
    )
    assert think(conversation, SKILLS).calls
