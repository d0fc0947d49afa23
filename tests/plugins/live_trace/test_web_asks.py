"""What pages are asked: links, spans of time, preferences, and how numbers are written."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perimeter_plugin_live_trace.web import formats
from perimeter_plugin_live_trace.web.ask import Params, plain, read_range, segment
from perimeter_plugin_live_trace.web.page import Ask
from perimeter_plugin_live_trace.web.preferences import CHOICES, Prefs, read_prefs


HOUR_US = 3_600_000_000


@given(st.text(min_size=1).filter(lambda text: not {"\ue000", "\ue001"} & set(text)))
def test_a_segment_can_be_read_back(text: str) -> None:
    """Whatever is in it, and it never leaves its part of the path."""
    quoted = segment(text)
    assert not set("/?#") & set(quoted)
    assert quoted not in {".", ".."}
    expected = text.encode("utf-8", "replace").decode()
    assert plain(unquote(quoted)) == expected


def test_links_keep_the_span_and_the_agent() -> None:
    """Another page is for the same time; this page changes only what is said."""
    ask = asked("range=7d&agent=support&sort=-cost&tag=a&tag=b")
    assert ask.url("/tools") == "/tools?range=7d&agent=support"
    assert ask.url("/tools", range=None) == "/tools?agent=support"
    assert ask.url("/sessions/{id}#e5", id="a/b", range=None, agent=None) == "/sessions/a%2Fb#e5"
    assert (
        ask.here(sort=None, after="x&y") == "/here?range=7d&agent=support&tag=a&tag=b&after=x%26y"
    )
    assert ask.here(tag=["c", "d"]).endswith("tag=c&tag=d")


@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20)), max_size=5))
def test_a_link_to_here_leads_here(pairs: list[tuple[str, str]]) -> None:
    """Any parameters that a page was asked with are in links to it."""
    ask = asked("")
    ask.params = Params(pairs)
    query = urlsplit(ask.here()).query
    expected = [(a.encode("utf-8", "replace").decode(), b) for a, b in pairs]
    assert parse_qsl(query, keep_blank_values=True) == expected


def asked(query: str) -> Ask:
    params = Params(parse_qsl(query))
    nothing: Any = None
    return Ask(nothing, nothing, nothing, Prefs(), 0, read_range(params, Prefs(), 0), params,
               target="/here")  # fmt: skip


def test_ranges_have_names_or_ends() -> None:
    """A span is counted back from now, or is what the address says, in UTC."""
    now = 100 * HOUR_US
    named = read_range(Params([("range", "1h")]), Prefs(), now)
    assert (named.from_us, named.to_us, named.name) == (99 * HOUR_US, now, "1h")
    assert read_range(Params([]), Prefs(default_range="all"), now).from_us == 0
    ends = Params([("from", "1970-01-02T00:00Z"), ("to", "1970-01-03T02:00+02:00")])
    custom = read_range(ends, Prefs(), now)
    assert (custom.from_us, custom.to_us, custom.name) == (24 * HOUR_US, 48 * HOUR_US, "custom")
    assert custom.before.from_us == 0
    backwards = Params([("from", "1970-01-03"), ("to", "1970-01-02")])
    assert read_range(backwards, Prefs(), now).name == "24h"
    assert backwards.problems


@given(st.fixed_dictionaries({name: st.sampled_from(words) for name, words in CHOICES.items()}))
def test_preferences_can_be_read_back(words: dict[str, str]) -> None:
    """The cookie holds all of them."""
    prefs = Prefs().changed(words)
    assert read_prefs(prefs.cookie()) == prefs
    assert {name: prefs.word(name) for name in words} == words
    assert not set(prefs.cookie()) & set(' ";,\\')


@given(st.text(max_size=200))
def test_any_cookie_gives_preferences(cookie: str) -> None:
    """Garbage means the defaults."""
    assert isinstance(read_prefs(cookie), Prefs)
    assert read_prefs("zone=Europe%2FBerlin").zone == "Europe/Berlin"
    assert read_prefs("zone=../../etc/passwd").zone == "auto"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (formats.si(0), "0"),
        (formats.si(999), "999"),
        (formats.si(12_412), "12.4k"),
        (formats.si(999_960), "1M"),
        (formats.si(12_412, True), "12,412"),
        (formats.si(None), "\u2013"),
        (formats.si(0.04), "0.04"),
        (formats.si(2.5), "2.5"),
        (formats.duration(850_000), "850 ms"),
        (formats.duration(12_400_000), "12.4 s"),
        (formats.duration(187_000_000), "3 min 07 s"),
        (formats.duration(7_500_000_000), "2 h 05 min"),
        (formats.duration(999_900), "1.0 s"),
        (formats.duration(59_960_000), "1 min 00 s"),
        (formats.duration(None), "\u2013"),
        (formats.duration(0), "0 ms"),
        (formats.usd(4_200_000), "$0.0042"),
        (formats.usd(12_310_000_000), "$12.31"),
        (formats.usd(None), "\u2013"),
        (formats.usd(0), "$0"),
        (formats.usd(10), "<$0.0001"),
        (formats.percent(0.031), "3.1 %"),
        (formats.percent(0), "0 %"),
        (formats.percent(1), "100 %"),
        (formats.percent(0.0001), "<0.1 %"),
        (formats.size(4_300_000), "4.1 MiB"),
        (formats.size(12), "12 B"),
        (formats.plural(1, "call"), "1 call"),
        (formats.plural(2000, "call"), "2,000 calls"),
        (formats.severity(9), "critical"),
        (formats.iso(-5), "1970-01-01T00:00:00.000Z"),
        (formats.iso(10**18)[:4], "9999"),
    ],
)
def test_numbers_are_written_for_people(written: str, expected: str) -> None:
    """As the specification has them."""
    assert written == expected
