"""A recorded exchange comes out as it was: hooks, times, pieces, requests."""

from __future__ import annotations

import gzip
import time

import attrs

from perimeter.model import Outcome
from perimeter.playback import Head, Rewritten
from perimeter.verdicts import Rewrite
from playing import BEGAN, chat, play, stream


async def test_a_stream_is_played_piece_by_piece_at_its_times():
    """Each hook is called once, in order, at the moment that was recorded."""
    witness = await play(stream(pieces=2))

    seen = [(name, round(at - BEGAN, 6)) for name, at, _ in witness.calls if "event" not in name]
    assert seen == [
        ("on_request", 0.001),
        ("on_response_start", 0.5),
        ("on_chunk", 1.0),
        ("on_chunk", 2.0),
        ("on_chunk", 3.0),
        ("on_response", 3.25),
    ]


async def test_the_exchange_is_the_recorded_one():
    """Everything that plugins see of an exchange has the recorded value, floats exactly."""
    recorded = stream(workflow_id="team%2Fa", attempts=3, target="/v1/chat/completions?a=1&b=%20")
    exchange = (await play(recorded)).ended["ex-1"]

    assert exchange.started_at == recorded.started_at
    assert exchange.duration == recorded.ended
    assert exchange.time_to_first_byte == recorded.chunks[0][0]
    assert exchange.sent - exchange.started == recorded.sent
    assert exchange.attempts == 3
    assert (exchange.upstream, exchange.client) == ("main", "192.0.2.7")
    assert exchange.workflow_id == "team%2Fa"
    assert exchange.original.target == recorded.target
    assert exchange.original.headers == recorded.headers
    assert exchange.original.body == recorded.body
    assert exchange.dialect.name == "openai.chat"
    assert exchange.response.status == 200
    assert exchange.response.headers == recorded.head.headers
    assert exchange.response.body == b"".join(data for _, data in recorded.chunks)
    assert exchange.llm_reply.message.text == "word0 word1 word2 "
    assert exchange.outcome is Outcome.COMPLETED


async def test_chunks_keep_their_borders():
    """A plugin gets the very pieces that were recorded, with their offsets."""
    recorded = stream()
    witness = await play(recorded)

    chunks = [(chunk.at, chunk.data) for _, chunk in witness.values("on_chunk")]
    assert chunks == list(recorded.chunks)


async def test_overlapping_exchanges_overlap():
    """What happened at the same time is told in the order in which it happened."""
    witness = await play(stream(1), chat(2, at=0.7), stream(3, at=1.6))

    order = [
        (name, round(at - BEGAN, 3), value if isinstance(value, str) else "")
        for name, at, value in witness.calls
        if name in {"on_request", "on_chunk", "on_response"}
    ]
    assert [at for _, at, _ in order] == sorted(at for _, at, _ in order)
    ends = [exchange.id for exchange in witness.values("on_response")]
    assert ends == ["ex-2", "ex-1", "ex-3"]
    assert witness.names().index("on_response") < len(witness.names()) - 1


async def test_many_at_once():
    """Hundreds of open streams all keep their own times."""
    recordings = [stream(number, at=number * 0.001) for number in range(300)]
    witness = await play(*recordings)

    for recorded in recordings:
        exchange = witness.ended[recorded.id]
        assert exchange.started_at == recorded.started_at
        assert abs(exchange.duration - recorded.ended) < 1e-9


async def test_a_request_without_body():
    """A GET of a path that is no call goes through with its own status."""
    recorded = chat(
        method="GET",
        target="/v1/models",
        headers=((b"accept", b"*/*"),),
        body=b"",
        session=None,
        head=Head(0.25, 404, ((b"content-type", b"application/json"),)),
        chunks=[(0.5, b"{}")],
    )
    witness = await play(recorded)

    exchange = witness.ended["ex-1"]
    assert (exchange.response.status, exchange.outcome) == (404, "completed")
    assert exchange.sent - exchange.started == recorded.sent
    assert exchange.session is None
    assert witness.events == []


async def test_a_body_without_a_length():
    """A recording of another product may lack the header that announces the body."""
    recorded = chat(headers=((b"a", b"b"),))
    exchange = (await play(recorded)).ended["ex-1"]

    assert exchange.original.body == recorded.body


