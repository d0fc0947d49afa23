"""The command line, mostly as real processes."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

import click
import pytest
from click.testing import CliRunner, Result

from perimeter import __version__
from perimeter.cli.demo import tell
from perimeter.cli.main import CORE, ELSEWHERE, main
from perimeter.configuration import Overrides, load, render_example
from perimeter.configuration.example import render_plugin
from perimeter.demo import Step, Traffic
from perimeter.discovery import installed


SECONDS = 60
"""Bound for every process; nothing takes nearly as long."""


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in a folder and an environment in which nothing is configured."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PERIMETER_DATA_DIR", str(tmp_path / "data"))
    for name in ("LLM_BASE_URL", "LLM_TYPE", "LLM_API_KEY", "LOG_LEVEL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("PERIMETER_CONFIG", "PERIMETER_HOST", "PERIMETER_PORT"):
        monkeypatch.delenv(name, raising=False)


def perimeter(*arguments: str, path: Sequence[Path] = ()) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, with further folders to import from."""
    return subprocess.run(
        [sys.executable, "-m", "perimeter", *arguments],
        env=_environment(path),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def _environment(path: Sequence[Path]) -> dict[str, str]:
    folders = [*map(str, path), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, folders))}


def invoke(*arguments: str) -> Result:
    """Run a command in this process, where no signal or socket plays a part."""
    return CliRunner().invoke(main, arguments)


@contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the proxy; give the process and its address, and end it in any case."""
    process = subprocess.Popen(
        [sys.executable, "-m", "perimeter", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        address = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert address, f"{line!r} {process.communicate(timeout=SECONDS)}"
        yield process, address[0]
    finally:
        process.kill()
        process.communicate(timeout=SECONDS)


def get(url: str) -> str:
    """Fetch a URL, past any proxy that the environment names."""
    with build_opener(ProxyHandler({})).open(url, timeout=SECONDS) as response:
        text: str = response.read().decode()
    return text


# --- the group -----------------------------------------------------------------------------------


def test_help_lists_every_command() -> None:
    """`python -m perimeter --help` names all commands, and calls itself perimeter."""
    text = perimeter("--help").stdout
    assert all(name in text for name in CORE)
    assert text.startswith("Usage: perimeter ")


def test_help_imports_nothing_heavy() -> None:
    """Help is fast because servers, clients and analysers are not imported for it."""
    script = (
        "import sys\n"
        "from perimeter.cli.main import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "print(*sorted(sys.modules), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=SECONDS, check=True
    )
    heavy = {
        *("litestar", "httpx", "uvicorn", "presidio_analyzer", "prometheus_client", "cattrs"),
        *("rich", "perimeter.simulator", "perimeter.gateway", "perimeter.registry"),
    }
    assert not heavy & set(done.stderr.split())


def test_the_version_is_the_packages() -> None:
    """`--version` prints the one version literal."""
    assert invoke("--version").output == f"perimeter {__version__}\n"


@pytest.mark.parametrize("name", CORE)
def test_every_command_has_help(name: str) -> None:
    """Each can be imported, and says more than how it is called."""
    result = invoke(name, "--help")
    assert result.exit_code == 0, result.output
    assert result.output.startswith(f"Usage: main {name} ")
    assert len(result.output.splitlines()) > 5


def test_an_unknown_command_gets_a_suggestion() -> None:
    """A slip of the pen exits with 2."""
    result = invoke("rum")
    assert (result.exit_code, "'run'" in result.output) == (2, True)


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_plugins_command_says_what_to_install(name: str) -> None:
    """Commands that come with plugins print the line that installs them."""
    if name in entry_points(group="perimeter.commands").names:
        pytest.skip(f"{name} is installed")
    result = invoke(name)
    assert result.exit_code == 2
    assert f"pip install {ELSEWHERE[name][0]}" in result.output


@pytest.fixture
def foreign_commands(tmp_path: Path) -> Path:
    """A folder to import from, which holds a distribution with commands, most of them broken."""
    folder = tmp_path / "site"
    metadata = folder / "foreign-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: foreign\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[perimeter.commands]\n"
        "greet = foreign:greet\n"
        "broken = foreign_broken:command\n"
        "absent = foreign:nothing\n"
        "odd = foreign:number\n"
        "run = foreign:greet\n"
    )
    (folder / "foreign.py").write_text(
        "import click\nnumber = 5\n@click.command()\ndef greet():\n    click.echo('hello')\n"
    )
    (folder / "foreign_broken.py").write_text("raise RuntimeError('on import')\n")
    return folder


def test_plugins_add_commands(foreign_commands: Path) -> None:
    """An installed distribution's command is listed with its origin, and runs."""
    text = perimeter("--help", path=[foreign_commands]).stdout
    assert re.search(r"greet +From the plugin foreign", text)
    assert perimeter("greet", path=[foreign_commands]).stdout == "hello\n"


