"""Static files: held in memory, compressed once, under an address that changes with them."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from pathlib import Path

import attrs


STATIC = Path(__file__).parent / "static"
STYLE = "app.css"
"""All style sheets as one file, in the order of their layers."""
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".json": "application/json",
}
_FIRST = ("tokens.css", "base.css", "parts.css")
"""Style sheets that come before those of pages."""


@attrs.frozen
class File:
    """A static file: its bytes, plain and compressed, and its type."""

    data: bytes
    compressed: bytes
    media_type: str


@attrs.frozen
class Assets:
    """
    All static files.

    Attributes:
        files: By path below `static`.
        version: Changes with any of them, and with nothing else.
    """

    files: Mapping[str, File]
    version: str

    def url(self, path: str) -> str:
        """Return the address of a file."""
        return f"/static/{self.version}/{path}"

    @property
    def modules(self) -> list[str]:
        """The paths of all scripts."""
        return sorted(path for path in self.files if path.endswith(".js"))


def load(folder: Path = STATIC) -> Assets:
    """Read a folder."""
    contents = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.suffix in TYPES and path.suffix != ".css"
    }
    contents[STYLE] = style(folder / "css")
    digest = hashlib.blake2b(digest_size=6)
    for path, data in sorted(contents.items()):
        digest.update(f"{path}\0{len(data)}\0".encode() + data)
    files = {path: _file(path, data) for path, data in contents.items()}
    return Assets(files, digest.hexdigest())


def style(folder: Path) -> bytes:
    """Return all style sheets of a folder as one."""
    first = [folder / name for name in _FIRST]
    others = [path for path in sorted(folder.glob("*.css")) if path.name not in _FIRST]
    return b"\n".join(path.read_bytes() for path in [*first, *others])


def _file(path: str, data: bytes) -> File:
    return File(data, gzip.compress(data, 9, mtime=0), TYPES[Path(path).suffix])
