"""Where workers find the sessions that they share."""

from __future__ import annotations

import stat
import tempfile
from pathlib import Path

import pytest

from perimeter.context import Clock
from perimeter.sessions.stores import open_shared
from perimeter.settings import SessionSettings
from perimeter.workers.sharing import SOCKET, shared


pytestmark = pytest.mark.anyio


async def test_a_folder_with_a_long_path(tmp_path, monkeypatch):
    """Where the folder for temporary files has too long a path for a socket, another is taken."""
    long = tmp_path / ("long" * 30)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    store = open_shared(SessionSettings(), Clock().time, tmp_path)
    async with shared(store) as path:
        folder = Path(path).parent
        assert [each.name for each in folder.iterdir()] == [SOCKET]
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700

    assert not folder.exists()
    assert not list(long.iterdir())
