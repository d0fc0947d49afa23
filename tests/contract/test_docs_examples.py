"""The documents' examples work: they are run against a real proxy and a simulated provider."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest

from documents import DOCS, README, ROOT, block_marked, blocks_of, commands
from perimeter.application import build
from perimeter.settings import Settings, UpstreamSettings
from perimeter.simulator import Simulator
from perimeter.testing import serve


PUBLIC = "http://localhost:4000"
"""Where the proxy is in every example."""

CURLS = [line for line in commands(README) if line.startswith("curl ")]
LABELLED = blocks_of("bash", "expect: ")
SDKS = [block for block in blocks_of("python") if PUBLIC in block.text]
RUN = blocks_of("python", "run")
CHAT = {"model": "any", "messages": [{"role": "user", "content": "Count to 20"}]}


@pytest.fixture(autouse=True)
def no_outgoing_proxy(monkeypatch):
    """Keep every client of an example on this machine."""
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    """A simulated provider."""
    with serve(Simulator(seed=1)) as url:
        yield url


@contextlib.contextmanager
def proxied(
    provider: str, plugins: Mapping[str, type] | None = None, **tables: dict[str, Any]
) -> Iterator[str]:
    """Run a proxy in front of a provider, as the README's configuration has it."""
    upstreams = {
        name: UpstreamSettings(type=name, base_url=provider) for name in ("openai", "anthropic")
    }
    settings = Settings(upstreams=upstreams, default_upstream="openai", plugins=tables)
    with serve(build(settings, plugins=plugins or {}).asgi) as url:
        yield url


@pytest.fixture(scope="module")
def proxy(provider) -> Iterator[str]:
    """A proxy without plugins."""
    with proxied(provider) as url:
        yield url


def curl(line: str, base_url: str) -> str:
    """Run a curl command against another address and return what it prints."""
    parser = argparse.ArgumentParser(prog="curl")
    parser.add_argument("url")
    parser.add_argument("-N", action="store_true")
    parser.add_argument("-i", action="store_true")
    parser.add_argument("-H", action="append", default=[])
    parser.add_argument("-d")
    line = line.replace("127.0.0.1:4000", "localhost:4000")
    words = shlex.split(line.replace(PUBLIC, base_url))
    found = parser.parse_args(words[1:])
    if shutil.which("curl"):
        command = [words[0], "--silent", "--show-error", "--fail-with-body", *words[1:]]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout
    headers = [tuple(each.split(": ", 1)) for each in found.H]
    method = "POST" if found.d else "GET"
    answer = httpx.request(method, found.url, headers=headers, content=found.d)
    assert answer.is_success, answer.text
    heads = "".join(f"{name}: {value}\n" for name, value in answer.headers.items())
    return heads * found.i + answer.text


@pytest.mark.parametrize("line", CURLS, ids=lambda line: line[:60].replace(PUBLIC, ""))
def test_curl_examples_work(line, proxy):
    """Every curl command of the README gets the answer that its question has."""
    printed = curl(line, proxy)

    wanted = {
        "17 * 23": "17 * 23 = 391.",
        "Count to 20": "data: [DONE]",
        "password": "Help me reset my password",
        "Hello!": "You said: Hello!",
        'application/json" http': '{"sessions":{"active":',
        "curl http://localhost:4000/metrics": "# TYPE perimeter_requests_total counter",
    }
    (answer,) = (text for question, text in wanted.items() if question in line)
    assert answer in printed


@pytest.mark.parametrize("block", LABELLED, ids=lambda block: block.place)
def test_labelled_calls_are_answered_as_described(block, proxy):
    """The header examples print what the comment above each of them promises."""
    printed = curl(block.text.replace("\\\n", " "), proxy)

    for expected in block.mark.removeprefix("expect: ").split("; "):
        assert expected in printed


@pytest.mark.filterwarnings("ignore:The model:DeprecationWarning")  # models retire, examples stay
@pytest.mark.parametrize("block", SDKS, ids=lambda block: block.place)
def test_sdk_examples_work(block, proxy):
    """The official SDKs get their answers with no change but the base URL."""
    printed = io.StringIO()
    namespace: dict[str, Any] = {}
    with contextlib.redirect_stdout(printed):
        exec(compile(block.text.replace(PUBLIC, proxy), block.place, "exec"), namespace)
    namespace["client"].close()  # else its connection is garbage of some later test

    assert printed.getvalue() == "17 * 23 = 391.\n"


