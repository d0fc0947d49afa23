"""A provider that ends its streams when it is told to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


SECONDS = 30.0
"""How long a stream waits at most."""


class Provider:
    """Answers chats; of streams it sends the end when `finish` is set."""

    def __init__(self) -> None:
        self.finish = threading.Event()
        self.keys: list[str] = []
        provider = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                provider.keys.append(self.headers.get("authorization", ""))
                length = int(self.headers["content-length"])
                body = json.loads(self.rfile.read(length))
                with suppress(OSError):
                    self._stream() if body.get("stream") else self._answer(body)

            def _answer(self, body: dict[str, Any]) -> None:
                number = len(body["messages"])
                reply = {
                    "id": f"chatcmpl-{number}",
                    "object": "chat.completion",
                    "model": "m",
                    "choices": [
                        {
                            "index": 0,
                            "finish_reason": "stop",
                            "message": {"role": "assistant", "content": f"reply {number}"},
                        }
                    ],
                    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
                }
                data = json.dumps(reply).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def _stream(self) -> None:
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.send_header("transfer-encoding", "chunked")
                self.end_headers()
                self._chunk(b'data: {"id":"c","choices":[]}\n\n')
                provider.finish.wait(SECONDS)
                self._chunk(b"data: [DONE]\n\n")
                self.wfile.write(b"0\r\n\r\n")

            def _chunk(self, data: bytes) -> None:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
                self.wfile.flush()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def serving(self) -> Iterator[Provider]:
        """Serve meanwhile."""
        thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield self
        finally:
            self.finish.set()
            self._server.shutdown()
            thread.join()
            self._server.server_close()
