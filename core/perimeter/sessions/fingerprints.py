"""
Fingerprints of conversations: what two requests of one conversation have in common.

The chain is a rolling hash over what was said, cut where the turn passes from the client to the
model and back. Leading system prompts are not in it, nor are the ids of tool calls; these make a
trail of their own, which tells conversations apart in which the same was said.
"""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

import attrs
from xxhash import xxh3_64, xxh3_64_intdigest

from perimeter.calls import LLMRequest, Message, Part, ToolResult
from perimeter.sessions.wording import (
    INSTRUCTIONS,
    Said,
    numbered,
    said_by_client,
    said_by_model,
    said_in,
    shape_of,
)


ASSISTANT = "assistant"
_NEWEST = 24
"""So many turns from the end are compared where conversations were cut or changed."""

_CHAINED = 256
"""The chain has so many values at most: those of the newest changes of turn."""

_IDS = 64
"""A trail is made of so many ids at most, the newest."""

_DISTINCTIVE = 24
"""An answer of so many characters, or with an id, is hardly given twice."""

_SKETCHED = 48
_LETTERS = 24


def key_of(seed: int, *words: str) -> int:
    """
    Return a key for words, such as ids.

    Args:
        seed: Of the tenant: keys of different tenants never meet.
        words: What the key is for; the first tells kinds apart.
    """
    return _digest("\0".join(words), seed)


def _digest(text: str, seed: int) -> int:
    # Keys are only ever compared with others of the same tenant, whose seed nobody knows: a hash
    # that is hard to fool would cost nine times as much, and protect a client from itself.
    return int(xxh3_64_intdigest(_bytes(text), seed))


