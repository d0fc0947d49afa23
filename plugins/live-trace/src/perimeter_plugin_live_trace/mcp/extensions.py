"""Tools that other plugins bring, see `perimeter.dashboard`."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import jsonschema  # type: ignore[import-untyped]

from perimeter.dashboard import Records
from perimeter.dashboard import Tool as Theirs
from perimeter_plugin_live_trace.mcp.tool import Arguments, Here, Tool, ToolProblem, answered
from perimeter_plugin_live_trace.store import Reader
from perimeter_plugin_live_trace.web.page import Changes, Site


_log = logging.getLogger(__name__)


@attrs.frozen
class Contributed(Tool[Any]):
    """
    A tool of another plugin.

    Attributes:
        theirs: As the plugin describes it.
        records: What it can read and keep.
    """

    theirs: Theirs = attrs.field(kw_only=True)
    records: Records = attrs.field(kw_only=True)

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON Schema of its arguments."""
        return dict(self.theirs.schema)

    def call(self, here: Here, given: Mapping[str, Any]) -> dict[str, Any]:
        """
        Answer.

        Raises:
            ToolProblem: It can't.
        """
        try:
            jsonschema.validate(dict(given), self.schema)
        except jsonschema.ValidationError as error:
            raise ToolProblem(f"{self.name}: {error.message}") from None
        return answered(self.name, lambda: self._answer(given))

    def _answer(self, given: Mapping[str, Any]) -> Any:
        try:
            return self.theirs.call(self.records, given)
        except Exception as error:  # noqa: BLE001 - whatever it is, its message goes to the model
            _log.warning("the MCP tool %s failed", self.name, exc_info=error)
            raise ToolProblem(f"{self.name}: {error}") from None


def contributed(
    site: Site, reader: Reader, changes: Changes | None, taken: set[str]
) -> Iterator[Tool[Any]]:
    """Yield the tools of other plugins, each name once; ours come first."""
    names = set(taken)
    for plugin, contribution in sorted(site.extensions.items()):
        for tool in contribution.tools:
            if tool.name in names or changes is None:
                _log.warning("the MCP tool %s of %s is left out", tool.name, plugin)
                continue
            names.add(tool.name)
            yield Contributed(
                tool.name, tool.name, tool.description, Arguments, _never,
                theirs=tool, records=_records(reader, changes),
            )  # fmt: skip


def _records(reader: Reader, changes: Changes) -> Records:
    # The process imports the web application, and that imports this.
    from perimeter_plugin_live_trace.kept import KeptRecords  # noqa: PLC0415

    return KeptRecords(reader, changes)


def _never(_here: Here, _given: Any) -> dict[str, Any]:
    raise ToolProblem("this tool is called otherwise")
