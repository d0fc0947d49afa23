"""What the digests prove: that the provider's bytes reached the client, or who changed them."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

import attrs

from perimeter_plugin_recorders.recordings.recording import Recording


IDENTICAL = "identical"
_CHANGING = frozenset({"block", "respond", "rewrite", "stop"})
_SHORT = {
    "client_disconnected": "cut short: the client left",
    "truncated": "cut short: the provider's response ended early",
    "upstream_error": "cut short: the provider failed",
    "proxy_error": "cut short: the proxy ended it",
}


@attrs.frozen
class Fidelity:
    """
    How true a response is.

    Attributes:
        delivered: What the client got, compared with what the provider sent: `identical`, `changed
            by …`, or why there is nothing to compare.
        recorded: How the recording compares with what the client got.
        changed_by: The plugins that changed it.
    """

    delivered: str
    recorded: str
    changed_by: tuple[str, ...] = ()

    @property
    def identical(self) -> bool:
        """Whether the client got the provider's bytes."""
        return self.delivered == IDENTICAL


def fidelity(recording: Recording) -> Fidelity:
    """Compare what was received, delivered and recorded."""
    end = recording.end
    if end is None:
        return Fidelity("unknown: the recording has no end", "in part: it has no end")
    if recording.legacy:
        return Fidelity("unknown: this format has no digests", "bodies are not kept byte by byte")
    return Fidelity(_delivered(recording), _recorded(recording), tuple(_changers(recording)))


def stored_digest(recording: Recording) -> str:
    """Return the SHA-256 of the body that is in the lines."""
    digest = sha256()
    for chunk in recording.chunks:
        digest.update(chunk.data)
    return digest.hexdigest()


def _delivered(recording: Recording) -> str:
    end = recording.end
    if end is None or not (end.received or end.delivered):
        return "nothing to compare: no response came from the provider"
    if end.received == end.delivered:
        return IDENTICAL
    verdicts = [f"{each.plugin} ({each.kind.lower()})" for each in end.verdicts if _changes(each)]
    if verdicts:
        done = "changed" if end.received else "answered"
        return f"{done} by {', '.join(dict.fromkeys(verdicts))}"
    if not end.received:
        return "nothing to compare: the proxy answered itself"
    return _SHORT.get(end.outcome, "changed by a plugin that did not say so")


def _changes(verdict: object) -> bool:
    return getattr(verdict, "kind", "").lower() in _CHANGING


def _changers(recording: Recording) -> Iterator[str]:
    end = recording.end
    if end is not None and end.received != end.delivered:
        yield from dict.fromkeys(each.plugin for each in end.verdicts if _changes(each))


def _recorded(recording: Recording) -> str:
    end, head = recording.end, recording.head
    if end is None or end.stored == end.delivered:
        return "exactly"
    reasons = [
        f"{end.masked} secrets masked" if end.masked else "",
        f"its {head.decoded} encoding undone" if head and head.decoded else "",
        "cut off at the size limit" if end.truncated else "",
        f"{end.lost} chunks lost" if end.lost else "",
    ]
    told = ", ".join(filter(None, reasons))
    return f"with {told}" if told else "otherwise than delivered, for no reason that is told"
