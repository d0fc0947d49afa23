"""Pages of other plugins: blocks, never HTML, so that what they show can do nothing."""

from __future__ import annotations

from typing import Any

import msgspec

from perimeter.dashboard import Contribution, Link, Page
from perimeter_plugin_live_trace.kept import KeptRecords
from perimeter_plugin_live_trace.web.ask import Ask, is_local
from perimeter_plugin_live_trace.web.page import NotFound, page


_MOST_ROWS = 1000
"""Of a table; what is more is only counted."""


class Cell(msgspec.Struct):
    """A cell of a table: its text, where it leads, and whether it is a number."""

    text: str
    href: str = ""
    number: bool = False


class Block(msgspec.Struct):
    """A part of a page: `kind` says which of the others are used."""

    kind: str
    text: str = ""
    tone: str = ""
    facts: list[tuple[str, str]] = []
    columns: list[str] = []
    rows: list[list[Cell]] = []
    more: int = 0


class ExtensionView(msgspec.Struct):
    """A page of another plugin."""

    title: str
    plugin: str
    blocks: list[Block]
    pages: list[tuple[str, str, str]]
    """Path, title and address of all pages of the plugin."""
    path: str


@page("/x/{plugin}", template="pages/extension.html", nav="plugins")
def first(ask: Ask) -> ExtensionView:
    """Show the first page of a plugin."""
    return _show(ask, "")


@page("/x/{plugin}/{path}", template="pages/extension.html", nav="plugins")
def further(ask: Ask) -> ExtensionView:
    """Show another page of a plugin."""
    return _show(ask, ask.path["path"])


@page("/x/{plugin}/{path}/{rest}", template="pages/extension.html", nav="plugins")
def deeper(ask: Ask) -> ExtensionView:
    """Show a page of a plugin below another one."""
    return _show(ask, f"{ask.path['path']}/{ask.path['rest']}")


def _show(ask: Ask, path: str) -> ExtensionView:
    plugin = ask.path["plugin"]
    contribution: Contribution | None = ask.site.extensions.get(plugin)
    pages = contribution.pages if contribution else ()
    found = next((page for page in pages if page.path.strip("/") == path), None)
    if found is None:
        raise NotFound(f"No plugin here has a page “{plugin}/{path}”.")
    blocks = found.content(KeptRecords(ask.reader, ask.writer), dict(ask.params.pairs))
    shown = [
        (page.path.strip("/"), page.title, extension_url(plugin, page))
        for page in pages
        if page.in_menu
    ]
    return ExtensionView(found.title, plugin, [_block(block) for block in blocks], shown, path)


def extension_url(plugin: str, page: Page) -> str:
    """Return the address of a plugin's page."""
    return f"/x/{plugin}/{page.path.strip('/')}".rstrip("/")


def _block(block: Any) -> Block:
    kind = type(block).__name__.lower()
    if kind == "facts":
        return Block(kind, facts=[(str(label), str(value)) for label, value in block.facts])
    if kind == "table":
        rows = [[_cell(cell) for cell in row] for row in block.rows[:_MOST_ROWS]]
        more = max(len(block.rows) - _MOST_ROWS, 0)
        return Block(kind, block.caption, columns=list(block.columns), rows=rows, more=more)
    return Block(kind, str(getattr(block, "text", "")), tone=str(getattr(block, "tone", "")))


def _cell(cell: Any) -> Cell:
    if isinstance(cell, Link):
        return Cell(cell.text, cell.href if is_local(cell.href) else "")
    if isinstance(cell, (int, float)) and not isinstance(cell, bool):
        return Cell(f"{cell:,}", number=True)
    return Cell("" if cell is None else str(cell))


routes = (first, further, deeper)
