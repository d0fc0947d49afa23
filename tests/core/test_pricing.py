"""Prices: costs worked out by hand, the names that models go by, and what has no price."""

from __future__ import annotations

import re
from importlib.resources import files

import attrs
import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st

from perimeter.calls import Usage
from perimeter.configuration.converter import structure_table
from perimeter.errors import ConfigError
from perimeter.pricing import Price, PriceTable, TieredPrice


TABLE = PriceTable.packaged()
FILE = tomli.loads(files("perimeter.pricing").joinpath("prices.toml").read_text(encoding="utf-8"))
MODELS = [name for provider in FILE.values() for name in provider["models"]]


@pytest.mark.parametrize(
    ("model", "usage", "dollars"),
    [
        # 1,000 at 2.00, 1,000 cached at 0.50, 500 at 8.00
        ("gpt-4.1", Usage(2_000, 500, cache_read=1_000), 0.002 + 0.0005 + 0.004),
        # 50 at 3.00, 100,000 read at 0.30, 248 written at 3.75, 503 at 15.00
        (
            "claude-sonnet-4-5",
            Usage(100_298, 503, cache_read=100_000, cache_write=248),
            0.00015 + 0.03 + 0.00093 + 0.007545,
        ),
        # Reasoning is output: 25 at 1.25, 708 at 10.00
        ("gemini-2.5-pro", Usage(25, 708, reasoning=534), 0.00003125 + 0.00708),
        # No price of cached tokens is known, so they cost what others do.
        ("gpt-4o-2024-05-13", Usage(1_000, 0, cache_read=900), 0.005),
        ("text-embedding-3-small", Usage(1_000_000), 0.02),
        ("gpt-4.1", Usage(), 0.0),
    ],
)
def test_costs_by_hand(model, usage, dollars):
    """Input leaves out the cached tokens, which have their own price."""
    assert TABLE.cost(model, usage) == pytest.approx(dollars, rel=1e-12)


@pytest.mark.parametrize(
    ("usage", "dollars"),
    [
        (Usage(200_000, 1_000), 0.25 + 0.01),
        (Usage(200_001, 1_000), 0.5000025 + 0.015),
        (Usage(300_000, 1_000, cache_read=200_000), 0.25 + 0.05 + 0.015),
    ],
)
def test_long_prompts_cost_more(usage, dollars):
    """All tokens of such a call do, cached ones and the answer as well; cached ones count."""
    assert TABLE.cost("gemini-2.5-pro", usage) == pytest.approx(dollars, rel=1e-12)


def test_more_cached_tokens_than_input_are_no_discount():
    """What contradicts itself costs what the cached tokens do, and never less than nothing."""
    price = Price(2.0, 8.0, cache_read=0.5)
    assert price.cost(Usage(10, 0, cache_read=1_000_000)) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("gpt-4.1-mini-2025-04-14", "gpt-4.1-mini"),
        ("openai/gpt-4.1-mini", "gpt-4.1-mini"),
        ("GPT-4.1-Mini", "gpt-4.1-mini"),
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("gpt-4o-2024-05-13", "gpt-4o-2024-05-13"),
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("claude-sonnet-4-5@20250929", "claude-sonnet-4-5"),
        ("claude-sonnet-4-6@default", "claude-sonnet-4-6"),
        ("claude-sonnet-4-20250514", "claude-sonnet-4"),
        ("claude-3-5-haiku-latest", "claude-3-5-haiku"),
        ("anthropic/claude-sonnet-4.5", "claude-sonnet-4-5"),
        ("anthropic/claude-opus-4-5-20251101", "claude-opus-4-5"),
        ("anthropic.claude-opus-4-6-v1", "claude-opus-4-6"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5"),
        ("global.anthropic.claude-haiku-4-5-20251001-v1:0", "claude-haiku-4-5"),
        ("models/gemini-2.5-flash", "gemini-2.5-flash"),
        ("publishers/google/models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("google/gemini-2.5-flash-lite", "gemini-2.5-flash-lite"),
        ("gemini-2.5-flash-001", "gemini-2.5-flash"),
        ("x-ai/grok-4.7", "grok-4.7"),
    ],
)
def test_names_of_the_same_model(name, model):
    """Where a model is served, and its version, change nothing about its price."""
    assert TABLE.price_of(model) is not None
    assert TABLE.price_of(name) is TABLE.price_of(model)


def test_neighbours_are_told_apart():
    """A name that begins like another is another model."""
    assert TABLE.price_of("gpt-4.1-mini") != TABLE.price_of("gpt-4.1")
    assert TABLE.price_of("claude-opus-4-5") != TABLE.price_of("claude-opus-4-1")
    assert TABLE.price_of("gemini-2.5-flash-lite") != TABLE.price_of("gemini-2.5-flash")
    table = PriceTable({"gpt-4.1": Price(2.0, 8.0), "claude-sonnet-4": Price(3.0, 15.0)})
    assert table.price_of("gpt-4.1-mini") is None
    assert table.price_of("gpt-4.1-mini-2025-04-14") is None
    assert table.price_of("claude-sonnet-4-5") is None
    assert table.price_of("claude-sonnet-4-5-20250929") is None


