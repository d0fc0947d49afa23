"""A browser for tests, and what must not happen in it."""

from __future__ import annotations

import os
import shutil
from typing import Any
from urllib.parse import urlsplit

import attrs


ShownPage = Any
"""A page of Playwright's."""

LIVE = '#live[data-state="live"]'
"""What a page has once it is told of what happens."""

_LISTEN = """
window.__broken = [];
document.addEventListener('securitypolicyviolation', (event) => {
  window.__broken.push(event.violatedDirective + ' ' + event.blockedURI + ' ' + event.sample);
});
"""


def chromium() -> str | None:
    """Return the path of a Chromium, or None."""
    asked = os.environ.get("BROWSER_PATH")
    if asked:
        return asked
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


@attrs.define(slots=False)  # Playwright notes handlers in it
class Watch:
    """
    What pages did that they must not.

    Attributes:
        found: What it was, in words.
        allowed: Parts of words: a fault with one of them in it is none.
        requests: All addresses that were asked, in order.
    """

    found: list[str] = attrs.field(factory=list)
    allowed: list[str] = attrs.field(factory=list)
    requests: list[str] = attrs.field(factory=list)

    def over(self, context: Any, base: str) -> None:
        """Watch all pages of a context."""
        context.add_init_script(_LISTEN)
        context.on("page", lambda page: self._page(page, base))

    def collect(self, context: Any) -> None:
        """Ask the pages that are open which rules were broken in them."""
        for page in context.pages:
            self.found += [f"policy: {text}" for text in page.evaluate("window.__broken || []")]

    def faults(self) -> list[str]:
        """Return what was found and is not allowed."""
        return [text for text in self.found if not any(part in text for part in self.allowed)]

    def _page(self, page: Any, base: str) -> None:
        host = urlsplit(base).netloc
        page.on("console", self._say)
        page.on("pageerror", lambda error: self.found.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (self.found.append("dialog"), dialog.dismiss()))
        page.on("request", lambda request: self._request(request.url, host))
        page.on("response", self._response)

    def _say(self, message: Any) -> None:
        if message.type in {"error", "warning"}:
            self.found.append(f"console {message.type}: {message.text}")

    def _request(self, url: str, host: str) -> None:
        self.requests.append(url)
        if urlsplit(url).netloc != host and urlsplit(url).scheme in {"http", "https", "ws", "wss"}:
            self.found.append(f"asked {url}")

    def _response(self, response: Any) -> None:
        if response.status >= 400:
            self.found.append(f"status {response.status}: {response.url}")
