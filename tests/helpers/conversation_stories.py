"""How synthetic conversations go: what is asked, answered, edited, cut, retried."""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random
from typing import Any

import attrs

from conversation_plots import Ledger, Opening, Script
from conversation_turns import Call, Client, Note, Results, Said, Step, Turn, User, compact
from conversation_words import CITIES, OBJECTS, SUBJECTS, SUMMARIES, Writer, edited


EDITS = ("edited user", "regenerated", "edited assistant", "window", "compaction")
"""What a client does to the past."""
LINKED_EDITS = ("edited user", "regenerated")
"""What it can do where the provider keeps the past."""
LONG = 40
"""Characters; an answer that is longer is nobody else's."""
FAILURES = (500, 500, 502, 503, 429, 529)
_SUMMARISE = "Summarise our conversation so far, so that it can be continued from your summary."


class StoryWriter:
    """Writes one conversation."""

    def __init__(
        self,
        rng: Random,
        writer: Writer,
        ledger: Ledger,
        number: int,
        client: Client,
        opening: Opening,
        script: Script,
        *,
        linked: bool = False,
        counted_ids: bool = False,
        thinks: bool = False,
        stainless: bool = False,
    ) -> None:
        self._rng = rng
        self._writer = writer
        self._ledger = ledger
        self._number = number
        self._client = client
        self._opening = opening
        self._script = script
        self._linked = linked
        self._counted = counted_ids
        self._thinks = thinks
        self._stainless = stainless
        self._minute = rng.randrange(1440)
        self._turns: list[Turn] = [*opening.examples, User(opening.question)]
        self._steps: list[Step] = []
        self._window = 0
        self._note = ""

    def write(self, length: int, edit: str) -> tuple[Step, ...]:
        """
        Return the requests of a conversation.

        Args:
            length: How many turns the model has.
            edit: What happens to the past in its middle, one of `EDITS`, or "".
        """
        at = self._rng.randrange(1, length - 1) if edit else length
        for number in range(length):
            self._minute += self._rng.randrange(1, 9)
            if edit == "window" and number >= at:
                self._window = self._window or self._rng.choice((2, 3, 4, 6))
            self._ask(number)
            if number + 1 == length:
                break
            edits_now = edit != "window" and number >= at and (number == at or self._chance(0.2))
            if not (edits_now and self._change_past(edit)):
                self._go_on(number)
        return tuple(self._steps)

    # -- one turn

    def _ask(self, number: int) -> None:
        """Send the history, and take the reply into it."""
        step = self._step()
        # Conversations that are alike so far can't be told apart while nobody has answered them.
        alike = number == 0 or number < self._script.turns
        attempt = 0
        while self._chance(0.06):
            status = self._rng.choice(FAILURES)
            tried = attempt if self._stainless else None
            self._steps.append(attrs.evolve(step, status=status, attempt=tried, tight=alike))
            attempt += 1
        said = self._reply(number, step)
        tried = attempt if self._stainless else None
        self._steps.append(attrs.evolve(step, reply=said, attempt=tried))
        self._turns.append(said)

    def _step(self) -> Step:
        system = self._opening.system_at(self._minute)
        turns, previous = tuple(self._turns), ""
        last = _last_own(turns)
        if self._linked and last is not None:
            previous = last.id
            turns = turns[turns.index(last) + 1 :]
        elif self._window:
            turns = self._tail(self._window)
            self._note = "window" if len(turns) < len(self._turns) else ""
        note, self._note = self._note, ""
        return Step(system, turns, None, previous=previous, note=note)

    def _reply(self, number: int, step: Step) -> Said:
        # A volatile system prompt tells nobody apart.
        seen = attrs.evolve(step, system=self._opening.system)
        for _ in range(100):
            told: Said = self._script.recall("said", number, lambda: self._say(number))
            said = attrs.evolve(told, id=self._response_id(), calls=self._with_ids(told.calls))
            if self._ledger.takes(self._number, self._client, seen, said):
                return said
        raise AssertionError("nothing is left to be said")

    def _say(self, number: int) -> Said:
        rng = self._rng
        thinking = self._writer.sentence() if self._thinks and self._chance(0.6) else ""
        forced = number == 0 and self._script.begins_with_tools
        if forced or (self._client.tools and self._chance(0.5)):
            calls = tuple(self._call() for _ in range(rng.choice((1, 1, 1, 2, 3))))
            text = self._writer.sentence() if self._chance(0.4) else ""
            return Said(text, thinking, calls)
        if self._chance(0.15) and not self._window:
            return Said(self._writer.short_answer(), thinking)
        return Said(self._writer.answer(), thinking)

    def _call(self) -> Call:
        rng = self._rng
        name = rng.choice(self._client.tools)
        match name:
            case "get_weather":
                made: Any = {"city": rng.choice(CITIES), "days": rng.randint(1, 7)}
            case "search":
                made = {"query": f"{rng.choice(SUBJECTS)} {rng.choice(OBJECTS)}"}
            case "read_file":
                made = {"path": f"src/part_{rng.randrange(40)}.py", "lines": [1, 80]}
            case _:
                made = {}
        return Call("", name, compact(made) if rng.random() < 0.5 else json.dumps(made))

    def _with_ids(self, calls: tuple[Call, ...]) -> tuple[Call, ...]:
        return tuple(
            attrs.evolve(call, id=self._call_id(place)) for place, call in enumerate(calls, 1)
        )

    def _call_id(self, place: int) -> str:
        if self._client.dialect.startswith("gemini"):
            return ""
        if self._counted:
            return f"call_{place}"
        prefix = "toolu_01" if self._client.dialect.startswith("anthropic") else "call_"
        return f"{prefix}{self._rng.getrandbits(96):024x}"

    def _response_id(self) -> str:
        prefix = {"openai.chat": "chatcmpl-", "openai.responses": "resp_"}
        return f"{prefix.get(self._client.dialect, 'msg_01')}{self._rng.getrandbits(112):028x}"

    def _go_on(self, number: int) -> None:
        last = self._turns[-1]
        if isinstance(last, Said) and last.calls:
            texts = self._script.recall("results", number, lambda: self._results(last))
            self._turns.append(Results(tuple(zip(last.calls, texts, strict=True))))
        else:
            text = self._script.recall("user", number, self._writer.follow_up)
            self._turns.append(User(text))

    def _results(self, said: Said) -> list[str]:
        return [
            self._rng.choice(("[]", "ok", compact({"found": self._writer.clause(), "pages": 3})))
            for _ in said.calls
        ]

    def _chance(self, probability: float) -> bool:
        return self._rng.random() < probability

    # -- what a client does to the past

    def _change_past(self, edit: str) -> bool:
        """Tell whether the past has changed so that the next turn is there already."""
        match edit:
            case "edited user":
                return self._edit_user()
            case "regenerated":
                return self._regenerate()
            case "edited assistant":
                self._edit_assistant()
            case _:
                self._compact()
        return False

    def _edit_user(self) -> bool:
        """Go back to one of the user's last turns, and say something else there."""
        mine = [
            place
            for place, turn in enumerate(self._turns)
            if isinstance(turn, User) and _last_own(self._turns[:place]) is not None
        ]
        if not mine:
            return False
        del self._turns[self._rng.choice(mine[-3:]) :]
        self._turns.append(User(self._writer.question()))
        self._note = "edited user"
        return True

    def _regenerate(self) -> bool:
        """Send the same once more, and go on from the other reply."""
        if _last_own(self._turns[:-1]) is None:
            return False
        del self._turns[-1]
        self._note = "regenerated"
        return True

    def _edit_assistant(self) -> None:
        """Correct one of the model's last answers."""
        long = [
            (place, turn)
            for place, turn in enumerate(self._turns)
            if isinstance(turn, Said) and turn.id and len(turn.text) > LONG
        ]
        if long:
            place, said = self._rng.choice(long[-2:])
            self._turns[place] = attrs.evolve(said, text=edited(said.text, self._rng))
            self._note = "edited assistant"

    def _compact(self) -> None:
        """Replace the history by a summary, perhaps of the model's making, and the last turns."""
        told = " ".join(self._writer.sentence() for _ in range(4))
        last = self._turns[-1]
        if not (isinstance(last, Said) and last.calls) and self._chance(0.5):
            self._turns.append(User(_SUMMARISE))
            said = Said(told, id=self._response_id())
            attempt = 0 if self._stainless else None
            self._steps.append(attrs.evolve(self._step(), reply=said, attempt=attempt))
            self._turns.pop()
        tail = self._tail(self._rng.choice((1, 2, 4)))
        noted = self._client.dialect == "openai.chat" and self._chance(0.5)
        summary = self._rng.choice(SUMMARIES) + told
        self._turns = [Note(summary) if noted else User(summary), *tail]
        self._note = "compaction"

    def _tail(self, size: int) -> tuple[Turn, ...]:
        """Return the last turns, at least so many, from a user's turn; enough to be recognised."""
        for place in range(len(self._turns) - size, 0, -1):
            tail = self._turns[place:]
            if isinstance(tail[0], User) and any(_tells(turn) for turn in tail):
                return tuple(tail)
        return tuple(self._turns)


def _tells(turn: Turn) -> bool:
    """Whether a turn is nobody else's."""
    return isinstance(turn, Said) and (
        len(turn.text) > LONG or any(len(call.id) > 8 for call in turn.calls)
    )


def _last_said(turns: Sequence[Turn]) -> int | None:
    return next((i for i in range(len(turns) - 1, -1, -1) if isinstance(turns[i], Said)), None)


def _last_own(turns: Sequence[Turn]) -> Said | None:
    """Return the last turn of the model, None where there is none that it really had."""
    last = _last_said(turns)
    said = turns[last] if last is not None else None
    return said if isinstance(said, Said) and said.id else None
