"""What a reader of the dashboard prefers: one cookie, so that the server renders it at once."""

from __future__ import annotations

import functools
import re
import zoneinfo
from typing import Any
from urllib.parse import parse_qsl, urlencode

import msgspec


COOKIE = "lt_prefs"
CHOICES: dict[str, tuple[str, ...]] = {
    "theme": ("auto", "light", "dark"),
    "density": ("comfortable", "compact"),
    "numbers": ("short", "exact"),
    "page_size": ("25", "50", "100", "200"),
    "live": ("on", "off"),
    "keys": ("on", "off"),
    "default_range": ("1h", "24h", "7d", "30d", "all"),
}
"""What each can be, except for the zone and the columns."""
_COLUMNS = re.compile(r"[a-z_,0-9]{0,300}")


class Prefs(msgspec.Struct, frozen=True, kw_only=True):
    """
    Preferences; see `CHOICES`.

    Attributes:
        theme: `auto`, `light` or `dark`.
        density: `comfortable` or `compact`: how high rows are.
        zone: `auto` (the browser's), `UTC` or an IANA name.
        numbers: `short` (12.4k) or `exact` (12,412).
        page_size: Rows per page.
        live: Whether pages follow what happens.
        keys: Whether single keys are shortcuts.
        default_range: The span of time where an address has none.
        cols: The columns of the list of sessions, with commas between; "" for the usual ones.
    """

    theme: str = "auto"
    density: str = "comfortable"
    zone: str = "auto"
    numbers: str = "short"
    page_size: int = 50
    live: bool = True
    keys: bool = True
    default_range: str = "24h"
    cols: str = ""

    def changed(self, values: dict[str, str]) -> Prefs:
        """Return these with values as a form gives them; what is unknown or invalid is left."""
        return msgspec.structs.replace(self, **_read(values))

    def cookie(self) -> str:
        """Return the value of the cookie: only what differs from the defaults."""
        default = Prefs()
        names = [name for name in self.__struct_fields__ if self.word(name) != default.word(name)]
        return urlencode({name: self.word(name) for name in names})

    def word(self, name: str) -> str:
        """Return one of them as forms and the cookie write it."""
        value = getattr(self, name)
        if isinstance(value, bool):
            return "on" if value else "off"
        return str(value)


def read_prefs(cookie: str) -> Prefs:
    """Return the preferences that a cookie holds, which may be anything."""
    try:
        pairs = dict(parse_qsl(cookie[:1000], max_num_fields=20))
    except ValueError:
        return Prefs()
    return msgspec.structs.replace(Prefs(), **_read(pairs))


def _read(pairs: dict[str, str]) -> dict[str, Any]:
    words = {name: pairs[name] for name, all_ in CHOICES.items() if pairs.get(name) in all_}
    if is_zone(pairs.get("zone", "")):
        words["zone"] = pairs["zone"]
    if _COLUMNS.fullmatch(pairs.get("cols", "-")):
        words["cols"] = pairs["cols"]
    return {name: _value(name, word) for name, word in words.items()}


def is_zone(name: str) -> bool:
    """Whether it is `auto` or the name of a zone that this machine knows."""
    return name in {"auto", "UTC"} or name in _zones()


@functools.cache
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


def _value(name: str, word: str) -> object:
    if name in {"live", "keys"}:
        return word == "on"
    return int(word) if name == "page_size" else word
