"""Where the process listens, and the key that forms and logins are signed with."""

from __future__ import annotations

import socket
import stat

import pytest

from perimeter_plugin_live_trace.process.places import KEY_FILE, listen, secret_for


def test_the_key_is_kept(tmp_path):
    """It is made once, for its owner only, in a folder that need not be there."""
    key = secret_for(tmp_path / "data")

    assert len(key) == 32
    assert secret_for(tmp_path / "data") == key
    assert stat.S_IMODE((tmp_path / "data" / KEY_FILE).stat().st_mode) == 0o600
    assert secret_for(tmp_path / "other") != key


def test_a_key_that_others_could_read_is_made_anew(tmp_path):
    """Who knows it could make forms and logins."""
    key = secret_for(tmp_path)
    (tmp_path / KEY_FILE).chmod(0o644)
    other = secret_for(tmp_path)

    assert other not in {key, b""}
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600
    assert secret_for(tmp_path) == other


@pytest.mark.parametrize("content", ["no key at all", "abcd", "\N{SNOWMAN}"])
def test_garbage_is_no_key(tmp_path, caplog, content):
    """A process has a key of its own then, which is no one's guess, and says so."""
    (tmp_path / KEY_FILE).write_text(content, encoding="utf-8")
    (tmp_path / KEY_FILE).chmod(0o600)
    keys = {secret_for(tmp_path) for _ in range(2)}

    assert len(keys) == 2
    assert {len(key) for key in keys} == {32}
    assert "forms and logins end with this process" in caplog.text


def test_a_key_that_can_not_be_kept(tmp_path, caplog):
    """So it is where no file can be made."""
    (tmp_path / "data").write_text("this is no folder")

    assert secret_for(tmp_path / "data") != secret_for(tmp_path / "data")
    assert "forms and logins end with this process" in caplog.text


def test_answers_do_not_wait_for_acknowledgements():
    """Event loops send at once (TCP_NODELAY) only on sockets that say that they are TCP's."""
    listener, _ = listen("127.0.0.1", 0)
    with listener:
        assert listener.proto == socket.IPPROTO_TCP