@pytest.mark.parametrize("name", ["broken", "absent", "odd"])
def test_a_broken_command_breaks_only_itself(foreign_commands: Path, name: str) -> None:
    """Help still works, and the command itself exits with a message and no traceback."""
    assert perimeter("--help", path=[foreign_commands]).returncode == 0
    done = perimeter(name, path=[foreign_commands])
    assert done.returncode == 2
    assert name in done.stderr
    assert "Traceback" not in done.stderr


def test_plugins_cannot_replace_core_commands(foreign_commands: Path) -> None:
    """A plugin's `run` is not the one that runs."""
    assert "hello" not in perimeter("run", "--help", path=[foreign_commands]).stdout


# --- run -----------------------------------------------------------------------------------------


def test_run_listens_and_ends_on_sigterm() -> None:
    """It says where it listens and forwards to, answers, and exits with 0 when told to stop."""
    upstream = ("--type", "openai", "--base-url", "http://127.0.0.1:9")
    with running("run", "--port", "0", *upstream) as (process, address):
        assert json.loads(get(address + "/health"))["service"] == "perimeter"
        assert process.stdout is not None
        assert "http://127.0.0.1:9" in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, errors


def test_a_config_file_alone_means_run() -> None:
    """`perimeter --config FILE` runs the proxy, and Ctrl-C ends it cleanly."""
    Path("a.toml").write_text('[server]\nport = 0\n[upstreams.raw]\ntype = "openai"\n')
    with running("--config", "a.toml") as (process, address):
        assert "upstreams" in json.loads(get(address + "/config"))
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors


def test_run_without_an_upstream_says_what_to_do() -> None:
    """It names the flag, the variable and the table, and exits with 2."""
    done = perimeter("run")
    assert done.returncode == 2
    assert all(w in done.stderr for w in ("--base-url", "LLM_BASE_URL", "[upstreams.<name>]"))


def test_run_prints_every_problem() -> None:
    """All of them, each on a line of its own on standard error."""
    Path("perimeter.toml").write_text("[server]\nport = 70000\nhots = 1\n")
    done = perimeter("run", "--type", "opnai")
    assert done.returncode == 2
    assert not done.stdout
    lines = done.stderr.splitlines()
    assert any(line.startswith("error: perimeter.toml:2: server.port: ") for line in lines)
    assert any(line.startswith("error: perimeter.toml:3: server.hots: ") for line in lines)
    assert any(line.startswith("error: --type: ") for line in lines)


def test_run_refuses_a_port_in_use() -> None:
    """The message names address and port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = perimeter("run", "--type", "openai", "--port", port)
    assert done.returncode == 2
    assert port in done.stderr
    assert "Traceback" not in done.stderr


def test_run_refuses_an_unreadable_key_file() -> None:
    """The message names flag and file."""
    done = perimeter("run", "--type", "openai", "--api-key-file", "missing")
    assert done.returncode == 2
    assert "error: --api-key-file: missing cannot be read" in done.stderr


@pytest.mark.parametrize("option", ["--api-key-file", "--config"])
def test_run_says_why_a_file_is_unreadable(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told like everything else that is wrong, not as a mistake in the command line."""
    Path("locked").mkdir()  # a file without permissions would be readable to root
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    done = invoke("run", "--type", "openai", option, "locked")
    assert done.exit_code == 2
    assert "cannot be read: Is a directory" in done.stderr


