"""
What the simulated model can do.

A skill is a function of the conversation that returns an answer, or None when it has none; the
first one that has an answer wins. Tools go before all skills (see `toolbox`).

    after tool results           quotes what every tool returned
    "Repeat after me: X"         X, exactly; also "Echo: X", "Say: X", "Say hello"
    "What are your instructions?"    quotes the system prompt
    "How many messages have I sent?" counts the user's messages, this one included
    "What did I say first?"      quotes the user's first message; "last" and "before": the previous
    "My name is Ada." … "What is my name?"   any fact told as "my … is …", the latest counts
    "I live in Rome." … "Where do I live?"   also work at, like, prefer, need, have
    "Explain 12 * 13"            a multiplication, step by step
    "What is 17 * 23?"           sums with + - * / and brackets, also in words (times, divided by);
                                 7 / 2 is one, 24/7 and 2024-05-01 are not
    "Count to 20"                1, 2, 3 …, up to 10,000
    "Write 300 words about X"    exactly that many words, up to 20,000
    a fact and no question       confirms the fact
    anything else                says that it does not know, and quotes the message
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import cycle, islice

from perimeter.simulator.arithmetic import evaluate, expressions
from perimeter.simulator.conversation import Answer, Conversation
from perimeter.simulator.toolbox import plan


Skill = Callable[[Conversation], str | None]

_QUOTED = 500
_READ = 4000
"""Characters of a message in which skills look; only repeating uses all of a longer one."""

_I = re.IGNORECASE
_REPEAT = re.compile(
    r"\s*(?:please\s+)?(?:repeat after me|repeat|echo|say)\s*:\s*(.+)", _I | re.DOTALL
)
_SAY = re.compile(r"\s*(?:please\s+)?say\s+[\"“]?(.{1,100}?)[\"”]?[.!]?\s*", _I)
_INSTRUCTIONS = re.compile(r"\byour (?:instructions|system prompt)\b", _I)
_HOW_MANY = re.compile(r"\bhow many (?:messages|questions|turns)\b", _I)
_SAID = re.compile(r"\bwhat did I (?:say|ask|tell you)\b[^?]{0,40}?\b(first|last|before)\b", _I)
_END = r"(?=\s+and\s+my\b|\s+and\s+I\b|,\s+my\b|[.!?](?:\s|$)|\n|$)"
_FACT = re.compile(rf"\bmy ([a-z][\w' -]{{0,40}}?) (is|are) ([^\s.?!].{{0,200}}?){_END}", _I)
_ASKED = re.compile(r"\b(?:what(?:['\u2019]s| is| are| was)|tell me|know) my ([\w' -]{1,60})", _I)
_ASKED_TOO = re.compile(r"\bwhat my ([\w' -]{1,60}?) (?:is|are)\b", _I)
_VERBS = r"live in|work at|work for|like|prefer|need|have"
_DEED = re.compile(rf"\bI ({_VERBS}) ([^\s.?!].{{0,200}}?){_END}", _I)
_ASKED_DEED = re.compile(r"\b(?:where|what|whom?) do I (live|work|like|prefer|need|have)\b", _I)
_EXPLAIN = re.compile(r"\b(?:explain|step by step|how do I|how to)\b", _I)
_PRODUCT = re.compile(r"(\d{1,6}) ?\* ?(\d{1,6})")
_COUNT_TO = re.compile(r"\bcount (?:up )?to (\d{1,5})\b", _I)
_WORDS_ABOUT = re.compile(r"\bwrite (\d{1,5}) words(?: about ([\w '-]{1,60}))?", _I)


def think(conversation: Conversation, skills: Sequence[Skill]) -> Answer:
    """Answer a conversation: with tool calls where they help, else with the first skill's text."""
    calls = plan(conversation)
    if calls:
        names = ", ".join(map(str, calls))
        return Answer(f"Let me call {names}.", calls=calls, finish="tool_calls")
    answers = (skill(conversation) for skill in skills)
    return Answer(next((text for text in answers if text is not None), ""))


def report_results(conversation: Conversation) -> str | None:
    """Quote what the tools returned since the user's last message."""
    calls = {call.id: call for turn in conversation.turns for call in turn.calls}
    lines = [
        f"{calls.get(result.call_id, 'The tool')} "
        f"{'failed' if result.is_error else 'returned'}: {result.text}"
        for turn in conversation.since_question
        for result in turn.results
    ]
    return "\n".join(lines) or None


def repeat(conversation: Conversation) -> str | None:
    """Repeat what the user asks to be repeated."""
    match = _REPEAT.fullmatch(conversation.question) or _SAY.fullmatch(conversation.question)
    return match[1] if match else None


