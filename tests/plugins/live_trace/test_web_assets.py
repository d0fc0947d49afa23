"""Static files, style and templates: addresses, sizes, contrast, and what must not be in them."""

from __future__ import annotations

import gzip
import itertools
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dashboards import application
from litestar.testing import TestClient

from perimeter_plugin_live_trace.web import assets
from perimeter_plugin_live_trace.web.assets import STATIC, STYLE, load, style
from perimeter_plugin_live_trace.web.render import TEMPLATES


CSS_MOST, JS_MOST, MODULE_LINES = 12 * 1024, 16 * 1024, 200
SCRIPTS = sorted((STATIC / "js").glob("*.js"))
PAGES = sorted(TEMPLATES.rglob("*.html"))


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient[Any]]:
    app, _, reader, changes = application(tmp_path / "assets.db")
    with TestClient(app, base_url="http://127.0.0.1:7100") as opened:
        yield opened
    changes.writer.close()
    reader.close()


def test_files_never_change_at_their_address(client: TestClient[Any]) -> None:
    """So browsers keep them; compressed or not they are the same."""
    loaded = load()
    for path, file in loaded.files.items():
        packed = client.get(loaded.url(path))
        assert packed.content == file.data == gzip.decompress(file.compressed)
        assert "immutable" in packed.headers["cache-control"]
        assert packed.headers["content-encoding"] == "gzip"
        assert packed.headers["content-type"] == file.media_type
        bare = client.get(loaded.url(path), headers={"accept-encoding": "identity"})
        assert "content-encoding" not in bare.headers
        assert bare.content == file.data


@pytest.mark.parametrize(
    "path", ["x/app.css", "{}/none.css", "{}/../app.py", "{}/..%2f..%2fapp.py", "{}", "{}/", ""]
)
def test_nothing_else_is_served(client: TestClient[Any], path: str) -> None:
    """Not another version, and nothing outside of the folder."""
    assert client.get("/static/" + path.format(load().version)).status_code == 404


def test_the_address_changes_with_any_file(tmp_path: Path) -> None:
    """And with nothing else."""
    copy = tmp_path / "static"
    shutil.copytree(STATIC, copy)
    first = load(copy).version
    assert load(copy).version == first == load().version
    script = copy / "js" / "main.js"
    script.write_text(script.read_text() + "\n// more\n")
    second = load(copy).version
    assert second != first
    sheet = copy / "css" / "parts.css"
    sheet.write_text(sheet.read_text() + "\n")
    assert load(copy).version not in {first, second}


def test_the_style_is_small() -> None:
    """All sheets of all pages, as they are sent."""
    assert len(load().files[STYLE].compressed) <= CSS_MOST


def test_the_scripts_are_small() -> None:
    """All modules, as they are sent; each can be read at once by people."""
    files = load().files
    assert sum(len(files[path].compressed) for path in files if path.endswith(".js")) <= JS_MOST
    for path in SCRIPTS:
        assert len(path.read_text().splitlines()) <= MODULE_LINES, path.name


def test_every_module_is_loaded_at_once(client: TestClient[Any]) -> None:
    """A page names all of them, so that none waits for another."""
    text = client.get("/settings").text
    for path in SCRIPTS:
        assert f'rel="modulepreload" href="{load().url(f"js/{path.name}")}"' in text


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(TEMPLATES).as_posix())
def test_templates_have_nothing_that_acts(path: Path) -> None:
    """Neither code nor style in the page, nothing that is not escaped, nothing from elsewhere."""
    text = re.sub(r"\{#.*?#\}", "", path.read_text(), flags=re.DOTALL)
    assert not re.search(r"\|\s*safe\b|\bMarkup\b|autoescape", text)
    text = re.sub(r"\{%.*?%\}|\{\{.*?\}\}", "", text, flags=re.DOTALL)
    assert not re.search(r"\sstyle\s*=", text)
    assert not re.search(r"\son[a-z]+\s*=", text)
    assert not re.search(r"javascript:", text, re.IGNORECASE)
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", text, re.DOTALL | re.IGNORECASE)
    assert not any(script.strip() for script in scripts)
    assert not re.search(r"<style|<iframe|<object|<embed", text, re.IGNORECASE)
    assert not re.search(r"""(?:src|href|action)\s*=\s*["']?(?:https?:)?//""", text)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_make_html_in_one_place(path: Path) -> None:
    """Only from a fragment of this dashboard, through the policy."""
    text = path.read_text()
    found = re.findall(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|eval\(", text
    )
    assert len(found) == (1 if path.name == "dom.js" else 0)
    assert "http://" not in text
    assert "https://" not in text


def test_icons_that_are_used_exist() -> None:
    """Every name in a template is in the file, and the file acts in no way."""
    icons = (STATIC / "icons.svg").read_text()
    known = set(re.findall(r'<symbol id="([\w-]+)"', icons))
    used = set()
    for path in PAGES:
        used |= set(re.findall(r"""\bicon\(\s*"([\w-]+)"\s*[,)]""", path.read_text()))
        used |= set(re.findall(r'icon_name="([\w-]+)"', path.read_text()))
    assert used <= known, used - known
    assert not re.search(r"<script|\son\w+=|href", icons)


def tokens() -> dict[str, tuple[str, str]]:
    """Return the colours of the style sheet: light and dark."""
    text = (STATIC / "css" / "tokens.css").read_text()
    found = re.findall(r"--([\w]+): light-dark\((#\w{6}), (#\w{6})\)", text)
    return {name: (light, dark) for name, light, dark in found}


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


TEXT = ("fg", "muted", "accent", "critical", "high", "medium", "low", "ok")
GROUNDS = ("bg", "bg2", "bg3")


@pytest.mark.parametrize(("text", "ground"), [*itertools.product(TEXT, GROUNDS)])
def test_every_text_can_be_read(text: str, ground: str) -> None:
    """4.5 : 1 at least, on every ground, in both themes (WCAG 2.2, 1.4.3)."""
    for fore, back in zip(tokens()[text], tokens()[ground], strict=True):
        assert contrast(fore, back) >= 4.5


@pytest.mark.parametrize("name", ["control", "accent", "s1", "s2", "s3", "s4", "s5"])
def test_every_control_and_series_can_be_seen(name: str) -> None:
    """3 : 1 at least beside the page and what is raised (WCAG 2.2, 1.4.11)."""
    for ground in ("bg", "bg2"):
        for fore, back in zip(tokens()[name], tokens()[ground], strict=True):
            assert contrast(fore, back) >= 3.0


def test_sheets_keep_to_their_layers() -> None:
    """So that no page's rule wins over a part's by chance; colours are tokens."""
    for path in sorted((STATIC / "css").glob("*.css")):
        text = path.read_text()
        assert re.search(r"@layer (tokens|base|parts|pages)\b[^;]*\{", text), path.name
        assert "url(" not in text, path.name
        if path.name != "tokens.css":
            assert not re.findall(r"#[0-9a-fA-F]{3,8}\b(?![^{]*\{)", text), path.name


def test_sheets_are_joined_in_order() -> None:
    """Tokens come first, pages last."""
    joined = style(STATIC / "css").decode()
    order = [joined.index(f"@layer {name} {{") for name in ("tokens", "base", "parts")]
    assert order == sorted(order)
    assert joined.startswith("@layer tokens, base, parts, pages;")
    assert assets.TYPES[".css"].startswith("text/css")
