"""Whether there is a desktop to open the dashboard on."""

from __future__ import annotations

import os
import sys
import threading
import webbrowser
from collections.abc import Mapping
from pathlib import Path


CONTAINER_MARKS = (Path("/.dockerenv"), Path("/run/.containerenv"))


def is_there(environ: Mapping[str, str] = os.environ, platform: str = sys.platform) -> bool:
    """Tell whether a person sits at this machine's desktop; not in CI, over SSH or a container."""
    if environ.get("CI") or environ.get("SSH_CONNECTION") or environ.get("SSH_TTY"):
        return False
    if in_container(environ) or not sys.stdout.isatty():
        return False
    if platform.startswith("linux"):
        return bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))
    return True


def in_container(environ: Mapping[str, str] = os.environ) -> bool:
    """Tell whether this is a container."""
    marked = any(mark.exists() for mark in CONTAINER_MARKS)
    return marked or bool(environ.get("container") or environ.get("KUBERNETES_SERVICE_HOST"))


def default_host() -> str:
    """Return where the dashboard listens unless told: in a container others have to reach it."""
    return "0.0.0.0" if in_container() else "127.0.0.1"  # noqa: S104 - behind a token


def open_soon(url: str) -> None:
    """Open a browser, without waiting for it."""
    threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
