"""Which files the repository consists of, in a git checkout and in an unpacked archive alike."""

from __future__ import annotations

import os
import shutil
import subprocess
from fnmatch import fnmatch
from pathlib import Path


ROOT = Path(__file__).parents[2]


def files(root: Path = ROOT) -> list[Path]:
    """
    Return the files that belong to the repository in a folder, or will once they are added.

    Virtual environments do not, whatever they are called.
    """
    listed = _listed(root, "--cached", "--others", "--exclude-standard") or walked(root)
    foreign = [each.parent for each in listed if each.name == "pyvenv.cfg"]
    return [path for path in listed if not any(path.is_relative_to(each) for each in foreign)]


def is_checkout(root: Path = ROOT) -> bool:
    """Tell whether git is there and tracks files in a folder."""
    return bool(_listed(root, "--cached"))


def _listed(root: Path, *options: str) -> list[Path]:
    if shutil.which("git") is None or not (root / ".git").exists():
        return []
    command = ("git", "ls-files", "-z", *options)
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    paths = (root / name for name in listed.stdout.split("\0") if name)
    return [path for path in paths if path.is_file()]


def walked(root: Path = ROOT) -> list[Path]:
    """Return all files but those that .gitignore names (by plain names, without folders)."""
    lines = (root / ".gitignore").read_text(encoding="utf-8").splitlines()
    made = [".git", *(line.rstrip("/") for line in lines if line and not line.startswith("#"))]

    def kept(names: list[str]) -> list[str]:
        return sorted(name for name in names if not any(fnmatch(name, each) for each in made))

    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = kept(folders)
        found += [Path(folder, name) for name in kept(names)]
    return found


def is_text(path: Path) -> bool:
    """Tell text from binary files as git does, by a zero byte near the beginning."""
    with path.open("rb") as file:
        return b"\0" not in file.read(8000)
