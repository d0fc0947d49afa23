"""Sessions as resources: a transcript each."""

from __future__ import annotations

from urllib.parse import quote, unquote

import mcp_types as types

from perimeter_plugin_live_trace.api.limits import BadCursor
from perimeter_plugin_live_trace.api.sessions import find, sessions_page
from perimeter_plugin_live_trace.mcp.tool import Here
from perimeter_plugin_live_trace.mcp.transcript import transcript
from perimeter_plugin_live_trace.web.page import NotFound


PREFIX = "perimeter://sessions/"
MARKDOWN = "text/markdown"
TEMPLATE = types.ResourceTemplate(
    uri_template=PREFIX + "{id}",
    name="session",
    title="Transcript of a session",
    description="What was said in a session, as Markdown; of long ones the first part.",
    mime_type=MARKDOWN,
)
_PAGE = 50


def address(public_id: str) -> str:
    """Return the address of a session's transcript."""
    return PREFIX + quote(public_id, safe="")


def listed(here: Here, after: str | None) -> types.ListResourcesResult:
    """
    Return a page of sessions, newest activity first.

    Raises:
        NotFound: The cursor is none of ours.
    """
    try:
        rows, following = sessions_page(here.reader, None, _PAGE, after)
    except BadCursor:
        raise NotFound("the cursor is none that was given out") from None
    found = [
        types.Resource(
            uri=address(row.public_id),
            name=row.public_id,
            title=row.title or row.public_id,
            description=f"{row.turns} calls, {row.status}",
            mime_type=MARKDOWN,
        )
        for row in rows
    ]
    return types.ListResourcesResult(resources=found, next_cursor=following)


def read(here: Here, uri: str) -> types.ReadResourceResult:
    """
    Return the transcript of a session.

    Raises:
        NotFound: There is no such session, or the address is none of ours.
    """
    if not uri.startswith(PREFIX):
        raise NotFound(f"there is no resource {uri[:200]}")
    session = find(here.reader, unquote(uri.removeprefix(PREFIX)))
    text = transcript(here.reader, session)
    contents = types.TextResourceContents(uri=uri, mime_type=MARKDOWN, text=text)
    return types.ReadResourceResult(contents=[contents])
