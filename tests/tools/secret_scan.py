"""
Refuse files that hold something shaped like a credential.

    python tests/tools/secret_scan.py FILE...

The shapes are those that providers, clouds and forges document for their keys. Text that must have
such a shape is built when it runs, never written down.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path


SHAPES = {
    "OpenAI or Anthropic key": r"\bsk-(?:ant-|proj-|svcacct-)?[A-Za-z0-9_-]{20,}",
    "Google API key": r"\bAIza[0-9A-Za-z_-]{35}",
    "AWS access key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "GitHub token": r"\b(?:gh[pousr]_[0-9A-Za-z]{36}|github_pat_[0-9A-Za-z_]{60,})",
    "GitLab token": r"\bglpat-[0-9A-Za-z_-]{20}",
    "Slack token": r"\bxox[abprs]-[0-9A-Za-z-]{10,}",
    "Hugging Face token": r"\bhf_[0-9A-Za-z]{30,}",
    "Groq or xAI key": r"\b(?:gsk_|xai-)[0-9A-Za-z]{40,}",
    # Followed by a mask it is what redaction leaves, as tests of that expect it.
    "private key": r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----(?!\*\*\*)",
    "JSON web token": r"\beyJ[0-9A-Za-z_-]{10,}\.eyJ[0-9A-Za-z_-]{10,}\.[0-9A-Za-z_-]{10,}",
}
PATTERN = re.compile("|".join(f"({shape})" for shape in SHAPES.values()))


def findings(path: Path) -> Iterator[str]:
    """Yield a line for each thing in a file that is shaped like a credential."""
    text = path.read_text(encoding="utf-8", errors="replace")
    names = list(SHAPES)
    for number, line in enumerate(text.splitlines(), start=1):
        for match in PATTERN.finditer(line):
            yield f"{path}:{number}: {names[(match.lastindex or 1) - 1]}"


def main(arguments: list[str]) -> int:
    """Scan the files, print what was found, and return the exit code."""
    found = [line for name in arguments for line in findings(Path(name))]
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
