"""The documents say what is true: hooks, options, metrics, commands, files."""

from __future__ import annotations

import inspect
import re
import shlex
import typing
from collections.abc import Iterator
from pathlib import Path

import attrs
import click
import pytest
import tomli
import yaml

from documents import (
    DOCS,
    DOCUMENTS,
    README,
    ROOT,
    CodeBlock,
    block_marked,
    blocks_of,
    commands,
    inline_code,
    tables,
)
from perimeter import errors
from perimeter.cli.main import main
from perimeter.configuration import Overrides, load, structure_plugin
from perimeter.configuration.example import literal
from perimeter.hookspecs import SPECS
from perimeter.metrics import Metrics
from perimeter.model import Outcome
from perimeter.options import REQUIRED, Secret
from perimeter.settings import (
    LoggingSettings,
    RecordingSettings,
    ServerSettings,
    SessionSettings,
    UpstreamSettings,
)
from perimeter.simulator import SimulatorSettings
from perimeter.simulator.faults import _READERS


CORE = ROOT / "core" / "perimeter"
TABLES = {
    "## `[server]`": ServerSettings,
    "## `[logging]`": LoggingSettings,
    "## `[session]`": SessionSettings,
    "## `[recording]`": RecordingSettings,
    "## `[upstreams.<name>]`": UpstreamSettings,
}
WORDS = {str: "string", int: "integer", float: "number", bool: "boolean", Secret: "string (secret)"}
PLURALS = {str: "strings", int: "integers", Secret: "strings (secret)"}


def hooks() -> list[str]:
    """Return every hook as it is called: its name and arguments."""
    return [
        f"{name}({', '.join(list(inspect.signature(function).parameters)[1:])})"
        for specs in SPECS
        for name, function in vars(specs).items()
        if hasattr(function, "perimeter_spec")
    ]


def test_every_hook_has_its_signature_as_a_heading():
    """docs/hooks.md describes every hook with its exact arguments, and none that is not there."""
    text = (DOCS / "hooks.md").read_text(encoding="utf-8")

    assert re.findall(r"^### (\w+\(.*\))$", text, re.MULTILINE) == hooks()


def test_every_outcome_is_described():
    """The table of outcomes is complete."""
    rows = tables(DOCS / "hooks.md", "## The life of an exchange")
    described = {cells[0].strip("`"): cells[2].strip("`") for cells in rows[1:] if len(cells) == 3}

    endings = dict.fromkeys(("completed", "responded", "blocked"), "on_response")
    assert described == {each.value: endings.get(each.value, "on_error") for each in Outcome}


def type_words(kind: object) -> str:
    """Name a type as the documents do."""
    if typing.get_origin(kind) is typing.Literal:
        return ", ".join(f'`"{each}"`' for each in typing.get_args(kind))
    if typing.get_origin(kind) is list:
        return f"array of {PLURALS[typing.get_args(kind)[0]]}"
    return WORDS[kind]


def described(field: attrs.Attribute) -> list[str]:
    """Return an option's row."""
    default = field.default
    if isinstance(default, attrs.Factory):
        default = default.factory()
    shown = "required" if default is REQUIRED else f"`{literal(default)}`"
    return [f"`{field.name}`", type_words(field.type), shown, field.metadata["help"]]


@pytest.mark.parametrize("heading", TABLES)
def test_every_option_is_described(heading):
    """docs/configuration.md has a row for every option: type, default and help text."""
    rows = tables(DOCS / "configuration.md", heading)
    options = [row for row in rows if len(row) == 4 and row[0] != "Option"]

    assert options == [described(field) for field in attrs.fields(TABLES[heading])]


def test_every_fault_and_setting_of_the_simulator_is_described():
    """docs/simulator.md lists all faults and settings."""
    terms = [cells[0] for cells in tables(DOCS / "simulator.md", "## Faults")]
    faults = {re.split("[`=]", term)[1] for term in terms if term.startswith("`")}
    settings = tables(DOCS / "simulator.md", "## Pace and other settings")

    assert faults == set(_READERS)
    names = [cells[0].strip("`") for cells in settings[1:]]
    assert names == [field.name for field in attrs.fields(SimulatorSettings)]


def test_metrics_are_described():
    """docs/operations.md has exactly the metrics that a proxy shows, with type and labels."""
    rows = tables(DOCS / "operations.md", "## Metrics")
    shown = {
        family.name + "_total" * (family.type == "counter"): (family.type, family._labelnames)
        for family in Metrics().registry.collect()
        if family.name.startswith("perimeter_")
    }

    described = {
        cells[0].strip("`"): (cells[1], tuple(filter(None, cells[2].split(", "))))
        for cells in rows
        if cells[0].startswith("`perimeter_")
    }
    assert described == shown


def options_of(command: click.Command) -> set[str]:
    """Return the flags that a command takes."""
    flags = {name for each in command.params for name in each.opts}
    return {*flags, "--help", "-h"}


def all_commands(command: click.Command, context: click.Context) -> Iterator[click.Command]:
    """Yield a command and all those below it."""
    yield command
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            yield from all_commands(command.get_command(context, name), context)


def check_command(words: list[str]) -> None:
    """Fail unless `perimeter` takes these words."""
    context = click.Context(main)
    command: click.Command = main
    if words and words[0].startswith("-") and words[0] not in options_of(main):
        words = ["run", *words]
    while words and isinstance(command, click.Group) and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        assert found is not None, f"there is no command {words[0]}"
        command, words = found, words[1:]
    unknown = {word for word in words if word.startswith("-")} - options_of(command)
    assert not unknown, f"{command.name} does not take {unknown}"


