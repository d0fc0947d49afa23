"""Pages that say what went wrong: with an id for the log, and no trace of the code."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping

import attrs

from perimeter_plugin_live_trace.web.preferences import read_prefs
from perimeter_plugin_live_trace.web.render import Renderer
from perimeter_plugin_live_trace.web.security import cookies


TITLES = {
    400: "That request could not be understood",
    401: "This dashboard asks for a token",
    403: "That is not allowed",
    404: "Nothing is here",
    405: "That address can't be used this way",
    413: "That is too long",
    429: "Too many wrong tokens: wait a moment",
    500: "Something went wrong",
    503: "The database can't be read right now",
}
"""What statuses are called."""
_DETAILS = {
    404: "There is no such address; /api/docs lists those of the API.",
    405: "The API is asked with GET, MCP with POST.",
}
"""What programs are told where nothing else is known."""
_JSON = (".json", "/health")
_JSON_UNDER = ("/api/", "/mcp", "/live")


@attrs.frozen
class Problem:
    """
    What went wrong.

    Attributes:
        status: HTTP status.
        title: In a few words.
        text: What to do about it.
        request: Id of the request in the log, or "".
    """

    status: int
    title: str = ""
    text: str = ""
    request: str = ""

    @property
    def heading(self) -> str:
        """The title, or what the status is called."""
        return self.title or TITLES.get(self.status, TITLES[500])


def request_id() -> str:
    """Return a new id for a request."""
    return secrets.token_hex(6)


def wants_json(path: str) -> bool:
    """Whether who asks for a path reads JSON."""
    return path.endswith(_JSON) or path.startswith(_JSON_UNDER) or path == "/api"


def body(
    renderer: Renderer, problem: Problem, path: str, headers: Mapping[str, str]
) -> tuple[bytes, str]:
    """Return an error page, or JSON where a program asks, and its type."""
    if wants_json(path):
        detail = problem.text or _DETAILS.get(problem.status, "")
        told = {"error": problem.heading, "detail": detail, "request": problem.request}
        return json.dumps({name: value for name, value in told.items() if value}).encode(), (
            "application/json"
        )
    prefs = read_prefs(cookies(headers).get("lt_prefs", ""))
    page = renderer.plain("error.html", problem=problem, prefs=prefs)
    return page, "text/html; charset=utf-8"
