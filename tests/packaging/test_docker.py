"""
The Dockerfile and compose file, against the command line and in a fresh environment.

No Docker engine is at hand here, so none has run them: the files are parsed, and the image's own
pip step, CMD and health check are run with the variables that the image and its user set. Paths,
and the address to listen on, are replaced, because tests stay on this machine.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import attrs
import httpx
import pytest
import yaml

from environments import Environment, address
from perimeter.cli.main import main
from repository import ROOT


GIVEN = {"LLM_BASE_URL", "LLM_TYPE", "LLM_API_KEY"}
DOCKERFILE = ROOT / "Dockerfile"
COMPOSE = ROOT / "docs" / "docker" / "compose.yaml"


@attrs.frozen
class Stage:
    """What stands between one FROM and the next: instructions with their arguments, in order."""

    instructions: list[tuple[str, str]]

    def all(self, name):
        """Return the arguments of every instruction of a name."""
        return [arguments for each, arguments in self.instructions if each == name]

    def the(self, name):
        """Return the arguments of the only instruction of a name."""
        (arguments,) = self.all(name)
        return arguments

    def variables(self):
        """Return what its ENV instructions set."""
        words = [word for arguments in self.all("ENV") for word in shlex.split(arguments)]
        return dict(word.split("=", 1) for word in words)

    def health_command(self):
        """Return the command of its HEALTHCHECK."""
        return json.loads(self.the("HEALTHCHECK").partition("CMD ")[2])


@pytest.fixture(scope="module")
def stages():
    """Return the stages of the Dockerfile."""
    lines = DOCKERFILE.read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if line and not line.startswith("#"))
    found: list[Stage] = []
    for line in text.replace("\\\n", " ").splitlines():
        name, _, arguments = line.partition(" ")
        if name == "FROM":
            found.append(Stage([]))
        found[-1].instructions.append((name, arguments.strip()))
    return found


@pytest.fixture(scope="module")
def image(stages):
    """Return the stage that the image is made of."""
    return stages[-1]


@pytest.fixture(scope="module")
def service():
    """Return the only service of the compose file."""
    (found,) = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"].values()
    return found


def known_variables():
    """Return the variables that the command line says it reads."""
    context = main.make_context("perimeter", [], resilient_parsing=True)
    run = main.get_command(context, "run")
    assert run is not None
    helps = " ".join(getattr(option, "help", None) or "" for option in run.params)
    return set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", helps))


def test_command_is_one_of_the_command_line(image):
    """CMD names the installed command and a subcommand, and click accepts its options."""
    program, name, *options = json.loads(image.the("CMD"))
    context = main.make_context(program, [name], resilient_parsing=True)
    command = main.get_command(context, name)

    assert program == "perimeter"
    assert command is not None
    assert command.make_context(name, options, parent=context).params


def test_variables_are_ones_that_are_read(image, service):
    """The image and the compose file set only variables that something reads."""
    read = known_variables() | {"PATH", "PYTHONUNBUFFERED", "PERIMETER_DATA_DIR"}

    assert set(image.variables()) <= read
    assert set(service["environment"]) <= read


def test_image_needs_only_three_variables(image, service):
    """Everything but the provider and its key is set in the image; compose passes those three."""
    assert set(service["environment"]) == GIVEN
    assert not GIVEN & set(image.variables())
    assert all(f"${{{name}:" in value for name, value in service["environment"].items())


def test_image_listens_where_it_says(image, service):
    """The port listened on is exposed, published on loopback only, and asked for its health."""
    variables = image.variables()
    exposed = image.the("EXPOSE").split()
    published = [port.rsplit(":", 2) for port in service["ports"]]

    assert variables["PERIMETER_HOST"] == "0.0.0.0"
    assert variables["PERIMETER_PORT"] == "4000"
    assert exposed == ["4000", "7100"]
    assert published == [["127.0.0.1", port, port] for port in exposed]


def test_image_runs_unprivileged(image):
    """The user exists, owns the data folder by being created with it, and is not root."""
    created = next(text for text in image.all("RUN") if text.startswith("useradd"))
    data = image.variables()["PERIMETER_DATA_DIR"]

    assert image.the("USER") == created.split()[-1] != "root"
    assert f"--home-dir {data} --create-home" in created
    assert image.the("WORKDIR") == data
    assert image.the("VOLUME") == data


def test_image_holds_no_tools_of_the_build(stages, image):
    """The last stage takes only the finished environment from the first, on the same base."""
    built = re.search(r"-m venv (\S+)", stages[0].the("RUN"))[1]

    assert len(stages) == 2
    assert stages[0].the("FROM") == f"{image.the('FROM')} AS build"
    assert image.all("COPY") == [f"--from=build {built} {built}"]
    assert image.variables()["PATH"] == f"{built}/bin:$PATH"


def test_context_holds_what_the_build_needs():
    """Compose builds the repository, and .dockerignore keeps back nothing that pip needs."""
    build = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]["perimeter"]["build"]
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    needed = ["pyproject.toml", "README.md", "LICENSE", "core", "plugins", "tests/constraints.txt"]

    assert (COMPOSE.parent / build).resolve() == ROOT
    assert not [each for each in needed for line in ignored if fnmatch(each, line)]
    assert all((ROOT / each).exists() for each in needed)


@pytest.mark.packaging
@pytest.mark.timeout(600)
def test_image_works(stages, image, checkout, environment, simulator, provider):
    """The image's pip step, CMD and health check work with only the three variables set."""
    _run_pip_step(stages[0].the("RUN"), checkout, environment)
    key = "k" * 20
    variables = {
        **{name: value for name, value in image.variables().items() if name != "PATH"},
        "PERIMETER_DATA_DIR": str(environment.home),
        "PERIMETER_HOST": "127.0.0.1",
        "PERIMETER_PORT": "0",
    }
    given = {"LLM_BASE_URL": provider, "LLM_TYPE": "openai", "LLM_API_KEY": key}

    with environment.started(*json.loads(image.the("CMD")), **variables, **given) as process:
        url = address(process)
        port = url.rpartition(":")[2]
        checked = environment.run(*image.health_command(), PERIMETER_PORT=port)
        answer = httpx.get(f"{url}/v1/models")
        process.send_signal(getattr(signal, image.the("STOPSIGNAL")))
        said, _ = process.communicate()
        after = environment.run(*image.health_command(), PERIMETER_PORT=port)

    assert checked.returncode == 0, checked.stderr
    assert answer.status_code == 200
    assert simulator.requests[0].header("authorization") == f"Bearer {key}"
    assert process.returncode == 0, said
    assert after.returncode == 1


def _run_pip_step(step, checkout, environment):
    """Run the build's RUN instruction, with the environment's path for the image's."""
    step = step.replace("/opt/perimeter", str(environment.folder))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["/bin/sh", "-c", step],
        cwd=checkout,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def environment(tmp_path):
    """Return the place of an environment that the image's own step creates."""
    (tmp_path / "home").mkdir()
    return Environment(tmp_path / "venv", tmp_path / "home")
