"""Settings: preferences, what is kept and for how long, and deleting."""

from __future__ import annotations

import msgspec

from perimeter.redaction import Kind, kinds
from perimeter_plugin_live_trace.queries import deletion
from perimeter_plugin_live_trace.queries.health import Store, store
from perimeter_plugin_live_trace.store import changes
from perimeter_plugin_live_trace.web.page import Ask, Redirect, Refused, action, page
from perimeter_plugin_live_trace.web.preferences import CHOICES
from perimeter_plugin_live_trace.web.site import Retention


ZONES = (
    "auto", "UTC", "America/Los_Angeles", "America/New_York", "America/Sao_Paulo",
    "Europe/London", "Europe/Berlin", "Africa/Johannesburg", "Asia/Dubai", "Asia/Kolkata",
    "Asia/Shanghai", "Asia/Tokyo", "Australia/Sydney",
)  # fmt: skip
"""Zones to choose from; any other IANA name can be typed."""
WORD = "delete"
"""What has to be typed before anything is deleted."""


class SettingsView(msgspec.Struct, frozen=True):
    """The page."""

    title: str
    prefs: dict[str, str]
    choices: dict[str, tuple[str, ...]]
    zones: tuple[str, ...]
    storage: str
    max_age_s: float
    max_sessions: int
    max_size: int
    store: Store
    retention: Retention
    masked: tuple[Kind, ...]
    token: bool
    loopback: bool
    address: str
    word: str
    audit: list[deletion.Change]


@page("/settings", template="pages/settings.html", nav="settings", title="Settings")
def settings(ask: Ask) -> SettingsView:
    """Show what can be chosen, and what is kept."""
    config, site = ask.site.config, ask.site
    names = [*CHOICES, "zone"]
    return SettingsView(
        title="Settings",
        prefs={name: ask.prefs.word(name) for name in names},
        choices=CHOICES,
        zones=ZONES if ask.prefs.zone in ZONES else (ask.prefs.zone, *ZONES),
        storage=config.storage_mode,
        max_age_s=config.max_age,
        max_sessions=config.max_sessions,
        max_size=config.max_size,
        store=store(ask.reader),
        retention=site.ingest.retention,
        masked=kinds(),
        token=bool(site.token),
        loopback=site.is_loopback,
        address=site.url,
        word=WORD,
        audit=deletion.changes(ask.reader),
    )


@action("/settings")
def change(ask: Ask) -> Redirect:
    """Keep preferences in the cookie."""
    return Redirect("/settings", "Preferences saved.", prefs=ask.prefs.changed(dict(ask.form)))


@action("/settings/delete")
def delete(ask: Ask) -> Redirect:
    """
    Delete sessions: one, those of an agent, or those that are older than some days.

    Raises:
        Refused: The word was not typed, or it is not clear what is meant.
    """
    if ask.form.get("confirm", "").strip().lower() != WORD:
        raise Refused(f"Nothing was deleted: type “{WORD}” to confirm.")
    chosen = _chosen(ask)
    count = 0
    for ids in deletion.chunks(ask.reader, chosen):
        count += ask.writer.change(changes.delete_sessions(ids, chosen.reason))
    return Redirect("/settings#delete", f"{count:,} session{'' if count == 1 else 's'} deleted.")


def _chosen(ask: Ask) -> deletion.Chosen:
    what, value = ask.form.get("what", ""), ask.form.get("value", "").strip()
    if what == "age":
        try:
            days = float(value)
        except ValueError:
            days = -1.0
        if not 0 <= days < 100_000:
            raise Refused("Nothing was deleted: give the age as a number of days.")
        return deletion.Chosen(before_us=ask.now_us - int(days * 86_400_000_000))
    if what not in {"session", "agent"} or not value:
        raise Refused("Nothing was deleted: say which session or agent is meant.")
    found = deletion.find(ask.reader, what, value)
    if found is None:
        raise Refused(f"Nothing was deleted: there is no {what} “{value[:80]}”.")
    return found


routes = (settings, change, delete)
