"""The processes that are measured: how they are started, what they cost and hold."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import psutil


MIB = 1024 * 1024
START_SECONDS = 90
RECORDED = "[plugins.printer]\noutput = 'stderr'\n" + "".join(
    f"[plugins.{name}]\nfolder = '{{folder}}/{name}'\n"
    for name in ("http_recorder", "message_logger", "event_recorder")
)
LIVE = (
    RECORDED + "[plugins.live_trace]\nserver_port = 0\nserver_host = '127.0.0.1'\n"
    "db_path = '{folder}/live-trace.db'\nauto_open_browser = false\n"
    if importlib.util.find_spec("perimeter_plugin_live_trace")
    else ""
)


@attrs.define
class Server:
    """A measured process."""

    port: int
    process: psutil.Process

    def cpu(self) -> float:
        """Return the CPU seconds used so far, threads and children included."""
        return sum(cpu_of(each) for each in self._family())

    def loop_cpu(self) -> float:
        """Return the CPU seconds of the process's first thread, which runs its event loop."""
        first = next(each for each in self.process.threads() if each.id == self.process.pid)
        return float(first.user_time + first.system_time)

    def memory(self) -> float:
        """Return the MiB that it and its children hold."""
        return float(sum(each.memory_info().rss for each in self._family())) / MIB

    def _family(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]


def cpu_of(process: psutil.Process) -> float:
    """Return the CPU seconds that a process has used so far, threads included."""
    if sys.platform == "linux":
        # The process's own clock, clock_getcpuclockid(3): cpu_times() has steps of 10 ms.
        return time.clock_gettime(~process.pid << 3 | 2)
    times = process.cpu_times()
    return float(times.user + times.system)


@contextmanager
def started(kind: str, port: int | None = None) -> Iterator[Server]:
    """Run one candidate, in front of a port or of memory."""
    script = "provider.py" if kind == "provider" else "servers.py"
    forwarded = [] if port is None else [str(port)]
    command = [sys.executable, str(Path(__file__).with_name(script)), kind, *forwarded]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as child:
        try:
            assert child.stdout is not None
            yield Server(int(child.stdout.readline()), psutil.Process(child.pid))
        finally:
            child.terminate()


@contextmanager
def running(provider: int, plugins: str = "", workers: int = 1) -> Iterator[Server]:
    """Run `perimeter run` itself, as its users do."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "perimeter.toml")
        config.write_text(
            f"[server]\nport = {port}\nworkers = {workers}\n[upstreams.bench]\ntype = 'openai'\n"
            f"base_url = 'http://127.0.0.1:{provider}'\n" + plugins.replace("{folder}", folder)
        )
        command = [sys.executable, "-m", "perimeter", "run", "--config", str(config)]
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as child:
            try:
                wait_for(child, port, "/health")
                yield Server(port, psutil.Process(child.pid))
            finally:
                child.terminate()


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(child: subprocess.Popen[bytes], port: int, path: str = "/") -> None:
    """
    Wait until a process answers requests, whatever it says.

    Raises:
        RuntimeError: It ended, or never answers.
    """
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise RuntimeError(f"it ended with {child.returncode}")
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5).close()
        except urllib.error.HTTPError as error:
            error.close()
        except OSError:
            time.sleep(0.1)
            continue
        return
    raise RuntimeError("it does not answer")