def perimeter_commands(path: Path) -> list[list[str]]:
    """Return the arguments of every `perimeter` command that a document shows."""
    parts = [part for line in commands(path) for part in line.split("&&")]
    written = [part.strip() for part in (*parts, *inline_code(path))]
    words = [shlex.split(part.replace("…", "")) for part in written if "perimeter" in part]
    started = [each[each[0] == "python" :] for each in words if each]
    modules = [each[2:] for each in started if each[:2] == ["-m", "perimeter"]]
    return [*modules, *(each[1:] for each in words if each[0] == "perimeter")]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_exist(path):
    """Every `perimeter` command and flag that a document shows is understood."""
    for words in perimeter_commands(path):
        check_command(words)
    known = set.union(*(options_of(each) for each in all_commands(main, click.Context(main))))
    flags = {code.split()[0] for code in inline_code(path) if code.startswith("--")}
    assert flags <= known


def test_every_flag_of_run_is_in_the_readme():
    """The README names all commands, and everything that `run` takes."""
    text = README.read_text(encoding="utf-8")
    context = click.Context(main)
    for name in ("run", "demo", "generate-config", "validate-config", "plugins"):
        assert f"perimeter {name}" in text
    for flag in options_of(main.get_command(context, "run")) - {"-h"}:
        assert flag in text


@pytest.mark.parametrize("block", blocks_of("toml"), ids=lambda block: block.place)
def test_toml_is_valid(block: CodeBlock, tmp_path):
    """Every configuration that a document shows loads, its plugins' tables included."""
    if block.mark.startswith("file:"):
        assert tomli.loads(block.text)
        return
    file = tmp_path / "perimeter.toml"
    file.write_text(block.text, encoding="utf-8")
    environ = dict.fromkeys(re.findall(r"\$\{(\w+)\}", block.text), "value")
    settings = load(file, environ=environ, overrides=Overrides(), require_upstream=False)
    for name in settings.plugins:
        structure_plugin(settings, name, config_class(name))


RECORDERS = {
    "event_recorder": "EventRecorder",
    "http_recorder": "HttpRecorder",
    "message_logger": "MessageLogger",
}


def config_class(name: str) -> type:
    """Return the configuration class of a plugin that the documents talk about."""
    if name == "printer":
        return pytest.importorskip("perimeter_plugin_printer").PrinterConfig
    if name == "live_trace":
        return pytest.importorskip("perimeter_plugin_live_trace").LiveTrace.Config
    if name in RECORDERS:
        return getattr(pytest.importorskip("perimeter_plugin_recorders"), RECORDERS[name]).Config
    namespace: dict = {"__name__": name}
    exec(compile(block_marked(f"plugin: {name}").text, name, "exec"), namespace)
    (found,) = (each for each in namespace.values() if hasattr(each, "Config"))
    return found.Config


@pytest.mark.parametrize("block", blocks_of("python"), ids=lambda block: block.place)
def test_python_compiles(block: CodeBlock):
    """Every piece of Python that a document shows is Python."""
    compile(block.text, block.place, "exec")


def test_prometheus_example_is_yaml():
    """The scrape configuration has the shape that Prometheus reads."""
    (block,) = blocks_of("yaml")
    (job,) = yaml.safe_load(block.text)["scrape_configs"]

    assert job["static_configs"] == [{"targets": ["127.0.0.1:4000"]}]


def test_architecture_names_every_module():
    """No file or folder of core is left out of docs/architecture.md."""
    named = {code.rstrip("/") for code in inline_code(DOCS / "architecture.md")}
    modules = {
        path.name
        for path in CORE.iterdir()
        if not path.name.startswith("_") and path.name != "py.typed"
    }

    assert modules <= named


def test_architecture_names_every_dependency():
    """Each dependency of core stands in docs/architecture.md with a reason."""
    project = tomli.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {re.split(r"[<>=~;\[ ]", each)[0] for each in project["dependencies"]}
    rows = tables(DOCS / "architecture.md", "## Dependencies of core")

    assert names == {name.split(" ")[0] for cells in rows[1:] for name in cells[0].split(", ")}


def test_tox_environments_exist():
    """The README names only tox environments that there are."""
    listed = re.search(r"env_list = (.*)", (ROOT / "tox.ini").read_text(encoding="utf-8"))[1]
    listed = listed.replace("py3{11,12,13}-all", "py311-all, py312-all, py313-all")
    text = README.read_text(encoding="utf-8")
    sentence = re.search(r"`tox` runs all of (.*?)\(the built", text, re.DOTALL)

    named = set(re.findall(r"`([\w-]+)`", sentence[1])) | {"py312-all"}
    assert named == set(listed.split(", "))


def slug(heading: str) -> str:
    """Return the anchor of a heading, as code hosts make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_anchors_exist():
    """A link to a heading finds it."""
    for path in DOCUMENTS:
        for target, anchor in re.findall(r"\]\(([^)#\s:]*)#([^)]+)\)", path.read_text("utf-8")):
            linked = (path.parent / target) if target else path
            headings = re.findall(r"^#+ (.+)$", linked.read_text("utf-8"), re.MULTILINE)
            assert anchor in map(slug, headings), f"{path.name}: {target}#{anchor}"


def test_error_codes_are_described():
    """docs/operations.md names every code that the proxy puts into its own errors."""
    sources = "".join(path.read_text("utf-8") for path in (CORE / "gateway").glob("*.py"))
    classes = [each for each in vars(errors).values() if hasattr(each, "code")]
    codes = {each.code for each in classes if isinstance(each.code, str)}
    codes |= set(re.findall(r'RequestRejected\(\d+, "(\w+)"', sources))
    internal = {"client_disconnected"}  # nobody is left to read it
    text = (DOCS / "operations.md").read_text(encoding="utf-8")

    assert {code for code in codes - internal if f"`{code}`" not in text} == set()
