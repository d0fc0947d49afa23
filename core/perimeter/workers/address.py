"""One address for several sockets."""

from __future__ import annotations

import socket
from typing import Any


def reserve(host: str, port: int) -> socket.socket:
    """
    Keep an address for workers, without listening there.

    Raises:
        OSError: The address can't be had, for instance because it is in use.
    """
    family, _, _, _, address = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    if port:
        # Another proxy of this user with several workers would share it without a word.
        _bound(family, address, share=False).close()
    return _bound(family, address, share=True)


def join(family: int, address: Any) -> socket.socket:
    """
    Listen where others of the proxy's workers listen; the kernel spreads connections over all.

    Raises:
        OSError: The address can't be had.
    """
    listener = _bound(family, address, share=True)
    listener.listen(2048)
    listener.setblocking(False)
    return listener


def _bound(family: int, address: Any, *, share: bool) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound
