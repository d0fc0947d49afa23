"""Whatever is recorded, each exchange ends exactly once, and the playback ends."""

from __future__ import annotations

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st

from perimeter import Block, Respond, Rewrite, Stop
from perimeter.model import Outcome
from perimeter.playback import Head, RecordedSession, Rewritten
from playing import chat, play


TIMES = st.floats(0, 5, allow_nan=False)
HEADERS = st.lists(
    st.sampled_from(
        [
            (b"content-type", b"text/event-stream"),
            (b"content-type", b"application/json"),
            (b"content-length", b"7"),
            (b"content-length", b"nonsense"),
            (b"transfer-encoding", b"chunked"),
            (b"transfer-encoding", b"gzip"),
            (b"content-encoding", b"gzip"),
            (b"connection", b"x"),
            (b"x", b"\x00"),
            (b"upgrade", b"websocket"),
            (b"x-cylestio-session-id", b"s"),
            (b"x-perimeter-record", b"off"),
        ]
    ),
    max_size=4,
).map(tuple)
ERRORS = st.sampled_from(
    [
        None,
        ("UpstreamClosed", "x"),
        ("UpstreamTimeout", "x"),
        ("GuardFailed", ""),
        ("RequestRejected", "x"),
        ("ClientDisconnected", "x"),
        ("ShuttingDown", "x"),
        ("ValueError", "x"),
    ]
)
VERDICTS = st.lists(
    st.sampled_from([Block("b"), Respond(b"{}"), Rewrite(), Rewrite(body=b"{}"), Stop("s")]),
    max_size=2,
)
SESSIONS = st.sampled_from([None, RecordedSession("a"), RecordedSession("b", "x", "fuzzy", 0.5)])

RECORDED = st.builds(
    attrs.evolve,
    st.integers(1, 3).map(chat),
    started_at=st.floats(0, 100, allow_nan=False),
    method=st.sampled_from(["GET", "POST", "HEAD", "OPTIONS"]),
    target=st.sampled_from(
        ["/v1/chat/completions", "/v1/messages", "", "*", "/-/x", "//", "/a?b=%zz#c", "/ünï/☃"]
    ),
    headers=HEADERS,
    body=st.sampled_from([b"", b"{", chat().body, b"\xff" * 100]),
    truncated=st.booleans(),
    upstream=st.sampled_from(["", "openai", "a/b"]),
    upstream_type=st.sampled_from(["openai", "anthropic", "raw", "ollama", "of tomorrow"]),
    workflow_id=st.sampled_from([None, "", "w", "-"]),
    sent=st.none() | TIMES,
    attempts=st.integers(0, 3),
    rewritten=st.sampled_from([None, Rewritten("/x", (), b"{}")]),
    head=st.none() | st.builds(Head, TIMES, st.sampled_from([200, 204, 304, 400, 503]), HEADERS),
    chunks=st.lists(st.tuples(TIMES, st.sampled_from([b"", b"data: {}\n\n", b"{", b"\xff"]))),
    partial=st.booleans(),
    own=st.booleans(),
    ended=TIMES,
    outcome=st.none() | st.sampled_from(Outcome),
    error=ERRORS,
    verdicts=VERDICTS.map(lambda all_: [("guard", each) for each in all_]),
    session=SESSIONS,
)


@settings(max_examples=100, deadline=None)
@given(recordings=st.lists(RECORDED, min_size=1, max_size=6), resolve=st.booleans())
async def test_every_exchange_ends_once(recordings, resolve):
    """Recordings that contradict themselves in any way are played to an end all the same."""
    recordings = [attrs.evolve(each, id=f"ex-{number}") for number, each in enumerate(recordings)]
    witness = await play(*recordings, resolve=resolve)

    ends = [*witness.values("on_response"), *witness.values("on_error")]
    assert sorted(each.id for each in ends) == sorted(each.id for each in recordings)
    for recorded in recordings:
        exchange = witness.ended[recorded.id]
        assert "the proxy failed" not in str(exchange.error)
        assert exchange.outcome is not None
