"""
Connecting: addresses raced as in RFC 8305 (happy eyeballs), then TLS.

The race is our own because uvloop's `create_connection` has none.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from itertools import chain, zip_longest
from typing import Any, TypeVar

import attrs

from perimeter.errors import UpstreamConnectError, UpstreamTimeout


HEAD_START = 0.25
"""Seconds an address has before the next one is tried beside it (RFC 8305 §5)."""

Address = tuple[int, int, int, str, tuple[Any, ...]]
P = TypeVar("P", bound=asyncio.Protocol)


@attrs.frozen
class Origin:
    """
    Where the connections of a transport go.

    Attributes:
        host: Name or address; the name that TLS asks for, too.
        port: TCP port.
        tls: How to speak TLS, or None not to.
        timeout: Seconds that everything before the first byte of HTTP may take.
    """

    host: str
    port: int
    tls: ssl.SSLContext | None
    timeout: float


async def connect(origin: Origin, protocol: Callable[[], P]) -> P:
    """
    Connect, and shake hands.

    Raises:
        UpstreamError: It can't be done, or not in time.
    """
    scope = asyncio.timeout(origin.timeout)
    try:
        async with scope:
            return await _connect(origin, protocol)
    except (OSError, ValueError) as error:
        if scope.expired():
            raise UpstreamTimeout("connecting took too long", phase="connect") from error
        raise UpstreamConnectError(str(error) or type(error).__name__) from error


async def _connect(origin: Origin, protocol: Callable[[], P]) -> P:
    loop = asyncio.get_running_loop()
    sock = await _race(interleaved(await _resolve(origin.host, origin.port)))
    # From here on the socket is the event loop's, which closes it when this fails.
    _, made = await loop.create_connection(
        protocol,
        sock=sock,
        ssl=origin.tls,
        server_hostname=origin.host if origin.tls is not None else None,
    )
    return made


async def _resolve(host: str, port: int) -> Sequence[Address]:
    """Look a name up; an address needs no thread for that."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        loop = asyncio.get_running_loop()
        return await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)


def interleaved(found: Sequence[Address]) -> list[Address]:
    """Let the families of addresses take turns, beginning with the resolver's favourite."""
    families: dict[int, list[Address]] = {}
    for address in found:
        families.setdefault(address[0], []).append(address)
    turns = chain.from_iterable(zip_longest(*families.values()))
    return [address for address in turns if address is not None]


async def _race(addresses: list[Address]) -> socket.socket:
    """Connect to the address that answers first; each has a head start on the next."""
    if len(addresses) == 1:
        return await _reach(addresses[0])
    running: set[asyncio.Task[socket.socket]] = set()
    failures: list[str] = []
    left = iter(addresses)
    loop = asyncio.get_running_loop()
    try:
        while True:
            following = next(left, None)
            if following is not None:
                running.add(loop.create_task(_reach(following)))
            elif not running:
                raise OSError("; ".join(dict.fromkeys(failures)) or "the name has no address")
            patience = HEAD_START if following is not None else None
            done, running = await asyncio.wait(
                running, timeout=patience, return_when=asyncio.FIRST_COMPLETED
            )
            won = _winner(done, failures)
            if won is not None:
                return won
    finally:
        for task in running:
            task.cancel()
            task.add_done_callback(_close_late)


def _winner(done: set[asyncio.Task[socket.socket]], failures: list[str]) -> socket.socket | None:
    won = None
    for task in done:
        error = task.exception()
        if error is not None:
            failures.append(str(error))
        elif won is None:
            won = task.result()
        else:
            task.result().close()
    return won


def _close_late(task: asyncio.Task[socket.socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()


async def _reach(address: Address) -> socket.socket:
    family, kind, proto, _, where = address
    sock = socket.socket(family, kind, proto)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(sock, where)
    except BaseException:
        sock.close()
        raise
    return sock
