"""The configuration loader: file, variables and flags to settings, mistakes to messages."""

import math
import string
from collections.abc import Callable, Mapping
from datetime import date
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, Literal

import attrs
import pytest
import tomli
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from perimeter.configuration import (
    Overrides,
    describe,
    load,
    render_example,
    structure_plugin,
    structure_table,
)
from perimeter.configuration.document import Document
from perimeter.configuration.example import literal, render_table
from perimeter.configuration.loading import build
from perimeter.configuration.toml_lines import key_lines
from perimeter.errors import ConfigError, Problem
from perimeter.options import REQUIRED, Secret, option
from perimeter.settings import LoggingSettings, ServerSettings, Settings, UpstreamSettings


NONE = Overrides()
KEY = "k" * 24


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test in a folder of its own, so that no perimeter.toml is picked up by accident."""
    monkeypatch.chdir(tmp_path)


def read(
    text: str = "",
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Overrides = NONE,
    require_upstream: bool = False,
) -> Settings:
    """Write a file and load it."""
    path = Path("perimeter.toml")
    path.write_text(text, encoding="utf-8")
    return load(path, environ=environ or {}, overrides=overrides, require_upstream=require_upstream)


def problems(text: str = "", **kwargs: Any) -> tuple[Problem, ...]:
    """Load a file that cannot be used and give its problems."""
    with pytest.raises(ConfigError) as caught:
        read(text, **kwargs)
    return caught.value.problems


def only_problem(text: str = "", **kwargs: Any) -> Problem:
    """Load a file with exactly one mistake."""
    (problem,) = problems(text, **kwargs)
    return problem


# --- files ---------------------------------------------------------------------------------------


def test_without_a_file_defaults_apply() -> None:
    """Nothing given at all is a valid configuration if no upstream is asked for."""
    settings = load(None, environ={}, overrides=NONE, require_upstream=False)
    assert settings == Settings()


def test_the_file_in_the_current_folder_is_picked_up() -> None:
    """perimeter.toml is read without being named."""
    Path("perimeter.toml").write_text("[server]\nport = 4001\n")
    settings = load(None, environ={}, overrides=NONE, require_upstream=False)
    assert settings.server.port == 4001
    assert settings.source == Path("perimeter.toml")


def test_a_variable_names_the_file() -> None:
    """PERIMETER_CONFIG counts more than the current folder, and a given path more than it."""
    for name, port in {"perimeter.toml": 1, "variable.toml": 2, "flag.toml": 3}.items():
        Path(name).write_text(f"[server]\nport = {port}\n")
    environ = {"PERIMETER_CONFIG": "variable.toml"}
    by_variable = load(None, environ=environ, overrides=NONE, require_upstream=False)
    by_flag = load(Path("flag.toml"), environ=environ, overrides=NONE, require_upstream=False)
    assert (by_variable.server.port, by_flag.server.port) == (2, 3)


@pytest.mark.parametrize("name", ["missing.toml", "."])
def test_an_unreadable_file_is_named(name: str) -> None:
    """A file that is not there, or is a folder, is a problem that names it."""
    with pytest.raises(ConfigError, match=r"cannot be read") as caught:
        load(Path(name), environ={}, overrides=NONE)
    assert caught.value.problems[0].file == name


def test_a_file_in_another_encoding_is_refused() -> None:
    """Latin-1 text is not guessed at."""
    Path("a.toml").write_bytes("# ä".encode("latin-1"))
    with pytest.raises(ConfigError, match="UTF-8"):
        load(Path("a.toml"), environ={}, overrides=NONE)


def test_windows_files_are_read() -> None:
    """A byte order mark and CRLF line ends change nothing, also not the line numbers."""
    text = "\ufeff[server]\r\nport = 1\r\nhots = 2\r\n"
    assert only_problem(text).line == 3


@pytest.mark.parametrize("name", ["config.yaml", "config.YML"])
def test_a_yaml_file_is_answered_with_toml(name: str) -> None:
    """The name alone is enough; the file need not even exist."""
    with pytest.raises(ConfigError, match="TOML"):
        load(Path(name), environ={}, overrides=NONE)


@pytest.mark.parametrize(
    "text", ["server:\n  port: 4000\n", "# comment\n\nllm:\n", "---\nserver: {}\n"]
)
def test_yaml_content_is_recognised(text: str) -> None:
    """A TOML name does not hide what is inside."""
    assert "YAML" in only_problem(text).message


def test_a_syntax_error_has_line_and_column() -> None:
    """The parser's position is passed on."""
    problem = only_problem("[server]\nport = = 1\n")
    assert (problem.line, problem.column) == (2, 8)
    assert problem.file == "perimeter.toml"


