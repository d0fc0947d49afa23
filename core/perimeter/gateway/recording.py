"""Which exchanges plugins may keep."""

from __future__ import annotations

import re
from fnmatch import translate
from operator import itemgetter

from perimeter.gateway.client import Scope
from perimeter.settings import RecordingSettings
from perimeter.verdicts import Headers


HEADER = b"x-perimeter-record"
_NO = frozenset({b"off", b"0", b"false", b"no"})
_NAME = itemgetter(0)


class Recordable:
    """
    Says which exchanges plugins may keep.

    Args:
        settings: The `[recording]` table.
    """

    def __init__(self, settings: RecordingSettings) -> None:
        patterns = "|".join(map(translate, settings.exclude_paths))
        self._excluded = re.compile(patterns) if patterns else None

    def __call__(self, headers: Headers, path: str, scope: Scope) -> bool:
        """
        Whether an exchange may be kept.

        Args:
            headers: Of the request, names in small letters.
            path: The path as it goes upstream.
            scope: Of the request; it has the path as it came, with prefixes of Perimeter's own.
        """
        # The names are looked at first, all at once: nearly no request has this one.
        if HEADER in map(_NAME, headers) and any(
            name == HEADER and value.strip().lower() in _NO for name, value in headers
        ):
            return False
        if self._excluded is None:
            return True
        came = (scope.get("raw_path") or b"").decode("latin-1")
        return not (self._excluded.match(path) or self._excluded.match(came))