async def test_a_body_that_streamed_up_is_seen():
    """A raw upload is captured as it was while it streamed through the proxy."""
    recorded = chat(
        target="/upload",
        upstream_type="raw",
        headers=((b"transfer-encoding", b"chunked"),),
        body=b"bytes\x00\xff",
        session=None,
    )
    exchange = (await play(recorded)).ended["ex-1"]

    assert exchange.dialect.name == "raw"
    assert exchange.original.body == b"bytes\x00\xff"


async def test_an_encoded_body_stays_encoded():
    """Bodies pass as they were recorded, and are read all the same."""
    plain = chat()
    data = gzip.compress(plain.chunks[0][1])
    head = Head(0.5, 200, ((b"content-type", b"application/json"), (b"content-encoding", b"gzip")))
    exchange = (await play(chat(head=head, chunks=[(0.75, data)]))).ended["ex-1"]

    assert exchange.response.body == data
    assert exchange.llm_reply.message.text == "answer 1"


async def test_a_rewritten_request_is_shown_rewritten():
    """With guards off, what a guard had changed is changed again, and its verdict told."""
    body = b'{"model":"gpt-4o-mini","messages":[]}'
    rewritten = Rewritten("/v1/chat/completions?x=1", ((b"a", b"b"),), body)
    verdict = Rewrite(body=body)
    witness = await play(chat(rewritten=rewritten, verdicts=[("mask", verdict)]))

    exchange = witness.ended["ex-1"]
    assert exchange.request.target == "/v1/chat/completions?x=1"
    assert exchange.request.headers == ((b"a", b"b"),)
    assert exchange.request.body == body
    assert exchange.original.body == chat().body
    assert witness.values("on_verdict") == [("mask", verdict)]
    assert witness.names().index("on_verdict") < witness.names().index("on_request")


async def test_what_is_missing_is_marked():
    """Bodies of which a part was not recorded are marked as truncated, not taken for broken."""
    body = chat().body[:20]
    witness = await play(chat(body=body, truncated=True, partial=True))

    exchange = witness.ended["ex-1"]
    assert exchange.original.truncated
    assert exchange.response.truncated
    assert exchange.llm_request is None
    assert exchange.session.id == "ses-1"


async def test_large_bodies_are_read_in_a_thread():
    """Time stands still while a thread reads, so that the moments stay the recorded ones."""
    text = b"x" * 600_000
    large = chat(1).body.replace(b"question 1", text)
    headers = ((b"content-length", b"%d" % len(large)),)
    recordings = [
        chat(number, at=number * 0.01, body=large, headers=headers) for number in range(8)
    ]
    witness = await play(*recordings)

    starts = [event for event in witness.events if event.name == "llm.call.start"]
    assert [round(event.timestamp - BEGAN, 6) for event in starts] == [
        round(number * 0.01 + 0.001, 6) for number in range(8)
    ]
    assert len({exchange.duration for exchange in witness.ended.values()}) <= 2


async def test_waits_beyond_every_deadline_of_today():
    """A response that took hours then is no timeout now."""
    slow = stream()
    slow = attrs.evolve(
        slow,
        head=attrs.evolve(slow.head, at=3_000.0),
        chunks=[(10_000.0 + at, data) for at, data in slow.chunks],
        ended=20_000.0,
    )
    exchange = (await play(slow)).ended["ex-1"]

    assert (exchange.outcome, exchange.duration) == ("completed", 20_000.0)


async def test_shifted_to_now():
    """With `shift` it begins now, and the distances stay."""
    before = time.time()
    witness = await play(chat(1), chat(2, at=100.0), shift=True)

    first, second = witness.ended["ex-1"], witness.ended["ex-2"]
    assert before <= first.started_at <= time.time()
    assert round(second.started_at - first.started_at, 6) == 100.0


async def test_the_same_twice():
    """Two playbacks give the same events, ids of spans aside."""
    recordings = [stream(1), chat(2, at=0.3), stream(3, at=0.4)]
    first, second = [
        [attrs.evolve(event, span_id="") for event in (await play(*recordings)).events]
        for _ in range(2)
    ]

    assert first == second
    assert len(first) == 12
