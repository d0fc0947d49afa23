"""Templates: the environment, the filters, and what every page's template knows."""

from __future__ import annotations

import zoneinfo
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any, cast

import attrs
import jinja2
import msgspec
from jinja2.runtime import Context
from markupsafe import Markup, escape

from perimeter_plugin_live_trace.web import formats, svg
from perimeter_plugin_live_trace.web.ask import LABELS, Ask, segment
from perimeter_plugin_live_trace.web.assets import Assets
from perimeter_plugin_live_trace.web.preferences import CHOICES, Prefs
from perimeter_plugin_live_trace.web.shortcuts import SHORTCUTS
from perimeter_plugin_live_trace.web.site import Site


TEMPLATES = Path(__file__).parent / "templates"
_encoder = msgspec.json.Encoder(enc_hook=str.__str__)


@attrs.frozen
class Banner:
    """Something that every page says as long as it lasts: `tone` is `warning` or `critical`."""

    text: str
    tone: str = "warning"


class Renderer:
    """Renders views with the templates of this package."""

    def __init__(self, assets: Assets, folder: Path = TEMPLATES) -> None:
        """Read templates from a folder."""
        self.assets = assets
        self.environment = environment(folder)
        self.environment.globals.update(
            static=assets.url,
            modules=assets.modules,
            build=assets.version,
            ranges=LABELS,
            choices=CHOICES,
            shortcuts=SHORTCUTS,
            spark_of=svg.spark,
        )

    def page(self, template: str, ask: Ask, view: Any, *, nav: str = "", title: str = "") -> bytes:
        """Return a view as HTML."""
        about = {
            "view": view,
            "ask": ask,
            "prefs": ask.prefs,
            "site": ask.site,
            "url": ask.url,
            "here": ask.here,
            "nav": nav,
            "title": getattr(view, "title", "") or title,
            "banners": banners(ask.site),
        }
        return self.environment.get_template(template).render(about).encode("utf-8", "replace")

    def plain(self, template: str, **about: Any) -> bytes:
        """Return a page that needs no database: an error, the login."""
        return self.environment.get_template(template).render(about).encode("utf-8", "replace")


def environment(folder: Path) -> jinja2.Environment:
    """Return an environment that escapes everything and knows no undefined name."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        cache_size=-1,
    )
    made.filters.update(FILTERS)
    return made


def twin(view: Any) -> bytes:
    """Return a view as JSON."""
    return _encoder.encode(view)


def banners(site: Site) -> list[Banner]:
    """Return what is wrong with the writer or the proxy."""
    ingest, found = site.ingest, []
    if ingest.state != "open":
        tone = "warning" if ingest.state == "busy" else "critical"
        found.append(Banner(ingest.problem or f"The database is {ingest.state}.", tone))
    if ingest.expected and not ingest.connected:
        found.append(Banner("The proxy is not connected. What is shown is what was recorded."))
    if ingest.missing:
        lost = formats.plural(ingest.missing, "record")
        found.append(Banner(f"{lost} were lost before they could be stored: totals are too low."))
    return found


def zone_of(prefs: Prefs) -> tzinfo:
    """Return the zone that times are written in; the browser may turn UTC into its own."""
    if prefs.zone in {"auto", "UTC"}:
        return UTC
    try:
        return zoneinfo.ZoneInfo(prefs.zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        return UTC


def zone_name(prefs: Prefs) -> str:
    """Return the zone's name for the heads of columns."""
    return "UTC" if prefs.zone == "auto" else prefs.zone


def _prefs(context: Context) -> Prefs:
    return cast("Prefs", context.get("prefs")) or Prefs()


@jinja2.pass_context
def si(context: Context, number: float | None) -> Markup:
    """Write a number, short or exact as the reader prefers, with all digits in its title."""
    if number is None:
        return escape(formats.NOTHING)
    exact = formats.si(number, exact=True)
    short = exact if _prefs(context).numbers == "exact" else formats.si(number)
    if short == exact:
        return escape(exact)
    return Markup('<span title="{}">{}</span>').format(exact, short)


@jinja2.pass_context
def short(context: Context, number: float) -> str:
    """Write a number as `si` does, without the element for its title."""
    return formats.si(number, exact=_prefs(context).numbers == "exact")


def exact(number: float) -> str:
    """Write a number with all its digits."""
    return formats.si(number, exact=True)


@jinja2.pass_context
def when(context: Context, us: int | None, style: str = "full") -> Markup:
    """Write a time as a `<time>` element: `full`, `time`, `date` or `ago`."""
    if us is None or us <= 0:
        return escape(formats.NOTHING)
    prefs = _prefs(context)
    moment = datetime.fromisoformat(formats.iso(us)).astimezone(zone_of(prefs))
    forms = {"full": "%Y-%m-%d %H:%M:%S", "time": "%H:%M:%S", "date": "%Y-%m-%d"}
    # With its distance from UTC: in the night when clocks go back, an hour comes twice.
    title = f"{moment.isoformat(' ', 'seconds')} {zone_name(prefs)}"
    ask = context.get("ask")
    if style == "ago" and ask is not None:
        recent = ask.now_us - us < 24 * 3600 * 1_000_000
        text = formats.ago(us, ask.now_us) if recent else moment.strftime("%Y-%m-%d %H:%M")
    else:
        text = moment.strftime(forms.get(style, forms["full"]))
    return Markup('<time datetime="{}" data-style="{}" title="{}">{}</time>').format(
        formats.iso(us), style, title, text
    )


@jinja2.pass_context
def ago(context: Context, us: int | None) -> Markup:
    """Write how long something is ago, with the time in its title."""
    return when(context, us, "ago")


@jinja2.pass_context
def plural(context: Context, count: float | None, word: str, words: str = "") -> str:
    """Write a count with its word."""
    return formats.plural(count, word, words, _prefs(context).numbers == "exact")


def visible(text: object) -> Markup:
    """Write a text with its control and direction characters visible."""
    from perimeter_plugin_live_trace.web.content import visible as marked  # noqa: PLC0415 -- content uses this module's filters

    return marked(str(text))


FILTERS: Mapping[str, Any] = {
    "si": si,
    "tokens": si,
    "short": short,
    "exact": exact,
    "dur": formats.duration,
    "usd": formats.usd,
    "pct": formats.percent,
    "bytes": formats.size,
    "when": when,
    "ago": ago,
    "iso": formats.iso,
    "sev": formats.severity,
    "plural": plural,
    "segment": segment,
    "visible": visible,
}


__all__ = ["Banner", "Renderer", "banners", "environment", "escape", "twin", "zone_name", "zone_of"]
