"""The effective configuration as plain data, with every secret masked, for ``GET /config``."""

import re
from collections.abc import Mapping
from typing import Any

import attrs

from perimeter import redaction
from perimeter.options import MASK, Secret
from perimeter.settings import Settings


_SECRET_NAME = re.compile(
    r"(?i)(?!.*_(?:header|name|file|path|env)$)"  # these say where a secret is, not what it is
    r"(?:(?:.*[_.\s-])?(?:keys?|tokens?|auth|dsn|cookies?|pass)(?:$|[_.\s-])"
    r"|.*(?:apikey|secret|passw|passphrase|credential|authorization|privatekey|accesskey|token$))"
)
_USER_INFO = re.compile(r"(?<=://)[^/@\s]+(?=@)")


def describe(settings: Settings, configs: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Describe what applies, as strings, numbers, booleans, lists, dicts and None.

    Args:
        settings: The configuration.
        configs: The plugins' ``Config`` instances, where there are any. They show their defaults
            too, and their types say which values are secret. Values in other plugins' tables are
            masked when their key looks like it.

    """
    known = configs or {}
    return {
        "source": str(settings.source) if settings.source else None,
        "server": plain(settings.server),
        "logging": plain(settings.logging),
        "session": plain(settings.session),
        "recording": plain(settings.recording),
        "pricing": {name: plain(price) for name, price in settings.pricing.items()},
        "default_upstream": settings.default_upstream,
        "upstreams": {name: plain(upstream) for name, upstream in settings.upstreams.items()},
        "plugins": {
            name: plain(known.get(name, table)) for name, table in settings.plugins.items()
        },
    }


def plain(value: Any) -> Any:
    """Turn a value into plain data; secrets are known by their type, or else by their key."""
    if isinstance(value, Secret):
        return str(value) if value else ""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if attrs.has(type(value)):
        return {field.name: _member(value, field) for field in attrs.fields(type(value))}
    if isinstance(value, Mapping):
        return {str(key): _masked(str(key), item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    return redaction.text(_USER_INFO.sub(MASK, str(value)))


def _member(instance: Any, field: "attrs.Attribute[Any]") -> Any:
    """Show one option; text named like a secret is masked whatever the class says."""
    value = getattr(instance, field.name)
    looks_secret = field.type in {str, "str"} and _SECRET_NAME.match(field.name)
    return MASK if looks_secret and value else plain(value)


def _masked(key: str, value: Any) -> Any:
    if _SECRET_NAME.match(key) and value and not isinstance(value, bool):
        return MASK
    return plain(value)
