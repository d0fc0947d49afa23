"""
What is tested, by which detectors.

Detectors are told by plugins, as documents of the kind `detector`: the key is the detector's name,
the body says what it `covers` (`LLM01` to `LLM10`, `pii`, `behaviour`), whether its `state` is `on`
or `off`, and the `reason` and `command` of one that is off. Where nobody tells of any, nothing is
tested, and pages say that instead of showing a zero.
"""

from __future__ import annotations

from typing import Any

import msgspec

from perimeter_plugin_live_trace.store import Reader
from perimeter_plugin_live_trace.store.models import Document


KIND = "detector"
_MOST = 500


class Detector(msgspec.Struct, frozen=True):
    """A detector, as a plugin told of it."""

    name: str
    state: str = "on"
    covers: tuple[str, ...] = ()
    plugin: str = ""
    version: str = ""
    reason: str = ""
    command: str = ""
    since_us: int = 0


class Coverage(msgspec.Struct, frozen=True):
    """All detectors."""

    detectors: tuple[Detector, ...] = ()

    @property
    def tested(self) -> bool:
        """Whether anything is tested at all."""
        return any(each.state == "on" for each in self.detectors)

    @property
    def on(self) -> int:
        """How many detectors are on."""
        return sum(each.state == "on" for each in self.detectors)

    @property
    def off(self) -> int:
        """How many detectors are off."""
        return len(self.detectors) - self.on

    def of(self, what: str) -> str:
        """Return `on`, `off` or, where no detector is for it, `none`."""
        states = {each.state for each in self.detectors if what in each.covers}
        return "on" if "on" in states else "off" if states else "none"

    def why_not(self, what: str) -> Detector | None:
        """Return the detector whose being off explains that something is not tested."""
        off = (each for each in self.detectors if what in each.covers and each.state != "on")
        return next(off, None)


def coverage(reader: Reader) -> Coverage:
    """Return what is tested."""
    query = Document.select(Document.key, Document.body, Document.created_us)
    rows = reader.rows(query.where(Document.kind == KIND).order_by(Document.key).limit(_MOST))
    return Coverage(tuple(_detector(*row) for row in rows))


def _detector(key: str, body: str, created_us: int) -> Detector:
    """Read one; what a plugin wrote wrongly leaves the detector off, with the reason."""
    try:
        said = msgspec.json.decode(body, type=dict[str, Any])
        read = msgspec.convert({**said, "name": key}, Detector, strict=False)
    except msgspec.MsgspecError as error:
        return Detector(key, state="off", reason=f"what it says of itself cannot be read: {error}")
    if read.state not in {"on", "off"}:
        return msgspec.structs.replace(read, state="off")
    return read if read.since_us else msgspec.structs.replace(read, since_us=created_us)
