"""How often somebody may be wrong about the token."""

from __future__ import annotations

import ipaddress
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

import attrs


BURST = 10
"""Wrong tokens at once."""
PAUSE = 6.0
"""Seconds until there may be another one: who has the right one never waits longer."""
_MOST = 1000
"""Addresses that are remembered."""
_SUBNET = 64
"""Bits of an IPv6 address that a host can't choose."""

_log = logging.getLogger(__name__)


class TooMany(Exception):
    """
    There were too many wrong tokens.

    Attributes:
        seconds: When the next one may be tried.
    """

    def __init__(self, seconds: int) -> None:
        super().__init__(f"too many wrong tokens, {seconds} s to wait")
        self.seconds = seconds


@attrs.define(eq=False)
class _Guesser:
    """Somebody who was wrong: how many tries are left, as of when, and the last wrong tokens."""

    left: float
    at: float
    wrong: deque[int] = attrs.field(factory=lambda: deque(maxlen=BURST))


@attrs.define(eq=False)
class Attempts:
    """
    Counts wrong tokens by the address that they come from.

    The same wrong token again teaches nobody anything and is not counted: a program that goes on to
    use an old one keeps nobody of its machine out. Whatever proves by cookie who it is, is not
    looked at here.

    Attributes:
        clock: Seconds that never go back.
    """

    clock: Callable[[], float] = time.monotonic
    _guessers: OrderedDict[str, _Guesser] = attrs.field(factory=OrderedDict)

    def check(self, who: str, given: str) -> None:
        """
        Refuse somebody who has to wait.

        Raises:
            TooMany: It is too early for another token.
        """
        guesser = self._guessers.get(who)
        if guesser is None or hash(given) in guesser.wrong:
            return
        self._refill(guesser)
        if guesser.left < 1:
            raise TooMany(int((1 - guesser.left) * PAUSE) + 1)

    def failed(self, who: str, given: str) -> None:
        """Count a wrong token."""
        guesser = self._guessers.setdefault(who, _Guesser(BURST, self.clock()))
        self._guessers.move_to_end(who)
        if len(self._guessers) > _MOST:
            self._guessers.popitem(last=False)
        if hash(given) in guesser.wrong:
            return
        self._refill(guesser)
        guesser.wrong.append(hash(given))
        guesser.left -= 1
        if guesser.left < 1:
            _log.warning("many wrong tokens come from %s: it has to wait", who)

    def _refill(self, guesser: _Guesser) -> None:
        now = self.clock()
        guesser.left = min(float(BURST), guesser.left + (now - guesser.at) / PAUSE)
        guesser.at = now


def address_of(scope: Any) -> str:
    """Return whose request it is; all addresses that one host of IPv6 may have are the same."""
    host = (scope.get("client") or ("",))[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return str(host)
    if address.version == 4 or address.ipv4_mapped:
        return str(address if address.version == 4 else address.ipv4_mapped)
    return str(ipaddress.ip_network((int(address), _SUBNET), strict=False))