@pytest.mark.parametrize(
    "text",
    [
        f"[plugins.x]\na = {'[' * 5000}",
        f"[plugins.x]\na = {'9' * 5000}",
        f"[plugins.x]\n{'a.' * 3000}a = 1",
    ],
)
def test_towers_are_refused(text: str) -> None:
    """Input made to exhaust a parser ends in a message."""
    assert problems(text)


# --- strictness ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        'port = "4000"',
        "port = true",
        "port = 4000.0",
        "port = 65536",
        "port = -1",
        "host = 5",
        'host = ""',
        "workers = 0",
        "workers = 65",
        'response_headers = "false"',
        "response_headers = 0",
        'tokens = "abc"',
        "tokens = [1]",
        'tokens = [""]',
        "keep_alive = 0",
        'keep_alive = "75"',
        "keep_alive = inf",
        "keep_alive = nan",
        "drain_delay = -1",
        "max_body_size = 0",
        "max_body_size = 1.5",
        "body_budget = 1000",
        'default_upstream = "nobody"',
        'allowed_hosts = ["http://a"]',
        "host = 2020-01-01",
        "host = [1]",
        "host = { a = 1 }",
    ],
)
def test_nothing_is_coerced(line: str) -> None:
    """A value of the wrong type or out of its range is a problem at its line."""
    problem = only_problem(f"[server]\n{line}\n")
    assert (problem.key or "").startswith("server")
    assert problem.line in {1, 2}


def test_integers_are_durations() -> None:
    """Whole seconds need no decimal point."""
    seconds = read("[server]\nkeep_alive = 5\n").server.keep_alive
    assert (seconds, type(seconds)) == (5.0, float)


@pytest.mark.parametrize("level", ["debug", "DEBUG", "Debug"])
def test_levels_are_read_in_any_case(level: str) -> None:
    """They are kept in capitals."""
    assert read(f'[logging]\nlevel = "{level}"\n').logging.level == "DEBUG"


def test_unknown_keys_are_refused_with_a_suggestion() -> None:
    """A slip of the pen is named together with what was probably meant."""
    problem = only_problem("[server]\nprot = 1\n")
    assert (problem.key, problem.line) == ("server.prot", 2)
    assert '"port"' in problem.message


@pytest.mark.parametrize(
    ("table", "meant"),
    [("servers", "server"), ("upstream.x", "upstreams"), ("plugin.x", "plugins")],
)
def test_unknown_tables_are_refused_with_a_suggestion(table: str, meant: str) -> None:
    """Tables are checked like keys."""
    assert f'"{meant}"' in only_problem(f"[{table}]\n").message


def test_unknown_tables_list_the_known_ones() -> None:
    """Where nothing is similar, all names are given."""
    assert (
        "server, logging, session, recording, pricing, upstreams, plugins"
        in only_problem("[zzz]\n").message
    )


def test_an_unknown_provider_type_lists_the_types() -> None:
    """The alternatives of every choice are shown."""
    text = '[upstreams.a]\ntype = "zzz"\nbase_url = "http://localhost"\n'
    assert "openai, anthropic, gemini, ollama, raw" in only_problem(text).message


def test_all_problems_come_at_once_with_file_key_and_line() -> None:
    """Mistakes in several tables, also several validators in one, are told together."""
    text = (
        "[server]\nport = 70000\nworkers = 300\nbogus = 1\n"
        '[logging]\nformat = "xml"\nlevel = "loud"\n'
        '[upstreams.a]\nbase_url = "nowhere"\n'
        "[plugins]\nprinter = 5\n"
        '[plugins.other]\nenabled = "yes"\n'
    )
    found = {(p.file, p.key, p.line) for p in problems(text)}
    assert found >= {
        ("perimeter.toml", "server.port", 2),
        ("perimeter.toml", "server.workers", 3),
        ("perimeter.toml", "server.bogus", 4),
        ("perimeter.toml", "logging.format", 6),
        ("perimeter.toml", "logging.level", 7),
        ("perimeter.toml", "upstreams.a.base_url", 9),
        ("perimeter.toml", "upstreams.a.type", 8),
        ("perimeter.toml", "plugins.printer", 11),
    }


