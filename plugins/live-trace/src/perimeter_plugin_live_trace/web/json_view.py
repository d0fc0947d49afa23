"""JSON as a tree that opens by `<details>`: so many nodes at a time, whatever its size."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import attrs
import msgspec
from markupsafe import Markup

from perimeter_plugin_live_trace.web.content import data_chip, is_base64, visible
from perimeter_plugin_live_trace.web.formats import plural, size


NODES = 200
"""Nodes that are shown at a time."""
LONGEST = 2048
"""Characters of a string; what is longer is shortened."""
AT_ONCE = 50
"""Children of a container below the root that are shown at a time: others want to be seen, too."""
FEW = 25
"""Children up to which a container near the root is open."""
DEEPEST = 40
"""Levels that are shown at a time."""
More = Callable[[str, int], str]
"""Where more is shown: from a JSON pointer, and the number of children to leave out."""


def parse(data: bytes) -> Any:
    """
    Return what JSON says.

    Raises:
        ValueError: It is not JSON, or is nested too deeply to be read.
    """
    try:
        return msgspec.json.decode(data)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def resolve(value: Any, pointer: str) -> Any:
    """
    Return the part of a value that a JSON pointer (RFC 6901) names.

    Raises:
        LookupError: There is no such part.
    """
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict):
            value = value[key]
        elif isinstance(value, list) and key.isascii() and key.isdigit():
            value = value[int(key[:9])]
        else:
            raise LookupError(pointer)
    return value


def json_view(value: Any, *, pointer: str = "", skip: int = 0, more: More | None = None) -> Markup:
    """
    Return a value as a tree.

    Args:
        value: What JSON says (see `resolve` for a part of it).
        pointer: Which part of the whole it is.
        skip: How many of its children to leave out: those that are shown already.
        more: Where the rest is shown; without it, the rest is only counted.
    """
    tree = _Tree(_opened(value, skip), more)
    if not isinstance(value, (dict, list)):
        return Markup('<div class="json">{}</div>').format(tree.leaf(value))
    return Markup('<div class="json">{}</div>').format(tree.children(value, pointer, skip, 0))


def _opened(value: Any, skip: int) -> dict[int, int]:
    """Return how many children of which containers are shown: those near the root come first."""
    left, opened = NODES, {}
    queue = deque([(value, skip, 0)])
    while queue and left > 0:
        container, leave, depth = queue.popleft()
        if not isinstance(container, (dict, list)) or depth > DEEPEST:
            continue
        taken = min(max(len(container) - leave, 0), left, AT_ONCE if depth else NODES)
        opened[id(container)] = taken
        left -= taken
        items = container.values() if isinstance(container, dict) else container
        queue.extend((item, 0, depth + 1) for item in _slice(items, leave, taken))
    return opened


@attrs.frozen
class _Tree:
    """Writes a tree; `opened` says how many children of which container are shown."""

    opened: dict[int, int]
    more: More | None

    def children(self, value: Any, pointer: str, skip: int, depth: int) -> Markup:
        """Return the children of a container as a list."""
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        taken = self.opened.get(id(value), 0)
        rows = [
            self.row(key, item, f"{pointer}/{_escaped(key)}", depth, isinstance(value, list))
            for key, item in _slice(pairs, skip, taken)
        ]
        rest = len(value) - skip - taken
        if rest > 0:
            rows.append(Markup("<li>{}</li>").format(self.rest(rest, pointer, skip + taken)))
        return Markup("<ul>{}</ul>").format(Markup("").join(rows))

    def row(self, key: object, value: Any, pointer: str, depth: int, index: bool) -> Markup:
        """Return one child."""
        name = Markup('<span class="{}">{}</span>').format("ix" if index else "k", _name(key))
        if not isinstance(value, (dict, list)) or not value:
            return Markup("<li>{} {}</li>").format(name, self.leaf(value))
        count = plural(len(value), "item" if isinstance(value, list) else "key")
        if id(value) not in self.opened:
            inner = self.rest(len(value), pointer, 0)
            return Markup("<li>{} {}</li>").format(name, inner)
        return Markup(
            '<li><details{}><summary>{} <span class="n">{}</span></summary>{}</details></li>'
        ).format(
            Markup(" open") if depth < 2 and len(value) <= FEW else "",
            name,
            count,
            self.children(value, pointer, 0, depth + 1),
        )

    def rest(self, count: int, pointer: str, skip: int) -> Markup:
        """Return what stands for children that are not shown."""
        text = plural(count, "more item" if skip else "item")
        if self.more is None:
            return Markup('<span class="n">{}</span>').format(text)
        return Markup('<a class="more" data-more href="{}">{}</a>').format(
            self.more(pointer, skip), text
        )

    def leaf(self, value: Any) -> Markup:
        """Return a value that has no children."""
        if isinstance(value, str):
            return _string(value)
        text = msgspec.json.encode(value).decode()
        kind = "n" if isinstance(value, (dict, list)) else "lit"
        return Markup('<span class="{}">{}</span>').format(kind, text)


def _string(value: str) -> Markup:
    if is_base64(value):
        return data_chip(value)
    if len(value) <= LONGEST:
        return Markup('<span class="s">{}</span>').format(visible(value))
    count = len(value.encode("utf-8", "surrogatepass"))
    return Markup('<span class="s">{}</span><span class="n">… {}</span>').format(
        visible(value[:LONGEST]), size(count)
    )


def _name(key: object) -> Markup:
    text = str(key)
    return visible(text if len(text) <= 200 else text[:200] + "…")


def _escaped(key: object) -> str:
    return str(key).replace("~", "~0").replace("/", "~1")


def _slice(items: Iterable[Any], skip: int, count: int) -> list[Any]:
    return list(itertools.islice(items, skip, skip + count))
