"""Several workers behind one address, run through the command line."""

from __future__ import annotations

import json
import os
import signal
import sys

import pytest

from patient_provider import Provider
from proxies import SECONDS, configure, is_gone, running, started, wait_until


pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux spreads connections over them"),
    pytest.mark.timeout(120),
]

REQUESTS = (
    'perimeter_requests_total{dialect="openai.chat",outcome="completed",status="200",'
    'upstream="default"}'
)


@pytest.fixture
def provider():
    """Run a provider."""
    with Provider().serving() as provider:
        yield provider


@pytest.fixture
def proxy(tmp_path, provider):
    """Run a proxy with two workers."""
    with running(tmp_path, provider) as proxy:
        yield proxy


def test_connections_go_to_both_workers(proxy):
    """Of many connections each worker gets some, and answers them."""
    pids = [proxy.line().pid for _ in range(64)]

    assert len(set(pids)) == 2
    assert proxy.process.pid not in pids
    assert min(map(pids.count, set(pids))) >= 8


def test_a_conversation_is_one_session_wherever_its_turns_go(proxy):
    """Turns that go to two workers in turn are of one session; another conversation is not."""
    lines = proxy.two_lines()
    said, sessions = [], []
    for turn in range(6):
        said.append(f"question {turn}")
        answer, body = lines[turn % 2].chat(*said)
        said.append(json.loads(body)["choices"][0]["message"]["content"])
        sessions.append(answer.getheader("x-perimeter-session-id"))

    other = lines[0].chat("something else")[0].getheader("x-perimeter-session-id")

    assert len(known(sessions)) == 1
    assert other not in known(sessions)
    assert lookups_by_result(lines[0])["miss"] == 2


def test_sessions_are_the_same_as_with_one_worker(tmp_path, provider):
    """Conversations that begin alike, and change the worker at every turn without a pause."""
    found = []
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        folder.mkdir()
        with running(folder, provider, workers) as proxy:
            lines = proxy.two_lines() if workers == 2 else [proxy.line()] * 2
            sessions = played(lines)
            lookups = {
                name: value for name, value in lines[0].metrics().items() if "lookups" in name
            }
            found.append((sessions, lookups))

    (one, its_lookups), (two, their_lookups) = found
    assert its_lookups == their_lookups
    pairs = {pair for pair in zip(one, two, strict=True) if None not in pair}
    assert len(pairs) == len(known(one)) == len(known(two)) == 12


def known(sessions):
    """Return the sessions that were told; on a busy machine one may be known after the header."""
    return set(sessions) - {None}


def lookups_by_result(line):
    """Return how many calls began a session, and how many went on with one."""
    found = {}
    for name, value in line.metrics().items():
        if "session_lookups_total" in name:
            result = name.partition('result="')[2].rstrip('"}')
            found[result] = found.get(result, 0) + value
    return found


def played(lines):
    """Begin conversations, then play each to its end; return the sessions."""
    talks, sessions = [[] for _ in range(12)], []
    order = [*enumerate(talks), *[pair for pair in enumerate(talks) for _ in range(4)]]
    for number, said in order:
        turn = len(said) // 2
        said.append(f"question {turn} of {number}" if turn else "Hello.")
        answer, body = lines[(turn + number) % 2].chat(*said)
        said.append(json.loads(body)["choices"][0]["message"]["content"])
        sessions.append(answer.getheader("x-perimeter-session-id"))
    return sessions


def test_sessions_in_a_file_are_known_after_a_restart(tmp_path, provider):
    """The supervisor has the file of the sessions: a conversation goes on in new processes."""
    more = f'[session]\nstore = "sqlite"\nstore_path = "{tmp_path / "sessions"}"\n'
    said, sessions = ["question"], []
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        with running(folder, provider, more=more) as proxy:
            answer, body = proxy.line().chat(*said)
            said += [json.loads(body)["choices"][0]["message"]["content"], "and then?"]
            sessions.append(answer.getheader("x-perimeter-session-id"))
            found = lookups_by_result(proxy.line())

    assert len(known(sessions)) == 1
    assert found == {"hit": 1}


