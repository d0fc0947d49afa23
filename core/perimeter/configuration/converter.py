"""The strict converter: TOML values to attrs classes without coercion, collecting every complaint.

cattrs picks the hook for a type; its own hooks for simple types are replaced, because they turn
``"false"`` into True and ``1.7`` into 1, and its classes' hook too, because attrs stops at the
first validator that raises.
"""

import contextlib
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, time
from enum import Enum
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, Union, get_args, get_origin

import attrs
import cattrs

from perimeter.configuration.problems import Invalid, KeyPath, Locator, kind_of, suggestion
from perimeter.errors import ConfigError
from perimeter.options import REQUIRED, Secret
from perimeter.settings import Settings


T = TypeVar("T")
Hook = Callable[[Any, Any], Any]


def structure_table(
    cls: type[T],
    table: Mapping[str, Any],
    *,
    key: str | KeyPath = (),
    file: str | Path | None = None,
    lines: Mapping[KeyPath, int] | None = None,
) -> T:
    """Turn a table into an instance of an attrs class, by the rules of core's own tables.

    Args:
        cls: An attrs class, such as a plugin's ``Config``.
        table: What the file holds; variables have been filled in.
        key: Where the table stands, such as ``plugins.printer``.
        file: The file, for messages.
        lines: The lines of keys in that file, as in ``Settings.lines``.

    Raises:
        ConfigError: With one problem for everything that is wrong in this table.

    """
    path: KeyPath = tuple(key.split(".")) if isinstance(key, str) else key
    locator = Locator(str(file) if file else None, lines or {})
    try:
        return structure(table, cls)
    except Invalid as invalid:
        raise ConfigError([locator.problem(path + at, m) for at, m in invalid.complaints]) from None


def structure_plugin(settings: Settings, name: str, cls: type[T]) -> T:
    """Turn the table of one plugin into its ``Config``; ``enabled`` is the registry's and left out.

    Raises:
        ConfigError: With one problem for everything that is wrong in the table.

    """
    table = {key: value for key, value in settings.plugins[name].items() if key != "enabled"}
    return structure_table(
        cls, table, key=("plugins", name), file=settings.source, lines=settings.lines
    )


def structure(value: Any, cls: type[T]) -> T:
    """Turn a value into a type; raise ``Invalid`` and nothing else.

    An exception from a class of a plugin (a validator, a type that nobody can convert to) becomes a
    complaint.
    """
    try:
        return _converter.structure(value, cls)
    except Invalid:
        raise
    except Exception as error:
        raise Invalid.because(_message_of(error)) from error


def _message_of(error: Exception) -> str:
    """Take the text of an exception; attrs validators put more than the text into the arguments."""
    first = error.args[0] if error.args else None
    return first if isinstance(first, str) and first else str(error) or type(error).__name__


def _exactly(*accepted: type, wanted: str) -> Hook:
    def hook(value: Any, _type: Any) -> Any:
        if type(value) not in accepted:
            raise Invalid.because(f"must be {wanted}, not {kind_of(value)}")
        return value

    return hook


_a_string = _exactly(str, wanted="a string")
_an_array = _exactly(list, tuple, wanted="an array")


def _number(value: Any, _type: Any) -> float:
    try:
        return float(_exactly(int, float, wanted="a number")(value, float))
    except OverflowError:
        raise Invalid.because("must be a smaller number") from None


