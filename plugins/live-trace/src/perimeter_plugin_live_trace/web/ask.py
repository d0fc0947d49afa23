"""What a page is asked: parameters, the span of time, and how links are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import attrs

from perimeter_plugin_live_trace.web.preferences import Prefs
from perimeter_plugin_live_trace.web.site import Changes, Site


if TYPE_CHECKING:
    from perimeter_plugin_live_trace.store import Reader

RANGES: dict[str, int | None] = {
    "1h": 3600,
    "24h": 24 * 3600,
    "7d": 7 * 24 * 3600,
    "30d": 30 * 24 * 3600,
    "all": None,
}
"""Seconds of the spans that have a name."""
KEPT = ("range", "from", "to", "agent")
"""Parameters that links to other pages keep."""
SLASH, DOT = "\ue000", "\ue001"
"""What stands for `/` and for a `.` that has no meaning of its own inside a part of a path."""
_MOST_TEXT = 2000
"""Characters of a parameter; what is longer is cut."""


@attrs.frozen
class Range:
    """
    A span of time.

    Attributes:
        from_us: The first microsecond; 0 for all there is.
        to_us: The first microsecond after it.
        name: One of `RANGES`, or `custom`.
    """

    from_us: int
    to_us: int
    name: str

    @property
    def span_us(self) -> int:
        """Its length."""
        return self.to_us - self.from_us

    @property
    def label(self) -> str:
        """How people call it."""
        if self.name != "custom":
            return LABELS[self.name]
        return f"{_short(self.from_us)} \N{EN DASH} {_short(self.to_us)}"

    @property
    def before(self) -> Range:
        """The equally long span before it, to compare with."""
        return Range(max(self.from_us - self.span_us, 0), self.from_us, "custom")


LABELS = {
    "1h": "Last hour",
    "24h": "Last 24 hours",
    "7d": "Last 7 days",
    "30d": "Last 30 days",
    "all": "All time",
}
"""How the spans are called."""


@attrs.define
class Params:
    """
    Parameters of an address. Invalid ones become their default, and the page says so.

    Attributes:
        pairs: Names and values in order.
        problems: What was invalid, for people.
    """

    pairs: Sequence[tuple[str, str]] = ()
    problems: list[str] = attrs.Factory(list)

    def text(self, name: str, default: str = "") -> str:
        """Return the last value of a parameter, cut to a sane length."""
        for other, value in reversed(self.pairs):
            if other == name:
                return value[:_MOST_TEXT].replace("\x00", "")
        return default

    def many(self, name: str) -> list[str]:
        """Return all values of a parameter."""
        return [value[:_MOST_TEXT] for other, value in self.pairs if other == name][:1000]

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        """Return a whole number between two limits."""
        text = self.text(name)
        if not text:
            return default
        if not (text.removeprefix("-").isascii() and text.removeprefix("-").isdigit()):
            self.problems.append(f"“{name}” is a whole number, not “{text[:40]}”.")
            return default
        number = int(text[:20])
        if not low <= number <= high:
            self.problems.append(f"“{name}” is between {low:,} and {high:,}.")
            return min(max(number, low), high)
        return number

    def choice(self, name: str, default: str, options: Sequence[str]) -> str:
        """Return one of several words."""
        text = self.text(name)
        if not text or text == default or text in options:
            return text or default
        shown = ", ".join(option for option in options if option)
        self.problems.append(f"“{name}” is one of {shown}, not “{text[:40]}”.")
        return default

    def flag(self, name: str) -> bool:
        """Whether a parameter is there and not `0`."""
        return self.text(name) not in {"", "0", "false", "off"}


@attrs.define
class Ask:
    """
    What a page is asked.

    Attributes:
        reader: The database, for reading.
        writer: Where changes go.
        site: What the dashboard knows of itself.
        prefs: What the reader prefers.
        now_us: The time, the same for all of the page.
        range: The span of time that is looked at.
        params: Of the address.
        path: The variable parts of the path.
        form: The fields of a form, the last one of each name.
        fields: All fields of a form.
        target: The path of the page.
        csrf: What forms must send back.
        notice: What the last change has to say.
        json: Whether the answer will be JSON.
        rev: The revision of the database when it was asked.
    """

    reader: Reader
    writer: Changes
    site: Site
    prefs: Prefs
    now_us: int
    range: Range
    params: Params = attrs.Factory(Params)
    path: Mapping[str, str] = attrs.Factory(dict)
    form: Mapping[str, str] = attrs.Factory(dict)
    fields: Sequence[tuple[str, str]] = ()
    target: str = "/"
    csrf: str = ""
    notice: str = ""
    json: bool = False
    rev: int = 0

    def url(self, path: str, **params: Any) -> str:
        """
        Return the address of a page, for the same span of time and the same agent.

        `{name}` in the path is replaced by that parameter, quoted; None leaves a parameter out.
        """
        kept = {name: self.params.text(name) for name in KEPT}
        return address(path, {**kept, **params})

    def here(self, **params: Any) -> str:
        """Return the address of this page with parameters changed; None leaves one out."""
        same = [(name, value) for name, value in self.params.pairs if name not in params]
        more = [pair for name, value in params.items() for pair in _pairs(name, value)]
        query = urlencode([*same, *more])
        return quote_path(self.target) + (f"?{query}" if query else "")

    def many(self, name: str) -> list[str]:
        """Return all values of a form's field, as check boxes of one name have."""
        return [value for other, value in self.fields if other == name]


