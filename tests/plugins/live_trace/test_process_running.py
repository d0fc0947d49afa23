"""The live-trace process beside a proxy: it takes what happens, and its troubles stay its own."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import httpx
import psutil
import pytest
from traced import children, traced

from proxies import is_gone, wait_until


@pytest.fixture
def trace(tmp_path, monkeypatch):
    """Yield a proxy with live trace."""
    with traced(tmp_path, monkeypatch) as running:
        yield running


def test_traffic_is_stored(trace):
    """A conversation becomes one session with its calls, turns and tokens."""
    line = trace.proxy.line()
    line.chat("hello")
    line.chat("hello", "reply 1", "and now?")
    trace.wait_for_calls(2)

    assert trace.rows("SELECT turns, tok_in, tok_out, title FROM sessions") == [(2, 6, 4, "hello")]
    assert trace.rows("SELECT number, messages, carried FROM calls ORDER BY id") == [
        (1, 1, 0),
        (2, 3, 1),
    ]


def test_a_stream_appears_while_it_runs(trace):
    """A call is in its session's conversation before its answer has ended, and then it is over."""
    line = trace.proxy.line()
    answer = line.stream()
    running = wait_until(lambda: _turns(trace, "running"))

    assert [card["pieces"][0]["body"]["text"] for card in running[0]["asked"]] == ["go"]
    trace.provider.finish.set()
    answer.read()
    over = wait_until(lambda: _turns(trace, "ok"))
    assert [turn["number"] for turn in over] == [running[0]["number"]]
    assert not _turns(trace, "running")


def _turns(trace, state):
    """Return the calls of the newest session that are in a state, as the dashboard has them."""
    rows = httpx.get(f"{trace.url}/sessions.json", timeout=30).json()["rows"]
    if not rows:
        return []
    session = httpx.get(f"{trace.url}/sessions/{rows[0]['public_id']}.json", timeout=30).json()
    return [turn for turn in session["conversation"]["turns"] if turn["state"] == state]


def test_metrics_of_the_process(trace):
    """What it measures of itself is there for Prometheus once it has stored something."""
    trace.proxy.line().chat("hello")
    trace.wait_for_calls(1)
    name = "perimeter_live_trace_commit_seconds"
    text = wait_until(lambda: _without_zero(name, httpx.get(f"{trace.url}/metrics", timeout=30)))

    assert 0 < float(re.search(rf"^{name} (\S+)$", text, re.MULTILINE)[1]) < 30
    assert "perimeter_live_trace_dropped_total 0.0" in text
    age = r'^perimeter_live_trace_batch_age_seconds\{quantile="1"\} (\S+)$'
    assert 0 < float(re.search(age, text, re.MULTILINE)[1]) < 30


def _without_zero(name, answer):
    return None if f"{name} 0.0\n" in answer.text else answer.text


def test_the_dashboard_is_announced(trace):
    """Its address is printed where the proxy says what it started, and answers there."""
    answer = httpx.get(f"{trace.url}/health", timeout=30)

    assert answer.status_code == 200
    assert "prompts included" in trace.proxy.said
    assert str(trace.database) in trace.proxy.said


