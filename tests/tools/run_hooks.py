"""
Run the hooks of .pre-commit-config.yaml over the whole repository, for the tox environment.

    python tests/tools/run_hooks.py

In a git checkout that is `pre-commit run --all-files`. pre-commit needs git, which neither a fresh
machine nor an unpacked archive may have: there the same local hooks are started from here.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from repository import ROOT, is_checkout, is_text, walked


def main() -> int:
    """Run every hook, and return the exit code."""
    if is_checkout():
        return subprocess.run(
            ("pre-commit", "run", "--all-files"), cwd=ROOT, check=False
        ).returncode
    print("no git checkout here: the hooks are run without pre-commit", flush=True)
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    codes = [run_hook(hook, ROOT) for repo in config["repos"] for hook in repo["hooks"]]
    return 1 if any(codes) else 0


def run_hook(hook: dict[str, Any], root: Path) -> int:
    """Run one local hook over the files that it is for, and return its exit code."""
    print(f"{hook['name']} ...", flush=True)
    command = shlex.split(hook["entry"])
    if command[0] == "python":
        command[0] = sys.executable
    if hook.get("pass_filenames", True):
        command += [str(path.relative_to(root)) for path in walked(root) if _is_for(hook, path)]
    return subprocess.run(command, cwd=root, check=False).returncode


def _is_for(hook: dict[str, Any], path: Path) -> bool:
    if "types_or" in hook:
        return path.suffix in {".py", ".pyi"}
    return is_text(path) if "types" in hook else True


if __name__ == "__main__":
    sys.exit(main())
