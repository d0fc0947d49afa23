"""What configuration classes are made of: ``option()``, and ``Secret`` for what must not be shown.

Core's own settings and every plugin's ``Config`` are frozen attrs classes whose fields all come
from ``option()``; the loader, ``perimeter generate-config`` and the documentation read the help
texts from there.
"""

import functools
import hmac
from collections.abc import Callable
from typing import Any, Final

import attrs


Validator = Callable[[Any, "attrs.Attribute[Any]", Any], None]

REQUIRED: Final = attrs.NOTHING
"""Give this as the default of an option that the user must set."""

MASK: Final = "***"


class Secret:
    """A string that shows itself only when asked.

    ``repr()`` and ``str()`` give ``***``, so that neither a log line nor a traceback can leak it.
    It is a plain class on purpose: json, msgspec and cattrs refuse it instead of writing its
    content.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str = "") -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the text itself."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        """Compare in constant time, because clients' tokens are compared with this."""
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __repr__(self) -> str:
        return MASK


def option(
    default: Any,
    *,
    help: str,
    validator: Validator | None = None,
    converter: Callable[[Any], Any] | None = None,
    hidden: bool = False,
) -> Any:
    """Declare one field of a configuration class.

    Args:
        default: The value when the file does not say; ``REQUIRED`` if it must. A list, dict, set or
            attrs instance is copied for every instance of the class.
        help: One sentence for the example file and the documentation; it names the unit where there
            is one.
        validator: An attrs validator; it raises ``ValueError`` with a message that can follow the
            option's name.
        converter: Normalises a value that already has the right type, before the validator sees it.
        hidden: Leave it out of example files: for a name that is only known to be refused.

    """
    metadata = {"help": help, "hidden": hidden}
    if isinstance(default, (list, dict, set)) or attrs.has(type(default)):
        default = attrs.Factory(functools.partial(_copy, default))
    return attrs.field(default=default, validator=validator, converter=converter, metadata=metadata)


def _copy(value: Any) -> Any:
    return attrs.evolve(value) if attrs.has(type(value)) else value.copy()
