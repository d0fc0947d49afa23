"""
Histograms of durations that can be added up without losing anything.

Buckets grow by powers of two, each divided into eight, so a quantile is at most 6.25 % off. Only
buckets with something in them are kept, and a session of a few calls takes a few bytes.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate


_DIVISIONS = 8
_LARGEST = 8 * 60
"""The last bucket: from about 24 years on."""


def _bucket(us: int) -> int:
    """Return the bucket of a duration."""
    if us < _DIVISIONS:
        return max(0, us)
    power = us.bit_length() - 4  # so that us >> power has four bits, of which the first is set
    return min(_LARGEST, (power << 3) + (us >> power))


def _middle(bucket: int) -> int:
    """Return the duration in the middle of a bucket."""
    if bucket < 2 * _DIVISIONS:
        return bucket
    power, part = (bucket >> 3) - 1, (bucket & 7) + _DIVISIONS
    return (part << power) + (1 << power >> 1)


class Histogram:
    """How many durations fell into each bucket."""

    __slots__ = ("_counts",)

    def __init__(self, counts: dict[int, int] | None = None) -> None:
        self._counts = counts if counts is not None else {}

    def __len__(self) -> int:
        return sum(self._counts.values())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Histogram) and self._counts == other._counts

    __hash__ = None  # type: ignore[assignment]  # it changes

    def add(self, us: int) -> None:
        """Count a duration, in microseconds."""
        bucket = _bucket(us)
        self._counts[bucket] = self._counts.get(bucket, 0) + 1

    def merge(self, other: Histogram) -> None:
        """Add another one to this."""
        for bucket, count in other._counts.items():
            self._counts[bucket] = self._counts.get(bucket, 0) + count

    def quantile(self, share: float) -> int | None:
        """
        Return a quantile in microseconds, None where nothing was counted.

        Args:
            share: Such as 0.95 for the duration that 95 % of all do not exceed.
        """
        if not self._counts:
            return None
        buckets = sorted(self._counts)
        sums = list(accumulate(self._counts[bucket] for bucket in buckets))
        place = bisect_left(sums, min(max(share, 0.0), 1.0) * sums[-1])
        return _middle(buckets[place])

    def to_bytes(self) -> bytes:
        """Return it for the database."""
        parts = bytearray()
        last = 0
        for bucket in sorted(self._counts):
            _put(parts, bucket - last)
            _put(parts, self._counts[bucket])
            last = bucket
        return bytes(parts)

    @classmethod
    def from_bytes(cls, data: bytes) -> Histogram:
        """Read what `to_bytes` wrote; what is garbage at the end is left out."""
        numbers = _numbers(data)
        counts: dict[int, int] = {}
        bucket = 0
        for step, count in zip(numbers[::2], numbers[1::2], strict=False):
            bucket = min(bucket + step, _LARGEST)
            counts[bucket] = counts.get(bucket, 0) + count
        return cls(counts)


def _put(parts: bytearray, number: int) -> None:
    """Append a number, seven bits to a byte, the lowest first."""
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)


def _numbers(data: bytes) -> list[int]:
    numbers = []
    number = shift = 0
    for byte in data:
        number |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            numbers.append(number)
            number = shift = 0
    return numbers
