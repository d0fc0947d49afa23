"""Validators of single options."""

import math

import pytest

from perimeter import checks
from perimeter.options import Secret, Validator


def refuses(check: Validator, value: object) -> bool:
    """Whether a validator raises ValueError for a value."""
    try:
        check(None, None, value)  # type: ignore[arg-type]
    except ValueError:
        return True
    return False


GOOD_URLS = [
    "https://api.openai.com",
    "http://127.0.0.1:11434/",
    "https://host.example/openai/v1",
    "http://[::1]:8000",
]
BAD_URLS = [
    "",
    "api.openai.com",
    "ftp://host",
    "https://",
    "https:///path",
    "https://host:port",
    "https://host:99999",
    "https://user:word@host",
    "https://user@host",
    "https://host/?a=b",
    "https://host?",
    "https://host/#part",
    "https://host/a b",
    "https://host/\n",
    "https://[::1",
    "https://hö.example",
]


@pytest.mark.parametrize("url", GOOD_URLS)
def test_good_addresses_are_accepted(url: str) -> None:
    """Absolute http and https URLs with or without port and path."""
    assert not refuses(checks.http_url, url)


@pytest.mark.parametrize("url", BAD_URLS)
def test_bad_addresses_are_refused(url: str) -> None:
    """Anything that could not be forwarded to, or holds more than an address."""
    assert refuses(checks.http_url, url)


def test_a_password_in_an_address_is_not_repeated() -> None:
    """The message about credentials in a URL does not hold them."""
    word = "w" * 12
    with pytest.raises(ValueError, match="credentials") as caught:
        checks.http_url(None, None, f"https://user:{word}@host")
    assert word not in str(caught.value)


@pytest.mark.parametrize("prefix", ["", "/openai", "/a/b-c_d.e~f"])
def test_good_prefixes_are_accepted(prefix: str) -> None:
    """Nothing, or plain path segments."""
    assert not refuses(checks.path_prefix, prefix)


@pytest.mark.parametrize(
    "prefix",
    [
        *("/", "openai", "/openai/", "/-", "/-/to", "/-x", "//a", "/a b", "/%41"),
        *("/a/../b", "/a?b", "/health", "/metrics", "/config", "/agent-workflow/x"),
    ],
)
def test_bad_prefixes_are_refused(prefix: str) -> None:
    """Odd shapes, and paths that belong to the proxy itself."""
    assert refuses(checks.path_prefix, prefix)


@pytest.mark.parametrize("value", [0, -1, math.inf, math.nan, checks.YEAR + 1])
def test_durations_are_positive_and_finite(value: float) -> None:
    """No event loop can hold any of these."""
    assert refuses(checks.duration, value)


@pytest.mark.parametrize("value", [-0.1, math.inf, math.nan])
def test_waits_may_be_zero_but_nothing_odd(value: float) -> None:
    """Zero means not at all; infinity and nan mean nothing."""
    assert refuses(checks.duration_or_zero, value)
    assert not refuses(checks.duration_or_zero, 0)


@pytest.mark.parametrize("text", ["a\nb", "a\r", " a", "a ", "ä", "\x00", "a\x7f"])
def test_keys_must_fit_into_a_header(text: str) -> None:
    """Control characters, foreign letters and surrounding spaces would break the request."""
    assert refuses(checks.header_secret, Secret(text))


def test_ordinary_keys_fit_into_a_header() -> None:
    """Letters, digits, punctuation and inner spaces pass, and so does nothing."""
    for text in ("", "k" * 20, "Basic abc=="):
        assert not refuses(checks.header_secret, Secret(text))


def test_client_tokens_are_plain_or_a_whole_digest() -> None:
    """A digest must have its full length; an empty token would let everyone in."""
    assert not refuses(checks.client_token, Secret("word"))
    assert not refuses(checks.client_token, Secret("sha256:" + "0a" * 32))
    assert refuses(checks.client_token, Secret("sha256:0a"))
    assert refuses(checks.client_token, Secret(""))


@pytest.mark.parametrize("name", ["a b", "a:", "ä", "a\n"])
def test_header_names_are_tokens(name: str) -> None:
    """RFC 9110 allows no separators in a header's name."""
    assert refuses(checks.header_name, name)
    assert not refuses(checks.header_name, "api-key")


@pytest.mark.parametrize("name", ["", "http://a", "a/b", "[::1]", "a b"])
def test_hosts_are_names_or_addresses(name: str) -> None:
    """URLs and brackets are mistakes; the rest is left to the operating system."""
    assert refuses(checks.host_name, name)
    assert not refuses(checks.host_name, "::1")


def test_numbers_have_limits() -> None:
    """Both ends of a range are part of it."""
    assert not refuses(checks.between(1, 3), 1)
    assert not refuses(checks.between(1, 3), 3)
    assert refuses(checks.between(1, 3), 4)
    assert refuses(checks.at_least(1), 0)


def test_a_bad_item_is_named_by_its_place() -> None:
    """The message about a list says which item is wrong."""
    with pytest.raises(ValueError, match="item 2 must be between"):
        checks.each(checks.between(1, 3))(None, None, [1, 9])  # type: ignore[arg-type]


def test_choices_are_listed() -> None:
    """The message names what could be written instead."""
    with pytest.raises(ValueError, match="one of a, b"):
        checks.one_of("a", "b")(None, None, "c")  # type: ignore[arg-type]