@pytest.mark.parametrize(
    "name",
    [
        "",
        "my-model",
        "gpt",
        "gpt-4",
        "gpt-4.1-mega",
        "gpt-4.1-mini-2025-04-14-preview",
        "gpt-4.1-2025-04-14-2025-04-14-2025-04-14",
        "2025-04-14",
        "-2025-04-14",
        "xgpt-4.1",
        "somebody/gpt-4.1",
        "openai/gemini-2.5-pro",
        "openai/openai/gpt-4.1",
        "ft:gpt-4.1-mini-2025-04-14:acme::abc123",
        "ft:gpt-4.1-mini",
        "gpt-4.1-mini-2025-04-14.ft-0123456789abcdef",
        "tunedModels/gemini-2.5-flash",
        "gemini-2.5-flash-image",
        "gemini-2.5-flash-preview-tts",
        "claude-sonnet-4-5:free",
        "x" * 100_000,
    ],
)
def test_unknown_models_have_no_price(name):
    """No price is better than that of another model, and unknown is not free."""
    assert TABLE.price_of(name) is None
    assert TABLE.cost(name, Usage(1_000, 1_000)) is None


def test_overrides():
    """They count instead of packaged prices, under all names of the model, and add models."""
    mine, other = Price(1.0, 2.0), Price(0.0, 0.0)
    table = PriceTable.packaged({"gpt-4.1": mine, "ft:gpt-4.1:acme::x": other, "Llama": other})
    for name in ("gpt-4.1", "gpt-4.1-2025-04-14", "openai/gpt-4.1"):
        assert table.price_of(name) is mine
    assert table.price_of("gpt-4.1-mini") == TABLE.price_of("gpt-4.1-mini")
    assert table.price_of("ft:gpt-4.1:acme::x") is other
    assert table.cost("llama", Usage(5, 5)) == 0.0
    assert table.as_of == TABLE.as_of


def test_an_override_of_a_version_is_for_that_version():
    """The longest name counts."""
    mine = Price(1.0, 2.0)
    table = PriceTable.packaged({"gpt-4.1-2025-04-14": mine})
    assert table.price_of("gpt-4.1-2025-04-14") is mine
    assert table.price_of("gpt-4.1") == TABLE.price_of("gpt-4.1")


def test_what_is_remembered_is_bounded():
    """Clients choose the names of models, and may send ever new ones."""
    table = PriceTable({"a": Price(1.0, 1.0)})
    for number in range(3_000):
        assert table.price_of(f"model-{number}") is None
        assert table.price_of("a") is not None
    table.price_of("x" * 10_000)
    assert len(table._known) <= 1024
    assert max(map(len, table._known)) < 200


@given(st.text(), st.builds(Usage, *[st.integers(0, 10**12)] * 5))
def test_any_name_has_a_price_or_none(name, usage):
    """Nothing is raised, and nothing costs less than nothing."""
    cost = TABLE.cost(name, usage)
    assert cost is None or cost >= 0


@given(
    st.sampled_from(MODELS),
    st.text(alphabet="-@:./v0123456789latest", max_size=12),
    st.builds(Usage, *[st.integers(0, 10**12)] * 5),
)
def test_what_is_near_a_name_costs_what_the_model_does_or_nothing_is_known(model, rest, usage):
    """What stands behind a name is its version, or makes it another model."""
    price = TABLE.price_of(model + rest)
    cost = TABLE.cost(model + rest, usage)
    assert (cost is None) == (price is None)
    assert cost is None or cost >= 0


@pytest.mark.parametrize("provider", FILE)
def test_the_packaged_file(provider):
    """It is dated, names its source, and no model reads from a cache at more than full price."""
    table = FILE[provider]
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", table["as_of"])
    assert table["as_of"] >= TABLE.as_of
    assert "." in table["source"]
    for name in table["models"]:
        price = TABLE.price_of(name)
        tiers = [price, price.long] if isinstance(price, TieredPrice) else [price]
        for tier in tiers:
            assert tier.input > 0
            assert (tier.cache_read or 0) <= tier.input
            assert tier.cache_write is None or tier.cache_write >= tier.input
        assert tiers[0].input <= tiers[-1].input


def test_a_price_is_an_entry_of_the_configuration():
    """Four options, each with a help text."""
    assert [field.name for field in attrs.fields(Price)] == [
        "input",
        "output",
        "cache_read",
        "cache_write",
    ]
    assert all(field.metadata["help"] for field in attrs.fields(Price))
    read = structure_table(Price, {"input": 2, "output": 8.5, "cache_read": 0.5})
    assert read == Price(2.0, 8.5, cache_read=0.5)
    for table in ({"input": 1.0}, {"input": 1.0, "output": -1.0}, {"input": 1.0, "output": "2"}):
        with pytest.raises(ConfigError):
            structure_table(Price, table)


@pytest.mark.parametrize("value", [-0.01, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["input", "output", "cache_read", "cache_write"])
def test_prices_that_are_none(name, value):
    """They are refused."""
    with pytest.raises(ValueError, match="not negative"):
        Price(**{"input": 1.0, "output": 1.0, name: value})