def test_enabled_must_be_a_boolean() -> None:
    """A plugin is not switched by a word that looks like yes or no."""
    problem = only_problem('[plugins.x]\nenabled = "false"\n')
    assert problem.key == "plugins.x.enabled"


def test_a_secret_is_never_repeated() -> None:
    """A key that cannot be used does not stand in the message about it."""
    text = f'[upstreams.a]\ntype = "openai"\napi_key = "{KEY}\\n"\n'
    assert KEY not in str(only_problem(text))


def test_wrong_values_are_not_repeated() -> None:
    """A key written into the wrong option shows only its kind."""
    assert KEY not in str(only_problem(f'[server]\nport = "{KEY}"\n'))


# --- upstreams -----------------------------------------------------------------------------------


def test_the_first_upstream_is_the_default() -> None:
    """Order in the file decides, and well-known addresses are filled in."""
    settings = read('[upstreams.b]\ntype = "anthropic"\n[upstreams.a]\ntype = "ollama"\n')
    assert settings.default_upstream == "b"
    assert settings.upstreams["b"].base_url == "https://api.anthropic.com"
    assert settings.upstreams["a"].base_url == "http://127.0.0.1:11434"


def test_the_default_upstream_can_be_named() -> None:
    """[server] default_upstream counts more than the order."""
    tables = '[upstreams.a]\ntype = "openai"\n[upstreams.b]\ntype = "gemini"\n'
    text = f'[server]\ndefault_upstream = "b"\n{tables}'
    assert read(text).default_upstream == "b"


def test_raw_upstreams_need_an_address() -> None:
    """Nothing is guessed where nothing is well known."""
    problem = only_problem('[upstreams.a]\ntype = "raw"\n')
    assert (problem.key, problem.message) == ("upstreams.a.base_url", "is missing")


def test_prefixes_must_differ() -> None:
    """Two upstreams cannot be reached under one path."""
    lines = 'type = "openai"\nprefix = "/x"\n'
    text = f"[upstreams.a]\n{lines}[upstreams.b]\n{lines}"
    problem = only_problem(text)
    assert (problem.key, problem.line) == ("upstreams.b.prefix", 6)


@pytest.mark.parametrize(
    "lines",
    [
        'credentials = "override"',
        'credentials = "ours"',
        'prefix = "/-/x"',
        'api_key_header = "a b"',
        'ca_file = "missing.pem"',
        "retry_statuses = [429, 200]",
        "max_retries = 11",
        'transport = "carrier-pigeon"',
        'on_truncation = "ignore"',
        'base_url = "https://user:word@host"',
    ],
)
def test_bad_upstream_options_are_refused(lines: str) -> None:
    """One problem each."""
    assert only_problem(f'[upstreams.a]\ntype = "openai"\n{lines}\n')


def test_odd_upstream_names_are_refused() -> None:
    """Names stand in paths and metrics."""
    assert only_problem('[upstreams."a/b"]\ntype = "openai"\n').key == 'upstreams."a/b"'


def test_verify_and_ca_file_exclude_each_other() -> None:
    """Values that contradict each other are reported for their table."""
    Path("ca.pem").write_text("")
    text = '[upstreams.a]\ntype = "openai"\nverify = false\nca_file = "ca.pem"\n'
    assert only_problem(text).key == "upstreams.a"


def test_a_missing_upstream_names_flag_variable_and_table() -> None:
    """The message says all three ways out."""
    message = only_problem(require_upstream=True).message
    assert all(part in message for part in ("--base-url", "LLM_BASE_URL", "[upstreams.<name>]"))


def test_a_log_file_needs_its_folder() -> None:
    """A folder that is missing is found before the start."""
    assert only_problem('[logging]\nfile = "no/such.log"\n').key == "logging.file"


# --- precedence ----------------------------------------------------------------------------------

FILE = """
[server]
host = "127.0.0.3"
port = 3
[logging]
level = "ERROR"
[upstreams.file]
type = "anthropic"
api_key = "file"
"""
ENVIRON = {
    "PERIMETER_HOST": "127.0.0.2",
    "PERIMETER_PORT": "2",
    "LOG_LEVEL": "warning",
    "LLM_BASE_URL": "http://variable.example",
    "LLM_TYPE": "gemini",
    "LLM_API_KEY": "variable",
}
FLAGS = Overrides(
    host="127.0.0.1",
    port=1,
    log_level="debug",
    base_url="http://flag.example",
    type="ollama",
    api_key="flag",
)