def test_metrics_are_those_of_all_workers(proxy):
    """Whichever worker is asked, counters are summed, and what is shared is shown once."""
    first, second = proxy.two_lines()
    for text in ("one", "two", "three"):
        assert first.chat(text)[0].status == 200
    assert second.chat("four")[0].status == 200

    shown = [first.metrics(), second.metrics()]

    for metrics in shown:
        assert metrics[REQUESTS] == 4
        assert metrics["perimeter_sessions_active"] == 4
        assert metrics["perimeter_sessions_created_total"] == 4
        assert metrics["perimeter_mark_starts_total"] == 2
        assert [value for name, value in metrics.items() if "build_info" in name] == [1]
        count = 'perimeter_request_duration_seconds_count{dialect="openai.chat",upstream="default"}'
        assert metrics[count] == 4
    numbers = [
        json.loads(line.ask("GET", "/metrics", accept="application/json")[1])
        for line in (first, second)
    ]
    assert numbers[0] == numbers[1]
    assert numbers[0]["sessions"]["active"] == 4
    assert numbers[0]["sessions"]["created_per_minute"]["1m"] == 4
    assert numbers[0]["tokens"]["input"] == 12
    openmetrics = first.ask("GET", "/metrics", accept="application/openmetrics-text")[1]
    assert openmetrics.endswith(b"# EOF\n")


def test_what_a_killed_worker_counted_stays(proxy):
    """Counters do not fall when a worker is gone, and go on when another has taken its place."""
    first, second = proxy.two_lines()
    first.chat("one")
    second.chat("two")
    assert second.metrics()[REQUESTS] == 2

    os.kill(first.pid, signal.SIGKILL)
    third = proxy.line_to(lambda pid: pid not in {first.pid, second.pid})
    third.chat("three")

    assert second.metrics()[REQUESTS] == third.metrics()[REQUESTS] == 3
    assert third.metrics()["perimeter_mark_starts_total"] == 3
    numbers = json.loads(third.ask("GET", "/metrics", accept="application/json")[1])
    assert numbers["sessions"]["created_per_minute"]["1m"] == 3


def test_a_stream_goes_on_while_the_other_worker_is_killed(proxy, provider):
    """Only the killed worker's calls are lost; another worker takes its place, and that is told."""
    first, second = proxy.two_lines()
    answer = first.stream()

    os.kill(second.pid, signal.SIGKILL)
    proxy.line_to(lambda pid: pid not in {first.pid, second.pid})
    provider.finish.set()

    assert answer.read().endswith(b"data: [DONE]\n\n")
    assert "was killed by signal 9: it is started again" in proxy.said


def test_the_supervisor_stops_gently(proxy, provider):
    """SIGTERM lets a stream in flight end; then no process is left, and none was killed."""
    first, second = proxy.two_lines()
    answer = first.stream()

    proxy.send(signal.SIGTERM)
    wait_until(lambda: is_gone(second.pid))
    assert proxy.process.poll() is None
    provider.finish.set()

    assert answer.read().endswith(b"data: [DONE]\n\n")
    assert proxy.process.wait(SECONDS) == 0
    assert is_gone(first.pid)
    assert sorted(proxy.noted("shutdown")) == sorted({first.pid, second.pid})
    assert [path.name for path in proxy.folder.glob("perimeter-*")] == []


def test_a_second_signal_hurries(proxy):
    """Told twice to stop, it waits for no stream."""
    first, second = proxy.two_lines()
    first.stream()

    proxy.send(signal.SIGTERM)
    wait_until(lambda: is_gone(second.pid))
    assert not is_gone(first.pid)
    proxy.send(signal.SIGTERM)

    assert proxy.process.wait(SECONDS) == 0
    assert is_gone(first.pid)


def test_workers_end_with_their_supervisor(proxy, provider):
    """A supervisor that is killed leaves no worker; what they have in flight still ends."""
    first, second = proxy.two_lines()
    answer = first.stream()

    proxy.process.kill()
    wait_until(lambda: is_gone(second.pid))
    provider.finish.set()

    assert answer.read().endswith(b"data: [DONE]\n\n")
    wait_until(lambda: is_gone(first.pid))
    assert [path.name for path in proxy.folder.glob("perimeter-*")] == []


