"""A plugin that somebody else wrote: installed with pip beside Perimeter, every hook fires."""

from __future__ import annotations

import shutil
from pathlib import Path

import attrs
import httpx
import pytest

from environments import address, create
from perimeter.hookspecs import SPECS
from repository import ROOT


pytestmark = [pytest.mark.packaging, pytest.mark.timeout(600)]

WITNESS = Path(__file__).parent / "witness"
HOOKS = {name for spec in SPECS for name in vars(spec) if not name.startswith("_")}
# Specified already, but nothing of this version asks plugins for them.
UNASKED = {"dashboard"}


@pytest.fixture(scope="module")
def environment(wheels, tmp_path_factory):
    """Install core and the stranger's plugin, lying outside of the repository, and no other."""
    folder = tmp_path_factory.mktemp("elsewhere")
    project = shutil.copytree(WITNESS, folder / "project")
    (core,) = (path for path in wheels if path.name.startswith("perimeter_core-"))
    found = create(folder)
    found.pip("install", "-c", ROOT / "tests" / "constraints.txt", core, project, cwd=folder)
    return found


@attrs.frozen
class Talk:
    """What a client got, and which hooks the plugin says were called for all of it."""

    plain: httpx.Response
    stream: httpx.Response
    blocked: httpx.Response
    responded: httpx.Response
    rewritten: httpx.Response
    page: httpx.Response
    seen: list[str]


@pytest.fixture(scope="module")
def talk(environment, provider):
    """Run the proxy with the plugin, make every kind of call, and stop it."""
    flags = ("--base-url", provider, "--type", "openai", "--port", "0", "--plugin", "witness")
    data = environment.home / "data"
    with environment.started("perimeter", "run", *flags, PERIMETER_DATA_DIR=str(data)) as process:
        url = address(process)
        with httpx.Client(base_url=url, trust_env=False) as client:
            answers = {
                "plain": _ask(client),
                "stream": _ask(client, stream=True),
                "blocked": _ask(client, "block"),
                "responded": _ask(client, "respond"),
                "rewritten": _ask(client, "rewrite"),
                "page": client.get("/-/witness/hello"),
            }
            with pytest.raises(httpx.HTTPError):
                _ask(client, stream=True, fault="cut=2")
        process.terminate()
        said, _ = process.communicate()
    assert process.returncode == 0, said
    (file,) = data.rglob("seen.txt")
    return Talk(**answers, seen=file.read_text(encoding="utf-8").splitlines())


def _ask(client, verdict="none", *, stream=False, fault=""):
    question = {"model": "any", "messages": [{"role": "user", "content": "2 + 3"}]}
    headers = {"x-witness": verdict, **({"x-simulate": fault} if fault else {})}
    return client.post("/v1/chat/completions", json={**question, "stream": stream}, headers=headers)


def test_every_hook_is_called(talk):
    """No hook of the specification is forgotten, neither by the plugin nor by the proxy."""
    called = {line.split()[0] for line in talk.seen}

    assert called == (HOOKS - UNASKED) | {"closer", "feed", "close"}


def test_lifecycle_encloses_traffic(talk):
    """supervise and startup come before all traffic, shutdown and the closer after it."""
    traffic = [line for line in talk.seen if line.startswith(("guard_", "on_", "feed", "close "))]
    first, last = talk.seen.index(traffic[0]), len(talk.seen) - talk.seen[::-1].index(traffic[-1])

    assert talk.seen[first - 2 : first] == ["supervise", "startup"]
    assert talk.seen[last:] == ["shutdown", "closer"]


def test_verdicts_count(talk):
    """What the plugin decides is what the client gets, and is told to observers."""
    assert talk.blocked.status_code == 403
    assert "the witness refuses" in talk.blocked.text
    assert talk.responded.json() == {"answered": "by the witness"}
    assert "9" in talk.rewritten.json()["choices"][0]["message"]["content"]
    for verdict in ("Block", "Respond", "Rewrite"):
        assert f"on_verdict witness {verdict}" in talk.seen


def test_what_passes_is_unchanged(talk):
    """Where the plugin has nothing against them, answers and streams arrive."""
    assert "5" in talk.plain.json()["choices"][0]["message"]["content"]
    assert talk.stream.text.endswith("data: [DONE]\n\n")
    assert "close end" in talk.seen
    assert "close upstream_error" in talk.seen


def test_contributions_are_there(talk):
    """The plugin's page is under its name, and its event was told to the observers."""
    assert talk.page.text == "hello"
    assert "on_session_event witness.saw" in talk.seen


def test_every_exchange_ends_once(talk):
    """Five calls ended with a response; the stream that was cut ended with an error."""
    assert talk.seen.count("on_response") == 5
    assert talk.seen.count("on_error") == 1
