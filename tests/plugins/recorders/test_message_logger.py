"""The message logger behind a real proxy."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from perimeter.simulator import FAULT_HEADER, Simulator


KEY = "sk-" + "proj-" + "Ab1" * 16


def ask(url: str, *messages: tuple[str, str], **more: Any) -> httpx.Response:
    """Send a chat request."""
    said = [{"role": role, "content": text} for role, text in messages]
    headers = more.pop("headers", {})
    body = {"model": "gpt-4o-mini", "messages": said, **more}
    return httpx.post(f"{url}/v1/chat/completions", json=body, headers=headers)


def converse(url: str) -> None:
    """Ask twice in one conversation."""
    opening = (("system", "You calculate."), ("user", "What is 2 + 3?"))
    reply = ask(url, *opening).json()["choices"][0]["message"]["content"]
    ask(url, *opening, ("assistant", reply), ("user", "And 4 + 5?"))


def texts(line: dict[str, Any]) -> list[str]:
    """Return the words of a request's messages."""
    return [part["text"] for message in line["messages"] for part in message["parts"]]


def test_a_conversation_is_logged_line_by_line(record, records_of):
    """Requests have what is new, replies what was said and used up, all with their ids."""
    with record(Simulator(), "message_logger") as proxy:
        converse(proxy.url)
    first, reply, second, last = records_of(proxy.folder)
    assert [line["type"] for line in (first, reply, second, last)] == ["request", "reply"] * 2
    assert len({line["session"] for line in (first, reply, second, last)}) == 1
    assert first["exchange"] == reply["exchange"] != second["exchange"]
    assert first["system"] == "You calculate."
    assert "system" not in second
    assert texts(first)[-1] == "What is 2 + 3?"
    assert texts(second) == ["And 4 + 5?"]
    assert (first["model"], first["provider"]) == ("gpt-4o-mini", "openai")
    assert first["agent"].startswith("prompt-")
    assert first["timestamp"].endswith("Z")
    assert reply["status"] == 200
    assert reply["usage"]["input_tokens"] > 0
    assert reply["cost_usd"] > 0
    assert reply["duration_ms"] > 0
    assert reply["message"]["parts"][0]["text"]


def test_the_full_history_is_logged_on_demand(record, records_of):
    """With full_history each request has all of its messages and its system prompt."""
    with record(Simulator(), "message_logger", full_history=True) as proxy:
        converse(proxy.url)
    requests = [line for line in records_of(proxy.folder) if line["type"] == "request"]
    assert [len(texts(line)) - len(texts(requests[0])) for line in requests] == [0, 2]
    assert [line["system"] for line in requests] == ["You calculate."] * 2


@pytest.mark.parametrize("full_history", [False, True])
def test_system_prompts_are_left_out_on_demand(record, content_of, records_of, full_history):
    """With include_system_prompts = false no system prompt is in any line."""
    options = {"include_system_prompts": False, "full_history": full_history}
    with record(Simulator(), "message_logger", **options) as proxy:
        converse(proxy.url)
    assert len(records_of(proxy.folder)) == 4
    assert b"You calculate" not in b"".join(content_of(proxy.folder))


def test_a_failed_call_is_an_error_line(record, records_of):
    """A provider's error is one line, with what kind it was and its message."""
    with record(Simulator(), "message_logger") as proxy:
        ask(proxy.url, ("user", "Hello"), headers={FAULT_HEADER: "status=429"})
    request, error = records_of(proxy.folder)
    assert (request["type"], error["type"], error["status"]) == ("request", "error", 429)
    assert error["error"]["type"]
    assert error["error"]["message"]


def test_what_a_client_wants_kept_out_is_kept_out(record, records_of, content_of):
    """x-perimeter-record: off keeps a call out of the log, and its system prompt too."""
    with record(Simulator(), "message_logger") as proxy:
        off = {"x-perimeter-record": "off"}
        ask(proxy.url, ("system", "private"), ("user", "private"), headers=off)
        ask(proxy.url, ("user", "Hello"))
    assert len(records_of(proxy.folder)) == 2
    assert b"private" not in b"".join(content_of(proxy.folder))


@pytest.mark.parametrize("plugin", ["message_logger", "event_recorder"])
def test_keys_in_messages_are_masked(record, content_of, records_of, plugin):
    """No key of a message or a system prompt is in a file, and lines stay JSON."""
    with record(Simulator(), plugin) as proxy:
        quoted = f'{{"api_key": "{KEY}"}}'
        ask(proxy.url, ("system", f"Use {KEY}."), ("user", quoted))
    assert records_of(proxy.folder)
    assert KEY.encode() not in b"".join(content_of(proxy.folder))
    assert b"sk-proj-****" in b"".join(content_of(proxy.folder))


def test_half_a_surrogate_is_no_problem(record, records_of):
    """Text that can't be encoded is logged in escapes, and nothing is lost."""
    with record(Simulator(), "message_logger") as proxy:
        body = b'{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "a\\ud83d b"}]}'
        httpx.post(f"{proxy.url}/v1/chat/completions", content=body)
        ask(proxy.url, ("user", "Hello"))
    assert [line["type"] for line in records_of(proxy.folder)].count("request") == 2