def test_supervise_is_called_once(proxy):
    """What there is one of per proxy is set up in the supervisor, and let go of after all."""
    first, second = proxy.two_lines()

    assert proxy.noted("supervise") == [proxy.process.pid]
    assert sorted(proxy.noted("startup")) == sorted([first.pid, second.pid])
    proxy.send(signal.SIGTERM)
    assert proxy.process.wait(SECONDS) == 0
    assert proxy.noted("close") == [proxy.process.pid]
    assert (proxy.folder / "notes").read_text().splitlines()[-1].startswith("close")


def test_a_worker_that_cannot_start_ends_it_all(tmp_path, provider):
    """A plugin that fails at the start is told as with one worker, with the same exit code."""
    told = []
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        folder.mkdir()
        (folder / "refuse").touch()
        with started(folder, provider, workers) as proxy:
            assert proxy.process.wait(SECONDS) == 2
            told.append([line for line in proxy.said.splitlines() if line.startswith("error: ")])

    assert told[0] == told[1]
    assert len(told[0]) == 1
    assert "not today" in told[0][0]


def test_an_address_in_use_is_told(proxy, provider, tmp_path):
    """Two proxies with workers do not share a port without a word."""
    folder = tmp_path / "other"
    folder.mkdir()
    with started(folder, provider, 2, port=proxy.port) as other:
        assert other.process.wait(SECONDS) == 2
        assert "in use" in other.said


@pytest.mark.parametrize("workers", [1, 2])
def test_a_key_file_is_read_again(tmp_path, provider, workers):
    """SIGHUP applies a new key to the next request, and a stream in flight goes on."""
    with running(tmp_path, provider, workers) as proxy:
        lines = proxy.two_lines() if workers == 2 else [proxy.line()]
        streaming = proxy.line_to(lambda pid: pid == lines[0].pid)
        answer = streaming.stream()
        assert lines[-1].chat("one")[0].status == 200
        (tmp_path / "key").write_text("second-key\n")
        proxy.send(signal.SIGHUP)
        wait_until(lambda: "configuration reloaded" in proxy.said)

        for line in lines:
            # A worker hears of it a moment later than the supervisor.
            wait_until(lambda line=line: line.chat("two") and "second" in provider.keys[-1])
        provider.finish.set()

        assert answer.read().endswith(b"data: [DONE]\n\n")
        assert provider.keys[:2] == ["Bearer first-key"] * 2
        assert proxy.said.count("configuration reloaded") == 1
        assert len(proxy.noted("startup")) == workers


@pytest.mark.parametrize("workers", [1, 2])
def test_a_broken_file_changes_nothing(tmp_path, provider, workers):
    """After SIGHUP every problem of a broken file is logged, and the old configuration stays."""
    with running(tmp_path, provider, workers) as proxy:
        path = tmp_path / "perimeter.toml"
        text = path.read_text().replace("port = 0", "port = 70000\nbogus = 1")
        path.write_text(text.replace(provider.url, "http://127.0.0.1:9"))
        proxy.send(signal.SIGHUP)
        wait_until(lambda: "server.bogus" in proxy.said and "server.port" in proxy.said)

        assert proxy.line().chat("one")[0].status == 200
        assert "configuration reloaded" not in proxy.said


def test_what_needs_a_restart_is_named(proxy, provider, tmp_path):
    """What can't change while it runs is told in one warning; the rest applies."""
    more = '[session]\nmax_sessions = 500\n[upstreams.other]\ntype = "raw"\nbase_url = "{}"\n'
    configure(tmp_path, provider, 3, more.format(provider.url))
    proxy.send(signal.SIGHUP)
    wait_until(lambda: "configuration reloaded" in proxy.said)

    assert "needs a restart: server.workers, session\n" in proxy.said
    for line in proxy.two_lines():
        config = wait_until(lambda line=line: with_other(line))
        assert config["server"]["workers"] == 2


def with_other(line):
    """Return the configuration as a worker shows it, when it has the other upstream."""
    config = json.loads(line.ask("GET", "/config")[1])
    return config if "other" in config["upstreams"] else None
