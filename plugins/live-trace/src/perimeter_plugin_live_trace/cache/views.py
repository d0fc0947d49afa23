"""What the prompt-cache view shows."""

from __future__ import annotations

import msgspec


class Piece(msgspec.Struct, frozen=True):
    """
    A message where two histories part.

    Attributes:
        role: Whose it is, "" where that can't be read.
        text: Its beginning.
    """

    role: str
    text: str


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """
    A call, beside the one before it.

    Attributes:
        number: Which call of the session it is.
        before: The call that it is put beside, 0 for none.
        cause: `first`, `kept`, `model`, `tools`, `system`, `messages`, `settings`, `missed` (the
            beginning is the same, and yet not cached), `short` or `unknown`.
        words: The same, explained.
        broke_at: The number of the first message that differs, from 1 on, or None.
        was: That message in the call before, None where it was left out.
        now: That message in this call, None where it was left out.
        tok_cached: None where the provider does not say.
        share: Of the input, what was cached; None where that is not known.
        lost_tokens: Tokens that could have been read from the cache, and were not.
        lost_nano: What that cost; None where the price is not known.
    """

    number: int
    before: int
    at_us: int
    gap_us: int
    model: str
    tok_in: int
    tok_cached: int | None
    tok_write: int
    share: float | None
    cause: str
    words: str
    broke_at: int | None = None
    was: Piece | None = None
    now: Piece | None = None
    lost_tokens: int = 0
    lost_nano: int | None = 0

    @property
    def broken(self) -> bool:
        """Whether the request itself made the cache useless."""
        return self.cause in BREAKS


BREAKS = ("model", "tools", "system", "messages", "settings")


class Sums(msgspec.Struct, kw_only=True):
    """
    What steps add up to.

    Attributes:
        calls: Calls that were answered and counted.
        known: Calls of which the provider says how much was cached.
        breaks: Calls that were not a continuation of the one before.
        missed: Calls that were one, and were not cached all the same.
        unpriced: Calls that lost something of which the price is not known.
    """

    calls: int = 0
    known: int = 0
    tok_in: int = 0
    tok_cached: int = 0
    breaks: int = 0
    missed: int = 0
    lost_tokens: int = 0
    lost_nano: int = 0
    unpriced: int = 0

    @property
    def share(self) -> float | None:
        """The share of the input that was cached, None where nobody says."""
        return self.tok_cached / self.tok_in if self.known and self.tok_in else None


class Report(msgspec.Struct, kw_only=True):
    """
    A session's cache.

    Attributes:
        sums: Of all calls that were looked at.
        steps: A page of them.
        notes: What must be known to read them.
        cut: Whether there are more calls than are looked at.
    """

    sums: Sums
    steps: list[Step]
    notes: list[str]
    cut: bool = False


class Row(msgspec.Struct, kw_only=True, frozen=True):
    """A session in the list of the dearest ones."""

    public_id: str
    title: str
    agent: str
    agent_name: str
    models: str
    last_us: int
    turns: int
    sums: Sums
