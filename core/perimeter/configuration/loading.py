"""``load``: the file, the environment and the command line together, checked as a whole."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from perimeter.configuration.converter import structure
from perimeter.configuration.document import Document
from perimeter.configuration.draft import Draft
from perimeter.configuration.environment import expand
from perimeter.configuration.overrides import Overrides
from perimeter.configuration.problems import Invalid, KeyPath, Locator, suggestion
from perimeter.errors import ConfigError, Problem
from perimeter.pricing import Price
from perimeter.settings import (
    PUBLIC_BASE_URLS,
    LoggingSettings,
    RecordingSettings,
    ServerSettings,
    SessionSettings,
    Settings,
    UpstreamSettings,
)


DEFAULT_FILE = Path("perimeter.toml")

NO_UPSTREAM = (
    "there is no upstream to forward to: give --base-url and --type, "
    "or set LLM_BASE_URL and LLM_TYPE, or write an [upstreams.<name>] table into the file"
)

_UPSTREAM_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_Complaints = list[tuple[KeyPath, str]]

PluginCheck = Callable[[Settings], Sequence[Problem]]
"""Given the settings, of which only the plugin tables are sure to be right, finds problems."""


@attrs.frozen
class _Tables:
    """The tables that a file may have."""

    server: ServerSettings = attrs.Factory(ServerSettings)
    logging: LoggingSettings = attrs.Factory(LoggingSettings)
    session: SessionSettings = attrs.Factory(SessionSettings)
    recording: RecordingSettings = attrs.Factory(RecordingSettings)
    pricing: dict[str, Price] = attrs.Factory(dict)
    upstreams: dict[str, UpstreamSettings] = attrs.Factory(dict)
    plugins: dict[str, dict[str, Any]] = attrs.Factory(dict)


def load(
    path: Path | None,
    *,
    environ: Mapping[str, str],
    overrides: Overrides,
    require_upstream: bool = True,
    check_plugins: PluginCheck | None = None,
) -> Settings:
    """
    Read the configuration: command line over environment over file over defaults.

    Args:
        path: The file; without one `PERIMETER_CONFIG` names it, else `./perimeter.toml` is read if
            it is there.
        environ: The environment's variables.
        overrides: What the command line says.
        require_upstream: Whether it is a problem when there is nothing to forward to.
        check_plugins: Finds what is wrong with plugins, so that it is told together with the rest.

    Raises:
        ConfigError: With everything that is wrong.
    """
    found = _find(path, environ)
    document = Document.read(found) if found else Document()
    return build(
        document,
        environ=environ,
        overrides=overrides,
        require_upstream=require_upstream,
        check_plugins=check_plugins,
    )


def load_without_file(*, environ: Mapping[str, str], overrides: Overrides) -> Settings:
    """
    Read the environment and the command line only, for what must not depend on the folder.

    Raises:
        ConfigError: With everything that is wrong.
    """
    return build(Document(), environ=environ, overrides=overrides, require_upstream=False)


def _find(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    named = path or (Path(environ["PERIMETER_CONFIG"]) if environ.get("PERIMETER_CONFIG") else None)
    return named or (DEFAULT_FILE if DEFAULT_FILE.is_file() else None)


def build(
    document: Document,
    *,
    environ: Mapping[str, str],
    overrides: Overrides,
    require_upstream: bool,
    check_plugins: PluginCheck | None = None,
) -> Settings:
    """Make the settings from a document; raise `ConfigError` and nothing else."""
    draft = Draft(document.table, environ, overrides)
    try:
        tables, complaints = _tables(draft)
    except RecursionError:
        raise ConfigError([Problem("tables are nested too deeply", _name(document))]) from None
    locator = Locator(_name(document), document.lines, draft.origins)
    problems = [locator.problem(path, message) for path, message in complaints]
    if require_upstream and not draft.upstreams() and not problems:
        problems = [Problem(NO_UPSTREAM)]
    settings = _settings(tables or _Tables(plugins=draft.plugins()), draft, document)
    if check_plugins is not None:
        problems += check_plugins(settings)
    if problems:
        raise ConfigError(problems)
    return settings


def _settings(tables: _Tables, draft: Draft, document: Document) -> Settings:
    return Settings(
        server=tables.server,
        logging=tables.logging,
        session=tables.session,
        recording=tables.recording,
        pricing=tables.pricing,
        upstreams=tables.upstreams,
        plugins=tables.plugins,
        default_upstream=draft.default_upstream,
        source=document.path,
        lines=document.lines,
    )


def _name(document: Document) -> str | None:
    return str(document.path) if document.path else None


def _tables(draft: Draft) -> tuple[_Tables | None, _Complaints]:
    """Structure the tables; complaints about a path for which there is one already are left out."""
    draft.overlay()
    complaints = draft.complaints
    skipped = {*draft.origins, *_disabled(draft.plugins())}
    draft.table = expand(draft.table, draft.environ, complaints, skip=skipped)
    _fill_addresses(draft.upstreams())
    try:
        tables = structure(draft.table, _Tables)
    except Invalid as invalid:
        known = {path for path, _ in complaints}
        return None, [*complaints, *((p, m) for p, m in invalid.complaints if p not in known)]
    return tables, [*complaints, *_contradictions(tables)]


def _disabled(plugins: dict[str, dict[str, Any]]) -> Iterator[KeyPath]:
    """Find the plugin tables that do not count, whose variables need not be set."""
    for name, content in plugins.items():
        if content.get("enabled") is False:
            yield ("plugins", name)


def _fill_addresses(upstreams: dict[str, Any]) -> None:
    """Give upstreams without an address their provider's public one."""
    for table in upstreams.values():
        if isinstance(table, dict) and isinstance(table.get("type"), str):
            address = PUBLIC_BASE_URLS.get(table["type"])
            if address:
                table.setdefault("base_url", address)


def _contradictions(tables: _Tables) -> Iterator[tuple[KeyPath, str]]:
    """Check what no single value shows."""
    yield from _upstream_complaints(tables.upstreams)
    named = tables.server.default_upstream
    if named and named not in tables.upstreams:
        hint = suggestion(named, tables.upstreams)
        yield ("server", "default_upstream"), f'names no upstream: "{named}"{hint}'
    file = tables.logging.file
    if file and not Path(file).parent.is_dir():
        yield ("logging", "file"), f"cannot be written: there is no folder {Path(file).parent}"
    for name, table in tables.plugins.items():
        if not isinstance(table.get("enabled", True), bool):
            yield ("plugins", name, "enabled"), "must be true or false"


def _upstream_complaints(upstreams: dict[str, UpstreamSettings]) -> Iterator[tuple[KeyPath, str]]:
    owners: dict[str, str] = {}
    for name, upstream in upstreams.items():
        path = ("upstreams", name)
        if not _UPSTREAM_NAME.fullmatch(name):
            yield path, "must be named with letters, digits, dots, dashes and underscores"
        owner = owners.setdefault(upstream.prefix, name) if upstream.prefix else name
        if owner != name:
            yield (*path, "prefix"), f"{upstream.prefix} is already the prefix of {owner}"
        if upstream.ca_file and not Path(upstream.ca_file).is_file():
            yield (*path, "ca_file"), f"there is no file {upstream.ca_file}"
