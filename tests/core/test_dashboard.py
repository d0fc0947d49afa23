"""What plugins add to the dashboard, and how another plugin gets at it."""

from __future__ import annotations

import sys
import types

import attrs
import pytest

from perimeter import hookimpl, registry
from perimeter.dashboard import Contribution, Extension, Page
from perimeter.errors import PluginError
from perimeter.metrics import Metrics
from perimeter.settings import Settings


@attrs.frozen
class NoOptions:
    """Options of plugins that have none."""


class Shows:
    """Shows what the others add."""

    Config = NoOptions

    def __init__(self, config, context):
        self.context = context


class Adds:
    """Adds a page."""

    Config = NoOptions

    def __init__(self, config, context):
        pass

    @hookimpl
    def dashboard(self):
        """Add a page."""
        return Extension("pages_of_a_test:contribute", {"title": "Pages"})


class AddsNonsense:
    """Adds what is no extension."""

    Config = NoOptions

    def __init__(self, config, context):
        pass

    @hookimpl
    def dashboard(self):
        """Add nonsense."""
        return "<h1>Pages</h1>"


def load(**plugins):
    """Load plugins."""
    settings = Settings(plugins={name: {} for name in plugins})
    return registry.load(settings, metrics=Metrics(), extra=plugins)


@pytest.fixture
def module(monkeypatch):
    """Return a module that a factory can be in."""
    made = types.ModuleType("pages_of_a_test")
    monkeypatch.setitem(sys.modules, "pages_of_a_test", made)
    return made


def test_a_plugin_gets_what_others_contribute():
    """It is there by plugin, and plugins that add nothing are not in it."""
    loaded = load(shows=Shows, adds=Adds)
    found = loaded.plugins["shows"].instance.context.contributed("dashboard")

    assert dict(found) == {"adds": Extension("pages_of_a_test:contribute", {"title": "Pages"})}


def test_a_contribution_of_another_type_is_refused():
    """The plugin whose defect it is, is named."""
    loaded = load(shows=Shows, nonsense=AddsNonsense)
    with pytest.raises(PluginError, match="nonsense"):
        loaded.plugins["shows"].instance.context.contributed("dashboard")


def test_an_extension_is_made_where_it_is_used(module):
    """The factory gets the options."""
    module.contribute = lambda options: Contribution(pages=[Page("", options["title"], list)])
    made = Adds(None, None).dashboard().load()

    assert [page.title for page in made.pages] == ["Pages"]


def test_a_factory_that_returns_something_else(module):
    """It is refused with its name."""
    module.contribute = list
    with pytest.raises(TypeError, match=r"pages_of_a_test:contribute returned list"):
        Extension("pages_of_a_test:contribute").load()


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:4000"),
        ("0.0.0.0", "http://127.0.0.1:4000"),
        ("::", "http://[::1]:4000"),
    ],
)
def test_plugins_learn_where_the_proxy_is(host, address):
    """They get an address that can be connected to, and say where they are themselves."""
    loaded = load(shows=Shows)
    context = loaded.plugins["shows"].instance.context
    assert context.address == ""
    loaded.located(host, 4000)
    context.announce("dashboard: http://somewhere")

    assert context.address == address
    assert loaded.places() == ["dashboard: http://somewhere"]
