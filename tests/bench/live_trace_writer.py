"""
How much CPU the writer of live trace needs for an exchange.

    python tests/bench/live_trace_writer.py [--exchanges 20000] [--batch 50] [--profile]

An exchange is a request of about 1 KB in a conversation that grows, and an answer of about 0.7 KB:
four records, which come in batches as large as 1,000 exchanges/s make them in 50 ms.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import random
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from perimeter_plugin_live_trace.records import Answered, Asked, Happened, Record, frame, unframe
from perimeter_plugin_live_trace.store import Database, Writer


TEXT = "a proxy passes every byte as it came and works out which conversation it is part of"
WORDS = TEXT.split()
CONVERSATIONS = 16
TURNS = 6


class Conversation:
    """One that grows, until another one takes its place."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.begin()

    def begin(self) -> None:
        self.session = f"{self.rng.getrandbits(128):032x}"
        system = {"role": "system", "content": "You are a helpful assistant for the sales team."}
        self.history = [system]
        self.turns = 0

    def words(self, count: int) -> str:
        return " ".join(self.rng.choices(WORDS, k=count)) + f" {self.rng.getrandbits(40):x}"

    def turn(self, at: float) -> list[Record]:
        if self.turns == TURNS:
            self.begin()
        self.turns += 1
        exchange, span = f"{self.rng.getrandbits(96):024x}", f"{self.rng.getrandbits(64):016x}"
        records: list[Record] = []
        if self.turns == 1:
            start = {"client.type": "gateway", "llm.vendor": "openai", "llm.model": "gpt-4.1"}
            start |= {"prompt": self.history[0]["content"], "session.match": "new"}
            records.append(self.event("session.start", at, span, start))
        self.history.append({"role": "user", "content": self.words(22)})
        body = json.dumps({"model": "gpt-4.1", "messages": self.history}).encode()
        headers = [
            (b"host", b"127.0.0.1:4000"),
            (b"content-type", b"application/json"),
            (b"authorization", b"Bearer sk-" + b"x" * 40),
            (b"user-agent", b"OpenAI/Python 1.99.1"),
            (b"x-stainless-lang", b"python"),
            (b"content-length", str(len(body)).encode()),
        ]
        about = {"call.id": exchange, "llm.vendor": "openai", "llm.model": "gpt-4.1"}
        start = {"llm.operation": "chat", "llm.request.stream": False, "session.match": "prefix"}
        records.append(self.event("llm.call.start", at, span, {**about, **start}))
        records.append(
            Asked(
                exchange, at, "openai.chat", "chat", "openai", "", "POST", "/v1/chat/completions",
                headers, body, len(body),
            )
        )  # fmt: skip
        said = self.words(50)
        self.history.append({"role": "assistant", "content": said})
        answer = json.dumps(
            {
                "id": f"chatcmpl-{exchange}", "object": "chat.completion", "created": 1,
                "model": "gpt-4.1", "system_fingerprint": "fp_44709d6fcb",
                "choices": [
                    {
                        "index": 0, "message": {"role": "assistant", "content": said},
                        "logprobs": None, "finish_reason": "stop",
                    }
                ],
                "usage": {"prompt_tokens": 200, "completion_tokens": 60, "total_tokens": 260},
            }
        ).encode()  # fmt: skip
        finish = {
            "http.status_code": 200, "llm.response.duration_ms": 812.331,
            "llm.usage.input_tokens": 200, "llm.usage.output_tokens": 60,
            "llm.usage.total_tokens": 260, "llm.cost_usd": 0.00088,
            "llm.response.id": f"chatcmpl-{exchange}", "llm.response.finish_reason": "stop",
        }  # fmt: skip
        records.append(self.event("llm.call.finish", at + 0.8, span, {**about, **finish}))
        back = [
            (b"content-type", b"application/json"), (b"x-request-id", span.encode()),
            (b"date", b"Mon, 21 Sep 2026 13:33:20 GMT"), (b"server", b"simulator"),
        ]  # fmt: skip
        records.append(
            Answered(exchange, at + 0.8, "completed", 200, back, answer, len(answer), 0.8, 0.0003)
        )
        return records

    def event(self, name: str, at: float, span: str, attributes: dict[str, object]) -> Happened:
        trace = self.session
        return Happened(
            name, at, trace, span, "INFO", self.session, "prompt-0123456789", attributes
        )


def frames(exchanges: int, batch: int) -> Iterator[bytes]:
    """Yield the batches, as they come over the socket."""
    rng = random.Random(1)
    talks = [Conversation(rng) for _ in range(CONVERSATIONS)]
    at = time.time()
    for start in range(0, exchanges, batch):
        records: list[Record] = []
        for number in range(start, min(start + batch, exchanges)):
            records += talks[number % CONVERSATIONS].turn(at + number / 1000)
        yield frame(records)[4:]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--exchanges", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--database", type=Path, help="one to add to, instead of a new one")
    options = parser.parse_args()
    made = list(frames(options.exchanges, options.batch))
    with tempfile.TemporaryDirectory() as folder:
        database = Database.open(options.database or Path(folder) / "bench.db")
        before = database.reader().size()
        writer = Writer(database)
        profile = cProfile.Profile()
        if options.profile:
            profile.enable()
        wall, cpu = time.perf_counter(), time.process_time()
        for data in made:
            writer.take(unframe(data))
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        profile.disable()
        assert writer.state == "open", writer.problem
        assert not writer.skipped
        size = database.reader().size() - before
    per = 1e6 / options.exchanges
    print(f"{cpu * per:.0f} us of CPU per exchange, {wall * per:.0f} us of time")
    print(f"{size / options.exchanges:.0f} bytes per exchange")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{peak:.0f} MB at most, of which {sum(map(len, made)) / 1e6:.0f} MB are the records")
    if options.profile:
        pstats.Stats(profile).sort_stats("tottime").print_stats(35)


if __name__ == "__main__":
    main()
