"""`perimeter run --plugin printer` over real sockets, its output read from pipes and terminals."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.metadata import entry_points
from pathlib import Path

import attrs
import httpx
import pytest

from perimeter.simulator import FAULT_HEADER, Simulator
from perimeter.testing import serve


pytestmark = pytest.mark.skipif(os.name != "posix", reason="terminals and pipes of POSIX")

KEY = "sk-" + "x" * 24
ENOUGH_TO_FILL_A_PIPE = 400


@attrs.define
class Proxy:
    """
    A running `perimeter run`, and what it has printed.

    Attributes:
        process: The process.
        reader: Descriptor of what it prints.
        output: All that was read so far.
    """

    process: subprocess.Popen[bytes]
    reader: int
    output: str = ""

    @property
    def url(self) -> str:
        """Where it listens; waits until it says so."""
        return self.until(r"listens on (http://\S+)").group(1)

    def until(self, pattern: str) -> re.Match[str]:
        """Read until the output has what the pattern describes."""
        while not (match := re.search(pattern, self.output)):
            data = self._read()
            assert data, f"no {pattern!r} in {self.output} and {self.process.communicate()[1]!r}"
            self.output += data.decode()
        return match

    def _read(self) -> bytes:
        try:
            return os.read(self.reader, 65_536)
        except OSError:  # how a terminal says that nobody writes to it any more
            return b""

    def ask(self, text: str = "What is 2 + 3?", *, stream: bool = False, faults: str = "") -> int:
        """Send a chat request through the proxy and return the status."""
        body = {
            "model": "gpt-4o-mini",
            "stream": stream,
            "messages": [{"role": "user", "content": text}],
        }
        headers = {"authorization": f"Bearer {KEY}", FAULT_HEADER: faults}
        url = f"{self.url}/v1/chat/completions"
        return httpx.post(url, json=body, headers=headers, timeout=60).status_code

    def stop(self) -> tuple[int, str]:
        """Stop the proxy as a service manager would; return exit code and standard error."""
        self.process.send_signal(signal.SIGTERM)
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors.decode()


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Return an environment in which the plugin is installed, whether or not it is in this one."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("LLM_")},
        "PERIMETER_DATA_DIR": str(tmp_path / "data"),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "TERM": "xterm-256color",
    }
    environment.pop("NO_COLOR", None)
    if not entry_points(group="perimeter.plugins", name="printer"):
        about = tmp_path / "site" / "perimeter_plugin_printer-0.1.0.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text("Name: perimeter-plugin-printer\nVersion: 0.1.0\n")
        (about / "entry_points.txt").write_text(
            "[perimeter.plugins]\nprinter = perimeter_plugin_printer:Printer\n"
        )
        environment["PYTHONPATH"] += f"{os.pathsep}{about.parent}"
    return environment


Run = Callable[..., AbstractContextManager[Proxy]]


@pytest.fixture
def run(environment: dict[str, str], tmp_path: Path) -> Run:
    """Return a context manager that runs a proxy which prints into a pipe or a terminal."""

    @contextmanager
    def start(base_url: str, *options: str, terminal: bool = False, **more: str) -> Iterator[Proxy]:
        reader, writer = _terminal() if terminal else os.pipe()
        command = [sys.executable, "-m", "perimeter", "run", "--base-url", base_url]
        command += ["--type", "openai", "--port", "0", "--plugin", "printer", *options]
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            env=environment | more,
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=subprocess.PIPE,
        )
        os.close(writer)
        try:
            yield Proxy(process, reader)
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()
            assert process.stderr is not None
            process.stderr.close()
            try:
                os.close(reader)
            except OSError:
                pass  # the test closed it

    return start


def _terminal() -> tuple[int, int]:
    """Open a pseudo-terminal of 100 columns."""
    import pty
    import termios

    reader, writer = pty.openpty()
    termios.tcsetwinsize(writer, (30, 100))
    return reader, writer


def test_lines_in_a_pipe(run: Run) -> None:
    """A call, a stream and an error come out as plain lines that belong together by id."""
    with serve(Simulator()) as base_url, run(base_url) as proxy:
        assert proxy.ask() == 200
        first = proxy.until(
            r"→ request session=(ses-\w+) agent=prompt-default exchange=(\S+) .*"
            r"path=/v1/chat/completions model=gpt-4o-mini"
        )
        proxy.until(
            rf"← response session={first[1]} .* exchange={first[2]} .*status=200 outcome=completed "
            r"input_tokens=\d+ output_tokens=\d+ cost_usd=0\.\d+ size=\d+ "
        )
        assert proxy.ask(stream=True) == 200
        proxy.until(r"status=200 .* stream=sse events=\d+ first_byte=[\d.]+ seconds=[\d.]+\n")
        assert proxy.ask(faults="status=429") == 429
        proxy.until(r"status=429 outcome=completed error_type=\S+ error=")
        code, errors = proxy.stop()
    assert code == 0, errors
    assert KEY not in proxy.output
    assert "\x1b" not in proxy.output


def test_lines_on_a_terminal(run: Run) -> None:
    """A terminal gets coloured lines that fit it."""
    with serve(Simulator()) as base_url, run(base_url, terminal=True) as proxy:
        assert proxy.ask() == 200
        proxy.until(r"\x1b\[1;34m← .*\x1b\[1;32m200\x1b\[0m.*\n")
        assert proxy.ask(stream=True) == 200
        proxy.until(r"\d+ events  first byte ")
        code, errors = proxy.stop()
    assert code == 0, errors
    lines = re.sub(r"\x1b\[[0-9;]*m", "", proxy.output).split("\r\n")
    printed = [line for line in lines if re.match(r"\d\d:\d\d:\d\d ", line)]
    assert len(printed) >= 3
    assert all(len(line) <= 100 for line in printed)


def test_no_color(run: Run) -> None:
    """With NO_COLOR a terminal gets the same lines without any escape sequence."""
    with serve(Simulator()) as base_url, run(base_url, terminal=True, NO_COLOR="1") as proxy:
        assert proxy.ask() == 200
        proxy.until(r"\d\d:\d\d:\d\d ←  ses-\w{8}  \w{8}  200  [\d.]+k?→\d+ tok  <?\$")
    assert "\x1b" not in proxy.output


def test_bodies_are_printed_masked(run: Run, tmp_path: Path) -> None:
    """With `log_body` texts are shown, keys in them are not."""
    (tmp_path / "perimeter.toml").write_text("[plugins.printer]\nlog_body = true\n")
    with serve(Simulator()) as base_url, run(base_url) as proxy:
        assert proxy.ask(f"Say this: my key is {KEY}") == 200
        proxy.until(r"request .*body=.*my key is sk-\*\*\*")
        proxy.until(r"response .*body=.*choices")
    assert KEY not in proxy.output


@pytest.mark.parametrize("terminal", [False, True])
def test_a_console_that_stands_still_holds_up_nobody(run: Run, terminal: bool) -> None:
    """While nobody reads the lines, all calls are answered, and the proxy can still be stopped."""
    with serve(Simulator()) as base_url, run(base_url, terminal=terminal) as proxy:
        url = proxy.url + "/v1/chat/completions?filler=" + "x" * 1000
        with httpx.Client() as client:
            for _ in range(ENOUGH_TO_FILL_A_PIPE):
                body = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
                assert client.post(url, json=body).status_code == 200
        code, errors = proxy.stop()
    assert code == 0, errors


def test_a_closed_pipe_ends_the_printing_only(run: Run) -> None:
    """After `| head` has gone, calls go on, and the end is clean."""
    with serve(Simulator()) as base_url, run(base_url) as proxy:
        url = proxy.url
        assert proxy.ask() == 200
        proxy.until("← response")
        os.close(proxy.reader)
        for _ in range(3):
            assert proxy.ask() == 200
        assert httpx.get(f"{url}/health").status_code == 200
        code, errors = proxy.stop()
    assert code == 0, errors
    assert "Traceback" not in errors
    assert "BrokenPipe" not in errors
