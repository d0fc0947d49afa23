"""Markdown that somebody else wrote: no HTML, no images, no link that hides where it goes."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from typing import Any
from urllib.parse import urlsplit

import nh3
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup, escape

from perimeter_plugin_live_trace.web.content import Preview, text_view, visible


MOST = 64 * 1024
"""Bytes that are read as Markdown; what is longer is shown as text."""
PATIENCE = 0.3
"""Seconds after which text is shown instead."""
TAGS = frozenset((
    "p", "br", "hr", "h3", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "pre", "code",
    "em", "strong", "s", "a", "table", "thead", "tbody", "tr", "th", "td", "span",
))  # fmt: skip
"""What may come out."""
REL = "noopener noreferrer nofollow ugc"
_ATTRIBUTES = {"a": {"href"}, "ol": {"start"}}
_CLASSES = {"span": {"ctl", "chip", "host"}}
_SCHEME = re.compile(r"(https?://|mailto:)", re.IGNORECASE)
_waiting = threading.BoundedSemaphore(4)
"""Renderings under way: one that takes too long goes on in its thread, so their number is bound."""
_pool = ThreadPoolExecutor(4, thread_name_prefix="markdown")


def markdown_view(text: str) -> Preview:
    """Return Markdown as HTML; as text where it is too long or takes too long."""
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MOST or not _waiting.acquire(blocking=False):
        return text_view(text)
    future = _pool.submit(render, text)
    future.add_done_callback(lambda _: _waiting.release())
    try:
        html = future.result(PATIENCE)
    except Late:
        return text_view(text)
    except Exception:  # noqa: BLE001 -- whatever a parser makes of it, the text can be shown
        return text_view(text)
    return Preview(html, size, size)


def render(text: str) -> Markup:
    """Return Markdown as HTML that can do nothing."""
    cleaned = nh3.clean(
        _parser.render(text),
        tags=set(TAGS),
        attributes={tag: set(names) for tag, names in _ATTRIBUTES.items()},
        allowed_classes={tag: set(names) for tag, names in _CLASSES.items()},
        url_schemes={"http", "https", "mailto"},
        link_rel=REL,
    )
    return Markup('<div class="markdown">{}</div>').format(Markup(cleaned))  # noqa: S704 -- cleaned


def _make() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "linkify": False})
    parser.enable(["table", "strikethrough"])
    rules: Any = parser.renderer
    for name, rule in (
        ("text", _text), ("code_inline", _code), ("code_block", _block), ("fence", _block),
        ("image", _image), ("link_open", _open), ("link_close", _close),
        ("heading_open", _heading), ("heading_close", _heading),
    ):  # fmt: skip
        rules.rules[name] = rule
    return parser


def _text(tokens: list[Token], i: int, *_: Any) -> str:
    return str(visible(tokens[i].content))


def _code(tokens: list[Token], i: int, *_: Any) -> str:
    return f"<code>{visible(tokens[i].content)}</code>"


def _block(tokens: list[Token], i: int, *_: Any) -> str:
    return f"<pre><code>{visible(tokens[i].content)}</code></pre>"


def _image(tokens: list[Token], i: int, *_: Any) -> str:
    # An image that is loaded tells its server what was in its address: a way out for secrets.
    host = _host(str(tokens[i].attrs.get("src", "")))
    words = visible(tokens[i].content)
    return f'<span class="chip">image{": " if words else ""}{words} → {visible(host)}</span>'


def _open(tokens: list[Token], i: int, *_: Any) -> str:
    href = str(tokens[i].attrs.get("href", ""))
    tokens[i].meta["host"] = _host(href)
    _closing(tokens, i).meta["host"] = _host(href)
    # A relative address would look as if the dashboard itself led there.
    return f'<a href="{escape(href)}">' if _SCHEME.match(href) else "<a>"


def _close(tokens: list[Token], i: int, *_: Any) -> str:
    return f'</a><span class="host">{visible(tokens[i].meta.get("host", ""))}</span>'


def _closing(tokens: list[Token], i: int) -> Token:
    depth = 0
    for token in tokens[i:]:
        depth += token.nesting if token.type.startswith("link") else 0
        if depth == 0 and token.type == "link_close":
            return token
    return tokens[i]


def _heading(tokens: list[Token], i: int, *_: Any) -> str:
    # The page has one h1 and an order of its own; those of a message come below.
    level = min(int(tokens[i].tag[1]) + 2, 6)
    return f"</h{level}>\n" if tokens[i].nesting < 0 else f"<h{level}>"


def _host(address: str) -> str:
    try:
        parts = urlsplit(address)
        return parts.hostname or parts.scheme or "here"
    except ValueError:
        return "an invalid address"


_parser = _make()
