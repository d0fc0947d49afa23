"""The configuration in the making: the file's tables with flags and variables laid over them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from perimeter.configuration.overrides import Overrides
from perimeter.configuration.problems import KeyPath


Given = tuple[Any, str]
"""A value, and the name of the flag or variable that it comes from."""

_SIMPLE: tuple[tuple[KeyPath, str, str], ...] = (
    (("server", "host"), "host", "PERIMETER_HOST"),
    (("server", "port"), "port", "PERIMETER_PORT"),
    (("server", "workers"), "workers", ""),
    (("logging", "level"), "log_level", "LOG_LEVEL"),
)

FLAG_UPSTREAM = "default"
"""The upstream that flags and ``LLM_*`` make."""


@attrs.define
class Draft:
    """Raw tables that flags and variables are laid over.

    Attributes:
        table: The tables as in the file, changed in place.
        origins: The flag or variable behind each value that is not the file's.
        complaints: What is wrong with flags and variables themselves.
        default_upstream: Name of the default upstream, as far as it is known.

    """

    table: dict[str, Any]
    environ: Mapping[str, str]
    overrides: Overrides
    origins: dict[KeyPath, str] = attrs.Factory(dict)
    complaints: list[tuple[KeyPath, str]] = attrs.Factory(list)
    default_upstream: str | None = None

    def overlay(self) -> None:
        """Lay everything that was given outside the file over it."""
        for path, attribute, variable in _SIMPLE:
            given = self._given(attribute, variable)
            if given and attribute == "port":
                given = self._number(given)
            if given:
                self._put(path, given)
        self._overlay_upstream()
        for name in self.overrides.plugins:
            self._put(("plugins", name, "enabled"), (True, "--plugin"))

    def _given(self, attribute: str, variable: str) -> Given | None:
        """Find a flag's value, else its variable's; an empty variable counts as unset."""
        value = getattr(self.overrides, attribute)
        if value is not None:
            return value, "--" + attribute.replace("_", "-")
        text = self.environ.get(variable, "")
        return (text, variable) if text else None

    def _number(self, given: Given) -> Given | None:
        """Read a variable's digits; a flag's value is a number already."""
        value, name = given
        if isinstance(value, int):
            return given
        if value.isdecimal() and len(value) < 10:
            return int(value), name
        self._complain(name, f"must be a whole number, not {value!r}")
        return None

    def _put(self, path: KeyPath, given: Given) -> None:
        """Set a value; what should be a table and is none is left to the converter."""
        table: Any = self.table
        for part in path[:-1]:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                return
        table[path[-1]], self.origins[path] = given

    def _overlay_upstream(self) -> None:
        """Make or change the default upstream.

        An address or a type makes the upstream ``default`` (over the file's table of that name); a
        key alone goes to whatever upstream is the default, so that a key in the file is never sent
        to an address from elsewhere.
        """
        base_url = self._given("base_url", "LLM_BASE_URL")
        type_ = self._given("type", "LLM_TYPE")
        api_key = self._api_key()
        if base_url or type_:
            self._lead_with_flag_upstream()
            self.default_upstream = FLAG_UPSTREAM
            self._name_what_is_missing()
        else:
            self.default_upstream = self._default_of_file()
        given = {"base_url": base_url, "type": type_, "api_key": api_key}
        for key, value in given.items():
            if value and self.default_upstream is not None:
                self._put(("upstreams", self.default_upstream, key), value)

    def _lead_with_flag_upstream(self) -> None:
        upstreams = self.table.setdefault("upstreams", {})
        if isinstance(upstreams, dict):
            self.table["upstreams"] = {FLAG_UPSTREAM: upstreams.get(FLAG_UPSTREAM, {}), **upstreams}

    def _name_what_is_missing(self) -> None:
        """Let complaints about values that nobody gave name the flags that would give them."""
        table = self.upstreams().get(FLAG_UPSTREAM)
        for key, names in {
            "base_url": "--base-url or LLM_BASE_URL",
            "type": "--type or LLM_TYPE",
        }.items():
            if isinstance(table, dict) and key not in table:
                self.origins["upstreams", FLAG_UPSTREAM, key] = names

    def upstreams(self) -> dict[str, Any]:
        """Give the upstream tables, or nothing if that is no table."""
        tables = self.table.get("upstreams")
        return tables if isinstance(tables, dict) else {}

    def plugins(self) -> dict[str, dict[str, Any]]:
        """Give those plugin tables that are tables."""
        tables = self.table.get("plugins")
        named = tables.items() if isinstance(tables, dict) else ()
        return {name: table for name, table in named if isinstance(table, dict)}

    def _default_of_file(self) -> str | None:
        server = self.table.get("server")
        named = server.get("default_upstream") if isinstance(server, dict) else None
        if isinstance(named, str) and named:
            return named if named in self.upstreams() else None
        return next(iter(self.upstreams()), None)

    def _api_key(self) -> Given | None:
        path = self.overrides.api_key_file
        if path is None:
            return self._given("api_key", "LLM_API_KEY")
        if self.overrides.api_key is not None:
            self._complain("--api-key-file", "cannot be used together with --api-key")
            return None
        return self._key_in(path)

    def _key_in(self, path: Path) -> Given | None:
        try:
            key = path.read_bytes().decode().rstrip("\r\n")
        except OSError as error:
            self._complain("--api-key-file", f"{path} cannot be read: {error.strerror}")
        except UnicodeDecodeError:
            self._complain("--api-key-file", f"{path} cannot be read: it is not UTF-8 text")
        else:
            if key:
                return key, "--api-key-file"
            self._complain("--api-key-file", f"{path} is empty")
        return None

    def _complain(self, flag: str, message: str) -> None:
        path = (flag,)
        self.origins[path] = flag
        self.complaints.append((path, message))