def _bytes(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return text.encode("utf-8", "surrogatepass")


Sketch = tuple[int, int, int]
"""
What is left of an answer when a client has changed it a little: 32-bit checksums.

They are compared only with those of answers to the very same, which are few.
"""


@attrs.define
class Answer:
    """
    What the model said in one turn, as a client has it or as it was relayed.

    Attributes:
        digest: Of all of it.
        sketch: Checksums of its first letters, of its last ones, and of its calls; 0 for none.
        distinctive: Whether no other conversation is likely to have the same.
        ids: Keys of the ids of its tool calls, those that look random.
        shape: What the first of these looks like, 0 for none.
    """

    digest: int
    sketch: Sketch
    distinctive: bool
    ids: tuple[int, ...]
    shape: int


@attrs.frozen
class Trail:
    """
    The ids of the tool calls of a conversation, those that look random.

    Attributes:
        ids: Hash of them, 0 for none.
        shapes: The same of what they look like: a client that makes its own has other ones.
    """

    ids: int = 0
    shapes: int = 0

    def contradicts(self, other: Trail) -> bool:
        """Whether these are ids of another conversation, and not the same in another guise."""
        return self.ids != other.ids and self.shapes == other.shapes


NO_TRAIL = Trail()


@attrs.define
class Reached:
    """
    Where a reply takes a conversation.

    Attributes:
        key: The chain with the reply in it.
        trail: The ids of tool calls up to there.
        answer: The reply itself.
    """

    key: int
    trail: Trail
    answer: Answer


class History:
    """
    The conversation that a request carries, as keys.

    Attributes:
        seed: Of the tenant.
        chain: The chain's value at each of the newest changes of turn, the whole request last.
        ends: How many messages each of these covers.
        count: How many messages there are.
        ends_with_model: Whether the last turn is the model's, which the reply goes on with.
    """

    __slots__ = (
        "_before_answer",
        "_counts",
        "_digests",
        "_hash",
        "_ids",
        "_messages",
        "_old_words",
        "_result_ids",
        "_turns",
        "_word_keys",
        "chain",
        "count",
        "ends",
        "ends_with_model",
        "seed",
    )

    def __init__(self, request: LLMRequest, seed: int) -> None:
        """
        Walk through a request's messages once.

        Args:
            request: The request.
            seed: Of the tenant.
        """
        self._messages = request.messages
        self.seed = seed
        self.count = len(self._messages)
        turns = _turns(self._messages)
        self.ends_with_model = bool(turns) and turns[-1][0]
        self._turns = turns[-_CHAINED:]
        self.ends = tuple([end for _, _, end in self._turns])
        self._ids: list[str] = []
        self._counts: list[int] = []
        self._word_keys: dict[int, int] = {}
        self._digests: dict[int, int] | None = None
        self._old_words: tuple[int, ...] | None = None
        self._result_ids: tuple[str, ...] | None = None
        self._hash = self._before_answer = xxh3_64(seed=seed)
        self.chain = tuple(self._chained(turns))

    def is_answer(self, place: int) -> bool:
        """Whether a value of the chain comes after a turn of the model, else after the client's."""
        return self._turns[place][0]

    def trail(self, place: int) -> Trail:
        """Return the ids of tool calls up to a place of the chain."""
        return self._trail(self._ids[: self._counts[place]]) if self._ids else NO_TRAIL

    def continued_by(self, parts: Sequence[Part]) -> Reached:
        """Return where a reply takes the conversation, with what the request began of it."""
        hasher, ids = self._hash, self._ids
        if self.ends_with_model:
            parts = [*self._parts(len(self.chain) - 1), *parts]
            hasher = self._before_answer
            ids = ids[: self._counts[-2]] if len(self._counts) > 1 else []
        said = said_by_model(parts)
        hasher = hasher.copy()
        hasher.update(_answer_bytes(said))
        return Reached(
            hasher.intdigest(),
            self._trail([*ids, *said[2]]),
            _describe(said, self.seed),
        )

    def answer_before(self, place: int) -> Answer | None:
        """Return the model's turn that a place of the chain comes after, None if it is too old."""
        if len(self.chain) - place > 2 * _NEWEST:
            return None
        return _describe(said_by_model(self._parts(place)), self.seed)

    @property
    def digests(self) -> dict[int, int]:
        """Digests of the newest turns of the model, by their place in the chain, newest first."""
        if self._digests is None:
            places = range(len(self.chain) - 1, max(-1, len(self.chain) - 2 * _NEWEST), -1)
            self._digests = {
                place: _answer_digest(said_by_model(self._parts(place)), self.seed)
                for place in places
                if self.is_answer(place)
            }
        return self._digests

    @property
    def old_words(self) -> tuple[int, ...]:
        """Keys of what the client said before its last turn, of the newest turns only."""
        if self._old_words is None:
            end = self.ends[-2] if len(self.ends) > 1 else 0
            self._old_words = self._words(max(0, end - 2 * _NEWEST), end)
        return self._old_words

    @property
    def result_ids(self) -> tuple[str, ...]:
        """Ids of the tool calls whose results came last, as `numbered` makes them."""
        if self._result_ids is None:
            start = self.ends[-2] if len(self.ends) > 1 else 0
            parts = _parts_of(self._messages[start:])
            results = [part.call_id for part in parts if type(part) is ToolResult]
            self._result_ids = tuple(numbered(results)) if results else ()
        return self._result_ids

    def new_words(self, known: int) -> tuple[int, ...]:
        """Return keys of what the client said after `known` messages."""
        return self._words(max(known, self.count - _NEWEST), self.count)

    def _chained(self, turns: Sequence[_Turn]) -> list[int]:
        """Hash turn by turn; return the values at the newest changes of turn."""
        hasher, messages, ids = self._hash, self._messages, self._ids
        chain: list[int] = []
        kept, last = len(turns) - _CHAINED, len(turns) - 1
        old: list[str] = []
        for number, (answers, start, end) in enumerate(turns):
            if answers:
                if number == last:
                    self._before_answer = hasher.copy()
                alone = end - start == 1
                parts = messages[start].parts if alone else _parts_of(messages[start:end])
                text, rest, its_ids = said_by_model(parts)
                said = f"a{text}\0{rest}"
                ids += its_ids
            elif end - start == 1:
                said = said_in(messages[start])
            else:
                said = said_by_client(messages[start:end])
            if number < kept:
                old.append(said)
                continue
            if number == kept:
                hasher.update(_bytes("".join(old)))
            hasher.update(_bytes(said))
            chain.append(hasher.intdigest())
            self._counts.append(len(ids))
        return chain

    def _parts(self, place: int) -> Sequence[Part]:
        _, start, end = self._turns[place]
        return _parts_of(self._messages[start:end])

    def prepare(self) -> None:
        """Work out all that may be asked for, so that nobody has to wait for it later."""
        self.new_words(0)
        _ = self.old_words, self.digests

    def _words(self, start: int, end: int) -> tuple[int, ...]:
        places = range(start, end)
        return tuple(
            [self._word(place) for place in places if self._messages[place].role != ASSISTANT]
        )

    def _word(self, place: int) -> int:
        key = self._word_keys.get(place)
        if key is None:
            key = _digest(said_in(self._messages[place]), self.seed)
            self._word_keys[place] = key
        return key

    def _trail(self, ids: Sequence[str]) -> Trail:
        if not ids:
            return NO_TRAIL
        newest = ids[-_IDS:]
        shapes = map(shape_of, newest)
        return Trail(key_of(self.seed, "ids", *newest), key_of(self.seed, "shapes", *shapes))


_Turn = tuple[bool, int, int]
"""Whether it is the model's, its first message, and the one after its last."""


def _turns(messages: Sequence[Message]) -> list[_Turn]:
    """Divide a conversation into turns, without leading instructions if there is anything else."""
    first = 0
    while first < len(messages) - 1 and messages[first].role in INSTRUCTIONS:
        first += 1
    turns: list[_Turn] = []
    if not messages:
        return turns
    start, answers = first, messages[first].role == ASSISTANT
    for place in range(first + 1, len(messages)):
        if (messages[place].role == ASSISTANT) is not answers:
            turns.append((answers, start, place))
            start, answers = place, not answers
    turns.append((answers, start, len(messages)))
    return turns


def _parts_of(messages: Sequence[Message]) -> Sequence[Part]:
    if len(messages) == 1:
        return messages[0].parts
    return [part for message in messages for part in message.parts]


def _answer_bytes(said: Said) -> bytes:
    return _bytes(f"a{said[0]}\0{said[1]}")


def _describe(said: Said, seed: int) -> Answer:
    texts, rest, ids = said
    return Answer(
        _answer_digest(said, seed),
        _sketch(texts, rest, seed),
        bool(ids) or len(texts) + len(rest) >= _DISTINCTIVE,
        tuple([key_of(seed, "call", call_id) for call_id in ids]),
        key_of(seed, "shape", shape_of(ids[0])) if ids else 0,
    )


def _answer_digest(said: Said, seed: int) -> int:
    return _digest("\0".join((said[0], said[1], *said[2])), seed)


def _sketch(text: str, rest: str, seed: int) -> Sketch:
    start = seed & 0xFFFFFFFF
    head = "".join(text[:_SKETCHED].lower().split())[:_LETTERS]
    tail = "".join(text[-_SKETCHED:].lower().split())[-_LETTERS:]
    return (
        crc32(_bytes(head), start) if head else 0,
        crc32(_bytes(tail), start) if tail else 0,
        crc32(_bytes(rest), start) if rest else 0,
    )
