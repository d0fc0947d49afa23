"""The prompt-cache view: where a cache broke, what that cost, and what is not known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import factory
import httpx
import pytest
from api_parts import served, words
from factory import NOW

from perimeter.pricing import PriceTable
from perimeter_plugin_live_trace.cache import dearest, report
from perimeter_plugin_live_trace.cache.money import lost_nano, lost_tokens
from perimeter_plugin_live_trace.cache.report import pairs
from perimeter_plugin_live_trace.records import Answered, Asked, Happened
from perimeter_plugin_live_trace.store import Database, Writer


SYSTEM = {"role": "system", "content": "You are helpful."}
TOOLS = [{"type": "function", "function": {"name": "look"}}]


def user(text: str) -> dict[str, str]:
    """Return what a user says."""
    return {"role": "user", "content": text}


class Session:
    """A session that is written call by call."""

    def __init__(self, path, name: str = "s", dialect: str = "openai.chat") -> None:
        self.database = Database.open(path)
        self.writer = Writer(self.database, clock=lambda: NOW)
        self.reader = self.database.reader()
        self.name, self.dialect = name, dialect
        self.at, self.count = NOW - 10_000, 0

    def call(
        self,
        messages: Sequence[dict[str, Any]],
        tok_in: int,
        cached: int | None,
        *,
        model: str = "gpt-4.1",
        gap: float = 10.0,
        write: int = 0,
        fails: bool = False,
        **body: Any,
    ) -> None:
        """Write a call; `cached` is None where the provider says nothing of it."""
        self.count += 1
        self.at += gap
        exchange = f"{self.name}-{self.count}"
        sent = json.dumps({"model": model, "messages": list(messages), **body}).encode()
        target = "/v1/messages" if self.dialect.startswith("anthropic") else "/v1/chat/completions"
        usage: dict[str, Any] = {"prompt_tokens": tok_in, "completion_tokens": 5}
        if cached is not None:
            usage["prompt_tokens_details"] = {"cached_tokens": cached}
        answer = json.dumps({"choices": [], "usage": usage}).encode()
        about = {"call.id": exchange, "llm.model": model}
        ended = {
            **about,
            "llm.response.duration_ms": 1000.0,
            "llm.usage.input_tokens": tok_in,
            "llm.usage.output_tokens": 5,
            "llm.usage.cache_read_tokens": cached or 0,
            "llm.usage.cache_write_tokens": write,
        }
        last = ("llm.call.error", about) if fails else ("llm.call.finish", ended)
        head = [(b"content-type", b"application/json")]
        self.writer.take(
            [
                Asked(exchange, self.at, self.dialect, "chat", "openai", "", "POST", target,
                      head, sent, len(sent)),
                self._event("llm.call.start", about),
                self._event(*last, after=1.0),
                Answered(exchange, self.at + 1, "completed", 500 if fails else 200, head, answer,
                         len(answer), 1.0),
            ]
        )  # fmt: skip

    def _event(self, name: str, attributes: dict[str, Any], after: float = 0.0) -> Happened:
        told = {key: value for key, value in attributes.items() if value != 0}
        span = f"{self.count:016x}"
        return Happened(name, self.at + after, "", span, "INFO", self.name, "a", told)

    def report(self, **options: Any):
        """Return the report of the session."""
        (row,) = self.reader.sql("SELECT id FROM sessions WHERE public_id = ?", (self.name,))
        return report(self.reader, row[0], **options)


@pytest.fixture
def session(tmp_path):
    """A session of chat completions."""
    made = Session(tmp_path / "live-trace.db")
    yield made
    made.writer.close()
    made.reader.close()


def test_a_conversation_that_goes_on(session):
    """Calls that continue and come from the cache lose nothing."""
    history = [SYSTEM, user("one")]
    session.call(history, 2000, 0)
    session.call([*history, user("two")], 2100, 1920)
    session.call([*history, user("two"), user("three")], 2200, 2048)
    found = session.report()

    assert [step.cause for step in found.steps] == ["first", "kept", "kept"]
    assert [step.share for step in found.steps] == [0, 1920 / 2100, 2048 / 2200]
    assert found.sums.lost_tokens == 0
    assert found.sums.lost_nano == 0
    assert found.sums.breaks == 0
    assert found.sums.share == pytest.approx((1920 + 2048) / 6300)


def test_a_changed_message_is_named(session):
    """The first message that is another one is found, and shown as it was and as it is."""
    history = [SYSTEM, user("one"), user("two"), user("three")]
    session.call(history, 5000, 0)
    session.call([*history[:2], user("other"), history[3], user("four")], 5100, 0)
    step = session.report().steps[1]

    assert step.cause == "messages"
    assert step.broke_at == 3
    assert step.was.text == "two"
    assert step.now.text == "other"
    assert step.now.role == "user"
    assert step.lost_tokens == 5000
    # 2.00 dollars a million plain, 0.50 cached: what the table of prices says of gpt-4.1
    assert step.lost_nano == 5000 * 1500


def test_a_message_that_was_left_out(session):
    """A shortened history broke where something is missing."""
    history = [SYSTEM, user("one"), user("two")]
    session.call(history, 3000, 0)
    session.call(history[:2], 1500, 0)
    step = session.report().steps[1]

    assert (step.cause, step.broke_at) == ("messages", 3)
    assert step.was.text == "two"
    assert step.now is None
    assert step.lost_tokens == 1500, "no more than this prompt has could have been cached"


@pytest.mark.parametrize(
    ("cause", "change"),
    [
        ("model", {"model": "gpt-4.1-mini"}),
        ("tools", {"tools": [*TOOLS, {"type": "function", "function": {"name": "other"}}]}),
        ("tools", {"tools": None}),
        ("settings", {"response_format": {"type": "json_object"}}),
        ("settings", {"tool_choice": "none"}),
    ],
)
def test_what_stands_before_the_messages(session, cause, change):
    """Another model, other tools or settings are named as the cause, the history being the same."""
    history = [SYSTEM, user("one")]
    session.call(history, 3000, 0, tools=TOOLS)
    options = {"tools": TOOLS, **change}
    session.call([*history, user("two")], 3100, 0, **{k: v for k, v in options.items() if v})
    step = session.report().steps[1]

    assert step.cause == cause
    assert step.lost_tokens == 3000
    assert step.broken


def test_a_parameter_that_is_not_in_the_prompt(session):
    """The temperature does not break a cache."""
    history = [SYSTEM, user("one")]
    session.call(history, 3000, 0, temperature=0.1)
    session.call([*history, user("two")], 3100, 2944, temperature=0.9)

    assert session.report().steps[1].cause == "kept"


def test_a_changed_system_prompt(session):
    """A system message that differs is the system prompt, not just any message."""
    session.call([SYSTEM, user("one")], 3000, 0)
    session.call([{"role": "system", "content": "It is noon."}, user("one"), user("two")], 3100, 0)
    step = session.report().steps[1]

    assert step.cause == "system"
    assert step.broke_at == 1
    assert step.was.text == "You are helpful."


def test_a_system_prompt_beside_the_messages(tmp_path):
    """Where the API has a place of its own for it, its change is found there."""
    session = Session(tmp_path / "live-trace.db", dialect="anthropic.messages")
    session.call([user("one")], 3000, 0, model="claude-sonnet-4-5", system="Noon.")
    session.call([user("one"), user("two")], 3100, 10, model="claude-sonnet-4-5", system="One.")

    assert session.report().steps[1].cause == "system"


def test_caching_that_nobody_asked_for(tmp_path):
    """Anthropic caches what is marked; where nothing is, that is the reason."""
    session = Session(tmp_path / "live-trace.db", dialect="anthropic.messages")
    model = {"model": "claude-sonnet-4-5"}
    marked = {**user("one"), "content": [{"type": "text", "text": "one", "cache_control": {}}]}
    session.call([user("one")], 3000, 0, **model)
    session.call([user("one"), user("two")], 3100, 0, **model)
    session.call([marked], 3000, 0, write=2900, **model)
    session.call([marked, user("two")], 3100, 0, write=3000, **model)
    steps = session.report().steps

    assert steps[1].cause == "missed"
    assert "cache_control" in steps[1].words
    assert "cache_control" not in steps[3].words


@pytest.mark.parametrize(
    ("gap", "told"), [(1200.0, "minutes ago"), (0.2, "still running"), (10.0, "all the same")]
)
def test_why_a_continuation_was_not_cached(session, gap, told):
    """Time that passed, calls at the same time, and the provider's own whims are told apart."""
    session.call([user("one")], 3000, 0)
    session.call([user("one"), user("two")], 3100, 0, gap=gap)
    step = session.report().steps[1]

    assert step.cause == "missed"
    assert told in step.words
    assert step.lost_tokens == 3000
    assert not step.broken


