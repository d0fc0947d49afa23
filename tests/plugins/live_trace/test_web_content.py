"""Text, Markdown and JSON that somebody else wrote can do nothing, and stay small."""

from __future__ import annotations

import html
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from factory import HOSTILE
from hypothesis import given
from hypothesis import strategies as st

from perimeter_plugin_live_trace.web import markdown
from perimeter_plugin_live_trace.web.content import (
    PREVIEW,
    data_chip,
    is_base64,
    text_view,
    visible,
)
from perimeter_plugin_live_trace.web.json_view import NODES, json_view, parse, resolve
from perimeter_plugin_live_trace.web.markdown import TAGS, markdown_view, render


ALLOWED = {"class", "href", "rel", "open", "data-more", "start"}


class Reader(HTMLParser):
    """Reads HTML as a browser would, and keeps its tags, attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def harmless(text: str) -> Reader:
    """Check that HTML has only tags and attributes that do nothing."""
    found = Reader(text)
    assert set(found.tags) <= TAGS | {"div", "span", "ul", "li", "details", "summary", "pre", "a"}
    assert {name for name, _ in found.attributes} <= ALLOWED
    for name, value in found.attributes:
        if name == "href":
            assert re.match(r"(https?://|mailto:|/)", value or ""), value
    return found


@pytest.mark.parametrize("attack", HOSTILE)
@pytest.mark.parametrize("way", ["text", "markdown", "json", "chip"])
def test_attacks_do_nothing(attack: str, way: str) -> None:
    """Whatever models say, what comes out has no tag or attribute that acts."""
    if way == "text":
        found = harmless(str(text_view(attack).html))
        seen = re.sub(r"U\+[0-9A-F]{4,5}", "", found.text)
        assert "<script" not in attack or "<script" in seen
    elif way == "markdown":
        harmless(str(markdown_view(attack).html))
        harmless(str(markdown_view(f"* {attack}\n\n> [{attack}]({attack})").html))
    elif way == "json":
        harmless(str(json_view({attack: [attack, {attack: None}]})))
    else:
        harmless(str(data_chip(f"data:{attack};base64,AAAA")))


def test_hidden_characters_are_seen() -> None:
    """Controls and characters that turn the direction are tokens; line breaks and tabs stay."""
    shown = visible("a\u202eb\u2066c\x00d\x1b[0m\ue000\tx\ny\u200b\ud800é")
    for token in ("U+202E", "U+2066", "U+0000", "U+001B", "U+200B", "U+D800"):
        assert f'<span class="ctl">{token}</span>' in shown
    assert "\tx\ny" in shown
    assert shown.endswith("é")


def test_joined_emoji_stay_whole() -> None:
    """A joiner between emoji is no attack, but a tag character is."""
    assert "U+" not in visible("\U0001f468\u200d\U0001f469")
    assert "U+E0067" in visible("\U0001f3f4\U000e0067")


@given(st.text())
def test_no_character_is_lost(text: str) -> None:
    """Each is there as itself or as a token."""
    found = Reader(str(visible(text)))
    back = re.sub(r"", "", found.text)
    expected = "".join(Reader(str(visible(one))).text for one in text)
    assert back == expected
    assert set(found.tags) <= {"span"}


@given(st.binary(max_size=400), st.integers(0, 500), st.integers(1, 50))
def test_previews_are_bounded_and_whole(data: bytes, offset: int, limit: int) -> None:
    """Pieces of any bytes say how much they show; characters of valid text are never cut."""
    preview = text_view(data, limit, offset)
    assert preview.size == len(data)
    assert 0 <= preview.shown <= limit + 3
    text = "äöü€😀" * 9
    at, seen = 0, ""
    while at < len(text.encode()):
        piece = text_view(text, limit + 4, at)
        seen += html.unescape(re.sub("<[^>]+>", "", str(piece.html)))
        at += piece.shown
    assert seen == text


def test_a_long_text_is_a_preview() -> None:
    """32 KiB at once, and it says of how much."""
    preview = text_view("x" * 5_000_000)
    assert (preview.shown, preview.size, preview.cut) == (PREVIEW, 5_000_000, True)


def test_markdown_is_rendered() -> None:
    """What people use is there, headings below those of the page."""
    shown = str(
        render("# A\n**b** `c` ~~d~~\n\n- e\n\n| f | g |\n|-|-|\n| 1 | 2 |\n\n```py\nh<i>\n```")
    )
    for piece in ("<h3>A</h3>", "<strong>b</strong>", "<code>c</code>", "<li>e</li>", "<td>1</td>"):
        assert piece in shown
    assert "h&lt;i&gt;" in shown
    assert "h1" not in shown


def test_links_say_where_they_lead() -> None:
    """Their host is beside them; the other site is told nothing."""
    shown = str(render("[bank](https://evil.example/login)"))
    assert 'href="https://evil.example/login" rel="noopener noreferrer nofollow ugc"' in shown
    assert '<span class="host">evil.example</span>' in shown
    for bad in ("javascript:alert(1)", "data:text/html,x", "vbscript:x", "file:///etc/passwd"):
        assert "href" not in str(render(f"[x]({bad})"))
    for inner in ("/sessions/delete", "//evil.example", "..", "#top", "?x"):
        assert "href" not in str(render(f"[x]({inner})")), "it would look like a page of ours"


def test_images_are_never_loaded() -> None:
    """An address of an image carries what a model was made to leak; only its host is shown."""
    shown = str(
        render("![look](https://evil.example/p.png?q=secret) ![a][b]\n\n[b]: //evil.example/x")
    )
    assert "<img" not in shown
    assert "secret" not in shown
    assert "image: look → evil.example" in shown


def test_markdown_that_is_too_long_is_text() -> None:
    """Nobody waits for it."""
    assert "<pre" in str(markdown_view("*" * (markdown.MOST + 1)).html)


def test_markdown_that_takes_too_long_is_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text that was made to be slow is cut off, and others are rendered meanwhile."""
    import threading

    free = threading.Event()
    monkeypatch.setattr(markdown, "PATIENCE", 0.01)
    monkeypatch.setattr(markdown, "render", lambda _: free.wait(5))
    try:
        assert "<pre" in str(markdown_view("**x**").html)
    finally:
        free.set()