def test_run_warns_of_a_key_on_the_command_line() -> None:
    """It says who can see the key, without showing it."""
    key = "k" * 24
    done = perimeter("run", "--api-key", key)
    assert "list of processes" in done.stderr
    assert key not in done.stderr + done.stdout


def test_run_names_a_plugin_that_is_not_installed() -> None:
    """The message holds the line that installs it."""
    done = perimeter("run", "--type", "openai", "--plugin", "no_such_plugin")
    assert done.returncode == 2
    assert "pip install perimeter-plugin-no-such-plugin" in done.stderr


# --- configuration files -------------------------------------------------------------------------


def test_generate_config_writes_a_private_file_that_loads() -> None:
    """The result is complete, valid and readable by its owner only."""
    result = invoke("generate-config", "new.toml")
    assert result.exit_code == 0, result.output
    assert stat.S_IMODE(Path("new.toml").stat().st_mode) == 0o600
    assert "#port = 4000" in Path("new.toml").read_text()
    assert invoke("validate-config", "new.toml").exit_code == 0


def test_generate_config_overwrites_only_by_force() -> None:
    """A file that is there stays as it is unless `--force` is given."""
    path = Path("new.toml")
    path.write_text("mine")
    refused = invoke("generate-config", "new.toml")
    assert (refused.exit_code, path.read_text()) == (2, "mine")
    assert "--force" in refused.stderr
    assert invoke("generate-config", "new.toml", "--force").exit_code == 0
    assert "[server]" in path.read_text()


def test_generate_config_reports_a_missing_folder() -> None:
    """A path that cannot be written is a message, not a traceback."""
    result = invoke("generate-config", "no/such/new.toml")
    assert result.exit_code == 2
    assert "cannot be written" in result.stderr


def test_validate_config_prints_every_problem() -> None:
    """Also those of a plugin that is not installed, unless it is switched off."""
    Path("a.toml").write_text("[server]\nport = 'x'\nhost = 5\n")
    result = invoke("validate-config", "a.toml")
    assert result.exit_code == 2
    assert result.stderr.count("error: a.toml:") == 2


def test_validate_config_checks_plugins() -> None:
    """A plugin must be installed when it is enabled."""
    Path("a.toml").write_text("[plugins.no_such_plugin]\n")
    refused = invoke("validate-config", "a.toml")
    assert refused.exit_code == 2
    assert "pip install perimeter-plugin-no-such-plugin" in refused.stderr
    Path("a.toml").write_text("[plugins.no_such_plugin]\nenabled = false\n")
    assert invoke("validate-config", "a.toml").exit_code == 0


# --- plugins -------------------------------------------------------------------------------------

PLUGIN = """
import attrs
from perimeter import hookimpl, option

@attrs.frozen
class Config:
    size: int = option(1, help="A size.")

@attrs.define(eq=False)
class Plugin:
    Config = Config
    config: Config
    context: object

    @hookimpl
    def on_response(self, exchange):
        pass
"""


@pytest.fixture
def foreign_plugins(tmp_path: Path) -> Path:
    """A folder to import from, which holds a distribution with a good plugin and a broken one."""
    folder = tmp_path / "site"
    metadata = folder / "foreign-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: foreign\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[perimeter.plugins]\ngood = foreign:Plugin\nother = foreign:Plugin\nbad = missing:Plugin\n"
    )
    (folder / "foreign.py").write_text(PLUGIN)
    return folder


def test_plugins_are_listed_with_their_state(foreign_plugins: Path) -> None:
    """Name, distribution, version, state and hooks; a broken plugin shows why."""
    Path("perimeter.toml").write_text("[plugins.good]\n")
    done = perimeter("plugins", "list", path=[foreign_plugins])
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line for line in done.stdout.splitlines() if line.strip()}
    assert re.search(r"good +foreign +1\.0 +enabled +on_response", rows["good"])
    assert re.search(r"other +foreign +1\.0 +idle", rows["other"])
    assert re.search(r"bad +foreign +1\.0 +broken", rows["bad"])
    assert "missing" in done.stderr


def test_plugins_options_are_in_the_generated_file(foreign_plugins: Path) -> None:
    """Every plugin that can be loaded has a table, switched off; the others are named."""
    done = perimeter("generate-config", "new.toml", path=[foreign_plugins])
    assert done.returncode == 0, done.stderr
    text = Path("new.toml").read_text()
    assert "[plugins.good]\nenabled = false\n# A size.\n#size = 1\n" in text
    assert "[plugins.bad]" not in text
    assert "bad" in done.stderr


