"""Times in the reader's zone, and pages as readers need them: forced colours, large letters."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

import factory
import pytest
from dashboards import Served
from factory import NOW


pytestmark = pytest.mark.browser
Open = Callable[..., Served]
Show = Callable[..., Any]

NIGHT = dt.datetime(2026, 10, 25, 0, 30, tzinfo=dt.UTC)
"""Half an hour before clocks go back in Berlin."""


def starts(page: Any) -> list[tuple[dt.datetime, str, str]]:
    """Return when calls began, what is shown of it and what is said of it."""
    found = page.eval_on_selector_all(
        "main tbody time",
        "all => all.map((one) => [one.dateTime, one.textContent, one.title])",
    )
    return [(dt.datetime.fromisoformat(at), shown, said) for at, shown, said in found]


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/St_Johns"])
def test_times_are_of_the_readers_zone(served: Served, show: Show, zone: str) -> None:
    """Hour and date of every event are those of a clock there; the foot names the zone."""
    page = show(served.url, "/sessions/session-000?view=events", timezone_id=zone)
    found = starts(page)
    assert len(found) > 3
    for at, shown, said in found:
        there = at.astimezone(ZoneInfo(zone))
        assert shown == f"{there:%H:%M:%S}"
        assert said == f"{there.isoformat(' ', 'seconds')} {zone}"
    assert page.locator("[data-zone-name]").inner_text() == zone


def test_utc_can_be_chosen(served: Served, show: Show) -> None:
    """By the menu, in whatever zone the reader is; the foot says so from then on."""
    page = show(served.url, "/sessions/session-000?view=events", timezone_id="Asia/Tokyo")
    page.locator("details.settings > summary").click()
    page.get_by_role("group", name="Times").get_by_role("button", name="UTC").click()
    page.locator('html[data-zone="UTC"]').wait_for()
    for at, shown, said in starts(page):
        assert shown == f"{at:%H:%M:%S}"
        assert said.endswith("+00:00 UTC")
    assert page.locator("[data-zone-name]").inner_text() == "UTC"


def test_the_night_when_clocks_go_back(dashboard: Open, show: Show) -> None:
    """Two events an hour apart show the same time of day, and which of both hours it is."""
    served = dashboard()
    talk = factory.Talk(
        factory.Traffic(random.Random(1), NOW), factory.AGENTS[0], "night", NIGHT.timestamp(), {}
    )
    served.changes.take([talk.happened("session.start", {})])
    talk.at += 3600
    served.changes.take([talk.happened("session.end", {})])
    page = show(served.url, "/sessions/night?view=events", timezone_id="Europe/Berlin")
    (first, shown, said), (second, same, also) = starts(page)
    assert second - first == dt.timedelta(hours=1)
    assert shown == same == "02:30:00"
    assert said == "2026-10-25 02:30:00+02:00 Europe/Berlin"
    assert also == "2026-10-25 02:30:00+01:00 Europe/Berlin"
