"""Groups of conversations that look alike, of clients with habits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import attrs

from conversation_plots import Ledger, Opening, Script, Story
from conversation_stories import EDITS, LINKED_EDITS, StoryWriter
from conversation_turns import Client, Habits, Said, User
from conversation_words import GREETINGS, Writer


DIALECTS = ("openai.chat", "openai.responses", "anthropic.messages", "gemini.generate")
MODELS = {
    "openai.chat": "gpt-4o",
    "openai.responses": "gpt-5-mini",
    "anthropic.messages": "claude-sonnet-4-5",
    "gemini.generate": "gemini-2.5-flash",
}
TOOLS = ("get_weather", "search", "read_file", "list_orders")
LENGTHS = (1, 1, 2, 2, 3, 3, 4, 4, 5, 6, 7, 8, 10, 14)

_GROUPS = (
    *[("single", 1)] * 14,
    *[("twins", size) for size in (2, 2, 3, 3, 4)],
    ("greeting", 4),
    ("volatile", 3),
    ("tied", 2),
    ("tied", 3),
    ("tenants", 2),
    ("workflows", 3),
    *[("agents", 2)] * 2,
    ("examples", 3),
)
"""How conversations look alike, and how many of them; drawn without putting back."""
_SHORTEST = {"window": 7}
"""A conversation must be so long for such an edit to be seen."""
_EDITED_KINDS = frozenset({"single", "twins", "greeting", "volatile"})
_ID_DIALECTS = DIALECTS[:3]


def _decks(rng: Random, cards: Sequence[Any]) -> Iterator[Any]:
    """Draw cards without putting back, deck after deck: shares are the same for every seed."""
    while True:
        deck = list(cards)
        rng.shuffle(deck)
        yield from deck


def write(conversations: int, rng: Random) -> list[Story]:
    """Return so many conversations, each of them whole."""
    author = _Author(rng)
    stories: list[Story] = []
    groups = _decks(rng, _GROUPS)
    group = 0
    while len(stories) < conversations:
        kind, size = next(groups)
        size = min(size, conversations - len(stories))
        stories += author.group(kind, size, group, len(stories))
        group += 1
    return stories


class _Author:
    """Writes groups of conversations that look alike."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._writer = Writer(rng)
        self._ledger = Ledger()
        self._edits = _decks(rng, (True, True, False, False, False))
        self._which = _decks(rng, EDITS)
        self._dialects = _decks(rng, (*DIALECTS, "openai.chat", "anthropic.messages"))

    def group(self, kind: str, size: int, group: int, first: int) -> Iterator[Story]:
        """Yield the conversations of one group."""
        rng = self._rng
        dialect = next(self._dialects)
        if kind == "tied" and dialect not in _ID_DIALECTS:
            dialect = "openai.chat"
        client = self._client(dialect, agent=kind == "tied" or rng.random() < 0.55)
        opening = self._opening(kind)
        script = Script()
        if kind in {"tied", "tenants", "workflows", "agents"}:
            script = Script(rng.choice((1, 2, 3, 99)), begins_with_tools=kind == "tied")
            length = rng.choice(LENGTHS[4:])
        else:
            length = 0
        style = {
            "linked": dialect == "openai.responses" and kind != "tied" and rng.random() < 0.4,
            "counted_ids": dialect == "openai.chat" and kind != "tied" and rng.random() < 0.25,
            "thinks": rng.random() < 0.3,
            "stainless": dialect != "gemini.generate" and rng.random() < 0.6,
        }
        for member in range(size):
            mine = self._member(kind, member, client)
            begins = self._begins(kind, member, opening)
            edit = self._edit(kind, linked=style["linked"])
            turns = length or rng.choice(LENGTHS)
            writer = StoryWriter(
                rng, self._writer, self._ledger, first + member, mine, begins, script, **style
            )
            steps = writer.write(max(turns, _SHORTEST.get(edit, 4)) if edit else turns, edit)
            done = edit if any(step.note for step in steps) else ""
            yield Story(begins, mine, steps, group, kind, done)

    def _opening(self, kind: str) -> Opening:
        rng, writer = self._rng, self._writer
        if kind == "greeting":
            system = rng.choice(("", "You are a helpful assistant."))
            return Opening(system, rng.choice(GREETINGS))
        system = writer.system() if rng.random() < 0.85 else ""
        if kind == "volatile":
            system = f"{writer.system()}\nCurrent date and time: {{now}}."
        examples: tuple[Any, ...] = ()
        if kind == "examples":
            examples = (User(writer.question()), Said(writer.sentence()))
        return Opening(system, writer.question(), examples)

    def _begins(self, kind: str, member: int, opening: Opening) -> Opening:
        """Return how a member of a group begins, where that is what differs."""
        if kind == "agents" and member:
            return attrs.evolve(opening, system=self._writer.system())
        if kind == "examples" and member:
            return attrs.evolve(opening, question=self._writer.question())
        return opening

    def _member(self, kind: str, member: int, client: Client) -> Client:
        if kind == "tenants":
            return attrs.evolve(client, credential=f"tenant-{member}")
        if kind == "workflows" and member:
            return attrs.evolve(client, workflow=f"flow-{member}")
        return client

    def _edit(self, kind: str, *, linked: bool) -> str:
        if kind not in _EDITED_KINDS or not next(self._edits):
            return ""
        return self._rng.choice(LINKED_EDITS) if linked else next(self._which)

    def _client(self, dialect: str, *, agent: bool) -> Client:
        rng = self._rng

        def some(probability: float) -> bool:
            return rng.random() < probability

        habits = Habits(
            strip=some(0.25),
            drop_thinking=some(0.4),
            rewrite_arguments=some(0.25),
            split=some(0.2),
            toggle_cache=dialect == "anthropic.messages" and some(0.5),
            name="assistant_1" if some(0.1) else "",
            keep_nulls=some(0.6 if dialect == "openai.responses" else 0.3),
            blocks=some(0.3),
            stream=dialect != "gemini.generate" and some(0.4),
        )
        tools = tuple(rng.sample(TOOLS, rng.randint(2, 4))) if agent else ()
        return Client(dialect, MODELS[dialect], habits, "tenant-0", "", tools)
