"""Runs the recordings as a provider, for `perimeter replay --serve`."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from perimeter.errors import PerimeterError
from perimeter_plugin_recorders.serving.app import STATUS, Provider, app


_SHOWN = 20


class CannotServe(PerimeterError):
    """The recordings can't be served; the message says why."""


def run(
    path: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    speed: float | None = None,
    ignore: Sequence[str] = (),
    announce: Callable[[str], None] = print,
) -> int:
    """
    Serve recordings until Ctrl-C or SIGTERM.

    Args:
        path: A file or a folder of recordings.
        host: Where to listen.
        port: Where to listen; 0 takes a free port.
        speed: How many times faster than recorded; None for as fast as possible.
        ignore: JSON fields of requests that do not count.
        announce: Shows a line to the person who started it.

    Returns:
        The exit code.

    Raises:
        OSError: There is no such file or folder.
        CannotServe: There is nothing to serve, or the address can't be had.
    """
    provider = app(path, speed=speed, ignore=ignore)
    for each in provider.library.skipped[:_SHOWN]:
        announce(f"skipped {each}")
    if (more := len(provider.library.skipped) - _SHOWN) > 0:
        announce(f"skipped {more} more")
    if not provider.library.served:
        raise CannotServe(f"there is nothing to serve in {path}")
    listener = _listen(host, port)
    with listener:
        for line in _summary(provider, path, listener):
            announce(line)
        _serve(provider, listener)
    announce(f"answered {provider.matched}, did not find {len(provider.unmatched)}")
    return 0


def _serve(provider: Provider, listener: socket.socket) -> None:
    import uvicorn  # noqa: PLC0415 - only here, and it loads slowly

    config = uvicorn.Config(
        provider,
        log_config=None,
        log_level="critical",  # a cut that was asked for is no error
        access_log=False,
        ws="none",
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
    )
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:
        return  # how uvicorn passes on the signal that ended it


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise CannotServe(f"can't listen on {host} port {port}: {error.strerror}") from error
    return listener


def _summary(provider: Provider, path: Path, listener: socket.socket) -> list[str]:
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    return [
        f"Serving {provider.library.served} recordings of {path} on {url}",
        f"  OpenAI:    base_url {url}/v1",
        f"  Anthropic: base_url {url}",
        f"  Status:    {url}{STATUS}",
        "Ctrl-C ends it.",
    ]
