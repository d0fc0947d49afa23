"""Reading the repository's Markdown: code blocks, tables and inline code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import attrs


ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
DOCUMENTS = [
    README,
    ROOT / "SECURITY.md",
    ROOT / "CHANGELOG.md",
    *sorted(DOCS.glob("*.md")),
    *sorted(ROOT.glob("plugins/*/README.md")),
]

_BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[^>]+) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@attrs.frozen
class CodeBlock:
    """
    A fenced block of code.

    Attributes:
        place: File and line, for names of tests.
        language: After the fence.
        mark: In the comment on the line before, such as `run` or `plugin: name`.
        text: What it holds.
    """

    place: str
    language: str
    mark: str
    text: str


def blocks(path: Path) -> Iterator[CodeBlock]:
    """Yield the code blocks of a document."""
    document = path.read_text(encoding="utf-8")
    for match in _BLOCK.finditer(document):
        line = document.count("\n", 0, match.start("text"))
        yield CodeBlock(
            f"{path.relative_to(ROOT)}:{line}",
            match["language"],
            match["mark"] or "",
            match["text"],
        )


def blocks_of(language: str, mark: str = "") -> list[CodeBlock]:
    """Return the blocks of all documents that have a language and whose mark begins so."""
    return [
        block
        for path in DOCUMENTS
        for block in blocks(path)
        if block.language == language and block.mark.startswith(mark)
    ]


def block_marked(mark: str) -> CodeBlock:
    """Return the one block with this mark."""
    (found,) = (block for path in DOCUMENTS for block in blocks(path) if block.mark == mark)
    return found


def commands(path: Path) -> list[str]:
    """Return the lines of a document's shell blocks, continued ones joined."""
    lines = [
        line.strip()
        for block in blocks(path)
        if block.language == "sh"
        for line in block.text.replace("\\\n", " ").splitlines()
    ]
    return [line for line in lines if line]


def inline_code(path: Path) -> list[str]:
    """Return what stands between single backticks, outside of blocks."""
    prose = re.sub(
        r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    return re.findall(r"`([^`\n]+)`", prose)


def tables(path: Path, heading: str) -> list[list[str]]:
    """Return the cells of every table row under a heading, up to the next one of its level."""
    level = heading.split(" ", maxsplit=1)[0]
    section = path.read_text(encoding="utf-8").split(f"\n{heading}\n", 1)[1]
    section = re.split(rf"\n{level} ", section, maxsplit=1)[0]
    lines = [line[1:].removesuffix("|") for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in re.split(r" \|(?= )", line)] for line in lines]