def essence(settings: Settings) -> tuple[str, int, str, str, str, str]:
    """The values that can be given in every way."""
    upstream = settings.upstreams[settings.default_upstream or ""]
    return (
        settings.server.host,
        settings.server.port,
        settings.logging.level,
        upstream.base_url,
        upstream.type,
        upstream.api_key.reveal(),
    )


def test_the_command_line_counts_most_then_the_environment_then_the_file() -> None:
    """Each layer covers the one below it."""
    assert essence(read(FILE)) == (
        "127.0.0.3",
        3,
        "ERROR",
        "https://api.anthropic.com",
        "anthropic",
        "file",
    )
    assert essence(read(FILE, environ=ENVIRON)) == (
        "127.0.0.2",
        2,
        "WARNING",
        "http://variable.example",
        "gemini",
        "variable",
    )
    assert essence(read(FILE, environ=ENVIRON, overrides=FLAGS)) == (
        "127.0.0.1",
        1,
        "DEBUG",
        "http://flag.example",
        "ollama",
        "flag",
    )


def test_flags_leave_the_files_upstreams_alone() -> None:
    """They make an upstream of their own, which is the default, and get no key from the file."""
    overrides = Overrides(base_url="http://flag.example", type="openai")
    settings = read(FILE, overrides=overrides)
    assert list(settings.upstreams) == ["default", "file"]
    assert settings.default_upstream == "default"
    assert not settings.upstreams["default"].api_key
    assert settings.upstreams["file"] == read(FILE).upstreams["file"]


def test_flags_change_the_files_default_table() -> None:
    """A table named default keeps what the flags do not say."""
    text = '[upstreams.default]\ntype = "openai"\nidle_timeout = 7\n'
    upstream = read(text, overrides=Overrides(base_url="http://flag.example")).upstreams["default"]
    assert (upstream.type, upstream.base_url, upstream.idle_timeout) == (
        "openai",
        "http://flag.example",
        7.0,
    )


def test_a_key_alone_goes_to_the_default_upstream() -> None:
    """LLM_API_KEY completes what the file says."""
    settings = read(FILE, environ={"LLM_API_KEY": KEY})
    assert settings.upstreams["file"].api_key.reveal() == KEY


def test_a_key_without_any_upstream_changes_nothing() -> None:
    """There is nothing that it could be used for."""
    assert not read("", environ={"LLM_API_KEY": KEY}).upstreams


def test_a_type_alone_means_the_providers_own_address() -> None:
    """--type openai is enough to start."""
    settings = read(overrides=Overrides(type="openai"))
    assert settings.upstreams["default"].base_url == "https://api.openai.com"


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        (Overrides(base_url="http://a"), "--type or LLM_TYPE"),
        (Overrides(type="raw"), "--base-url or LLM_BASE_URL"),
    ],
)
def test_half_an_upstream_names_the_other_half(overrides: Overrides, names: str) -> None:
    """Nothing is guessed, and the message says what to add."""
    problem = only_problem(overrides=overrides)
    assert (problem.key, problem.message) == (names, "is missing")


def test_problems_of_flags_and_variables_name_them() -> None:
    """What does not come from the file is not blamed on it."""
    environ = {"PERIMETER_PORT": "http", "LOG_LEVEL": "loud", "LLM_BASE_URL": "http://a"}
    found = problems(environ=environ, overrides=Overrides(type="opnai", host="http://a"))
    assert {(p.key, p.file) for p in found} == {
        ("PERIMETER_PORT", None),
        ("LOG_LEVEL", None),
        ("--type", None),
        ("--host", None),
    }
    assert "must be a whole number, not 'http'" in {p.message for p in found}


def test_empty_variables_count_as_unset() -> None:
    """Compose files pass variables that nobody has set as empty strings."""
    assert read("", environ=dict.fromkeys(ENVIRON, "")) == read("")


def test_a_key_file_is_read_without_its_line_end() -> None:
    """Editors end files with a line break."""
    Path("key").write_text(KEY + "\r\n")
    overrides = Overrides(type="openai", api_key_file=Path("key"))
    assert read(overrides=overrides).upstreams["default"].api_key.reveal() == KEY


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff", b"a\nb"])
def test_an_unusable_key_file_is_a_problem_of_its_flag(content: bytes | None) -> None:
    """Missing, empty, binary, or more than one line."""
    if content is not None:
        Path("key").write_bytes(content)
    overrides = Overrides(type="openai", api_key_file=Path("key"))
    assert only_problem(overrides=overrides).key == "--api-key-file"


