"""The charts of the overview and of an agent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from perimeter_plugin_live_trace.queries.overview import Bucket, Figures
from perimeter_plugin_live_trace.queries.spans import Span
from perimeter_plugin_live_trace.web import formats
from perimeter_plugin_live_trace.web.charts import Buckets, Chart, Series
from perimeter_plugin_live_trace.web.page import Ask
from perimeter_plugin_live_trace.web.render import zone_of
from perimeter_plugin_live_trace.web.svg import added, bar_chart, line_chart


@attrs.frozen
class Drawn:
    """Calls with errors, latencies, costs by model, tokens."""

    calls: Chart
    latency: Chart
    cost: Chart
    tokens: Chart


def drawn(
    ask: Ask,
    span: Span,
    rows: Sequence[Bucket],
    costs: Mapping[str, Sequence[int]],
    figures: Figures,
    *,
    agent: str | None = None,
) -> Drawn:
    """
    Return the charts of a span of time.

    Args:
        ask: What is asked; links keep its agent.
        span: The span.
        rows: Its buckets.
        costs: Costs per model and bucket.
        figures: Those of the whole span.
        agent: The agent that links lead to, where the address does not name it.
    """
    buckets = buckets_of(ask, span, agent)
    return Drawn(
        calls=_calls(rows, buckets),
        latency=_latency(rows, buckets, figures),
        cost=_cost(costs, buckets, rows),
        tokens=_tokens(rows, buckets),
    )


def drawn_usage(
    ask: Ask,
    span: Span,
    kind: str,
    uses: Mapping[str, Sequence[int]],
    other: Mapping[str, Sequence[int]],
) -> list[Chart]:
    """Return two charts of models or tools: how often they were used, and costs or errors."""
    buckets, tools = buckets_of(ask, span), kind == "tool"
    names = sorted(uses, key=lambda name: (-sum(other.get(name, ())), -sum(uses[name]), name))
    some = [any(values) for values in zip(*uses.values(), strict=True)]
    shown = {name: _where(values, some) for name, values in uses.items()}
    # A model that was not called costs nothing, and one that cost nothing has no known price.
    more = {name: _where(other[name], uses[name] if tools else other[name]) for name in uses}
    titles = ("Uses by tool", "Errors by tool") if tools else ("Calls by model", "Cost by model")
    write = formats.si if tools else dollars
    return [
        bar_chart(titles[0], first_four(names, shown), buckets),
        bar_chart(titles[1], first_four(names, more), buckets, write=write),
    ]


def first_four(names: Sequence[str], rows: Mapping[str, Sequence[float | None]]) -> list[Series]:
    """Return the first four series, always in the same colours, and the rest together."""
    found = [Series(name or "unknown", rows[name]) for name in names[:4]]
    if names[4:]:
        rest = zip(*(rows[name] for name in names[4:]), strict=True)
        found.append(Series("other", [added(values) for values in rest], "muted"))
    return found


def buckets_of(ask: Ask, span: Span, agent: str | None = None) -> Buckets:
    """Return the buckets of a span, each with a link to its sessions."""
    more = {"agent": agent} if agent else {}
    hrefs = [
        ask.url(
            "/sessions",
            **{"range": None, "from": short(at), "to": short(at + span.step_us), **more},
        )
        for at in span.starts
    ]
    return Buckets(
        from_us=span.from_us,
        step_us=span.step_us,
        count=len(span.starts),
        hrefs=hrefs,
        open=span.to_us > span.now_us,
        zone=zone_of(ask.prefs),
    )


def short(us: int) -> str:
    """Return a whole minute as addresses have it."""
    return formats.iso(us)[:16] + "Z"


def _calls(rows: Sequence[Bucket], buckets: Buckets) -> Chart:
    answered = _values(rows, lambda row: row.calls - row.errors)
    failed = _values(rows, lambda row: row.errors)
    series = [Series("answered", answered, "accent"), Series("failed", failed, "critical")]
    return bar_chart("Calls", series, buckets)


def _latency(rows: Sequence[Bucket], buckets: Buckets, whole: Figures) -> Chart:
    series = [
        Series("p95", [row.p95_us for row in rows], "s2"),
        Series("p50", [row.p50_us for row in rows], "s1"),
    ]
    wholes = [whole.p95_us, whole.p50_us]
    return line_chart("Latency", series, buckets, write=formats.duration, wholes=wholes)


def _cost(costs: Mapping[str, Sequence[int]], buckets: Buckets, rows: Sequence[Bucket]) -> Chart:
    called = [row.calls for row in rows]
    series = [
        Series(name, _where(values, called), "muted" if name == "other" else "")
        for name, values in costs.items()
    ]
    return bar_chart("Cost by model", series, buckets, write=dollars)


def dollars(nano: float | None) -> str:
    """Return billionths of a dollar in as few digits as an axis has room for."""
    if nano is None or not nano:
        return formats.usd(nano)
    if 0 < abs(nano) < 1000:
        return "<$0.000001"
    return f"${nano / 1e9:.2g}" if abs(nano) < 1e9 else f"${formats.si(nano / 1e9)}"


def _tokens(rows: Sequence[Bucket], buckets: Buckets) -> Chart:
    series = [
        Series("in, new", _values(rows, lambda row: max(0, row.tok_in - row.tok_cached)), "s1"),
        Series("in, cached", _values(rows, lambda row: row.tok_cached), "s3"),
        Series("out", _values(rows, lambda row: row.tok_out), "s2"),
    ]
    return bar_chart("Tokens", series, buckets)


def _values(rows: Sequence[Bucket], value: Callable[[Bucket], Any]) -> list[float | None]:
    """Return a value of each bucket; one without calls is a gap, not a zero."""
    return [value(row) if row.calls else None for row in rows]


def _where(values: Sequence[int], known: Sequence[Any]) -> list[float | None]:
    """Return values, with gaps where nothing is known."""
    return [value if there else None for value, there in zip(values, known, strict=True)]