def test_broken_markdown_is_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """A parser that fails costs nothing but the looks."""
    monkeypatch.setattr(markdown, "render", lambda _: 1 / 0)
    assert "<pre" in str(markdown_view("**x**").html)


def nodes(shown: str) -> int:
    return shown.count("<li>")


def more(pointer: str, skip: int) -> str:
    return f"/more?ptr={pointer}&skip={skip}"


def test_a_tree_is_shown_step_by_step() -> None:
    """At most 200 nodes at once; the rest is behind links that say where to go on."""
    value = {"a": list(range(1000)), "b/c~d": {"e": 1}, "list": [[i] for i in range(300)]}
    shown = str(json_view(value, more=more))
    assert nodes(shown) <= NODES + 20
    assert "950 more items" in shown
    assert 'href="/more?ptr=/a&amp;skip=50"' in shown
    rest = resolve(value, "/a")
    further = str(json_view(rest, pointer="/a", skip=900, more=more))
    assert '<span class="ix">999</span>' in further
    assert "more items" not in further
    assert resolve(value, "/b~1c~0d/e") == 1


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=30) | st.dictionaries(st.text(max_size=5), inner),
    )
)
def test_any_json_is_a_bounded_tree(value: Any) -> None:
    """Whatever its shape."""
    shown = str(json_view(value, more=more))
    harmless(shown)
    assert nodes(shown) <= 2 * NODES


def test_a_deep_tree_does_not_end_the_process() -> None:
    """Where it is too deep there is a link; what can't be read at all is no JSON."""
    value: Any = 1
    for _ in range(500):
        value = [value]
    assert "data-more" in str(json_view(value, more=more))
    with pytest.raises(ValueError, match="nested"):
        parse(b"[" * 100_000 + b"]" * 100_000)


def test_the_same_part_twice_is_shown_twice() -> None:
    """Values that are one object in memory are parts of their own."""
    same = {"x": 1}
    assert str(json_view(json.loads(json.dumps([same, same])))).count(">x<") == 2


@pytest.mark.parametrize("pointer", ["/z", "/a/9", "/a/x", "/a/-1", "/s/0", "/a/٣"])
def test_a_part_that_is_not_there_is_an_error(pointer: str) -> None:
    """A pointer comes from the address, so it can be anything."""
    with pytest.raises(LookupError):
        resolve({"a": [1], "s": "x"}, pointer)


def test_long_strings_and_data_are_shortened() -> None:
    """Strings end after 2 KiB, data is only named."""
    shown = str(
        json_view(
            {"long": "word " * 2000, "data": "QUJD" * 400, "uri": "data:image/png;base64,QUJD"}
        )
    )
    assert "9.8 KiB" in shown
    assert "base64 · 1,200 bytes" in shown
    assert "image/png · 3 bytes" in shown
    assert not is_base64("word " * 100)
    assert not is_base64("short")