def test_a_plugins_table_is_validated(foreign_plugins: Path) -> None:
    """Its options are checked by the same strict rules, with the line."""
    Path("a.toml").write_text('[server]\nport = "x"\n[plugins.good]\nsize = "1"\n')
    done = perimeter("validate-config", "a.toml", path=[foreign_plugins])
    assert done.returncode == 2
    assert "a.toml:4: plugins.good.size" in done.stderr
    assert "a.toml:2: server.port" in done.stderr


def test_a_broken_plugin_does_not_run(foreign_plugins: Path) -> None:
    """Where it is asked for, the message names it."""
    done = perimeter("run", "--type", "openai", "--plugin", "bad", path=[foreign_plugins])
    assert done.returncode == 2
    assert "bad" in done.stderr
    assert "Traceback" not in done.stderr


SLOW_PLUGIN = """
import asyncio
import attrs
from perimeter import hookimpl

@attrs.frozen
class Config:
    pass

@attrs.define(eq=False)
class Plugin:
    Config = Config
    config: object
    context: object

    @hookimpl
    async def startup(self):
        print("starting", flush=True)
        await asyncio.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run_can_be_stopped_while_it_starts(foreign_plugins: Path, number: int) -> None:
    """A plugin that takes its time does not keep it from ending cleanly."""
    (foreign_plugins / "foreign.py").write_text(SLOW_PLUGIN)
    with subprocess.Popen(
        [sys.executable, "-m", "perimeter", "--type=openai", "--port=0", "--plugin=good"],
        env=_environment([foreign_plugins]),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "starting\n"
        process.send_signal(number)
        _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors


# --- demo ----------------------------------------------------------------------------------------


def test_the_demo_plays_a_round() -> None:
    """One round through real sockets ends with 0, and says what happened."""
    done = perimeter("demo", "--once", "--port", "0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Every call went through" in done.stdout


@pytest.mark.parametrize("width", [80, 100])
def test_the_demo_keeps_within_the_terminal(width: int) -> None:
    """Each call is one line there; elsewhere nothing is cut."""
    step = Step("weather-agent", "asked " * 20, "answer", Traffic("a", "raw", 200), 0.1234)
    lines: list[str] = []
    tell(lines.append, width=width)(step)
    tell(lines.append)(step)
    cut, whole = map(click.unstyle, lines)
    assert len(cut) == width
    assert cut.endswith("…")
    assert whole.endswith(" -> answer")


def test_the_demo_stays_until_it_is_stopped() -> None:
    """Without `--once` it prints what to open, and Ctrl-C ends it with 0."""
    with running("demo", "--port", "0") as (process, _):
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        assert any("Ctrl-C" in line for line in lines)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, errors


def test_the_demo_uses_no_real_upstream() -> None:
    """Variables and files that name a provider change nothing."""
    Path("a.toml").write_text('[upstreams.a]\ntype = "gemini"\n[server]\nport = 0\n')
    done = perimeter("demo", "--once", "--config", "a.toml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "googleapis" not in done.stdout


# --- the repository's own file -------------------------------------------------------------------


def test_the_repositorys_configuration_is_the_generated_one() -> None:
    """perimeter.toml at the root shows every option of core and of every installed plugin."""
    path = Path(__file__).parents[2] / "perimeter.toml"
    text = path.read_text(encoding="utf-8")
    assert text.startswith(render_example())
    for name, plugin in installed().items():
        if (path.parent / "plugins" / name.replace("_", "-")).is_dir():
            assert plugin.config_class is not None
            assert render_plugin(name, plugin.config_class) in text


def test_the_repositorys_configuration_switches_nothing_on() -> None:
    """It is picked up in a checkout, so it must not run a plugin or forward anywhere."""
    path = Path(__file__).parents[2] / "perimeter.toml"
    settings = load(path, environ={}, overrides=Overrides(), require_upstream=False)
    assert not settings.upstreams
    assert all(table["enabled"] is False for table in settings.plugins.values())