def test_short_prompts_lose_nothing(session):
    """Below the least that providers cache, nothing could have been saved."""
    session.call([user("one")], 500, 0)
    session.call([user("one"), user("two")], 600, 0)
    step = session.report().steps[1]

    assert step.cause == "short"
    assert step.lost_tokens == 0


def test_a_silent_provider(session):
    """Where answers say nothing of a cache, there are no figures, and the page says so."""
    session.call([user("one")], 3000, None)
    session.call([user("one"), user("two")], 3100, None)
    session.call([user("other")], 3000, None)
    found = session.report()

    assert [step.cause for step in found.steps] == ["first", "unknown", "messages"]
    assert all(step.tok_cached is None and step.share is None for step in found.steps)
    assert found.sums.lost_tokens == 0
    assert found.sums.share is None
    assert "says nothing about its cache" in found.notes[0]


def test_a_provider_that_says_zero(session):
    """Zero cached tokens are a figure, unlike none at all."""
    session.call([user("one")], 3000, 0)
    session.call([user("one"), user("two")], 3100, 0)

    assert [step.tok_cached for step in session.report().steps] == [0, 0]


def test_an_unknown_price(session):
    """What a model of unknown price lost is counted in tokens, and never as nothing."""
    session.call([user("one")], 3000, 0, model="house-model")
    session.call([user("two")], 3000, 0, model="house-model")
    found = session.report()

    assert found.steps[1].lost_nano is None
    assert found.sums.unpriced == 1
    assert any("price" in note for note in found.notes)


