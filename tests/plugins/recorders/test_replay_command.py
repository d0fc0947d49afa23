"""`perimeter replay` as people use it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from perimeter_plugin_recorders.commands import replay
from recorded_files import BEGAN, exchange, write


pytest.importorskip("perimeter_plugin_printer")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return a function that runs the command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PERIMETER_CONFIG", raising=False)
    monkeypatch.setenv("PERIMETER_DATA_DIR", str(tmp_path / "data"))

    def run(*words: object):
        return CliRunner().invoke(replay, [str(word) for word in words])

    return run


@pytest.fixture
def recording(tmp_path):
    """Three exchanges of two sessions."""
    return write(
        tmp_path / "recording-1.jsonl",
        *exchange(1),
        *exchange(2, at=0.5, session="ses-b", head={"status": 429, "headers": []}),
        *exchange(3, at=7200.0),
    )


def test_plugins_see_it(run, recording):
    """The printer prints the exchanges, and a summary says what was played."""
    result = run(recording, "--plugin", "printer")

    assert result.exit_code == 0
    assert "429" in result.stdout
    assert result.stdout.count("/v1/chat/completions") >= 3
    assert "played 3 exchanges of 2 sessions" in result.stderr
    assert re.search(r"completed: 3$", result.stderr, re.MULTILINE)


def test_the_configuration_chooses(run, recording, tmp_path):
    """A file chooses plugins and their options, as with `run`; upstreams are not needed."""
    config = tmp_path / "some.toml"
    config.write_text('[plugins.printer]\noutput = "stderr"\n')
    result = run(recording, "--config", config)

    assert result.exit_code == 0
    assert result.stdout == ""
    assert "429" in result.stderr


def test_the_usual_file_is_found(run, recording, tmp_path):
    """`./perimeter.toml` counts where nothing else is said."""
    (tmp_path / "perimeter.toml").write_text("[plugins.printer]\n")

    assert run(recording).exit_code == 0


def test_no_plugin(run, recording, tmp_path):
    """A replay that nobody would see is an error that says what to do."""
    result = run(recording)
    assert result.exit_code == 2
    assert "--plugin" in result.stderr

    (tmp_path / "perimeter.toml").write_text("[plugins.http_recorder]\n")
    result = run(recording)
    assert result.exit_code == 2
    assert "not made for replays" in result.stderr


def test_parts(run, recording):
    """`--session` and `--since` choose, and the summary says what was passed over."""
    result = run(recording, "--plugin", "printer", "--session", "ses-b")
    assert "played 1 exchange of 1 session" in result.stderr
    assert "passed over by --since or --session: 2" in result.stderr

    result = run(recording, "--plugin", "printer", "--since", "2026-01-01T01:00:00+00:00")
    assert "played 1 exchange of" in result.stderr

    hours = (time.time() - BEGAN) / 3600 - 1
    result = run(recording, "--plugin", "printer", "--since", f"{hours:.3f}h")
    assert "played 1 exchange of" in result.stderr


def test_broken_lines(run, recording):
    """What is skipped is named with file and line, and the rest is played."""
    with recording.open("a") as file:
        file.write("nonsense\n")
    result = run(recording, "--plugin", "printer")

    assert result.exit_code == 0
    assert f"{recording}:14: " in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("absent.jsonl",),
        ("recording-1.jsonl", "--speed", "warp"),
        ("recording-1.jsonl", "--speed", "0"),
        ("recording-1.jsonl", "--delay", "-1"),
        ("recording-1.jsonl", "--since", "yesterday"),
        ("recording-1.jsonl", "--plugin", "absent"),
        ("recording-1.jsonl", "--config", "absent.toml"),
        ("recording-1.jsonl", "--port", "1"),
        ("recording-1.jsonl", "--serve", "--shift"),
        ("recording-1.jsonl", "--plugin", "printer", "--nonsense"),
    ],
)
def test_wrong_words(run, recording, words):
    """What can't be meant is refused with 2 and one line."""
    result = run(*words)

    assert result.exit_code == 2
    assert "rror: " in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("content", ["", "rubbish\n", '{"type": "file", "version": 99}\n'])
def test_nothing_to_play(run, tmp_path, content):
    """A file without a single exchange is no success."""
    path = tmp_path / "recording-1.jsonl"
    path.write_text(content)
    result = run(path, "--plugin", "printer")

    assert result.exit_code == 1
    assert "played 0 exchanges" in result.stderr


def test_an_unreadable_folder_is_one_line(run, tmp_path):
    """An empty folder is nothing to play; no traceback is shown."""
    (tmp_path / "empty").mkdir()
    result = run(tmp_path / "empty", "--plugin", "printer")

    assert result.exit_code == 1
    assert "Traceback" not in result.output


def test_one_after_the_other(run, recording):
    """With `--delay` they are played in turn."""
    result = run(recording, "--plugin", "printer", "--delay", "0.01", "--shift", "--resolve")

    assert result.exit_code == 0
    assert "played 3 exchanges" in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_ctrl_c(recording, tmp_path):
    """Ctrl-C begins nothing more, and tells what was played."""
    code = "from perimeter_plugin_recorders.commands import replay; replay()"
    words = [str(recording), "--plugin", "printer", "--speed", "1"]
    environ = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", code, *words],
        cwd=tmp_path,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        begun = 0
        while begun < 2:
            line = child.stdout.readline()
            assert line
            begun += "completions" in line
        child.send_signal(signal.SIGINT)
        _, told = child.communicate(timeout=60)

    assert child.returncode == 130
    assert "stopped before the end" in told
    assert "played 2 exchanges" in told
    assert "Traceback" not in told
