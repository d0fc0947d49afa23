"""What people are told is masked is masked."""

from __future__ import annotations

import pytest

from perimeter import redaction
from perimeter.redaction.prefixes import PREFIXES


HEADERS, KEYS, NAMES, PARAMETERS, _ = redaction.kinds()
VALUE = "Zm9vYmFy" + "0123456789" * 2


@pytest.mark.parametrize("name", HEADERS.such_as)
def test_headers(name):
    """A field of that name shows nothing of its value."""
    ((_, value),) = redaction.headers(((name.encode(), f"a={VALUE}".encode()),))
    assert VALUE.encode() not in value


@pytest.mark.parametrize("name", NAMES.such_as)
def test_names(name):
    """In JSON, a value of that name is masked, and so is one whose name ends with it."""
    for spelled in (name, f"my_{name}", name.replace("_", "-"), name.replace("_", "").upper()):
        assert VALUE not in redaction.text(f'{{"{spelled}": "{VALUE}"}}')


@pytest.mark.parametrize("name", PARAMETERS.such_as)
def test_parameters(name):
    """In an address, a parameter of that name is masked."""
    assert VALUE not in redaction.text(f"https://example.com/?a=1&{name}={VALUE}")


def test_keys():
    """All prefixes are told."""
    assert KEYS.such_as == tuple(prefix.text for prefix in PREFIXES)