def address(path: str, params: Mapping[str, Any]) -> str:
    """Return a path with its variable parts filled in, and the other parameters as its query."""
    rest = dict(params)
    for name in [name for name in params if f"{{{name}}}" in path]:
        path = path.replace(f"{{{name}}}", segment(rest.pop(name)))
    path, hash_, anchor = path.partition("#")
    query = urlencode([pair for name, value in rest.items() for pair in _pairs(name, value)])
    return path + (f"?{query}" if query else "") + hash_ + anchor


def is_local(url: str) -> bool:
    """Whether an address is a path of this dashboard, and of no other host."""
    return url.startswith("/") and not url.startswith(("//", "/\\"))


def segment(value: object) -> str:
    """Return a value as one part of a path, whatever is in it."""
    text = str(value)
    if text in {".", ".."}:  # browsers would go up instead
        text = text.replace(".", DOT)
    elif text.endswith(".json"):  # would ask for the page's twin
        text = text.removesuffix(".json") + DOT + "json"
    return quote(text, safe=":@~", errors="replace")


def quote_path(path: str) -> str:
    """Return a path that was taken apart, as an address has it."""
    return quote(path, safe="/:@~", errors="replace").replace(quote(SLASH), "%2F")


def plain(part: str) -> str:
    """Return a part of a path as it was before `segment`."""
    return part.replace(SLASH, "/").replace(DOT, ".")


def read_range(params: Params, prefs: Prefs, now_us: int) -> Range:
    """Return the span of time that an address asks for: by name, or by its ends."""
    if params.text("from") or params.text("to"):
        low, high = _moment(params, "from", 0), _moment(params, "to", now_us)
        if low is not None and high is not None and low < high:
            return Range(low, high, "custom")
        if low is not None and high is not None:
            params.problems.append("“from” must be before “to”.")
    name = params.choice("range", prefs.default_range, tuple(RANGES))
    seconds = RANGES[name]
    return Range(0 if seconds is None else now_us - seconds * 1_000_000, now_us, name)


def _moment(params: Params, name: str, default: int) -> int | None:
    text = params.text(name)
    if not text:
        return default
    try:
        moment = datetime.fromisoformat(text)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1e6)
    except (ValueError, OverflowError):
        params.problems.append(f"“{name}” is a time such as 2026-01-31T12:00Z, not “{text[:40]}”.")
        return None


def _short(us: int) -> str:
    return datetime.fromtimestamp(us / 1e6, UTC).strftime("%d %b %H:%M")


def _pairs(name: str, value: Any) -> list[tuple[str, str]]:
    if value is None or value == "":
        return []
    items = value if isinstance(value, (list, tuple)) else [value]
    return [(name, str(item).encode("utf-8", "replace").decode()) for item in items]