def test_two_keys_are_one_too_many() -> None:
    """A key and a key file contradict each other."""
    Path("key").write_text(KEY)
    overrides = Overrides(type="openai", api_key="a", api_key_file=Path("key"))
    assert only_problem(overrides=overrides).key == "--api-key-file"


def test_flags_cannot_mend_a_file_whose_tables_are_none() -> None:
    """A table written as a number stays a problem, whatever is laid over it."""
    found = problems("server = 5\nupstreams = 5\nplugins = 5\n", overrides=FLAGS)
    assert {p.key for p in found} == {"server", "upstreams", "plugins"}


# --- variables -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${A}", "one"),
        ("x-${A}-${B}", "x-one-two"),
        ("${NO:-other}", "other"),
        ("${NO:-}x", "x"),
        ("${EMPTY:-other}", "other"),
        ("${EMPTY}x", "x"),
        ("$${A}", "${A}"),
        ("$A", "$A"),
        ("100$", "100$"),
        ("${LOOP}", "${A}"),
    ],
)
def test_variables_are_filled_in(text: str, expected: str) -> None:
    """References become values, everything else stays, and values are not read again."""
    environ = {"A": "one", "B": "two", "EMPTY": "", "LOOP": "${A}"}
    table = read(f"[plugins.x]\nvalue = ['{text}']\n", environ=environ).plugins["x"]
    assert table == {"value": [expected]}


def test_a_missing_variable_is_named_with_its_key() -> None:
    """Each string names all that it misses, and no second complaint follows from it."""
    text = '[upstreams.a]\ntype = "openai"\nbase_url = "${HERE}"\napi_key = "${FIRST}${SECOND}"\n'
    found = problems(text)
    assert [(p.key, p.line) for p in found] == [
        ("upstreams.a.base_url", 3),
        ("upstreams.a.api_key", 4),
    ]
    assert "FIRST and SECOND" in found[1].message


@pytest.mark.parametrize("text", ["${", "${A", "${}", "${1A}", "${A-b}", "${A:-b"])
def test_broken_references_are_refused(text: str) -> None:
    """A reference that is not finished is not passed on as text."""
    assert only_problem(f"[plugins.x]\nvalue = '{text}'\n", environ={"A": "a"})


def test_variables_are_not_looked_for_in_keys() -> None:
    """Only values are searched."""
    assert read('[plugins.x]\n"${A}" = 1\n').plugins["x"] == {"${A}": 1}


def test_disabled_plugins_need_no_variables() -> None:
    """Their tables stay as they are, unless the command line runs them."""
    text = '[plugins.x]\nenabled = false\nvalue = "${MISSING}"\n'
    assert read(text).plugins["x"]["value"] == "${MISSING}"
    assert only_problem(text, overrides=Overrides(plugins=("x",))).key == "plugins.x.value"


def test_a_value_that_is_covered_needs_no_variable() -> None:
    """A flag's key makes the file's reference to one irrelevant, and is taken literally."""
    text = '[upstreams.a]\ntype = "openai"\napi_key = "${MISSING}"\n'
    settings = read(text, overrides=Overrides(api_key="${literal}"))
    assert settings.upstreams["a"].api_key.reveal() == "${literal}"


# --- plugins -------------------------------------------------------------------------------------


class Colour(Enum):
    """An enumeration as a plugin might use it."""

    RED = "red"


@attrs.frozen
class Nested:
    """A table inside a plugin's table."""

    size: int = option(1, help="A size.")


def _not_above_high(instance: Any, _attribute: Any, value: int) -> None:
    if value > instance.high:
        raise ValueError("must not be above high")


@attrs.frozen
class Config:
    """Every type that plugins use."""

    name: str = option(REQUIRED, help="A name.")
    token: Secret = option(Secret(), help="A secret.")
    folder: Path = option(Path("logs"), help="A folder.")
    words: list[str] = option([], help="Words.")
    pair: tuple[int, ...] = option((), help="Numbers.")
    unique: frozenset[str] = option(frozenset(), help="A set.")
    limits: dict[str, float] = option({}, help="A table of numbers.")
    nested: Nested = option(Nested(), help="A table.")
    several: list[Nested] = option([], help="Tables.")
    mode: Literal["a", "b", 1] = option("a", help="A choice.")
    colour: Colour = option(Colour.RED, help="An enumeration.")
    limit: int | None = option(None, help="A number or nothing.")
    either: int | str = option(0, help="A number or text.")
    day: date | None = option(None, help="A day.")
    anything: Any = option(None, help="Anything.")
    low: int = option(0, help="A number.", validator=_not_above_high)
    high: int = option(10, help="A number.")


