"""Where things are: the database, the token, the address."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from perimeter import Secret
from perimeter_plugin_live_trace.config import Config
from perimeter_plugin_live_trace.store import StoreError
from perimeter_plugin_live_trace.web.security import needs_token


DATABASE = "live-trace.db"
TOKEN_FILE = "token"  # noqa: S105 - the name of a file
KEY_FILE = "key"
_KEY_BYTES = 32
MEMORY = "perimeter-live-trace-"
WAIT_SECONDS = 5.0
"""For who has written to the database so far to be done with it."""

log = logging.getLogger("perimeter.live_trace")


@contextlib.contextmanager
def database_file(config: Config, data_dir: Path) -> Iterator[Path]:
    """Yield the path of the database; in memory mode it is gone with its folder afterwards."""
    if config.storage_mode == "memory":
        _sweep(Path(tempfile.gettempdir()))
        folder = Path(tempfile.mkdtemp(prefix=MEMORY))
        try:
            yield folder / DATABASE
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    else:
        yield (
            Path(config.db_path).expanduser().absolute() if config.db_path else data_dir / DATABASE
        )


@contextlib.asynccontextmanager
async def alone(path: Path) -> AsyncIterator[None]:
    """
    Be the only process that takes records for a database, meanwhile.

    The process of a proxy that was killed may still be about to end, so this waits a little.

    Raises:
        StoreError: Another proxy's process writes to it.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # who opens the database says what is wrong there
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(_lock(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            stack.callback(os.close, descriptor)
            until = time.monotonic() + WAIT_SECONDS
            while not _locked(descriptor):
                if time.monotonic() > until:
                    message = f"another proxy writes to {path}: set db_path to another file"
                    raise StoreError(message)
                await asyncio.sleep(0.05)
        yield


def _lock(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sweep(parent: Path) -> None:
    """Delete what processes that were killed have left: it was to be kept in memory only."""
    for folder in parent.glob(MEMORY + "*"):
        with contextlib.suppress(OSError):
            descriptor = os.open(_lock(folder / DATABASE), os.O_RDWR | os.O_CLOEXEC)
            try:
                if folder.stat().st_uid == os.getuid() and _locked(descriptor):
                    shutil.rmtree(folder)
            finally:
                os.close(descriptor)


def secret_for(data_dir: Path) -> bytes:
    """
    Return the key that forms and logins are signed with, the same one after a restart.

    Where it can't be kept for the owner's eyes only, it is another one each time.
    """
    path = data_dir / KEY_FILE
    try:
        if path.exists() and path.stat().st_mode & 0o077:
            path.unlink()  # others may know it
        key = bytes.fromhex(_stored(path, secrets.token_hex(_KEY_BYTES)))
        if len(key) == _KEY_BYTES:
            return key
        reason = "it is no key"
    except (OSError, ValueError) as error:
        reason = str(error)
    log.warning("forms and logins end with this process, as %s can't be used: %s", path, reason)
    return secrets.token_bytes(_KEY_BYTES)


def token_for(config: Config, host: str, data_dir: Path) -> Secret:
    """Return the token that the dashboard asks for; off loopback one is made where none is set."""
    if config.token or not needs_token(host):
        return config.token
    return Secret(_stored(data_dir / TOKEN_FILE, secrets.token_urlsafe(24)))


def _stored(path: Path, made: str) -> str:
    """Return what is in a file that only its owner can read; it is made where there is none."""
    with contextlib.suppress(FileNotFoundError):
        found = path.read_text(encoding="ascii").strip()
        if found:
            return found
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(made + "\n")
    return made


def listen(host: str, port: int) -> tuple[socket.socket, str]:
    """
    Listen for browsers, on another port where this one is taken.

    Returns:
        The socket, and what people should know about it, or "".

    Raises:
        OSError: The address can't be had.
    """
    try:
        return _bound(host, port), ""
    except OSError as error:
        if not port:
            raise
        other = _bound(host, 0)
        taken = f"port {port} of the dashboard can't be had ({error.strerror}): it is on "
        return other, f"{taken}{other.getsockname()[1]}"


def _bound(host: str, port: int) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener
