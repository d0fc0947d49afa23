"""The wheels: what is in them, and that what they install works."""

from __future__ import annotations

import re
import zipfile
from email import message_from_string

import httpx
import pytest
import tomli

from environments import address
from perimeter import __version__
from repository import ROOT


pytestmark = [pytest.mark.packaging, pytest.mark.timeout(600)]

PROJECTS = {
    project["name"]: project
    for path in [ROOT / "pyproject.toml", *sorted(ROOT.glob("plugins/*/pyproject.toml"))]
    for project in [tomli.loads(path.read_text(encoding="utf-8"))["project"]]
}


@pytest.fixture(scope="module")
def contents(wheels):
    """Return the text files in each wheel, by the name of its distribution."""
    found = {}
    for path in wheels:
        with zipfile.ZipFile(path) as wheel:
            texts = {name: wheel.read(name).decode("utf-8") for name in wheel.namelist()}
        found[path.name.split("-")[0].replace("_", "-")] = texts
    return found


def part(texts, ending):
    """Return the text of the only file whose path ends like this."""
    (found,) = (text for name, text in texts.items() if name.endswith(ending))
    return found


def test_each_project_builds_one_wheel(contents):
    """Core and every plugin are distributions of their own."""
    assert set(contents) == set(PROJECTS)


@pytest.mark.parametrize("name", PROJECTS)
def test_wheels_carry_the_license(name, contents):
    """The whole license travels with each wheel, where PEP 639 puts it."""
    metadata = message_from_string(part(contents[name], ".dist-info/METADATA"))
    text = part(contents[name], ".dist-info/licenses/LICENSE")

    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["License-File"] == "LICENSE"
    assert text == (ROOT / "LICENSE").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PROJECTS)
def test_wheels_are_in_step(name, contents):
    """All wheels have core's version, a description for the index, and what they ask for."""
    metadata = message_from_string(part(contents[name], ".dist-info/METADATA"))

    assert metadata["Version"] == __version__
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata.get_payload().strip()


@pytest.mark.parametrize("name", PROJECTS)
def test_wheels_hold_one_typed_package(name, contents):
    """A wheel holds its import package, with its type information, and nothing beside it."""
    package = "perimeter" if name == "perimeter-core" else name.replace("-", "_")
    folders = {path.split("/")[0] for path in contents[name]}

    assert f"{package}/py.typed" in contents[name]
    assert {folder for folder in folders if not folder.endswith(".dist-info")} == {package}


def test_core_depends_on_no_plugin(contents):
    """Plugins come with core's extras only."""
    metadata = message_from_string(part(contents["perimeter-core"], ".dist-info/METADATA"))
    plugins = [line for line in metadata.get_all("Requires-Dist") if "perimeter-plugin" in line]

    assert plugins
    assert all("extra ==" in line for line in plugins)


def test_requirements_fit_together(installed):
    """What was installed satisfies all that was asked for."""
    done = installed.run("python", "-m", "pip", "check")

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("command", [("perimeter",), ("python", "-m", "perimeter")])
def test_version(command, installed):
    """The command is there, under its name and as a module, and knows its version."""
    done = installed.run(*command, "--version")

    assert done.stdout == f"perimeter {__version__}\n"
    assert done.returncode == 0


def test_plugins_list(installed):
    """Every plugin of the repository is found, and waits to be named in a configuration."""
    done = installed.run("perimeter", "plugins", "list")

    assert done.returncode == 0, done.stderr
    for name in _contributed("perimeter.plugins"):
        assert re.search(rf"\b{name}\b.*\bidle\b", done.stdout)


def test_commands_of_plugins(installed):
    """Every command that a plugin of the repository contributes is there, and can be imported."""
    commands = _contributed("perimeter.commands")
    assert commands
    for name in commands:
        done = installed.run("perimeter", name, "--help")
        assert done.returncode == 0, done.stderr
        assert f"Usage: perimeter {name}" in done.stdout


def _contributed(group: str) -> list[str]:
    """Return the names in an entry-point group over all projects."""
    tables = (each.get("entry-points", {}) for each in PROJECTS.values())
    return [name for table in tables for name in table.get(group, {})]


def test_generated_configuration_is_valid(installed):
    """What generate-config writes, with the tables of all plugins, passes validate-config."""
    path = str(installed.home / "made.toml")

    assert installed.run("perimeter", "generate-config", path).returncode == 0
    done = installed.run("perimeter", "validate-config", path)

    assert done.returncode == 0, done.stderr
    assert "is valid" in done.stdout


def test_demo(installed):
    """The main job works without a key: agents talk through the proxy, and are answered right."""
    done = installed.run("perimeter", "demo", "--once", "--port", "0")

    assert done.returncode == 0, done.stdout + done.stderr


def test_proxied_request(installed, simulator, provider):
    """`perimeter run` forwards a call of a client that knows nothing of it."""
    flags = ("--base-url", provider, "--type", "openai", "--port", "0", "--plugin", "printer")
    question = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "2 + 3?"}]}
    with installed.started("perimeter", "run", *flags) as process:
        url = address(process)
        answer = httpx.post(f"{url}/v1/chat/completions", json=question)
        process.terminate()
        process.communicate()

    assert answer.status_code == 200
    assert "5" in answer.json()["choices"][0]["message"]["content"]
    assert [request.path for request in simulator.requests] == ["/v1/chat/completions"]
    assert process.returncode == 0
