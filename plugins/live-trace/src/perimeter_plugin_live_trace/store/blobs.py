"""Bytes that are stored once, masked and compressed."""

from __future__ import annotations

import sqlite3
import zlib
from collections import OrderedDict
from hashlib import blake2b
from typing import Any

from perimeter_plugin_live_trace.store.masking import masked
from perimeter_plugin_live_trace.store.rows import insert_sql


_INSERT = insert_sql("blobs", ("id", "digest", "codec", "size", "data"))
_WORTHWHILE = 400
"""Fewer bytes hardly get smaller by compression, which takes longer than to write them."""
_KNOWN = 10_000
"""Digests that are remembered: about 2 MB. Most bytes occur once, a few of them all the time."""


class Blobs:
    """
    Adds blobs, those that are new.

    Attributes:
        key: Digests are keyed with it, so that nobody can tell from one what was said.
    """

    def __init__(self, connection: sqlite3.Connection, key: bytes) -> None:
        self.key = key
        self._execute = connection.execute
        self._connection = connection
        self._known: OrderedDict[bytes, int] = OrderedDict()
        self._new: list[tuple[Any, ...]] = []
        self._next = 1
        self.forget()

    def forget(self) -> None:
        """Forget what is known and what was not written yet."""
        self._known.clear()
        self._new.clear()
        self._next = self._execute("SELECT coalesce(max(id), 0) + 1 FROM blobs").fetchone()[0]

    def digest(self, data: bytes) -> bytes:
        """Return the digest of bytes."""
        return blake2b(data, digest_size=16, key=self.key).digest()

    def find(self, digest: bytes) -> int | None:
        """Return the blob with a digest, None where there is none."""
        found = self._known.get(digest)
        if found is not None:
            self._known.move_to_end(digest)
            return found
        row = self._execute("SELECT id FROM blobs WHERE digest = ?", (digest,)).fetchone()
        if row is None:
            return None
        self._known[digest] = blob_id = row[0]
        return int(blob_id)

    def shared(self, data: bytes) -> int:
        """Add bytes that may have been added before."""
        digest = self.digest(data)
        found = self.find(digest)
        return self.add(digest, masked(data)) if found is None else found

    def add(self, digest: bytes, data: bytes) -> int:
        """Add bytes that are new, and masked already."""
        self._known[digest] = self._next
        return self._put(digest, data)

    def own(self, data: bytes) -> int:
        """Add bytes that are unlike all others, and masked already."""
        return self._put(self._next.to_bytes(8, "big"), data)

    def read(self, blob_id: int) -> bytes | None:
        """Return the bytes of a blob, written or not; None where it is gone."""
        row = next((new for new in reversed(self._new) if new[0] == blob_id), None)
        if row is None:
            query = "SELECT id, digest, codec, size, data FROM blobs WHERE id = ?"
            row = self._execute(query, (blob_id,)).fetchone()
        if row is None:
            return None
        return zlib.decompress(row[4]) if row[2] == "zlib" else bytes(row[4])

    def write(self) -> None:
        """Write what is new."""
        if self._new:
            self._connection.executemany(_INSERT, self._new)
            self._new.clear()

    def trim(self) -> None:
        """Remember less, where it has become much."""
        while len(self._known) > _KNOWN:
            self._known.popitem(last=False)

    def _put(self, digest: bytes, data: bytes) -> int:
        blob_id, codec, packed = self._next, "", data
        if len(data) >= _WORTHWHILE:
            deflated = zlib.compress(data, 1)
            if len(deflated) < len(data):
                codec, packed = "zlib", deflated
        self._new.append((blob_id, digest, codec, len(data), packed))
        self._next += 1
        return blob_id
