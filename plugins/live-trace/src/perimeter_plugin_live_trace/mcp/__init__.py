"""The MCP server of live trace, at `POST /mcp` of the dashboard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs
from litestar import asgi
from litestar.handlers import ASGIRouteHandler


if TYPE_CHECKING:
    from perimeter_plugin_live_trace.mcp.mounting import Endpoint
    from perimeter_plugin_live_trace.store import Reader
    from perimeter_plugin_live_trace.web.page import Changes, Site


def mount(site: Site, reader: Reader, changes: Changes | None = None) -> ASGIRouteHandler:
    """
    Return the route handler of `/mcp` for the dashboard's application.

    Args:
        site: What the dashboard knows of itself.
        reader: The database.
        changes: Where changes go, for the tools of other plugins.
    """

    def load() -> Endpoint:
        from perimeter_plugin_live_trace.mcp import mounting  # noqa: PLC0415 - see `Later`

        return mounting.endpoint(site, reader, changes)

    return asgi("/mcp", copy_scope=True)(Later(load).answer)


@attrs.define(eq=False)
class Later:
    """Has the SDK loaded when somebody asks: it takes a third of the process's memory."""

    load: Callable[[], Endpoint]
    _endpoint: Endpoint | None = attrs.field(default=None, init=False)
    _loading: asyncio.Lock = attrs.field(factory=asyncio.Lock, init=False)

    async def answer(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        async with self._loading:
            if self._endpoint is None:
                self._endpoint = await asyncio.to_thread(self.load)
            endpoint = self._endpoint
        await endpoint.answer(scope, receive, send)


__all__ = ["mount"]
