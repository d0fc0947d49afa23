"""The example configuration file, generated from the classes that read it."""

import json
import textwrap
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

import attrs

from perimeter.options import REQUIRED, Secret
from perimeter.pricing import Price
from perimeter.settings import (
    LoggingSettings,
    RecordingSettings,
    ServerSettings,
    SessionSettings,
    UpstreamSettings,
)


_WIDTH = 98

_HEAD = """\
Configuration of Perimeter. `perimeter run` reads ./perimeter.toml, or the file that --config or
PERIMETER_CONFIG names. The command line counts more than the environment (LLM_BASE_URL, LLM_TYPE,
LLM_API_KEY, LOG_LEVEL, PERIMETER_HOST, PERIMETER_PORT), and that more than this file.

Lines such as `#port = 4000` show options with their defaults: remove the # and change the value.
Strings may hold variables of the environment: "${NAME}", or "${NAME:-default}"; "$${" is just "${".
Durations are seconds, sizes are bytes."""

_PRICING = """\
Prices of models, in place of the packaged ones or beside them: one table for each model, in US
dollars per million tokens."""

_UPSTREAMS = """\
Where calls are forwarded to: one table for each provider. The first one is the default, unless
--base-url, --type, LLM_BASE_URL or LLM_TYPE make one or [server] default_upstream names one."""

_PLUGINS = """\
Plugins run in the order of their tables. A plugin without a table is idle, and so is one with
enabled = false, which need not be installed."""

_PRICE = {"input": 2.0, "output": 8.0, "cache_read": 0.5, "cache_write": 2.5}
_OPENAI = {"type": "openai", "base_url": "https://api.openai.com", "api_key": "${OPENAI_API_KEY}"}
_ANTHROPIC = '#[upstreams.anthropic]\n#type = "anthropic"\n#api_key = "${ANTHROPIC_API_KEY}"\n'


def render_example(plugins: Mapping[str, type] | None = None) -> str:
    """Write a complete, commented file that loads as it is and changes nothing.

    Args:
        plugins: The ``Config`` classes of plugins to include, by name.

    """
    sections = [
        _comment(_HEAD),
        render_table("server", ServerSettings),
        render_table("logging", LoggingSettings),
        render_table("session", SessionSettings),
        render_table("recording", RecordingSettings),
        _comment(_PRICING),
        "#" + render_table('pricing."my-model"', Price, _PRICE),
        _comment(_UPSTREAMS),
        "#" + render_table("upstreams.openai", UpstreamSettings, _OPENAI),
        _ANTHROPIC,
        _comment(_PLUGINS),
        *(render_plugin(name, cls) for name, cls in (plugins or {}).items()),
    ]
    return "\n".join(sections)


def render_plugin(name: str, cls: type) -> str:
    """Write a plugin's table, switched off."""
    header, _, options = render_table(f"plugins.{name}", cls).partition("\n")
    return f"{header}\nenabled = false\n{options}"


def render_table(header: str, cls: type, values: Mapping[str, Any] | None = None) -> str:
    """Write a table with all options of a class, each commented out under its help text.

    Args:
        header: The dotted name of the table.
        cls: A class made of ``option()`` fields.
        values: Values to show in place of defaults.

    """
    lines = [f"[{header}]\n"]
    shown = (field for field in attrs.fields(cls) if not field.metadata.get("hidden"))
    for field in shown:
        value = (values or {}).get(field.alias, _default_of(field))
        lines.append(_comment(field.metadata.get("help", "")))
        lines.append(f"#{field.alias} = {literal(value)}\n")
    return "".join(lines)


def _default_of(field: "attrs.Attribute[Any]") -> Any:
    if field.default is REQUIRED:
        return ""
    default: Any = field.default
    return default.factory() if isinstance(default, attrs.Factory) else default  # type: ignore[arg-type]


def literal(value: Any) -> str:
    """Write a value as TOML."""
    if isinstance(value, Enum):
        return literal(value.value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        return f"[{', '.join(map(literal, value))}]"
    if attrs.has(type(value)):
        value = {f.alias: getattr(value, f.name) for f in attrs.fields(type(value))}
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{json.dumps(str(k))} = {literal(v)}" for k, v in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    # Never a secret's value: a default that is one would be a mistake, and this text is published.
    return json.dumps("" if isinstance(value, Secret) or value is None else str(value))


def _comment(text: str) -> str:
    return "".join(f"# {line}".rstrip() + "\n" for line in _wrapped(text))


def _wrapped(text: str) -> Iterator[str]:
    for line in text.splitlines():
        yield from textwrap.wrap(line, _WIDTH, break_on_hyphens=False) or [""]
