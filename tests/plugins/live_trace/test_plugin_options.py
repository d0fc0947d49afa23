"""The options of live trace, and when a browser is opened."""

from __future__ import annotations

import pytest

from perimeter.configuration import Overrides, load
from perimeter.discovery import problems_of_plugins
from perimeter.errors import ConfigError
from perimeter_plugin_live_trace import browser


BASE = '[upstreams.x]\ntype = "openai"\nbase_url = "http://127.0.0.1:9"\n[plugins.live_trace]\n'


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("enable_presidio = true", "belongs to the security plugin"),
        ("enable_presidio = false", "belongs to the security plugin"),
        ("server_port = 70000", "must be a port from 0 to 65535"),
        ('storage_mode = "disk"', "storage_mode"),
        ("max_age = -1", "must be 0 or more"),
        ("nothing = 1", "nothing"),
    ],
)
def test_refused_options(tmp_path, line, says):
    """What can't be is refused at the start, with its place and the reason."""
    file = tmp_path / "perimeter.toml"
    file.write_text(BASE + line + "\n")
    with pytest.raises(ConfigError) as raised:
        load(file, environ={}, overrides=Overrides(), check_plugins=problems_of_plugins)

    assert "plugins.live_trace" in str(raised.value)
    assert says in str(raised.value)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"DISPLAY": ":0"}, True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, True),
        ({}, False),
        ({"DISPLAY": ":0", "SSH_CONNECTION": "1.2.3.4"}, False),
        ({"DISPLAY": ":0", "SSH_TTY": "/dev/pts/0"}, False),
        ({"DISPLAY": ":0", "CI": "true"}, False),
        ({"DISPLAY": ":0", "KUBERNETES_SERVICE_HOST": "10.0.0.1"}, False),
        ({"DISPLAY": ":0", "container": "podman"}, False),
    ],
)
def test_when_a_browser_is_opened(monkeypatch, environ, expected):
    """Only where a person sits at a desktop of this machine."""
    monkeypatch.setattr(browser, "CONTAINER_MARKS", ())
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)

    assert browser.is_there(environ, "linux") is expected


def test_no_browser_without_a_terminal(monkeypatch):
    """A proxy that a service manager starts opens nothing."""
    monkeypatch.setattr(browser, "CONTAINER_MARKS", ())
    monkeypatch.setattr("sys.stdout.isatty", lambda: False)

    assert not browser.is_there({"DISPLAY": ":0"}, "linux")
