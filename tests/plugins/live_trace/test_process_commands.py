"""`perimeter live-trace`: the dashboard on a database alone."""

from __future__ import annotations

import re
import signal
import stat
import subprocess
import sys
from contextlib import contextmanager

import httpx
import pytest


def command(*arguments):
    """Return the command line of `perimeter live-trace`."""
    return [sys.executable, "-m", "perimeter", "live-trace", *map(str, arguments)]


def run(*arguments):
    """Run it to its end."""
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=120, check=False
    )


@contextmanager
def serving(*arguments):
    """Run `serve` until it says where; yield that and the lines before it; then interrupt it."""
    process = subprocess.Popen(
        command("serve", "--port", "0", *arguments), stdout=subprocess.PIPE, text=True
    )
    try:
        said = []
        for line in process.stdout:
            said.append(line)
            if found := re.search(r"dashboard is at (\S+)", line):
                yield httpx.URL(found[1]), "".join(said)
                break
        else:
            pytest.fail("it said nothing of where it is")
    finally:
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=60)[0]
    assert (process.returncode, rest) == (0, "")


def test_info(small_database):
    """It tells what is in a database."""
    result = run("info", "--db", small_database)

    assert result.returncode == 0, result.stderr
    told = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert told["database"] == str(small_database)
    assert told["version"].isdigit()
    assert int(told["sessions"].replace(",", "")) > 0
    assert int(told["events"].replace(",", "")) > 0


@pytest.mark.parametrize("name", ["info", "serve"])
def test_no_database(tmp_path, name):
    """Where there is none, none is made, and that is said in a line."""
    result = run(name, "--db", tmp_path / "none.db")

    assert result.returncode == 1
    assert "none.db: there is none" in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())


def test_not_a_database(tmp_path):
    """A file of another kind is refused and left alone."""
    file = tmp_path / "letter.txt"
    file.write_text("Dear reader, " * 1000)
    result = run("serve", "--db", file)

    assert result.returncode == 1
    assert "it is no SQLite database" in result.stderr
    assert file.read_text() == "Dear reader, " * 1000


def test_serve(small_database):
    """It shows the sessions of a database, says where it is, and ends with Ctrl-C."""
    with serving("--db", small_database) as (url, said):
        answer = httpx.get(url.copy_with(path="/sessions.json"), timeout=60)

    assert answer.status_code == 200
    assert answer.json()
    assert str(small_database) in said


def test_serve_with_a_token(small_database, tmp_path):
    """The token comes from a file, and is asked for on loopback, too."""
    file = tmp_path / "token"
    file.write_text("open-sesame\n")
    with serving("--db", small_database, "--token-file", file) as (url, _):
        bare = url.copy_with(path="/sessions.json", query=None)
        assert url.params["token"] == "open-sesame"
        assert httpx.get(bare, timeout=60).status_code == 401
        headers = {"authorization": "Bearer open-sesame"}
        assert httpx.get(bare, headers=headers, timeout=60).status_code == 200


def test_serve_keeps_a_made_token_to_its_owner(small_database, tmp_path):
    """Off loopback a token is made beside the database, for its owner's eyes only."""
    copy = tmp_path / "copy.db"
    copy.write_bytes(small_database.read_bytes())
    with serving("--db", copy, "--host", "0.0.0.0") as (url, said):
        assert url.params["token"] == (tmp_path / "token").read_text().strip()
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
    assert f"asks for the token in {tmp_path / 'token'}" in said
