"""How numbers, times and sizes are written for people."""

from __future__ import annotations

from datetime import UTC, datetime


SEVERITIES = ("none", "low", "medium", "high", "critical")
"""The words of severities 0 to 4."""
NOTHING = "\N{EN DASH}"
"""What stands for a value that is not known."""
_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_DAY_US = 24 * 3600 * 1_000_000


def si(number: float | None, exact: bool = False) -> str:
    """Return a number as `12.4k`, or with all its digits."""
    if number is None:
        return NOTHING
    if not exact:
        for size, unit in _UNITS:
            if abs(number) >= size * 0.99995:  # 999,960 is 1M, not 1000k
                return _short(number / size) + unit
    whole = float(number).is_integer() or abs(number) >= 100
    return f"{number:,.0f}" if whole else _short(number)


def duration(us: float | None) -> str:  # noqa: PLR0911 -- one for each unit
    """Return microseconds as `850 ms`, `12.4 s`, `3 min 07 s` or `2 h 05 min`."""
    if us is None:
        return NOTHING
    if us < 0:
        return "\N{MINUS SIGN}" + duration(-us)
    if us < 999_500:
        return f"{us / 1000:.0f} ms" if us >= 9_950 else f"{_short(us / 1000)} ms"
    if us < 59_950_000:
        return f"{us / 1e6:.1f} s"
    seconds = round(us / 1e6)
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02} s"
    if seconds < 48 * 3600:
        return f"{seconds // 3600} h {seconds % 3600 // 60:02} min"
    return f"{seconds // 86400} d {seconds % 86400 // 3600:02} h"


def usd(nano: float | None) -> str:
    """Return billionths of a dollar as `$0.0042` or `$12.31`; a dash where it is not known."""
    if nano is None:
        return NOTHING
    dollars = nano / 1e9
    if dollars == 0:
        return "$0"
    if abs(dollars) < 0.00005:
        return "<$0.0001"
    return f"${dollars:,.4f}" if abs(dollars) < 1 else f"${dollars:,.2f}"


def percent(share: float | None) -> str:
    """Return a share of 1 as `3.1 %`."""
    if share is None:
        return NOTHING
    if 0 < share < 0.001:
        return "<0.1 %"
    return f"{share * 100:.0f} %" if share in {0, 1} or share >= 0.995 else f"{share * 100:.1f} %"


def size(count: float | None) -> str:
    """Return bytes as `4.1 MB`."""
    if count is None:
        return NOTHING
    if count < 1024:
        return f"{count:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        count /= 1024
        if count < 1023.95:
            return f"{_short(count)} {unit}"
    return f"{_short(count / 1024)} TiB"


def plural(count: float | None, word: str, words: str = "", exact: bool = True) -> str:
    """Return `1 call` or `2 calls`."""
    return f"{si(count, exact)} {word if count == 1 else words or word + 's'}"


def severity(number: int) -> str:
    """Return the word of a severity."""
    return SEVERITIES[min(max(number, 0), 4)]


def ago(us: int, now_us: int) -> str:
    """Return how long something is ago: `just now`, `5 min ago`, `3 h ago`; a date after a day."""
    past = now_us - us
    if past < 5_000_000:
        return "just now" if past > -5_000_000 else f"in {duration(-past)}"
    if past >= _DAY_US:
        return moment(us)
    seconds = past // 1_000_000
    if seconds < 60:
        return f"{seconds} s ago"
    return f"{seconds // 60} min ago" if seconds < 3600 else f"{seconds // 3600} h ago"


def moment(us: int) -> str:
    """Return a time in UTC, to the second."""
    return _datetime(us).strftime("%Y-%m-%d %H:%M:%S")


def iso(us: int) -> str:
    """Return a time as ISO 8601 in UTC, to the millisecond."""
    return _datetime(us).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _datetime(us: int) -> datetime:
    # What is beyond any calendar came from a clock gone wrong; it must not cost the page.
    return datetime.fromtimestamp(min(max(us, 0), 253_402_300_799_000_000) / 1e6, UTC)


def _short(number: float) -> str:
    if 0 < abs(number) < 1:
        return f"{number:.2g}"
    text = f"{number:.1f}"
    return text.removesuffix(".0") if abs(number) >= 10 or text.endswith(".0") else text
