"""Proxies run as users run them, with one worker or several, and connections to each worker."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import attrs

from patient_provider import Provider


SECONDS = 30.0
"""How long anything may take before the test fails."""

PLUGIN = """
import os
from pathlib import Path

import attrs
from litestar import get
from perimeter import hookimpl


class Mark:
    \"\"\"Tells which process it is in, and notes what is called there.\"\"\"

    @attrs.frozen
    class Config:
        \"\"\"No options.\"\"\"

    def __init__(self, config, context):
        self.folder = Path(os.environ["MARK_FOLDER"])
        self.tasks = context.metrics.counter("starts", "Starts.")

    def note(self, text):
        with (self.folder / "notes").open("a") as notes:
            notes.write(f"{text} {os.getpid()}\\n")

    @hookimpl
    def supervise(self):
        self.note("supervise")
        return lambda: self.note("close")

    @hookimpl
    def startup(self):
        if (self.folder / "refuse").exists():
            raise RuntimeError("not today")
        self.tasks.inc()
        self.note("startup")

    @hookimpl
    def shutdown(self):
        self.note("shutdown")

    @hookimpl
    def routes(self):
        @get("/pid", sync_to_thread=False)
        def pid() -> int:
            return os.getpid()

        return [pid]
"""


def wait_until(condition: Callable[[], Any]) -> Any:
    """Look at a condition until it holds, and return what it gave."""
    deadline = time.monotonic() + SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.02)
    return found


def is_gone(pid: int) -> bool:
    """Whether a process has ended, even where nobody has taken notice."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return True
    return state == "Z"


@attrs.define
class Line:
    """A connection to the proxy, which stays with one worker."""

    connection: http.client.HTTPConnection
    pid: int

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[Any, bytes]:
        """Send a request and take all of the answer."""
        data = None if body is None else json.dumps(body)
        sent = {"content-type": "application/json", **headers}
        self.connection.request(method, path, data, sent)
        answer = self.connection.getresponse()
        return answer, answer.read()

    def chat(self, *texts: str) -> tuple[Any, bytes]:
        """Send a conversation: the user's and the model's messages in turn."""
        messages = [
            {"role": "assistant" if place % 2 else "user", "content": text}
            for place, text in enumerate(texts)
        ]
        return self.ask("POST", "/v1/chat/completions", {"model": "m", "messages": messages})

    def stream(self) -> Any:
        """Begin a stream; return the answer, of which the first event was read."""
        body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "go"}]}
        sent = {"content-type": "application/json"}
        self.connection.request("POST", "/v1/chat/completions", json.dumps(body), sent)
        answer = self.connection.getresponse()
        assert answer.readline().startswith(b"data: {")
        return answer

    def metrics(self) -> dict[str, float]:
        """Return the metrics as this worker shows them."""
        lines = self.ask("GET", "/metrics")[1].decode().splitlines()
        pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in pairs}


@attrs.define
class Proxy:
    """A proxy that runs."""

    process: subprocess.Popen[bytes]
    folder: Path
    port: int = 0
    lines: list[Line] = attrs.field(factory=list)

    @property
    def said(self) -> str:
        """What it has printed and logged."""
        return (self.folder / "said").read_text(encoding="utf-8")

    def noted(self, what: str) -> list[int]:
        """Return the processes in which something was called."""
        path = self.folder / "notes"
        notes = path.read_text(encoding="ascii").splitlines() if path.exists() else []
        return [int(note.split()[1]) for note in notes if note.split()[0] == what]

    def line(self) -> Line:
        """Connect, to whichever worker the kernel chooses."""
        line = Line(http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS), 0)
        self.lines.append(line)
        line.pid = int(line.ask("GET", "/-/mark/pid")[1])
        return line

    def line_to(self, wanted: Callable[[int], bool]) -> Line:
        """Connect to a worker of a kind."""

        def try_it() -> Line | None:
            with suppress(OSError, http.client.HTTPException):
                line = self.line()
                if wanted(line.pid):
                    return line
            return None

        found: Line = wait_until(try_it)
        return found

    def two_lines(self) -> tuple[Line, Line]:
        """Connect to two workers."""
        first = self.line()
        return first, self.line_to(lambda pid: pid != first.pid)

    def send(self, number: int) -> None:
        """Send a signal to the supervisor."""
        self.process.send_signal(number)


@contextmanager
def started(
    folder: Path, provider: Provider, workers: int = 2, more: str = "", port: int = 0
) -> Iterator[Proxy]:
    """Run a proxy from a configuration file `perimeter.toml` and a key file `key`."""
    install(folder)
    (folder / "key").write_text("first-key\n", encoding="ascii")
    configure(folder, provider, workers, more, port)
    command = [sys.executable, "-m", "perimeter", "run", "--config", "perimeter.toml"]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("LLM_")},
        "PYTHONPATH": str(folder / "site"),
        "MARK_FOLDER": str(folder),
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(folder),
    }
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(
            [*command, "--api-key-file", "key"],
            cwd=folder,
            env=environment,
            stdout=said,
            stderr=said,
        )
    proxy = Proxy(process, folder)
    try:
        yield proxy
    finally:
        for line in proxy.lines:
            line.connection.close()
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


@contextmanager
def running(folder: Path, provider: Provider, workers: int = 2, more: str = "") -> Iterator[Proxy]:
    """Run a proxy, and wait until it serves."""
    with started(folder, provider, workers, more) as proxy:
        pattern = re.compile(r"listens on http://127\.0\.0\.1:(\d+)")

        def found() -> re.Match[str] | None:
            assert proxy.process.poll() is None, proxy.said
            return pattern.search(proxy.said)

        proxy.port = int(wait_until(found)[1])
        yield proxy


def configure(
    folder: Path, provider: Provider, workers: int, more: str = "", port: int = 0
) -> None:
    """Write the configuration file."""
    text = (
        f"[server]\nport = {port}\nworkers = {workers}\n"
        f'[upstreams.default]\ntype = "openai"\nbase_url = "{provider.url}"\n'
        f"[plugins.mark]\n{more}"
    )
    (folder / "perimeter.toml").write_text(text, encoding="utf-8")


def install(folder: Path) -> None:
    """Install the plugin `mark` where the proxy finds it."""
    place = folder / "site" / "mark-1.0.dist-info"
    place.mkdir(parents=True)
    (place / "METADATA").write_text("Metadata-Version: 2.1\nName: mark\nVersion: 1.0\n")
    (place / "entry_points.txt").write_text("[perimeter.plugins]\nmark = perimeter_mark:Mark\n")
    (folder / "site" / "perimeter_mark.py").write_text(PLUGIN, encoding="utf-8")
