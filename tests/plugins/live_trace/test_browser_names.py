"""What is said to those who do not see a page, and to those who want to copy it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from browsers import LIVE
from dashboards import Served, happen

from perimeter_plugin_live_trace.store import changes


pytestmark = pytest.mark.browser
Open = Callable[..., Served]
Show = Callable[..., Any]


def test_what_is_copied_is_in_the_clipboard(served: Served, show: Show) -> None:
    """Id and link of a session, a message and a command; pages may not read it, so it is pasted."""
    page = show(served.url, "/sessions/session-000?range=all", permissions=["clipboard-write"])
    paste = show(served.url, "/findings/1", context=page.context)
    places = [".about [data-copy]", "button:has-text('Copy link')", ".links [data-copy]"]
    for path, selector in [
        *(("", place) for place in places),
        ("/events/3/curl", "main [data-copy]"),
    ]:
        page.bring_to_front()
        if path:
            page.goto(served.url + path)
        button = page.locator(selector).first
        button.click()
        page.locator(f"{selector}[data-told=Copied]").first.wait_for()
        paste.bring_to_front()
        field = paste.get_by_label("Reason")
        field.fill("")
        field.press("Control+v")
        assert field.input_value() == button.get_attribute("data-copy") != ""
    assert field.input_value() == page.locator("main pre").inner_text().strip()


def names(page: Any, selector: str = "body") -> str:
    """Return the roles and names of what is in a part of a page, as a screen reader has them."""
    return str(page.locator(selector).first.aria_snapshot())


def test_names_of_the_list(served: Served, show: Show) -> None:
    """Its landmarks, its filters, its heads of columns, its rows and their boxes."""
    page = show(served.url, "/sessions?range=all&limit=25")
    page.locator(LIVE).wait_for()
    said = names(page)
    for expected in (
        '- link "Skip to content"', '- navigation "Main"', "- main", "- contentinfo",
        '- heading "Sessions" [level=1]', '- searchbox "Filter sessions"', '- combobox "Agent"',
        '- combobox "Status"', '- combobox "Severity"', '- table "Sessions"',
        '- columnheader "Session"', '- button "Live', '- checkbox "Select all"',
        '- checkbox "Select What is left to do this week?"', '- searchbox "Search everything"',
        '- cell "What is left to do this week? session-047',
    ):  # fmt: skip
        assert expected in said, (expected, said)
    assert not re.search(
        r'- (link|button|checkbox|combobox|searchbox)( ""|:?$)', said, re.MULTILINE
    ), said


def test_names_of_a_session(served: Served, show: Show) -> None:
    """Its title, its views, its calls by number, who says what, and tools."""
    page = show(served.url, "/sessions/session-011?range=all")
    said = names(page, "main")
    for expected in (
        '- heading "What is left to do this week?" [level=1]', '- link "Timeline"',
        '- region "Call 1"', '- heading "User" [level=3]', '- heading "Assistant" [level=3]',
        '- button "Copy link"', '- link "An e-mail address goes to the provider"',
        '- link "Next session"', '- link "Delete session"',
    ):  # fmt: skip
        assert expected in said, (expected, said)
    assert not re.search(r'- (link|button)( ""|:?$)', said, re.MULTILINE), said


def test_names_of_the_matrix(served: Served, show: Show) -> None:
    """A cell says which risk and which agent it is about, how much there is, and how bad."""
    served.changes.change(
        changes.put_document("detector", "d", {"covers": ["LLM10"], "state": "off"})
    )
    said = names(show(served.url, "/findings/matrix"), "main")
    for expected in (
        '- region "Findings by risk and agent"', '- columnheader "Risk"',
        '- columnheader "mail-summariser":', '- rowheader "LLM01 Prompt injection"',
        'link "Prompt injection in planner: 2, worst critical"',
        "Prompt injection in support-triage: not tested",
        "Unbounded consumption in support-triage: the detector is off",
    ):  # fmt: skip
        assert expected in said, (expected, said)


def detect(served: Served, state: str) -> None:
    """Let a detector of a plugin's say that it is on, or off."""
    body = {"covers": ["LLM02", "pii"], "state": state, "name": "Privacy", "reason": "No model"}
    served.changes.change(changes.put_document("detector", "privacy", body))


def test_pages_say_what_was_not_tested(dashboard: Open, show: Show) -> None:
    """Without detectors nothing is clean; one that is off says why; of one that is on, it is."""
    served = dashboard()
    page = show(served.url, "/pii")
    for path in ("/pii", "/findings", "/findings/matrix"):
        page.goto(served.url + path)
        assert page.get_by_text(re.compile("^Not tested: ")).count() == 1, path
        assert page.get_by_text(re.compile("(was|were) found")).count() == 0, path
    for state, said in (("off", "Not tested: personal data"), ("on", "No personal data was found")):
        detect(served, state)
        page.goto(f"{served.url}/pii")
        page.get_by_text(said).wait_for()
        assert page.get_by_text("No model").count() == (state == "off")


def test_the_overview_says_what_was_not_tested(dashboard: Open, show: Show) -> None:
    """No figure of findings is zero where nobody looks for them."""
    served = dashboard()
    page = show(served.url, "/overview")
    page.wait_for_url("**/connect*")  # nothing is recorded yet
    happen(served, "session-0")
    for state, figure, said in (
        ("", "Not tested", "not tested, no detector is installed"),
        ("off", "Not tested", "0 detectors on, 1 off"),
        ("on", "0", "1 detector on, 0 off"),
    ):
        if state:
            detect(served, state)
        page.goto(f"{served.url}/overview")
        stat = page.locator(".stat", has_text="Critical and high")
        assert stat.locator(".value").inner_text() == figure
        assert said in page.locator(".coverage").inner_text()