def _table(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise Invalid.because(f"must be a table, not {kind_of(value)}")
    return value


def _choice(value: Any, choices: Sequence[Any], result: Sequence[Any]) -> Any:
    for choice, outcome in zip(choices, result, strict=True):
        if type(value) is type(choice) and value == choice:
            return outcome
    if isinstance(value, str):
        hint = suggestion(value, [c for c in choices if isinstance(c, str) and c])
        raise Invalid.because(f"{value!r} is not known{hint}")
    raise Invalid.because(f"must be one of {', '.join(map(repr, choices))}, not {kind_of(value)}")


def _literal(value: Any, cls: Any) -> Any:
    return _choice(value, get_args(cls), get_args(cls))


def _enum(value: Any, cls: Any) -> Any:
    return _choice(value, [member.value for member in cls], list(cls))


def _each(items: Iterable[tuple[Any, Any, Any]]) -> dict[Any, Any]:
    """Structure (key, value, type) triples; raise once for all that fail."""
    done: dict[Any, Any] = {}
    complaints: list[tuple[KeyPath, str]] = []
    for key, value, cls in items:
        try:
            done[key] = structure(value, cls)
        except Invalid as invalid:
            complaints += invalid.under(key)
    if complaints:
        raise Invalid(complaints)
    return done


def _array(value: Any, cls: Any) -> Any:
    """Structure arrays into the list, tuple or set that the class asks for."""
    arguments = [a for a in get_args(cls) if a is not Ellipsis] or [Any]
    items = _an_array(value, cls)
    made = _each((position, item, arguments[0]) for position, item in enumerate(items))
    origin = get_origin(cls) or cls
    return (origin if origin in {tuple, set, frozenset} else list)(made.values())


def _dictionary(value: Any, cls: Any) -> dict[str, Any]:
    arguments = get_args(cls) or (str, Any)
    return _each((key, item, arguments[1]) for key, item in _table(value).items())


def _union(value: Any, cls: Any) -> Any:
    """Take the first member that accepts the value; complain in the words of the last."""
    members = [member for member in get_args(cls) if member is not types.NoneType]
    if value is None and len(members) < len(get_args(cls)):
        return None
    refusals = []
    for member in members:
        try:
            return structure(value, member)
        except Invalid as invalid:
            refusals.append(invalid)
    raise refusals[-1]


def _attrs_class(value: Any, cls: Any) -> Any:
    """Structure a table: unknown keys, missing ones, wrong values and validators, all at once."""
    table = _table(value)
    fields = {field.alias: field for field in attrs.fields(attrs.resolve_types(cls)) if field.init}
    complaints: list[tuple[KeyPath, str]] = [
        ((key,), f"is not an option{suggestion(str(key), fields)}")
        for key in table
        if key not in fields
    ]
    values: dict[str, Any] = {}
    for key, field in fields.items():
        try:
            values |= _field(table, key, field)
        except Invalid as invalid:
            complaints += invalid.under(key)
    if complaints:
        raise Invalid(complaints)
    return cls(**values)


def _field(table: Mapping[str, Any], key: str, field: "attrs.Attribute[Any]") -> dict[str, Any]:
    """Structure and validate the value of one field; nothing if its default applies."""
    if key not in table:
        if field.default is REQUIRED:
            raise Invalid.because("is missing")
        return {}
    value = structure(table[key], field.type or Any)
    try:
        _validate(field, value)
    except Exception as error:
        raise Invalid.because(_message_of(error)) from error
    return {key: value}


def _validate(field: "attrs.Attribute[Any]", value: Any) -> None:
    """Run a field's validator before there is an instance, so that no mistake hides the next one.

    A validator that looks at other fields cannot run yet (there is no instance): building one will
    run it.
    """
    converter: Any = field.converter
    if field.validator is None or isinstance(converter, attrs.Converter):
        return
    converted = value if converter is None else converter(value)
    with contextlib.suppress(AttributeError):
        field.validator(None, field, converted)


def _is(*origins: Any) -> Callable[[Any], bool]:
    return lambda cls: (get_origin(cls) or cls) in origins


def _is_enum(cls: Any) -> bool:
    return isinstance(cls, type) and issubclass(cls, Enum)


def _make_converter() -> cattrs.Converter:
    """Register every hook; simple types by themselves, because that is where cattrs looks first."""
    converter = cattrs.Converter()
    families: list[tuple[Callable[[Any], bool], Hook]] = [
        (attrs.has, _attrs_class),
        (_is_enum, _enum),
        (_is(Literal), _literal),
        (_is(Union, types.UnionType), _union),
        (_is(list, tuple, set, frozenset, Sequence), _array),
        (_is(dict, Mapping), _dictionary),
        (_is(Any, object), lambda value, _: value),
    ]
    for predicate, hook in families:
        converter.register_structure_hook_func(predicate, hook)
    for cls, hook in _simple_hooks().items():
        converter.register_structure_hook(cls, hook)
    return converter


def _simple_hooks() -> dict[Any, Hook]:
    return {
        str: _a_string,
        bool: _exactly(bool, wanted="true or false"),
        int: _exactly(int, wanted="an integer"),
        float: _number,
        Path: lambda value, cls: Path(_a_string(value, cls)),
        Secret: lambda value, cls: Secret(_a_string(value, cls)),
        **{kind: _exactly(kind, wanted=f"a {kind.__name__}") for kind in (datetime, date, time)},
    }


_converter: Final = _make_converter()
