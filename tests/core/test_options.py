"""What configuration classes are made of."""

import json

import attrs
import cattrs
import msgspec
import pytest

from perimeter.options import Secret, option


WORD = "a-word-that-must-not-show"


@attrs.frozen
class Inner:
    """A table inside a table."""

    size: int = option(1, help="A size.")


@attrs.frozen
class Sample:
    """A configuration class with defaults of every shape."""

    names: list[str] = option([], help="Names.")
    table: dict[str, int] = option({"a": 1}, help="A table.")
    inner: Inner = option(Inner(), help="An inner table.")
    level: str = option("info", help="A level.", converter=str.upper)


def test_a_secret_shows_itself_only_when_asked() -> None:
    """Neither repr, str, formatting nor a containing object's repr gives the text away."""
    secret = Secret(WORD)
    shown = f"{secret} {secret!r} {[secret]}"
    assert WORD not in shown
    assert secret.reveal() == WORD


def test_a_secret_is_true_when_it_holds_something() -> None:
    """An empty secret means that none was set."""
    assert Secret(WORD)
    assert not Secret()


def test_secrets_compare_by_value() -> None:
    """Equal texts are equal secrets with equal hashes; a plain string is never equal."""
    assert Secret(WORD) == Secret(WORD)
    assert hash(Secret(WORD)) == hash(Secret(WORD))
    assert Secret(WORD) != Secret("ä")
    assert Secret(WORD) != WORD


@pytest.mark.parametrize("encode", [json.dumps, msgspec.json.encode])
def test_a_secret_is_not_serialised_by_accident(encode) -> None:  # type: ignore[no-untyped-def]
    """JSON writers refuse it."""
    with pytest.raises(TypeError):
        encode({"key": Secret(WORD)})


def test_cattrs_does_not_write_a_secret() -> None:
    """Unstructuring leaves the object as it is."""
    assert WORD not in repr(cattrs.unstructure({"key": Secret(WORD)}))


def test_mutable_defaults_are_not_shared() -> None:
    """Each instance has its own list and dict, equal to the default."""
    first, second = Sample(), Sample()
    assert first == second
    assert first.names is not second.names
    assert first.table is not second.table


def test_options_carry_their_help() -> None:
    """The help text is found in the field's metadata."""
    assert attrs.fields(Sample).inner.metadata["help"] == "An inner table."


def test_a_converter_normalises_values() -> None:
    """What is given is changed before it is kept."""
    assert Sample(level="debug").level == "DEBUG"