def test_there_are_examples():
    """Both providers, both ways, and the executable blocks are found at all."""
    assert len(CURLS) >= 5
    assert len(SDKS) == 2
    assert len(RUN) >= 3


@pytest.mark.parametrize("block", RUN, ids=lambda block: block.place)
def test_executable_blocks_run(block):
    """Blocks marked as such run as they are, their assertions included."""
    exec(compile(block.text, block.place, "exec"), {"__name__": "example"})


def plugin_class(name: str) -> type:
    """Return the plugin class of an example."""
    namespace: dict[str, Any] = {"__name__": name}
    exec(compile(block_marked(f"plugin: {name}").text, name, "exec"), namespace)
    (found,) = (each for each in namespace.values() if hasattr(each, "Config"))
    return found


def test_guard_example(provider):
    """The word guard refuses what holds the word, in the provider's shape, and nothing else."""
    plugins = {"word_guard": plugin_class("word_guard")}
    with proxied(provider, plugins, word_guard={"words": ["Twenty"]}) as url:
        refused = ask(url, "count to twenty")
        passed = ask(url, "What is 17 * 23?")

    assert refused.status_code == 403
    assert refused.json()["error"]["message"] == "the word 'Twenty' is not allowed"
    assert "391" in passed.text


def test_observer_example(provider, caplog):
    """The slow log reports exchanges from its limit on."""
    plugins = {"slow_log": plugin_class("slow_log")}
    with (
        caplog.at_level(logging.WARNING),
        proxied(provider, plugins, slow_log={"seconds": 0.0}) as url,
    ):
        ask(url, "What is 17 * 23?")

    assert "/v1/chat/completions took 0." in caplog.text


def test_stream_guard_example(provider):
    """The stream limit lets so many events pass, then ends the stream with an error event."""
    plugins = {"stream_limit": plugin_class("stream_limit")}
    with proxied(provider, plugins, stream_limit={"events": 3}) as url:
        body = {**CHAT, "stream": True}
        text = httpx.post(f"{url}/v1/chat/completions", json=body).text

    events = text.strip().split("\n\n")
    assert len(events) == 4
    assert "the answer is too long" in json.loads(events[-1].split("data: ")[1])["error"]["message"]


def ask(url: str, question: str) -> httpx.Response:
    """Ask one question."""
    body = {**CHAT, "messages": [{"role": "user", "content": question}]}
    return httpx.post(f"{url}/v1/chat/completions", json=body)


@attrs.frozen
class Package:
    """The tutorial's package, written to a folder as pip would install it."""

    folder: Path

    def run(self, *command: str) -> str:
        """Run Python with the package on its path, and return what it prints."""
        path = os.pathsep.join([str(self.folder / "src"), *sys.path])
        done = subprocess.run(
            [sys.executable, *command],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Package:
    """Every file that docs/writing-plugins.md writes, and the metadata of an installation."""
    import tomli

    folder = tmp_path_factory.mktemp("tutorial")
    for language in ("toml", "python"):
        for block in blocks_of(language, "file: "):
            file = folder / block.mark.removeprefix("file: ")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text, encoding="utf-8")
    project = tomli.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    info = folder / "src" / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    metadata = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(metadata, encoding="utf-8")
    lines = [
        line
        for group, entries in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in entries.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Package(folder)


def test_tutorial_passes_its_own_tests(package):
    """The plugin of docs/writing-plugins.md works in front of the simulated provider."""
    printed = package.run("-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "tests")

    assert " passed" in printed


def test_tutorial_is_found(package):
    """The tutorial's plugin is listed, its configuration is valid, and its command runs."""
    listed = package.run("-m", "perimeter", "plugins", "list")
    row = next(line for line in listed.splitlines() if line.startswith("tally"))
    assert "perimeter-plugin-tally" in row
    assert "on_response" in row

    valid = package.run("-m", "perimeter", "validate-config", "perimeter.toml")
    assert "plugins: tally" in valid
    assert "Show" in package.run("-m", "perimeter", "tally", "--help")


def test_no_document_is_forgotten():
    """Every page of docs/ is linked from the README."""
    text = README.read_text(encoding="utf-8")

    assert not [path.name for path in DOCS.glob("*.md") if f"docs/{path.name}" not in text]
    assert (ROOT / "SECURITY.md").exists()
