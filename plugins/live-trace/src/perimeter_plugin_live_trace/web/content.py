"""Text, Markdown and JSON that somebody else wrote, as HTML that can do nothing."""

from __future__ import annotations

import re

import attrs
from markupsafe import Markup, escape


PREVIEW = 32 * 1024
"""Bytes of a text that a page shows at once."""
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff\ud800-\udfff]"
)
"""Characters that can't be seen and change what is: control, direction, tags, nothing at all."""
_BASE64 = re.compile(r"(?:data:([\w.+-]+/[\w.+-]+)?;base64,)?[A-Za-z0-9+/\r\n]{256,}={0,2}\s*")
_DATA = re.compile(r"data:([\w.+-]+/[\w.+-]+)?[\w;=.+-]*,")


@attrs.frozen
class Preview:
    """
    The beginning of a text, or all of it.

    Attributes:
        html: What is shown.
        shown: Bytes of it.
        size: Bytes of all of it.
    """

    html: Markup
    shown: int
    size: int

    @property
    def cut(self) -> bool:
        """Whether there is more."""
        return self.shown < self.size


def visible(text: str) -> Markup:
    """Return a text with control and direction characters as visible tokens."""
    pieces, at = [], 0
    for found in _HIDDEN.finditer(text):
        pieces.append(escape(text[at : found.start()]))
        pieces.append(Markup('<span class="ctl">U+{:04X}</span>').format(ord(found[0])))
        at = found.end()
    pieces.append(escape(text[at:]))
    return Markup("").join(pieces)


def text_view(text: str | bytes, limit: int = PREVIEW, offset: int = 0) -> Preview:
    """
    Return a text as it is, from an offset on and at most so many bytes.

    Bytes that are no UTF-8 become U+FFFD; a character is never cut in half.
    """
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    begin = character(data, min(max(offset, 0), len(data)))
    end = character(data, min(begin + limit, len(data)))
    html = Markup('<pre class="text">{}</pre>').format(
        visible(data[begin:end].decode("utf-8", "replace").replace("\r\n", "\n"))
    )
    return Preview(html, end - begin, len(data))


def character(data: bytes, at: int) -> int:
    """Return where the character starts that a byte belongs to."""
    least = max(at - 3, 0)
    while at > least and at < len(data) and data[at] & 0xC0 == 0x80:
        at -= 1
    return at


def is_base64(text: str) -> bool:
    """Whether a text is data that nobody can read: long, and of one kind of characters."""
    return bool(_DATA.match(text[:200])) or (
        len(text) >= 256 and _BASE64.fullmatch(text) is not None and " " not in text[:256]
    )


def data_chip(text: str) -> Markup:
    """Return what stands for such data: its type and about how many bytes it has."""
    found = _DATA.match(text[:200])
    start = found.end() if found else 0
    kind = (found[1] if found else None) or "base64"
    count = (len(text) - start) * 3 // 4
    return Markup('<span class="chip">{} · {} bytes</span>').format(visible(kind), f"{count:,}")
