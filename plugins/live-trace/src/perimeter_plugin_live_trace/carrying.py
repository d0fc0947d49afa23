"""
Dialects of plugins on their way to the live-trace process.

They go as the proxy has them, so that no plugin need be built again over there: that could open a
second time what there is to be one of. Whatever is wrong with one of them is its own trouble.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterable, Iterator, Mapping

from perimeter.dialects import Dialect


log = logging.getLogger("perimeter.live_trace")


def packed(dialects: Iterable[Dialect]) -> dict[str, bytes]:
    """Return dialects by name, as bytes; those that can't be had as bytes are logged."""
    found = {}
    for each in dialects:
        try:
            found[each.name] = pickle.dumps(each)
        except Exception as error:  # noqa: BLE001 - whatever a plugin's class does
            log.warning("what calls of %s say can't be shown: %s", each.name, error)
    return found


def unpacked(dialects: Mapping[str, bytes]) -> Iterator[Dialect]:
    """Yield dialects; the bytes are those that the proxy has sent through its own pipe."""
    for name, data in dialects.items():
        try:
            made = pickle.loads(data)  # noqa: S301 - from the process that has started this one
        except (Exception, SystemExit):
            log.exception("what calls of %s say can't be shown", name)
            continue
        if isinstance(made, Dialect):
            yield made
