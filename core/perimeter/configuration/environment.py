"""Variables inside the strings of a configuration file: ``${VAR}`` and ``${VAR:-default}``."""

import re
from collections.abc import Collection, Mapping
from typing import Any

from perimeter.configuration.problems import Invalid, KeyPath


_REFERENCE = re.compile(
    r"\$(?P<escaped>\$)?\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)?(?P<default>:-[^}]*)?(?P<end>\})?"
)


def expand(
    value: Any,
    environ: Mapping[str, str],
    complaints: list[tuple[KeyPath, str]],
    *,
    skip: Collection[KeyPath] = (),
    at: KeyPath = (),
) -> Any:
    """Fill in the variables of every string inside a value; keys are left alone.

    A default also applies to a variable that is set but empty, as in a shell. ``$${`` stands for
    ``${``. What a variable holds is not searched for further references.

    Args:
        value: Strings, arrays and tables.
        environ: The variables.
        complaints: Receives the path and the names of variables that are missing; such strings stay
            as they are.
        skip: Paths that are left as they are.
        at: The path of the value itself.

    """
    if at in skip:
        return value
    if isinstance(value, dict):
        return {k: expand(v, environ, complaints, skip=skip, at=(*at, k)) for k, v in value.items()}
    if isinstance(value, list):
        return [expand(v, environ, complaints, skip=skip, at=(*at, n)) for n, v in enumerate(value)]
    if not isinstance(value, str):
        return value
    try:
        return _expand_text(value, environ)
    except Invalid as invalid:
        complaints += [(at, message) for _, message in invalid.complaints]
        return value


def _expand_text(text: str, environ: Mapping[str, str]) -> str:
    missing = []

    def fill(match: re.Match[str]) -> str:
        if match["escaped"]:
            return match[0][1:]
        if not match["name"] or not match["end"]:
            raise Invalid.because(
                "holds ${ that is not followed by a variable's name and }; write $${ for the text"
            )
        name, default = match["name"], match["default"]
        if default is not None:
            return environ.get(name) or default[2:]
        if name not in environ:
            missing.append(name)
        return environ.get(name, "")

    filled = _REFERENCE.sub(fill, text)
    if missing:
        names = " and ".join(dict.fromkeys(missing))
        raise Invalid.because(f"needs the environment variable {names}, which is not set")
    return filled
