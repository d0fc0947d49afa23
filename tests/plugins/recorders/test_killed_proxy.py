"""A proxy that is killed in the middle of its work leaves recordings that can be used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from perimeter.simulator import FAULT_HEADER, Simulator
from perimeter.testing import serve
from perimeter_plugin_recorders.recordings import Bad, Recording, read


CHAT = "/v1/chat/completions"


@contextmanager
def proxy(provider: str, data: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a proxy that records, in a process of its own; yield it and its address."""
    config = data / "perimeter.toml"
    config.write_text(
        f'[server]\nport = 0\n[upstreams.main]\ntype = "openai"\nbase_url = "{provider}"\n'
        '[plugins.http_recorder]\nflush = "every-record"\n'
        '[plugins.message_logger]\nflush = "every-record"\n'
        '[plugins.event_recorder]\nflush = "every-record"\n'
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "perimeter", "run", "--config", str(config)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PERIMETER_DATA_DIR": str(data)},
    )
    try:
        assert process.stdout is not None
        line = next(each for each in process.stdout if "listens on" in each)
        yield process, line.split()[-1]
    finally:
        process.terminate()
        try:
            process.wait(20)
        finally:
            process.kill()
        if process.stdout is not None:
            process.stdout.close()


def ask(url: str, number: int, **headers: str) -> None:
    """Ask something, and read all of the answer."""
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": f"question {number}"}]}
    httpx.post(url + CHAT, json=body, headers=headers, trust_env=False, timeout=20)


def recorded(data: Path) -> tuple[list[Recording], list[Bad]]:
    """Return what the recordings have."""
    problems: list[Bad] = []
    return list(read(data / "http_recorder", problems=problems.append)), problems


def wait_for_chunks(data: Path) -> None:
    """Look until a piece of the stream that hangs is in a file."""
    folder = data / "http_recorder"
    for _ in range(1000):
        if sum(path.read_bytes().count(b'"type":"chunk"') for path in folder.iterdir()) > 3:
            return
        time.sleep(0.01)
    pytest.fail("nothing of the stream was recorded")


def test_kill_9_loses_only_what_was_under_way(tmp_path: Path) -> None:
    """Whole exchanges stay whole, the open one is there in part, and a restart goes on."""
    with serve(Simulator()) as provider:
        with proxy(provider, tmp_path) as (process, url):
            for number in range(3):
                ask(url, number)
            body = {
                "model": "gpt-4o",
                "stream": True,
                "messages": [{"role": "user", "content": "Write 300 words about tea"}],
            }
            with httpx.stream(
                "POST", url + CHAT, json=body, headers={FAULT_HEADER: "hang=5"}, trust_env=False
            ) as answer:
                stream = answer.iter_raw()
                next(stream)
                wait_for_chunks(tmp_path)
                process.kill()
                process.wait(20)
        with proxy(provider, tmp_path) as (_, url):
            ask(url, 4)
        found, problems = recorded(tmp_path)
    assert [each.complete for each in found if each.end] == [True] * 4
    [open_one] = [each for each in found if each.end is None]
    assert open_one.chunks
    assert all("torn" in each.reason for each in problems)
    assert len(list((tmp_path / "http_recorder").iterdir())) == 2
    for name in ("message_logger", "event_recorder"):
        lines = [
            json.loads(line)
            for path in (tmp_path / name).iterdir()
            for line in path.read_text(encoding="utf-8").splitlines()
        ]
        assert sum("question" in json.dumps(line) for line in lines) >= 4