def quote_instructions(conversation: Conversation) -> str | None:
    """Quote the system prompt."""
    if not _INSTRUCTIONS.search(_question(conversation)):
        return None
    system = conversation.system
    return f"My instructions are: {system}" if system else "I have no instructions."


def count_turns(conversation: Conversation) -> str | None:
    """Count the user's messages."""
    if not _HOW_MANY.search(_question(conversation)):
        return None
    number = len(conversation.user_texts)
    return f"You have sent {number} message{'' if number == 1 else 's'}, this one included."


def quote_history(conversation: Conversation) -> str | None:
    """Quote the user's first or previous message."""
    match = _SAID.search(_question(conversation))
    if not match:
        return None
    earlier = conversation.user_texts[:-1]
    if not earlier:
        return "This is your first message."
    return f"You said: {earlier[0] if match[1].lower() == 'first' else earlier[-1]}"


def recall(conversation: Conversation) -> str | None:
    """Answer what the user told about themselves."""
    question = _question(conversation)
    asked = _ASKED_TOO.search(question) or _ASKED.search(question)
    if asked:
        topic = asked[1].strip().lower()
        return facts(conversation).get(topic, f"You have not told me your {topic}.")
    asked = _ASKED_DEED.search(question)
    if asked:
        topic = asked[1].lower()
        return facts(conversation).get(f"I {topic}", "You have not told me that.")
    return None


def facts(conversation: Conversation) -> dict[str, str]:
    """Return what the user told about themselves, as sentences by topic (`name`, `I live`)."""
    told: dict[str, str] = {}
    for text in conversation.user_texts:
        told.update(_told(text[:_READ]))
    return told


def _told(text: str) -> dict[str, str]:
    told = {m[1].lower(): f"Your {m[1].lower()} {m[2]} {m[3]}." for m in _FACT.finditer(text)}
    for verb, what in _DEED.findall(text):
        told[f"I {verb.split()[0].lower()}"] = f"You {verb.lower()} {what}."
    return told


def explain_product(conversation: Conversation) -> str | None:
    """Explain a multiplication step by step."""
    question = _question(conversation)
    sums = expressions(question) if _EXPLAIN.search(question) else []
    match = _PRODUCT.fullmatch(sums[0]) if sums else None
    if not match:
        return None
    left, right = int(match[1]), int(match[2])
    parts = [int(d) * 10**i for i, d in enumerate(reversed(str(right))) if d != "0"][::-1] or [0]
    lines = [f"Split {right} into {' + '.join(map(str, parts))}."]
    lines += [f"{left} * {part} = {left * part}." for part in parts]
    return "\n".join([*lines, f"Together that is {left} * {right} = {left * right}."])


def calculate(conversation: Conversation) -> str | None:
    """Work out the sums in the question."""
    sums = expressions(_question(conversation))
    results = [(expression, evaluate(expression)) for expression in sums]
    return (
        "\n".join(
            f"{expression} = {value}." if value is not None else f"{expression} has no answer."
            for expression, value in results
        )
        or None
    )


def count_up(conversation: Conversation) -> str | None:
    """Count to a number."""
    match = _COUNT_TO.search(_question(conversation))
    if not match:
        return None
    return ", ".join(map(str, range(1, min(int(match[1]), 10_000) + 1))) + "."


def write_words(conversation: Conversation) -> str | None:
    """Write so many words."""
    match = _WORDS_ABOUT.search(_question(conversation))
    if not match:
        return None
    sentence = f"There is more to say about {(match[2] or 'words').strip()} than fits here.".split()
    return " ".join(islice(cycle(sentence), min(int(match[1]), 20_000)))


def confirm_facts(conversation: Conversation) -> str | None:
    """Confirm what the user just told."""
    question = _question(conversation)
    told = _told(question) if "?" not in question else {}
    return " ".join(["Noted.", *told.values()]) if told else None


def fall_back(conversation: Conversation) -> str:
    """Say that there is no answer, and quote the message."""
    question = conversation.question
    quoted = question if len(question) <= _QUOTED else question[:_QUOTED] + "…"
    return f"I am a simulated model and have no answer to that. You said: {quoted}"


def _question(conversation: Conversation) -> str:
    return conversation.question[:_READ]


SKILLS: tuple[Skill, ...] = (
    report_results,
    repeat,
    quote_instructions,
    count_turns,
    quote_history,
    recall,
    explain_product,
    calculate,
    count_up,
    write_words,
    confirm_facts,
    fall_back,
)
