"""
Refuse files that do not belong into a repository because of their size.

    python tests/tools/large_files.py FILE...
"""

from __future__ import annotations

import sys
from pathlib import Path


LIMIT = 512 * 1024


def main(arguments: list[str]) -> int:
    """Print every file over the limit, and return the exit code."""
    large = [name for name in arguments if Path(name).stat().st_size > LIMIT]
    for name in large:
        print(f"{name}: larger than {LIMIT} bytes")
    return 1 if large else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
