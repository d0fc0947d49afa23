"""
Words for the full-text index, and queries from what people type.

The index cuts texts into words at what is no letter or digit. Chinese, Japanese, Thai and their
like write no blanks between words, so each of their characters is made a word of its own, and what
is searched for becomes a phrase of them.
"""

from __future__ import annotations

import re


MOST_CHARACTERS = 2000
"""Of the new text of an event that is indexed."""

_MOST_WORDS = 16
"""That one query may ask for."""

SPACELESS = re.compile(
    "["
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f"  # Burmese
    "\u1780-\u17ff"  # Khmer
    "\u2e80-\u2fdf"  # radicals
    "\u3005-\u3007\u3040-\u30ff\u3100-\u312f"  # Japanese syllables, Bopomofo
    "\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # ideographs
    "\uac00-\ud7af"  # Korean, where endings grow onto words
    "\uff66-\uff9f"  # half-width Japanese
    "\U00020000-\U0003ffff"  # further ideographs
    "]"
)
_TERM = re.compile(r'"([^"]*)"?|(\S+)')
_WORD = re.compile(r"\w", re.UNICODE)


def index_words(text: str) -> str:
    """Return a text prepared for the index: a blank around each character that is a word."""
    if text.isascii():
        return text
    return SPACELESS.sub(r" \g<0> ", text)


def match_query(text: str) -> str:
    """
    Return the FTS5 query for what somebody typed: all words, `"phrases"`, beginnings with `*`.

    Every part is quoted, so it is never an error and never an operator. "" means that there is
    nothing to search for.
    """
    parts = []
    for phrase, word in _TERM.findall(text.replace("\0", " ")):
        part = _quoted(phrase or word, beginning=bool(word) and word.endswith("*"))
        if part:
            parts.append(part)
    return " ".join(parts[:_MOST_WORDS])


def _quoted(term: str, *, beginning: bool) -> str:
    """Return a term as FTS5's string, "" where the index could have nothing of it."""
    words = " ".join(index_words(term).replace('"', " ").split())
    words = words.encode("utf-8", "replace").decode()
    if not _WORD.search(words):
        return ""
    return f'"{words}"*' if beginning else f'"{words}"'