FULL = """
name = "n"
token = "t"
folder = "x/y"
words = ["a", "b"]
pair = [1, 2]
unique = ["a", "a"]
mode = 1
colour = "red"
limit = 5
either = "text"
day = 2020-01-02
anything = [1, "a"]
low = 3
limits = { a = 1, b = 2.5 }
nested = { size = 2 }
several = [{ size = 3 }, {}]
"""


def test_a_plugins_table_becomes_its_class() -> None:
    """Each TOML value arrives with its Python type."""
    assert structure_table(Config, tomli.loads(FULL), key="plugins.x") == Config(
        name="n",
        token=Secret("t"),
        folder=Path("x/y"),
        words=["a", "b"],
        pair=(1, 2),
        unique=frozenset({"a"}),
        limits={"a": 1.0, "b": 2.5},
        nested=Nested(2),
        several=[Nested(3), Nested()],
        mode=1,
        limit=5,
        either="text",
        day=date(2020, 1, 2),
        anything=[1, "a"],
        low=3,
    )


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("token = 5", "token"),
        ("folder = 5", "folder"),
        ('words = "abc"', "words"),
        ('words = ["a", 5]', "words[1]"),
        ("pair = [1.0]", "pair[0]"),
        ("limits = { a = true }", "limits.a"),
        ("limits = [1]", "limits"),
        ("nested = 5", "nested"),
        ("nested = { siez = 5 }", "nested.siez"),
        ("several = [{ size = 'a' }]", "several[0].size"),
        ("mode = true", "mode"),
        ('mode = "c"', "mode"),
        ('colour = "green"', "colour"),
        ('limit = "5"', "limit"),
        ("either = 1.5", "either"),
        ("day = 2020-01-02T00:00:00", "day"),
        ("low = 11", ""),
    ],
)
def test_a_plugins_table_is_checked_like_cores(line: str, key: str) -> None:
    """One problem at the right place, also inside arrays and inner tables."""
    with pytest.raises(ConfigError) as caught:
        structure_table(Config, {"name": "n", **tomli.loads(line)}, key="plugins.x")
    assert [p.key for p in caught.value.problems] == [".".join(filter(None, ("plugins.x", key)))]


def test_a_plugins_problems_have_lines() -> None:
    """Settings know where a plugin's keys stand in the file; enabled is not an option."""
    settings = read('[plugins.x]\nenabled = true\nname = "n"\n\n[plugins.x.nested]\nsize = "1"\n')
    with pytest.raises(ConfigError) as caught:
        structure_plugin(settings, "x", Config)
    (problem,) = caught.value.problems
    assert (problem.file, problem.key, problem.line) == (
        "perimeter.toml",
        "plugins.x.nested.size",
        6,
    )


def test_a_plugins_odd_class_is_a_problem_not_a_crash() -> None:
    """An annotation that cannot be resolved, or a type nobody can read, becomes a message."""

    @attrs.frozen
    class Unresolvable:
        value: "NoSuchName" = option(1, help="A value.")  # type: ignore[name-defined] # noqa: F821

    @attrs.frozen
    class Unreadable:
        value: complex = option(1j, help="A value.")

    for cls in (Unresolvable, Unreadable):
        with pytest.raises(ConfigError):
            structure_table(cls, {"value": 1})


def test_plugins_keep_the_files_order_and_flags_come_last() -> None:
    """Tables are kept in order; --plugin also switches on what the file switches off."""
    text = "[plugins.b]\nenabled = false\n[plugins.a]\nx = 1\n"
    plugins = read(text, overrides=Overrides(plugins=("c", "b"))).plugins
    assert list(plugins) == ["b", "a", "c"]
    assert plugins == {"b": {"enabled": True}, "a": {"x": 1}, "c": {"enabled": True}}


# --- lines ---------------------------------------------------------------------------------------

LINES = '''# comment
top = 1
[a]
one = """
[fake]
x = 1 """ # comment
two = [
  "]", # ]
  { k = "}" },
]
b.c = 3
"quoted key" = '\\'

[ a . "d.e" ]
f = 1
[[list]]
n = 1
[[list]]
n = 2
[list.inner]
m = 3
[z]'''


