"""The settings' classes by themselves, and what they promise each other."""

import attrs
import pytest

from perimeter.options import Secret
from perimeter.settings import (
    PUBLIC_BASE_URLS,
    UPSTREAM_TYPE_NAMES,
    LoggingSettings,
    RecordingSettings,
    ServerSettings,
    Settings,
    UpstreamSettings,
)


TABLES = [ServerSettings, LoggingSettings, RecordingSettings, UpstreamSettings]


@pytest.mark.parametrize("cls", TABLES)
def test_every_option_has_a_help_text(cls: type) -> None:
    """Help is one or more whole sentences, because the example file shows nothing else."""
    for field in attrs.fields(cls):
        assert field.metadata["help"].endswith("."), field.name


@pytest.mark.parametrize("cls", [*TABLES, Settings])
def test_settings_are_frozen(cls: type) -> None:
    """Nobody can change a setting after the start."""
    required = {"type": "raw", "base_url": "http://localhost"} if cls is UpstreamSettings else {}
    instance = cls(**required)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(instance, attrs.fields(cls)[0].name, None)


def test_defaults_are_safe() -> None:
    """Out of the box the proxy is reachable from this machine only."""
    assert ServerSettings().host == "127.0.0.1"
    assert not ServerSettings().admin_token


def test_every_public_address_belongs_to_a_type() -> None:
    """Only raw, which can be anywhere, has no well-known address."""
    assert set(UPSTREAM_TYPE_NAMES) - set(PUBLIC_BASE_URLS) == {"raw"}


def test_the_types_are_those_that_have_dialects() -> None:
    """The names that the configuration accepts are the ones the dialects know."""
    dialects = pytest.importorskip("perimeter.dialects")
    assert set(UPSTREAM_TYPE_NAMES) == set(dialects.UPSTREAM_TYPES)


def test_secrets_stay_out_of_the_repr() -> None:
    """Settings can be logged without giving a key away."""
    key = "k" * 20
    settings = Settings(
        upstreams={"a": UpstreamSettings("raw", "http://localhost", api_key=Secret(key))}
    )
    assert key not in repr(settings)


def test_all_secrets_can_be_collected() -> None:
    """Each Secret of the settings is found, so that logging can mask it."""
    secrets = [Secret(text) for text in ("admin", "client", "key")]
    settings = Settings(
        server=ServerSettings(admin_token=secrets[0], tokens=[secrets[1]]),
        upstreams={"a": UpstreamSettings("raw", "http://localhost", api_key=secrets[2])},
    )
    assert settings.secrets() == secrets
