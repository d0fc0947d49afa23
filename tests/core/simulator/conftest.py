"""A simulator on a real socket, and the official SDKs pointed at it."""

from __future__ import annotations

from collections.abc import Iterator

import anthropic
import httpx
import openai
import pytest

from perimeter.simulator import Simulator
from perimeter.testing import serve


@pytest.fixture(scope="package")
def simulator() -> Simulator:
    """A simulator as fast as it can be."""
    return Simulator(seed=7)


@pytest.fixture(scope="package")
def base_url(simulator: Simulator) -> Iterator[str]:
    """Where the simulator listens."""
    with serve(simulator) as url:
        yield url


@pytest.fixture
def http(base_url: str) -> Iterator[httpx.Client]:
    """A plain HTTP client of the simulator."""
    with httpx.Client(base_url=base_url, trust_env=False, timeout=30) as client:
        yield client


@pytest.fixture
def gpt(base_url: str) -> Iterator[openai.OpenAI]:
    """OpenAI's SDK, without its own retries."""
    with openai.OpenAI(base_url=f"{base_url}/v1", api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture
def claude(base_url: str) -> Iterator[anthropic.Anthropic]:
    """Anthropic's SDK, without its own retries."""
    with anthropic.Anthropic(base_url=base_url, api_key="any", max_retries=0) as client:
        yield client