def test_files_are_private(trace):
    """Nobody else can read the database or reach the socket."""
    trace.proxy.line().chat("hello")
    trace.wait_for_calls(1)

    assert stat.S_IMODE(trace.database.stat().st_mode) == 0o600
    assert stat.S_IMODE(trace.database.parent.stat().st_mode) == 0o700
    path = Path(trace.socket)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_process_is_killed(trace):
    """It is started again; what happened meanwhile is delivered, and nothing is stored twice."""
    line = trace.proxy.line()
    line.chat("before")
    trace.wait_for_calls(1)
    before = trace.child
    os.kill(before, signal.SIGKILL)
    for number in range(20):
        assert line.chat(f"meanwhile {number}")[0].status == 200
    assert trace.child_after(before) != before
    trace.wait_for_calls(21)

    assert httpx.get(f"{trace.url}/health", timeout=30).status_code == 200  # where it was before
    assert trace.rows("SELECT count(*), sum(turns) FROM sessions") == [(21, 21)]
    with closing(sqlite3.connect(trace.database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_the_proxy_is_killed(trace):
    """The process ends when its proxy is gone, however that went."""
    child = trace.child
    trace.proxy.process.kill()
    trace.proxy.process.wait()

    wait_until(lambda: is_gone(child))


def test_the_supervisor_of_workers_is_killed(tmp_path, monkeypatch):
    """No worker keeps the process alive when their supervisor was killed."""
    with traced(tmp_path, monkeypatch, workers=2) as trace:
        child = trace.child
        trace.proxy.process.kill()
        trace.proxy.process.wait()

        wait_until(lambda: is_gone(child))


def test_more_happens_than_can_wait(trace):
    """With a process that hangs, a proxy keeps so much and counts what it must let go."""
    child = trace.child
    os.kill(child, signal.SIGSTOP)
    try:
        line = trace.proxy.line()
        for number in range(24):
            assert line.chat(f"{number} " + "x" * 4_000_000)[0].status == 200
        lost = line.metrics()["perimeter_live_trace_dropped_total"]
        resident = psutil.Process(trace.proxy.process.pid).memory_info().rss
    finally:
        os.kill(child, signal.SIGCONT)

    assert lost > 0
    assert resident < 400 * 1024 * 1024
    assert trace.proxy.said.count("does not keep up") == 1
    kept = 64 // 4 - 2
    trace.wait_for_calls(kept)


def test_the_process_hangs(trace):
    """A process that does nothing any more costs the traffic nothing, and gets it all later."""
    child = trace.child
    os.kill(child, signal.SIGSTOP)
    try:
        line = trace.proxy.line()
        for number in range(50):
            assert line.chat(f"text {number}")[0].status == 200
        assert trace.calls() == 0
    finally:
        os.kill(child, signal.SIGCONT)

    trace.wait_for_calls(50)


def test_stopping_writes_everything(tmp_path, monkeypatch):
    """What was told before the end of a proxy is stored when it has ended."""
    with traced(tmp_path, monkeypatch) as trace:
        line = trace.proxy.line()
        for number in range(30):
            line.chat(f"text {number}")
        child = trace.child

    assert trace.calls() == 30
    assert is_gone(child)
    assert not list(tmp_path.glob("perimeter-*/trace-*"))


def test_memory_mode_keeps_nothing(tmp_path, monkeypatch):
    """With storage in memory nothing is left after the end."""
    with traced(tmp_path, monkeypatch, 'storage_mode = "memory"\n') as trace:
        trace.proxy.line().chat("a secret of mine")
        (folder,) = tmp_path.glob("perimeter-live-trace-*")
        assert list(folder.iterdir())
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700

    assert not trace.database.exists()
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(b"secret of mine" in path.read_bytes() for path in left)


def test_memory_mode_after_a_kill(tmp_path, monkeypatch):
    """What a killed process could not delete is deleted by the one after it."""
    with traced(tmp_path, monkeypatch, 'storage_mode = "memory"\n') as trace:
        (before,) = tmp_path.glob("perimeter-live-trace-*")
        child = trace.child
        os.kill(child, signal.SIGKILL)
        trace.child_after(child)
        wait_until(lambda: not before.exists())

    assert not list(tmp_path.glob("perimeter-live-trace-*"))


def test_a_database_of_another_proxy(trace, tmp_path, monkeypatch):
    """Two proxies can't write to one database; the second says so, and serves without it."""
    trace.proxy.line().chat("hello")
    trace.wait_for_calls(1)
    (tmp_path / "again").mkdir()
    options = f'db_path = "{trace.database}"\n'
    with traced(tmp_path / "again", monkeypatch, options) as second:
        assert f"another proxy writes to {trace.database}" in second.proxy.said
        assert second.proxy.line().chat("hello")[0].status == 200

    assert trace.calls() == 1


def test_a_port_in_use(tmp_path, monkeypatch):
    """Another port is taken where the configured one is in use, and that is said."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with traced(tmp_path, monkeypatch, port=port) as trace:
            assert f":{port}" not in trace.url
            assert f"port {port} of the dashboard can't be had" in trace.proxy.said
            assert httpx.get(f"{trace.url}/health", timeout=30).status_code == 200


def test_off_loopback_a_token_is_asked_for(tmp_path, monkeypatch):
    """One is made, kept for the owner only, printed, and asked for."""
    with traced(tmp_path, monkeypatch, host="0.0.0.0") as trace:
        url = httpx.URL(trace.url)
        token = trace.database.with_name("token")
        assert stat.S_IMODE(token.stat().st_mode) == 0o600
        assert url.params["token"] == token.read_text().strip()
        bare = url.copy_with(path="/sessions", query=None)
        assert httpx.get(bare, timeout=30).status_code == 401
        headers = {"authorization": f"Bearer {url.params['token']}"}
        assert httpx.get(bare, headers=headers, timeout=30).status_code == 200


def test_forms_and_logins_outlive_the_process(tmp_path, monkeypatch):
    """A form that stood open while the process was started again is taken, without a new login."""
    with traced(tmp_path, monkeypatch, host="0.0.0.0") as trace:
        url = httpx.URL(trace.url)
        with httpx.Client(base_url=url.copy_with(query=None), timeout=30) as visitor:
            visitor.get(url)
            form = visitor.get("/settings").text
            token = re.search(r'name="csrf" value="([0-9a-f]+)"', form)[1]
            before = trace.child
            os.kill(before, signal.SIGKILL)
            trace.child_after(before)
            wait_until(lambda: _answers(visitor))
            made_up = visitor.post("/settings", data={"csrf": "0" * 80})
            taken = visitor.post("/settings", data={"csrf": token, "density": "compact"})

    assert made_up.status_code == 403
    assert taken.status_code == 303
    key = trace.database.with_name("key")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def _answers(visitor):
    with contextlib.suppress(httpx.TransportError):
        return visitor.get("/settings").status_code == 200
    return False


def test_several_workers(tmp_path, monkeypatch):
    """All workers tell the one process, which is started once."""
    with traced(tmp_path, monkeypatch, workers=2) as trace:
        first, second = trace.proxy.two_lines()
        first.chat("hello")
        second.chat("hello", "reply 1", "more")
        trace.wait_for_calls(2)
        assert trace.rows("SELECT turns FROM sessions") == [(2,)]
        assert len(children(trace.proxy.process.pid)) == 1


def test_what_hooks_cost(tmp_path, monkeypatch):
    """The page of plugins has the calls of hooks in all workers, told now and then."""
    with traced(tmp_path, monkeypatch, workers=2) as trace:
        first, second = trace.proxy.two_lines()
        for line in (first, second, first):
            line.chat("hello")

        def costs():
            found = httpx.get(f"{trace.url}/plugins.json", timeout=30).json()["plugins"]
            (plugin,) = [each for each in found if each["name"] == "live_trace"]
            hooks = {each["hook"]: each for each in plugin["hooks"]}
            return hooks if hooks["on_request"]["calls"] == 3 else None

        hooks = wait_until(costs)

    assert hooks["on_response"]["calls"] == 3
    assert 0 < hooks["on_request"]["seconds"] < 1
    assert {each["failures"] for each in hooks.values()} == {0}


def test_garbage_on_the_socket(trace):
    """Bytes that are no frames end their own connection only."""
    for garbage in (b"\xff" * 64, b"\x00\x00\x00\x04\xc1\xc1\xc1\xc1", b"\x00\x00\x00\x01\x90"):
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.settimeout(30)
            stranger.connect(trace.socket)
            stranger.sendall(garbage)
            stranger.shutdown(socket.SHUT_WR)
            while stranger.recv(100):
                pass
    trace.proxy.line().chat("hello")

    trace.wait_for_calls(1)
