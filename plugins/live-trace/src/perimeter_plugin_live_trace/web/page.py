"""
How pages are written: a function from what was asked to what is shown.

A page is `@page("/things", template="pages/things.html")` on a function that takes an `Ask` and
returns a `msgspec.Struct`, its view. The template gets it as `view`; `/things.json` answers it as
JSON. Functions run in a thread, so they may query and compute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import attrs

from perimeter_plugin_live_trace.web.ask import Ask, Params, Range
from perimeter_plugin_live_trace.web.preferences import Prefs
from perimeter_plugin_live_trace.web.site import Changes, Ingest, Site


__all__ = [
    "Ask",
    "Changes",
    "Download",
    "Ingest",
    "NotFound",
    "Params",
    "Prefs",
    "Range",
    "Redirect",
    "Refused",
    "Route",
    "Site",
    "action",
    "fragment",
    "page",
]


class NotFound(Exception):
    """There is no such thing; the message says what, for people."""


class Refused(Exception):
    """An action could not be done; the message says why, for people."""


@attrs.frozen
class Redirect:
    """
    Go to another page.

    Attributes:
        url: Path and query, on this dashboard.
        notice: What the next page says once, such as "3 sessions deleted".
        prefs: New preferences to keep, or None.
    """

    url: str
    notice: str = ""
    prefs: Prefs | None = None


@attrs.frozen
class Download:
    """
    A file, written while it is sent.

    Attributes:
        name: Its name for the browser; "" to show it instead of saving it (in a sandbox).
        media_type: Its type.
        pieces: Its bytes; read in a thread.
    """

    name: str
    media_type: str
    pieces: Iterator[bytes]


Call = Callable[[Ask], Any]


@attrs.frozen
class Route:
    """
    A page, a fragment or an action, as it is registered.

    Attributes:
        kind: Which of them.
        path: With `{names}` for its variable parts.
        call: What answers it.
        template: What renders its view.
        nav: Which entry of the navigation it belongs to.
        title: Its title; a `title` of the view comes first.
        limit: Most bytes of a form.
    """

    kind: Literal["page", "fragment", "action"]
    path: str
    call: Call
    template: str = ""
    nav: str = ""
    title: str = ""
    limit: int = 1024 * 1024

    def __call__(self, ask: Ask) -> Any:
        """Answer, as the function itself would."""
        return self.call(ask)


def page(path: str, *, template: str, nav: str = "", title: str = "") -> Callable[[Call], Route]:
    """Register a page and its JSON twin."""
    return lambda call: Route("page", path, call, template, nav, title)


def fragment(path: str, *, template: str) -> Callable[[Call], Route]:
    """Register a piece of a page that scripts ask for: HTML without the frame."""
    return lambda call: Route("fragment", path, call, template)


def action(
    path: str, *, limit: int = 1024 * 1024, template: str = "", nav: str = ""
) -> Callable[[Call], Route]:
    """Register what a form does; it answers with a `Redirect`, a `Download`, or a view."""
    return lambda call: Route("action", path, call, template, nav, limit=limit)
