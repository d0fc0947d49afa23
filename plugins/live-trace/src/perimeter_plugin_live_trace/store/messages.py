"""
Histories of sessions: what a call sends again costs nothing but the looking.

A message at its place has a digest of all messages up to there, so two histories are alike up to
where their digests are, and the last digest that is equal tells for all before it.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import attrs

from perimeter_plugin_live_trace.store import masking
from perimeter_plugin_live_trace.store.blobs import Blobs
from perimeter_plugin_live_trace.store.rows import insert_sql
from perimeter_plugin_live_trace.store.shortening import shortened


LARGEST = 8 * 1024 * 1024
"""Bytes of a message that are stored."""
_REMEMBERED = 300_000
"""Messages of the newest calls of sessions that are remembered, in all: about 8 MB."""
_SESSIONS = 5_000
"""Sessions of which they are, at most: about 2 MB."""
_SIZE = 16
"""Bytes of a digest."""

_INSERT = insert_sql("nodes", ("id", "session_id", "parent_id", "depth", "digest", "blob_id"))
_LAST = """
    SELECT node_id FROM calls
    WHERE session_id = ? AND node_id IS NOT NULL ORDER BY number DESC LIMIT 1
"""
_CHAIN = """
    WITH RECURSIVE up (id, parent_id, depth, digest) AS (
        SELECT id, parent_id, depth, digest FROM nodes WHERE id = ?
        UNION ALL
        SELECT nodes.id, nodes.parent_id, nodes.depth, nodes.digest
        FROM up JOIN nodes ON nodes.id = up.parent_id
    )
    SELECT id, digest FROM up ORDER BY depth
"""


@attrs.define(eq=False)
class Tip:
    """
    The history of the newest call of a session.

    Attributes:
        digests: One after the other, one for each message, of the messages up to there.
        nodes: Their nodes.
        all: Whether the session has no other messages than these.
    """

    digests: bytes = b""
    nodes: array[int] = attrs.field(factory=lambda: array("q"))
    all: bool = False


@attrs.frozen
class Placed:
    """
    A history that was stored.

    Attributes:
        node_id: Its last message.
        carried: How many messages it has in common with that of the call before.
        rewritten: Whether it lacks some of that one's.
        cut: Whether a new message was too large to be kept whole.
        new: The messages after those carried, as they are kept: masked.
    """

    node_id: int
    carried: int
    rewritten: bool
    cut: bool
    new: list[bytes]


class Histories:
    """Adds histories, as far as they are new."""

    def __init__(self, connection: sqlite3.Connection, blobs: Blobs) -> None:
        self._connection = connection
        self._blobs = blobs
        self._new: list[tuple[Any, ...]] = []
        self._fresh: dict[tuple[int, bytes], int] = {}
        self._tips: OrderedDict[int, Tip] = OrderedDict()
        self._remembered = 0
        self._next = 1
        self.forget()

    def forget(self) -> None:
        """Forget what is known and what was not written yet."""
        self._new.clear()
        self._fresh.clear()
        self._tips.clear()
        self._remembered = 0
        found = self._connection.execute("SELECT coalesce(max(id), 0) + 1 FROM nodes")
        self._next = found.fetchone()[0]

    def write(self) -> None:
        """Write what is new."""
        if self._new:
            self._connection.executemany(_INSERT, self._new)
            self._new.clear()
            self._fresh.clear()

    def place(self, session: Any, items: Sequence[bytes]) -> Placed:
        """
        Store a history.

        Args:
            session: A row of the session.
            items: All messages of a request, at least one, as JSON.
        """
        before = self.tip(session)
        digests, chain = self._digests(items)
        carried = _common(before.digests, chain)
        rewritten = carried < len(before.nodes)
        nodes = before.nodes[:carried]
        kept = [shortened(item, LARGEST) for item in items[carried:]]
        masked = [masking.masked(item) for item in kept]
        fresh = before.all and not rewritten
        self._add(session.id, masked, digests, chain, nodes, fresh=fresh)
        self._remember(session.id, Tip(chain, nodes, fresh))
        cut = any(len(item) > LARGEST for item in items[carried:])
        return Placed(nodes[-1], carried, rewritten, cut, masked)

    def tip(self, session: Any) -> Tip:
        """Return the history of the newest call of a session."""
        known = self._tips.get(session.id)
        return self._read(session.id) if known is None else known

    def trim(self) -> None:
        """Remember less, where it has become much."""
        while self._remembered > _REMEMBERED or len(self._tips) > _SESSIONS:
            _, tip = self._tips.popitem(last=False)
            self._remembered -= len(tip.nodes)

    def _read(self, session_id: int) -> Tip:
        tip = Tip()
        last = self._connection.execute(_LAST, (session_id,)).fetchone()
        if last is None:
            tip.all = True
        else:
            found = self._connection.execute(_CHAIN, (last[0],)).fetchall()
            tip.nodes.extend(node_id for node_id, _ in found)
            tip.digests = b"".join(digest for _, digest in found)
        self._remember(session_id, tip)
        return tip

    def _remember(self, session_id: int, tip: Tip) -> None:
        before = self._tips.pop(session_id, None)
        self._remembered += len(tip.nodes) - (len(before.nodes) if before else 0)
        self._tips[session_id] = tip

    def _digests(self, items: Sequence[bytes]) -> tuple[list[bytes], bytes]:
        """Return a digest of each message, and those of all up to there, as in `Tip`."""
        key, so_far = self._blobs.key, b""
        digests, chain = [], []
        for item in items:
            digest = blake2b(item, digest_size=_SIZE, key=key).digest()
            so_far = blake2b(so_far + digest, digest_size=_SIZE).digest()
            digests.append(digest)
            chain.append(so_far)
        return digests, b"".join(chain)

    def _add(
        self,
        session_id: int,
        masked: Sequence[bytes],
        digests: Sequence[bytes],
        chain: bytes,
        nodes: array[int],
        *,
        fresh: bool,
    ) -> None:
        """Add the nodes that are not there yet, which are all if `fresh`."""
        first = len(nodes)
        for place in range(first, len(digests)):
            digest = _at(chain, place)
            found = None if fresh else self._find(session_id, digest)
            if found is None:
                fresh = True  # nothing can follow on what is not there
                blob_id = self._blobs.find(digests[place])
                if blob_id is None:
                    blob_id = self._blobs.add(digests[place], masked[place - first])
                parent = nodes[-1] if nodes else None
                found = self._next
                self._next += 1
                self._new.append((found, session_id, parent, place + 1, digest, blob_id))
                self._fresh[session_id, digest] = found
            nodes.append(found)

    def _find(self, session_id: int, digest: bytes) -> int | None:
        found = self._fresh.get((session_id, digest))
        if found is not None:
            return found
        query = "SELECT id FROM nodes WHERE session_id = ? AND digest = ?"
        row = self._connection.execute(query, (session_id, digest)).fetchone()
        return None if row is None else int(row[0])


def _at(digests: bytes, place: int) -> bytes:
    return digests[place * _SIZE : (place + 1) * _SIZE]


def _common(one: bytes, other: bytes) -> int:
    """Return how many places two histories have in common from the beginning."""
    high = min(len(one), len(other)) // _SIZE
    if high and _at(one, high - 1) == _at(other, high - 1):
        return high  # one goes on where the other ends, as nearly always
    low = 0
    while low < high:
        middle = (low + high) // 2
        if _at(one, middle) == _at(other, middle):
            low = middle + 1
        else:
            high = middle
    return low
