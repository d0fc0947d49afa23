"""Fixtures for the tests of core."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


CERTIFICATE = Path(__file__).parents[1] / "data" / "tls" / "certificate.pem"


@pytest.fixture(scope="module", autouse=True)
def one_authority() -> Iterator[None]:
    """Trust nobody out there: to read 140 authorities takes each client and each proxy 25 ms."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SSL_CERT_FILE", str(CERTIFICATE))
        yield
