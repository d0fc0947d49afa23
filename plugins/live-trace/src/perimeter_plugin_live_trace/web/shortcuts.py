"""The keys that do something, for the settings page."""

from __future__ import annotations


SHORTCUTS: dict[str, tuple[tuple[str, str], ...]] = {
    "Go to": (
        ("g o", "Overview"),
        ("g s", "Sessions"),
        ("g a", "Agents"),
        ("g e", "Events"),
        ("g f", "Findings"),
        ("g p", "PII"),
        ("g t", "Tools"),
        ("g m", "Models"),
        ("g r", "Reports"),
        ("g c", "Connect"),
        ("g h", "Health"),
        ("g ,", "Settings"),
        ("/", "Search"),
    ),
    "In lists": (
        ("j", "Next row"),
        ("k", "Previous row"),
        ("Enter", "Open"),
        ("p", "Peek"),
        ("x", "Select"),
        ("u", "Show what is new"),
        ("l", "Live on or off"),
    ),
    "In a session": (
        ("m", "Conversation"),
        ("t", "Timeline"),
        ("r", "Events"),
        ("[", "Previous session"),
        ("]", "Next session"),
        ("n", "Next match"),
        ("e", "Next error"),
        ("f", "Next finding"),
        ("o", "Open or close"),
        (".", "To the end"),
        ("c", "Copy the link"),
        ("y", "Copy the id"),
    ),
    "Everywhere": (("?", "Help"), ("Esc", "Close")),
}
