"""The keys that do something: what the dialog of `?` and the settings page tell of them."""

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
    ),
    "In a session": (
        ("m", "Conversation"),
        ("t", "Timeline"),
        ("r", "Events"),
        ("[", "Previous session"),
        ("]", "Next session"),
        ("n", "Next match"),
        ("N", "Previous match"),
        ("e", "Next error"),
        ("E", "Previous error"),
        ("f", "Next finding"),
        ("F", "Previous finding"),
        ("o", "Open or close one"),
        ("O", "Open or close all"),
        (".", "To the end"),
    ),
    "Everywhere": (
        ("c", "Copy the link"),
        ("y", "Copy the id"),
        ("l", "Live on or off"),
        ("Esc", "Close"),
        ("?", "This help"),
    ),
}