def test_keys_are_found_in_every_notation() -> None:
    """Strings, arrays, comments and quotes do not lead the search astray."""
    tomli.loads(LINES)
    assert {path: line for path, line in key_lines(LINES).items() if path != ("list",)} == {
        ("top",): 2,
        ("a",): 3,
        ("a", "one"): 4,
        ("a", "two"): 7,
        ("a", "b"): 11,
        ("a", "b", "c"): 11,
        ("a", "quoted key"): 12,
        ("a", "d.e"): 14,
        ("a", "d.e", "f"): 15,
        ("list", 0): 16,
        ("list", 0, "n"): 17,
        ("list", 1): 18,
        ("list", 1, "n"): 19,
        ("list", 1, "inner"): 20,
        ("list", 1, "inner", "m"): 21,
        ("z",): 22,
    }


@given(st.text(alphabet="ab.=[]{}\"'#\\\n \t1", max_size=60))
def test_the_search_for_lines_ends_on_anything(text: str) -> None:
    """Any text at all gives lines that exist."""
    assert all(1 <= line <= text.count("\n") + 1 for line in key_lines(text).values())


# --- anything at all -----------------------------------------------------------------------------


def outcome(attempt: Callable[[], Any]) -> Any:
    """What an attempt gives: a result or a ConfigError; any other exception passes."""
    try:
        return attempt()
    except ConfigError as error:
        return error


def is_told(result: Any) -> bool:
    """Whether a result is a ConfigError that says something."""
    return isinstance(result, ConfigError) and bool(result.problems) and bool(str(result))


OPTIONS = sorted(
    {
        f.name
        for cls in (ServerSettings, LoggingSettings, UpstreamSettings)
        for f in attrs.fields(cls)
    }
)
NAMES = st.one_of(
    st.sampled_from(["server", "logging", "upstreams", "plugins", "enabled", *OPTIONS]),
    st.text(max_size=5),
)
SCALARS = st.one_of(
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["openai", "raw", "http://a", "http://[", "${A}", "${", "/x", "\ud800"]),
    st.dates(),
    st.datetimes(),
    st.times(),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=4)),
    max_leaves=12,
)
TABLES = st.dictionaries(NAMES, VALUES, max_size=5)
LIKELY = st.fixed_dictionaries(
    {},
    optional={
        "server": TABLES,
        "logging": TABLES,
        "upstreams": st.dictionaries(NAMES, TABLES, max_size=2),
        "plugins": st.dictionaries(NAMES, TABLES, max_size=2),
    },
)


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=st.one_of(TABLES, LIKELY), flags=st.booleans())
def test_any_table_gives_settings_or_problems(table: dict[str, Any], flags: bool) -> None:
    """Whatever a file holds, the loader raises nothing but ConfigError."""
    overrides = FLAGS if flags else NONE
    result = outcome(
        lambda: build(
            Document(table=table), environ={"A": "a"}, overrides=overrides, require_upstream=False
        )
    )
    assert is_told(result) or describe(result)["server"]


@given(VALUES)
def test_any_plugin_table_gives_an_instance_or_problems(value: Any) -> None:
    """The same holds for plugins' classes, and for every type in them."""
    for field in attrs.fields(Config):
        result = outcome(partial(structure_table, Config, {"name": "n", field.name: value}))
        assert is_told(result) or isinstance(result, Config)


@given(st.text(alphabet=string.printable, max_size=80))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_gives_settings_or_problems(text: str) -> None:
    """Whatever a file's text is, it is read or refused."""
    result = outcome(lambda: read(text))
    assert is_told(result) or isinstance(result, Settings)


# --- what applies --------------------------------------------------------------------------------


def test_a_description_masks_keys_under_any_name() -> None:
    """What has the shape of a key is masked, also in a table that nobody knows."""
    key = "sk-proj-" + "a1B2" * 8
    described = describe(read(f'[plugins.x]\nnote = "use {key}"\n'))
    assert described["plugins"]["x"]["note"] == f"use sk-proj-{'*' * 32}"


def test_recording_is_described() -> None:
    """The description shows what may be kept."""
    text = '[recording]\nredact = false\nexclude_paths = ["/v1/files/*"]\n'
    shown = {"redact": False, "exclude_paths": ["/v1/files/*"]}
    assert describe(read(text))["recording"] == shown


