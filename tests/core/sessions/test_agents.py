"""Agents told by their system prompts."""

from __future__ import annotations

import subprocess
import sys
import unicodedata
from string import ascii_letters

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perimeter.sessions.agents import (
    DEFAULT_AGENT,
    MASK_REACH,
    AgentCache,
    agent_of,
    identify,
    normalised,
)


def agent_id(system: str) -> str:
    """Return the agent's id."""
    return agent_of(system).id


def system_key(system: str) -> int:
    """Return the agent's key."""
    return agent_of(system).key


PROMPT = "You are a travel agent."
VOLATILE = [
    ("It is 2025-01-06.", "It is 2025-12-31."),
    ("It is 2025-01-06T10:20:30.123Z.", "It is 2026-02-07T23:59:59.9Z."),
    ("It is 2025-01-06T10:20Z", "It is 2025-01-06T10:20:01+02:00"),
    ("It is 2025-01-06 10:20:30 UTC", "It is 2025-01-07 1:02:03 UTC"),
    ("(2025-01-06 10:20:30,123)", "(2025-01-06 10:20:31,999)"),
    ("Today is January 6, 2025.", "Today is September 30, 2026."),
    ("Today is Monday, January 6, 2025.", "Today is Tuesday, January 7, 2025."),
    ("Today is Mon 2025-01-06.", "Today is Tue 2025-01-07."),
    ("Today is 2025-01-06 (Monday).", "Today is 2025-01-07 (Tuesday)."),
    ("Today is Jan. 6th 2025", "Today is May 22nd 2025"),
    ("on the 6th of March 2025", "on the 7th of April 2025"),
    ("Date: Mon, 06 Jan 2025 10:00:00 +0000", "Date: Tue, 07 Jan 2025 11:30:01 +0000"),
    ("Mon Jan  6 10:00:00 2025", "Tue Jan 17 22:00:09 2025"),
    ("05-Jan-2025 is today", "06-Jan-2025 is today"),
    ("Now: 9:05 AM", "Now: 11:45 pm"),
    ("Time=10:20;", "Time=10:21;"),
    (
        "Session 123e4567-e89b-12d3-a456-426614174000.",
        "Session ABCDEF01-e89b-42d3-a456-426614174fff.",
    ),
    ("epoch 1736154000", "epoch 1736154001123"),
    ("run_20250106", "run_20250107"),
    ("今日は2025-01-06です", "今日は2025-01-07です"),
]
DISTINCT = [
    ("You are agent 1.", "You are agent 2."),
    ("You are agent 1234567.", "You are agent 7654321."),
    ("agent A", "agent a"),
    ("Serve port 127.0.0.1:4000", "Serve port 127.0.0.1:4001"),
    ("Ask 10.0.0.1:53", "Ask 10.0.0.1:54"),
    ("Report on Monday.", "Report on Tuesday."),
    ("Report on Monday at 10:00.", "Report on Tuesday at 10:00."),
    ("You may 5 times", "You may 6 times"),
    ("Your knowledge ends in March 2024.", "Your knowledge ends in March 2025."),
    ("Version 2.1.86", "Version 2.1.87"),
    ("Price 1/2/2025", "Price 1/3/2025"),
    ("x" * 200 + " a", "x" * 200 + " b"),
    ("at 10:20", "at noon"),
]


@pytest.mark.parametrize(("one", "other"), VOLATILE)
def test_s12_a_volatile_piece_makes_no_new_agent(one, other):
    """Dates, times, ids and long numbers may change, wherever in the prompt they are."""
    assert one != other
    assert agent_id(one) == agent_id(other)
    assert agent_id(f"{PROMPT} {one} Be kind.") == agent_id(f"{PROMPT} {other} Be kind.")
    assert agent_id(f"{PROMPT} {one}") != agent_id(PROMPT)


@pytest.mark.parametrize(("one", "other"), DISTINCT)
def test_s12_agents_are_not_merged(one, other):
    """Anything else that differs makes another agent, after the hundredth character too."""
    assert agent_id(one) != agent_id(other)
    assert system_key(one) != system_key(other)


def test_ids_last():
    """The same prompt has the same id in every process and version."""
    code = "from perimeter.sessions.agents import agent_of; print(agent_of('You are a poet.').id)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert agent_id("You are a poet.") == ran.stdout.strip()
    assert agent_id("You are a poet.") == POET


POET = "prompt-e85abc494a21"


