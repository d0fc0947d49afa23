"""
Recorded traffic of real providers, through the proxy as users start it, byte for byte.

The recordings are not part of this repository. They are looked for beside it; every shape in them
that matters has a hand-written sample in tests/data, so nothing is tested here alone.
"""

from __future__ import annotations

import contextlib
import json
import lzma
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest


TRAFFIC = Path(__file__).parents[2].parent / "shared" / "traffic"

pytestmark = [
    pytest.mark.skipif(
        not (TRAFFIC / "fidelity.py").exists(),
        reason="needs the recorded traffic, which is kept beside the repository and not in it",
    ),
    pytest.mark.timeout(300),
]


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def process(command, port, **options):
    """Run a server, and wait until it accepts connections."""
    with subprocess.Popen(command, **options) as child:
        try:
            for _ in range(300):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                assert child.poll() is None, "the server ended"
                time.sleep(0.1)
            yield child
        finally:
            child.send_signal(signal.SIGTERM)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Unpack the recordings."""
    path = tmp_path_factory.mktemp("traffic") / "recordings.sqlite"
    with lzma.open(TRAFFIC / "corpus-dev.sqlite.xz") as packed, path.open("wb") as unpacked:
        shutil.copyfileobj(packed, unpacked)
    return path


@pytest.fixture(scope="module")
def check(corpus, tmp_path_factory):
    """Start the replaying provider and the proxy; yield the function that runs the checker."""
    with checker("openai", corpus, tmp_path_factory.mktemp("log") / "proxy.log") as fidelity:
        yield fidelity


@contextlib.contextmanager
def checker(upstream_type, corpus, log, exits=(0,)):
    """
    Run the replaying provider and a proxy in front of it; yield what runs the checker.

    The checker of sessions ends with 0 only for a score that nothing can have.
    """
    upstream, port = free_port(), free_port()
    python = [sys.executable, "-B"]
    replay = [*python, "replay_upstream.py", "--corpus", str(corpus), "--port", str(upstream)]
    run = [sys.executable, "-m", "perimeter", "run", "--type", upstream_type]
    run += ["--base-url", f"http://127.0.0.1:{upstream}", "--port", str(port)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LLM_")}
    with (
        log.open("w") as output,
        process(replay, upstream, cwd=TRAFFIC, stdout=subprocess.DEVNULL),
        process(run, port, cwd=log.parent, env=clean, stdout=output, stderr=output),
    ):

        def fidelity(*arguments):
            command = [*python, "fidelity.py", "--corpus", str(corpus)]
            command += ["--base", f"http://127.0.0.1:{port}"]
            command += ["--upstream", f"http://127.0.0.1:{upstream}", *map(str, arguments)]
            done = subprocess.run(command, cwd=TRAFFIC, capture_output=True, text=True, check=False)
            assert done.returncode in exits, done.stdout[-3000:] + done.stderr[-2000:]
            return done.stdout

        yield fidelity
        assert "Traceback" not in log.read_text(encoding="utf-8")
        metrics = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
        assert "perimeter_requests_in_flight 0" in metrics


def test_every_exchange_is_identical(check):
    """Status, body bytes, framing and every header of each recorded exchange come back."""
    assert "ok" in check("--strict-headers")


def test_bodies_may_stream_up(corpus, tmp_path):
    """The same holds where no dialect is known and request bodies are not buffered."""
    with checker("raw", corpus, tmp_path / "proxy.log") as fidelity:
        fidelity("--strict-headers")


def test_events_are_not_held_back(check):
    """Every streamed event is in the client's hands before the next one is sent."""
    check("--ttfb", "--limit", "12")


def test_faults(check):
    """Every fault of the replaying provider has the right visible effect."""
    check("--faults", "--per-fault", "1")


def test_chunkings_and_encodings(check):
    """Any chunking, encoding and line end of a stream passes unchanged."""
    check("--matrix", "--stream-only", "--limit", "25")


@pytest.mark.parametrize("width", [("--interleave", "8"), ("--interleave", "32", "--parallel")])
def test_conversations_are_kept_apart(corpus, tmp_path, width):
    """Of recorded conversations, many open at once, hardly one is torn or joined."""
    with checker("openai", corpus, tmp_path / "proxy.log", exits=(0, 1)) as fidelity:
        result = tmp_path / "score.json"
        fidelity(
            "--sessions", "--session-header", "x-perimeter-session-id", *width, "--json", result
        )
        apis = json.loads(result.read_text())["score"]["by"]

    assert f1(apis, "/chat.completions", "/responses") >= 0.99
    assert f1(apis, "anthropic/messages") >= 0.98


def f1(apis, *ends):
    """Return the F1 of pairs over the APIs whose names end so."""
    chosen = [numbers for name, numbers in apis.items() if name.endswith(ends)]
    right, wrong, missed = (sum(each[key] for each in chosen) for key in ("tp", "fp", "fn"))
    return 2 * right / (2 * right + wrong + missed)