def test_calls_that_failed_are_passed_over(session):
    """A call that was not answered cached nothing: the one before it counts."""
    history = [user("one"), user("two")]
    session.call(history, 3000, 0)
    session.call([user("else")], 0, None, fails=True)
    session.call([*history, user("three")], 3100, 0)
    steps = session.report().steps

    assert [step.number for step in steps] == [1, 3]
    assert steps[1].before == 1
    assert steps[1].lost_tokens == 3000


def test_pages_of_steps(session):
    """Steps come in pages; the sums are always those of the whole session."""
    for number in range(5):
        session.call([user(str(n)) for n in range(number + 1)], 3000 + number, 2900)
    whole = session.report()
    first, rest = session.report(limit=2), session.report(start=2)

    assert [step.number for step in first.steps + rest.steps] == [1, 2, 3, 4, 5]
    assert first.sums == rest.sums == whole.sums


def test_money():
    """Cached, written and plain tokens are priced as the provider's list has them."""
    assert lost_tokens(5000, 4000, 1000) == 3000
    assert lost_tokens(5000, 1000, 0) == 0
    assert lost_tokens(1000, 5000, 0) == 0
    price = PriceTable.packaged().price_of("claude-sonnet-4-5")
    # claude-sonnet-4-5: 3.00 plain, 0.30 read, 3.75 written, of a million
    assert lost_nano(price, 4000, 0, 0, 3000) == 3000 * 2700
    assert lost_nano(price, 4000, 0, 3000, 3000) == 3000 * 3450
    assert lost_nano(None, 4000, 0, 0, 3000) is None
    assert lost_nano(None, 4000, 0, 0, 0) == 0


def test_pairs_share_what_all_between_shared():
    """What two calls share is the least that any call between them shared."""

    class Call:
        def __init__(self, carried: int, tok_in: int | None) -> None:
            self.carried, self.tok_in = carried, tok_in

    calls = [Call(0, 10), Call(4, None), Call(2, None), Call(5, 10), Call(6, 10)]
    found = [(calls.index(call), shared) for _, call, shared in pairs(calls)]

    assert found == [(0, 0), (3, 2), (4, 6)]


def test_the_list_agrees_with_the_sessions(tmp_path):
    """The dearest sessions lose what their own reports say."""
    path = tmp_path / "live-trace.db"
    one = Session(path, "one")
    one.call([user("a")], 9000, 0)
    one.call([user("b")], 9000, 0)
    two = Session(path, "two")
    two.call([user("a")], 4000, 0)
    two.call([user("b")], 4000, 100)
    two.call([user("b"), user("c")], 4100, 4000)
    rows = dearest(one.reader, 0, 2**60)

    assert [row.public_id for row in rows] == ["one", "two"]
    for row, session in zip(rows, (one, two), strict=True):
        sums = session.report().sums
        assert row.sums.lost_nano == sums.lost_nano > 0
        assert row.sums.lost_tokens == sums.lost_tokens
        assert row.sums.share == sums.share
        assert row.sums.breaks == sums.breaks
    assert dearest(one.reader, 0, 1) == []
    assert len(dearest(one.reader, 0, 2**60, limit=1)) == 1


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A dashboard full of data."""
    path = tmp_path_factory.mktemp("cache") / "live-trace.db"
    factory.build(path)
    with served(path) as dashboard:
        yield dashboard


def test_the_pages(site):
    """The list leads to a session, whose page names the message that broke the cache."""
    listed = httpx.get(f"{site.url}/cache?range=all")
    one = httpx.get(f"{site.url}/sessions/session-rewritten/cache")
    data = httpx.get(f"{site.url}/sessions/session-rewritten/cache.json").json()

    assert listed.status_code == one.status_code == 200
    assert "/sessions/session-007/cache" in listed.text
    assert "Message 2 is not what it was" in words(one.text)
    assert data["report"]["steps"][3]["cause"] == "messages"


def test_pages_of_what_is_not_there(site):
    """Unknown sessions are 404; forged cursors and unknown agents are told on the page."""
    assert httpx.get(f"{site.url}/sessions/nope/cache").status_code == 404
    forged = httpx.get(f"{site.url}/sessions/session-003/cache?after=x")
    unknown = httpx.get(f"{site.url}/cache?agent=nope")
    empty = httpx.get(f"{site.url}/cache?from=2001-01-01&to=2001-01-02")

    assert "is no place in this list" in words(forged.text)
    assert "There is no agent" in words(unknown.text)
    assert "No session with more than one call" in words(empty.text)


def test_a_page_without_losses(tmp_path):
    """Where every prompt came from the cache, the page says that, and shows no table of zeros."""
    path = tmp_path / "live-trace.db"
    good = Session(path, "good")
    good.call([user("a")], 3000, 0)
    good.call([user("a"), user("b")], 3100, 2944)
    good.writer.close()
    with served(path) as site:
        page = httpx.get(f"{site.url}/cache?range=all")

    assert "Nothing was paid for twice" in words(page.text)