@pytest.mark.parametrize("pattern", ["v1/files", "", " /v1", "/v1/ files", "/" + "a" * 500])
def test_patterns_that_are_no_paths_are_refused(pattern: str) -> None:
    """A pattern that could never match is a mistake, and is named with its place."""
    problem = only_problem(f'[recording]\nexclude_paths = ["/ok", "{pattern}"]\n')
    assert problem.key == "recording.exclude_paths"
    assert problem.message.startswith("item 2 must")


def test_a_description_masks_every_secret() -> None:
    """Keys, tokens, credentials in addresses, and whatever a plugin's key calls a secret."""
    text = f"""
[server]
admin_token = "{KEY}"
tokens = ["{KEY}"]
[upstreams.a]
type = "openai"
api_key = "{KEY}"
api_key_header = "api-key"
[plugins.x]
api_key = "{KEY}"
database = "postgres://user:{KEY}@host/db"
headers = {{ Authorization = "{KEY}", accept = "text" }}
inner = [{{ password = "{KEY}" }}]
signing_key = ["{KEY}"]
pin_token = 12345
max_items = 5
public_path = "/x"
"""
    described = describe(read(text))
    assert KEY not in repr(described)
    assert described["upstreams"]["a"]["api_key_header"] == "api-key"
    assert described["plugins"]["x"] == {
        "api_key": "***",
        "database": "postgres://***@host/db",
        "headers": {"Authorization": "***", "accept": "text"},
        "inner": [{"password": "***"}],
        "signing_key": "***",
        "pin_token": "***",
        "max_items": 5,
        "public_path": "/x",
    }


def test_a_plugins_types_say_what_is_secret() -> None:
    """With the plugin's instance at hand, numbers and defaults show, secrets do not."""

    @attrs.frozen
    class Typed:
        max_tokens: int = option(9, help="A number.")
        phrase: Secret = option(Secret(KEY), help="A secret.")
        password: str = option(KEY, help="Text that should have been a secret.")

    settings = read("[plugins.x]\n")
    assert describe(settings, {"x": Typed()})["plugins"]["x"] == {
        "max_tokens": 9,
        "phrase": "***",
        "password": "***",
    }


def test_an_unset_secret_is_shown_as_empty() -> None:
    """Whether a key is set is no secret."""
    assert describe(read('[upstreams.a]\ntype = "openai"\n'))["upstreams"]["a"]["api_key"] == ""


# --- the example file ----------------------------------------------------------------------------


def uncommented(text: str) -> str:
    """Switch on every option of an example: they are the lines that begin with # and no space."""
    lines = text.splitlines()
    return "\n".join(
        line[1:] if line.startswith("#") and line[1:2] not in {" ", ""} else line for line in lines
    )


def test_the_example_loads_and_changes_nothing() -> None:
    """As it is written it means the defaults."""
    settings = read(render_example({"x": Nested}))
    assert settings.plugins == {"x": {"enabled": False}}
    assert (settings.server, settings.logging) == (ServerSettings(), LoggingSettings())
    assert not settings.upstreams


def test_the_example_shows_every_option_with_a_valid_value() -> None:
    """With every line switched on it still loads, means the defaults, and names everything."""
    text = uncommented(render_example())
    shown = tomli.loads(text)
    for cls, table in {
        ServerSettings: shown["server"],
        LoggingSettings: shown["logging"],
        UpstreamSettings: shown["upstreams"]["openai"],
    }.items():
        assert list(table) == [field.name for field in attrs.fields(cls)]
    settings = read(text, environ={"OPENAI_API_KEY": KEY, "ANTHROPIC_API_KEY": KEY})
    assert settings.server == ServerSettings()
    expected = UpstreamSettings("openai", "https://api.openai.com", api_key=Secret(KEY))
    assert settings.upstreams["openai"] == expected


def test_values_are_written_as_toml() -> None:
    """Defaults of every type survive being written and read."""
    text = uncommented(render_table("x", Config))
    table = {k: v for k, v in tomli.loads(text)["x"].items() if v != ""}
    assert structure_table(Config, {"name": "", **table}) == Config(name="")


def test_a_default_secret_is_not_written() -> None:
    """The example never holds a secret, not even a class's own."""

    @attrs.frozen
    class Leaky:
        key: Secret = option(Secret(KEY), help="A secret.")

    assert KEY not in render_table("x", Leaky)


def test_numbers_keep_their_kind() -> None:
    """Infinity is TOML too."""
    assert tomli.loads(f"a = {literal(math.inf)}")["a"] == math.inf