def test_calls_without_a_system_prompt_share_an_agent():
    """An empty prompt and one of spaces are none."""
    assert agent_id("") == agent_id(" \n\t") == DEFAULT_AGENT == "prompt-default"
    assert system_key("") == system_key(" \n") == 0


def test_key_and_id_are_one():
    """The id's digits are the first of the key's."""
    assert agent_id(PROMPT) == f"prompt-{system_key(PROMPT):016x}"[:19]
    assert 0 < system_key(PROMPT) < 2**64


def test_spaces_and_composition_do_not_matter():
    """Indentation, line ends and the form of accents are the same agent."""
    assert agent_id("You are\r\n  Zoë.\n") == agent_id("You are Zoë.")
    assert agent_id(unicodedata.normalize("NFD", "Zoë")) == agent_id("Zoë")


def test_half_a_character_is_allowed():
    """JSON may hold a lone surrogate; it makes an agent like any other."""
    assert agent_id("a\ud800") != agent_id("a\udfff")


def test_long_prompts_are_masked_at_both_ends():
    """Of a very long prompt, the environment at its beginning or its end does not count."""
    middle = "word " * MASK_REACH
    one, other = (f"Date: {day} {middle} Now: {day}" for day in ("2025-01-06", "2025-01-07"))

    assert agent_id(one) == agent_id(other)
    assert agent_id(one) != agent_id(f"{one}!")


@given(st.text(alphabet=st.characters(codec=None)))
def test_any_text_has_an_agent(system):
    """Whatever the prompt, there is an id, and normalising it again changes nothing of it."""
    agent = identify(system)

    assert agent.id == DEFAULT_AGENT or int(agent.id.removeprefix("prompt-"), 16) >= 0
    assert len(agent.id) in {len(DEFAULT_AGENT), 19}
    assert normalised(system).split() == normalised(system).split(" ") or not normalised(system)


@given(st.text(alphabet=ascii_letters + " .,;!?", max_size=200), st.datetimes(), st.uuids())
def test_a_moment_never_makes_an_agent(prompt, moment, some_id):
    """A prompt with the date, time and an id is the same agent as at any other moment."""
    env = f"{moment:%Y-%m-%d %H:%M:%S} {moment:%A, %B} {moment.day}, 2{moment:%j} {some_id}"
    same = "2001-02-03 04:05:06 Sunday, May 7, 2008 00000000-0000-0000-0000-000000000000"
    if moment.year < 1000:  # not four digits
        return

    assert agent_id(f"{prompt}\n{env}\n") == agent_id(f"{prompt}\n{same}\n")


@given(
    st.lists(
        st.sampled_from(
            [
                "1",
                "12 ",
                "1234567 ",
                "12:",
                "-",
                "2025-01-",
                "Jan ",
                "May 1",
                "Mon, ",
                "T",
                "abcdef01-",
                "J",
                "\u0301",
                "e\u0327",
                "─",
                " ",
                ".",
                "1a",
                "th of ",
            ]
        ),
        min_size=1,
        max_size=4,
    ),
    st.integers(min_value=1, max_value=20_000),
)
def test_repeated_pieces_take_no_time(pieces, times):
    """Whatever is repeated, there is no piece that takes more than linear time (or this hangs)."""
    identify("".join(pieces) * times)


@pytest.mark.parametrize("marks", ["\u0301\u0327", "─", "\u0327" * 63 + "a"])
def test_combining_marks_are_not_sorted_for_ever(marks):
    """A letter with half a million marks is refused composition, which would take minutes."""
    system = "a" + marks * (1_000_000 // len(marks))

    assert identify(system) != identify(system + "b")


def test_the_cache_answers_the_same():
    """A second look gives the very same agent."""
    cache = AgentCache()

    assert cache.get(PROMPT) is cache.get("".join(list(PROMPT)))
    assert len(cache) == 1
    assert cache.characters == len(PROMPT)


def test_the_cache_is_bounded_by_count():
    """What was not used for longest goes first."""
    cache = AgentCache(max_prompts=2)
    first = cache.get("one")
    cache.get("two")
    assert cache.get("one") is first
    cache.get("three")

    assert len(cache) == 2
    assert cache.get("one") is first
    assert cache.characters == len("one") + len("three")


def test_the_cache_is_bounded_by_characters():
    """Long prompts push out others, and one that is too long for it is not kept."""
    cache = AgentCache(max_characters=100)
    for number in range(10):
        cache.get(f"{number}" * 30)
    assert len(cache) == 3
    assert cache.characters == 90

    assert cache.get("x" * 101) == identify("x" * 101)
    assert len(cache) == 3
