"""The documents of live trace say what is true: options, addresses, tools, clients."""

from __future__ import annotations

import json
import re
from typing import Literal, get_args, get_origin

import attrs
import pytest
import tomli

from documents import DOCS, blocks, tables
from perimeter import Secret
from perimeter.configuration.example import literal
from perimeter.dashboard import Record
from perimeter_plugin_live_trace.config import Config
from perimeter_plugin_live_trace.mcp.tools import OWN
from perimeter_plugin_live_trace.web.snippets import assistants


PAGE = DOCS / "live-trace.md"
MCP = DOCS / "mcp.md"
WORDS = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    Secret: "string (secret)",
    list[str]: "array of strings",
}


def described(field: attrs.Attribute) -> list[str]:
    """Return an option's row."""
    default = field.default.factory() if isinstance(field.default, attrs.Factory) else field.default
    choices = get_args(field.type) if get_origin(field.type) is Literal else ()
    words = ", ".join(f'`"{each}"`' for each in choices) or WORDS[field.type]
    shown = literal("" if isinstance(default, Secret) else default)
    return [f"`{field.name}`", words, f"`{shown}`", field.metadata["help"]]


def options() -> list[list[str]]:
    """Return a row for each option."""
    resolved = attrs.fields(attrs.resolve_types(Config))
    return [described(each) for each in resolved if each.name != "enable_presidio"]


def test_every_option_is_described():
    """The table of options is complete and right."""
    assert tables(PAGE, "## Options")[1:] == options()


def test_every_tool_is_described():
    """The table of tools has each tool with its description, in order."""
    rows = tables(MCP, "## Tools")[1:]

    assert rows == [[f"`{tool.name}`", tool.description] for tool in OWN]


def test_addresses_of_the_api():
    """The operations that are documented are those that there are."""
    from perimeter_plugin_live_trace.api.handlers import document

    rows = [cells[0].strip("`") for cells in tables(PAGE, "## API")[1:]]
    found = {f"GET {re.sub('{.*}', '{id}', path)}" for path in document()["paths"]}

    assert found < set(rows)


@pytest.mark.parametrize(
    "tab", assistants("http://127.0.0.1:7100", token=False), ids=lambda t: t.key
)
def test_clients_are_those_of_the_connect_page(tab):
    """Each assistant that the dashboard shows settings for has the same ones in docs/mcp.md."""
    shown = [block.text.strip() for block in blocks(MCP)]
    values = [json.loads(text) for text in shown if text.startswith("{")]

    assert tab.label in MCP.read_text(encoding="utf-8")
    for snippet in tab.snippets:
        if snippet.text.startswith("{"):
            assert json.loads(snippet.text) in values
        else:
            assert snippet.text.strip() in shown
    for text in shown:
        if text.startswith("["):
            assert tomli.loads(text)["mcp_servers"]["perimeter"]["url"].endswith("/mcp")


class Kept:
    """Records in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, Record] = {}

    def sessions(self, **_: object) -> list[str]:
        return ["one", "two"]

    def events(self, session: str, **_: object) -> list[dict]:
        return [{}] * len(session)

    def put(self, kind: str, record: Record) -> None:
        assert kind == "lengths.count"
        self.kept[record.key] = record

    def find(self, kind: str) -> list[Record]:
        assert kind == "lengths.count"
        return list(self.kept.values())


def test_the_example_of_an_extension_works():
    """The plugin of docs/live-trace.md adds a page, a job and a tool that do what they say."""
    (example,) = (block for block in blocks(PAGE) if block.language == "python")
    names: dict = {"__name__": "my_package"}
    exec(compile(example.text, example.place, "exec"), names)
    extension = names["Lengths"](None, None).dashboard()
    made, records = names["contribute"](extension.options), Kept()
    made.jobs[0].run(records)

    assert made.pages[0].title == "Lengths"
    assert made.pages[0].content(records, {})[0].facts == [("one", "3"), ("two", "3")]
    assert made.tools[0].call(records, {}) == {"one": 3, "two": 3}


def test_clients_read_the_token_in_their_own_way():
    """Where a token is asked for, each takes it from where that assistant keeps such things."""
    found = {
        tab.key: "".join(snippet.text for snippet in tab.snippets)
        for tab in assistants("http://127.0.0.1:7100", token=True)
    }

    for key in ("cursor", "windsurf"):
        assert "Bearer ${env:PERIMETER_TOKEN}" in found[key]
    for key in ("claude-code", "gemini-cli"):
        assert "Bearer ${PERIMETER_TOKEN}" in found[key]
    assert 'bearer_token_env_var = "PERIMETER_TOKEN"' in found["codex"]
    assert "--bearer-token-env-var PERIMETER_TOKEN" in found["codex"]
    shown = [json.loads(block.text) for block in blocks(MCP) if block.text.startswith("{")]
    assert json.loads(found["vscode"]) in shown
    assert shown[-1]["inputs"][0]["password"] is True
