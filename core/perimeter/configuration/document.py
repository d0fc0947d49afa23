"""Reading the configuration file itself."""

import re
from pathlib import Path
from typing import Any

import attrs
import tomli

from perimeter.configuration.problems import KeyPath
from perimeter.configuration.toml_lines import key_lines
from perimeter.errors import ConfigError, Problem


_YAML_NAMES = frozenset({".yaml", ".yml"})
_YAML_START = re.compile(r"(?:\s|#[^\n]*\n)*(?:---|[\w-]+:(?:\s|$))")


@attrs.frozen
class Document:
    """What a file holds.

    Attributes:
        path: The file; None if there is none, which is the same as an empty one.
        lines: The line of every table and key.

    """

    path: Path | None = None
    table: dict[str, Any] = attrs.Factory(dict)
    lines: dict[KeyPath, int] = attrs.Factory(dict)

    @classmethod
    def read(cls, path: Path) -> "Document":
        """Read a file.

        Raises:
            ConfigError: If it cannot be read, is not TOML, or is YAML.

        """
        if path.suffix.lower() in _YAML_NAMES:
            raise _not_toml(path, "YAML")
        text = _text_of(path)
        try:
            table = tomli.loads(text)
        except tomli.TOMLDecodeError as error:
            if _YAML_START.match(text):
                raise _not_toml(path, "YAML") from None
            raise ConfigError([_syntax_problem(path, error)]) from None
        except (ValueError, RecursionError):
            # Numbers of thousands of digits and towers of brackets; the parser does not say where.
            message = "not usable: a number is too long or arrays are nested too deeply"
            raise ConfigError([Problem(message, str(path))]) from None
        return cls(path, table, key_lines(text.replace("\r\n", "\n")))


def _syntax_problem(path: Path, error: tomli.TOMLDecodeError) -> Problem:
    message = f"not valid TOML: {error.msg}"
    return Problem(message, str(path), line=error.lineno, column=error.colno)


def _text_of(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")  # some Windows editors write the mark
    except OSError as error:
        raise ConfigError([Problem(f"cannot be read: {error.strerror}", str(path))]) from None
    except UnicodeDecodeError:
        raise ConfigError([Problem("cannot be read: it is not UTF-8 text", str(path))]) from None


def _not_toml(path: Path, found: str) -> ConfigError:
    message = (
        f"this is {found}, but Perimeter is configured in TOML; "
        "`perimeter generate-config perimeter.toml` writes a file to start from"
    )
    return ConfigError([Problem(message, str(path))])
