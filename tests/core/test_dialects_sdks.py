"""Endings that the proxy writes, read by the providers' own SDKs over a real socket."""

from __future__ import annotations

import asyncio
import re

import anthropic
import openai
import pytest

from perimeter.dialects import UPSTREAM_TYPES


ENDINGS = {
    each.name: each.end_stream("Enough.")
    for kind in UPSTREAM_TYPES.values()
    for each in kind.dialects
}
EVENTS = {
    "openai.chat": b'data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"m",'
    b'"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}\n\n',
    "openai.completions": b'data: {"id":"c1","object":"text_completion","created":1,"model":"m",'
    b'"choices":[{"index":0,"text":"Hi","logprobs":null,"finish_reason":null}]}\n\n',
    "openai.responses": b"event: response.created\n"
    b'data: {"type":"response.created","sequence_number":0,"response":{"id":"r1",'
    b'"object":"response","created_at":1,"status":"in_progress","model":"m","output":[],'
    b'"parallel_tool_calls":true,"tool_choice":"auto","tools":[]}}\n\n',
    "anthropic.messages": b"event: message_start\n"
    b'data: {"type":"message_start","message":{"id":"m1","type":"message","role":"assistant",'
    b'"model":"m","content":[],"stop_reason":null,"stop_sequence":null,'
    b'"usage":{"input_tokens":1,"output_tokens":1}}}\n\n',
}


@pytest.fixture
async def loopback_stream():
    """Return a starter of servers that answer everything with one stream of events."""
    servers = []

    async def start(body: bytes) -> str:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", head)
            await reader.readexactly(int(length[1]) if length else 0)
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
            )
            writer.write(body)
            await writer.drain()
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        servers.append(server)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    yield start
    for server in servers:
        server.close()
        await server.wait_closed()


MESSAGES = [{"role": "user", "content": "Hi"}]


async def read(name: str, url: str, seen: list[object]) -> None:
    """Ask by the SDK of a dialect, without retries, and note every event that it gives out."""
    async with (
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as one,
        anthropic.AsyncAnthropic(base_url=url, api_key="none", max_retries=0) as other,
    ):
        if name == "openai.chat":
            stream = await one.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        elif name == "openai.completions":
            stream = await one.completions.create(model="m", prompt="Hi", stream=True)
        elif name == "openai.responses":
            stream = await one.responses.create(model="m", input="Hi", stream=True)
        else:
            stream = await other.messages.create(
                model="m", max_tokens=9, messages=MESSAGES, stream=True
            )
        async for event in stream:
            seen.append(event)  # noqa: PERF401 - what came before an error must not be lost


async def read_whole_response(url: str) -> None:
    """Ask by the SDK's helper that puts a response together."""
    async with (
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
        client.responses.stream(model="m", input="Hi") as stream,
    ):
        await stream.get_final_response()


@pytest.mark.parametrize("name", EVENTS)
async def test_the_sdk_raises_its_own_error(loopback_stream, name):
    """The events before the ending are given out; then the SDK says why there are no more."""
    url = await loopback_stream(EVENTS[name] * 2 + ENDINGS[name])
    error = anthropic.APIStatusError if name == "anthropic.messages" else openai.APIError
    seen: list[object] = []

    with pytest.raises(error, match=r"Enough\."):
        await read(name, url, seen)

    assert len(seen) == 2


async def test_a_response_that_was_ended_is_not_put_together(loopback_stream):
    """The SDK's accumulating helper raises as well."""
    url = await loopback_stream(EVENTS["openai.responses"] + ENDINGS["openai.responses"])

    with pytest.raises(openai.APIError, match=r"Enough\."):
        await read_whole_response(url)


@pytest.mark.parametrize("name", EVENTS)
async def test_without_an_ending_the_sdk_notices_nothing(loopback_stream, name):
    """That is why there is one: a stream that just ends is a good one to the SDKs."""
    seen: list[object] = []

    await read(name, await loopback_stream(EVENTS[name]), seen)

    assert len(seen) == 1
