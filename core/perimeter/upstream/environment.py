"""What the environment says about ways to the outside."""

from __future__ import annotations

from urllib.request import getproxies, proxy_bypass


def proxy_for(scheme: str, host: str) -> str | None:
    """Return the outgoing proxy that the environment names for a host, or None."""
    if proxy_bypass(host):
        return None
    proxies = getproxies()
    return proxies.get(scheme) or proxies.get("all")
