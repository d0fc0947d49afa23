"""Dialects of plugins, on their way to the live-trace process."""

from __future__ import annotations

import re

from perimeter.dialects import Dialect, OpenAIChat
from perimeter_plugin_live_trace.carrying import packed, unpacked


CHAT = OpenAIChat("acme.chat", "openai", re.compile(r"/v3/chat\Z"))


def test_a_dialect_arrives_as_it_was():
    """It is equal, and reads the same."""
    (arrived,) = unpacked(packed([CHAT]))

    assert arrived == CHAT
    body = b'{"model": "m", "messages": [{"role": "user", "content": "hello"}]}'
    assert arrived.read_request(body) == CHAT.read_request(body)


def test_a_dialect_that_can_not_go_over(caplog):
    """One of a class that no module has is logged by name, and the others go."""

    class Local(Dialect):
        pass

    found = packed([Local("local.chat", "openai", re.compile("x")), CHAT])

    assert list(found) == ["acme.chat"]
    assert "local.chat" in caplog.text


def test_what_is_no_dialect_does_not_arrive(caplog):
    """Neither bytes that are broken, nor another object."""
    good = packed([CHAT])["acme.chat"]
    given = {"a": good[:-5], "b": b"", "c": b"\x80\x04K\x01.", "d": good}

    assert list(unpacked(given)) == [CHAT]
    assert caplog.text.count("can't be shown") == 2
