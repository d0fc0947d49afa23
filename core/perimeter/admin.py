"""The administrative routes: health, metrics, effective configuration, and plugins' own."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from litestar import HttpMethod, Router, route
from litestar.connection import ASGIConnection, Request
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException
from litestar.response import Response

from perimeter import __version__
from perimeter.configuration import describe
from perimeter.gateway.access import (
    host_name,
    is_loopback,
    known_hosts,
    origin_host,
    token_matches,
)


if TYPE_CHECKING:
    from litestar.handlers import BaseRouteHandler
    from litestar.types import Guard

    from perimeter.application import Application
    from perimeter.settings import ServerSettings

READ = [HttpMethod.GET, HttpMethod.HEAD]


class AdminAccess:
    """Keeps foreign pages and, off loopback, strangers away from what shows more than health."""

    def __init__(self, settings: ServerSettings) -> None:
        self._hosts = known_hosts(settings)
        self._loopback = is_loopback(settings.host)
        self._token = settings.admin_token.reveal()

    def __call__(self, connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        """
        Check a request; a Litestar guard.

        Raises:
            PermissionDeniedException: The Host or Origin is not ours (DNS rebinding), or the
                proxy is reachable from elsewhere and no admin token is set.
            NotAuthorizedException: The admin token is missing or wrong.
        """
        host = connection.headers.get("host", "")
        if host_name(host.encode("latin-1")) not in self._hosts:
            raise PermissionDeniedException("the Host is not this proxy's; see allowed_hosts")
        origin = connection.headers.get("origin")
        if origin is not None and origin_host(origin.encode("latin-1")) not in self._hosts:
            raise PermissionDeniedException("the Origin is not allowed; see allowed_hosts")
        if self._token:
            self._check_token(connection.headers.get("authorization", ""))
        elif not self._loopback or _came_from_outside(connection):
            message = "set [server] admin_token to open this from other machines"
            raise PermissionDeniedException(message)

    def _check_token(self, authorization: str) -> None:
        scheme, _, token = authorization.partition(" ")
        presented = token.strip().encode("latin-1")
        if scheme.lower() != "bearer" or not token_matches(presented, self._token):
            message = "send the admin token as Authorization: Bearer"
            raise NotAuthorizedException(message, headers={"www-authenticate": "Bearer"})


def _came_from_outside(connection: ASGIConnection[Any, Any, Any, Any]) -> bool:
    """Whether another ASGI server listens beyond loopback, whatever [server] host says."""
    address = connection.scope["server"]
    return address is not None and address[1] is not None and not is_loopback(address[0])


def handlers(application: Application) -> list[Any]:
    """Return core's own routes."""

    @route("/health", http_method=READ, sync_to_thread=False)
    def health() -> Response[dict[str, Any]]:
        body = {
            "status": "draining" if application.draining else "healthy",
            "service": "perimeter",
            "version": __version__,
            "uptime_seconds": round(time.monotonic() - application.started_at, 3),
        }
        return Response(body, status_code=503 if application.draining else 200)

    @route("/metrics", http_method=READ)
    async def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
        accept = ",".join(request.headers.getall("accept", []))
        metrics = application.metrics
        whole = await metrics.whole() if metrics.whole is not None else None
        body, content_type = metrics.render(accept, whole)
        return Response(body, headers={"content-type": content_type, "vary": "accept"})

    @route("/config", http_method=READ, sync_to_thread=False, guards=[_access(application)])
    def config() -> dict[str, Any]:
        described = describe(application.settings)
        return {**described, "plugins": application.registry.describe()}

    return [health, metrics, config]


def plugin_routers(application: Application) -> list[Router]:
    """Return the routes that plugins contribute, each under `/-/<plugin>/`."""
    access = _access(application)
    return [
        Router(f"/-/{name}", route_handlers=list(contributed), guards=[access])
        for name, contributed in application.registry.routes().items()
        if contributed
    ]


def _access(application: Application) -> Guard:
    settings, check = application.settings.server, AdminAccess(application.settings.server)

    def access(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        nonlocal settings, check
        if application.settings.server is not settings:  # it was reloaded
            settings = application.settings.server
            check = AdminAccess(settings)
        check(connection, handler)

    return access
