"""A provider that costs next to nothing: `python provider.py` serves one, and prints its port."""

from __future__ import annotations

import asyncio
import json
import os
from typing import cast

from load import ANSWER as TEXT


EVENTS = 50
EVENT_SECONDS = float(os.environ.get("EVENT_SECONDS", "0.02"))
"""Between two events; none where it is only to be seen that all works."""
ANSWER = json.dumps(
    {
        "id": "chatcmpl-benchmark",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "bench-1",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": TEXT},
            }
        ],
        "usage": {"prompt_tokens": 250, "completion_tokens": 110, "total_tokens": 360},
    }
).encode()
EVENT = (
    b'data: {"id":"c","object":"chat.completion.chunk",'
    b'"choices":[{"index":0,"delta":{"content":"word "}}]}\n\n'
)

_JSON = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_benchmark\r\n"
    b"date: Thu, 01 Jan 1970 00:00:00 GMT\r\nserver: bench\r\ncontent-length: %d\r\n\r\n%b"
) % (len(ANSWER), ANSWER)
_SSE = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n"
    b"date: Thu, 01 Jan 1970 00:00:00 GMT\r\nserver: bench\r\n\r\n"
)
_EVENT = b"%x\r\n%b\r\n" % (len(EVENT), EVENT)


class Provider(asyncio.Protocol):
    """One connection, on which requests come one after the other."""

    def __init__(self) -> None:
        self._data = b""
        self._left = 0
        self._pause = EVENT_SECONDS

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer as soon as a request is whole."""
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        if len(body) < length:
            return
        self._data = b""
        if b'"stream":true' not in body:
            self._transport.write(_JSON)
            return
        self._pause = 0.0 if b"/burst" in body else EVENT_SECONDS
        self._left = EVENTS
        self._transport.write(_SSE)
        self._stream()

    def _stream(self) -> None:
        if self._transport.is_closing():
            return
        self._left -= 1
        if self._left < 0:
            self._transport.write(b"0\r\n\r\n")
            return
        self._transport.write(_EVENT)
        asyncio.get_running_loop().call_later(self._pause, self._stream)


async def main() -> None:
    """Serve until the process is ended."""
    server = await asyncio.get_running_loop().create_server(Provider, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(main())
