"""Fresh virtual environments, and the programs that are run in them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import attrs


BINARIES = "Scripts" if os.name == "nt" else "bin"


@attrs.frozen
class Environment:
    """
    A virtual environment, and the only variables that its programs see.

    Attributes:
        folder: Where it is.
        home: An empty folder, in which programs are started.
    """

    folder: Path
    home: Path

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run one of its programs to its end."""
        return subprocess.run(
            self._found(command),
            cwd=self.home,
            env=self.variables(variables),
            capture_output=True,
            text=True,
            check=False,
        )

    @contextmanager
    def started(self, *command: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
        """Start one of its programs, and see to it that it ends."""
        process = subprocess.Popen(
            self._found(command),
            cwd=self.home,
            env=self.variables(variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        with process:
            try:
                yield process
            finally:
                process.kill()

    def pip(self, *arguments: str | Path, cwd: Path | None = None) -> None:
        """Run its pip, which is the one that came with Python, as it is set up on this machine."""
        # Not isolated from the caller's settings: where packages come from is its affair.
        command = [str(self.folder / BINARIES / "python"), "-m", "pip", *map(str, arguments)]
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def variables(self, more: Mapping[str, str]) -> dict[str, str]:
        """Return the variables that a program gets."""
        return {
            "PATH": str(self.folder / BINARIES),
            "HOME": str(self.home),
            "PYTHONUNBUFFERED": "1",
            **more,
        }

    def _found(self, command: tuple[str, ...]) -> list[str]:
        # The caller's own PATH would be searched otherwise.
        program = shutil.which(command[0], path=str(self.folder / BINARIES))
        assert program, f"{command[0]} was not installed"
        return [program, *command[1:]]


def create(folder: Path) -> Environment:
    """Create a virtual environment with nothing but pip, and a home for its programs."""
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    (folder / "home").mkdir()
    return Environment(folder / "venv", folder / "home")


def address(process: subprocess.Popen[str]) -> str:
    """Read what a started proxy says until it says where it listens, and return that URL."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if found := re.search(r"listens on (http://\S+)", line):
            return found[1]
    raise AssertionError("".join(lines))
