"""Settings: preferences in a cookie, and deleting what was typed to be deleted."""

from __future__ import annotations

import re
import time

import factory
import pytest
from pages_site import Pages

from perimeter.redaction import kinds
from perimeter_plugin_live_trace.process.writing import WritingThread
from perimeter_plugin_live_trace.store import Limits, Writer
from perimeter_plugin_live_trace.web.site import Ingest


@pytest.fixture
def pages(tmp_path):
    factory.build(tmp_path / "a.db")
    made = Pages(tmp_path / "a.db")
    yield made
    made.close()


def sessions(pages):
    return pages.reader.sql("SELECT count(*) FROM sessions")[0][0]


def test_preferences(pages):
    """What is chosen is kept in one cookie and rendered at once."""
    answer = pages.post("/settings", theme="dark", density="compact", page_size="25", live="off")
    assert answer.status_code == 303
    text = pages.get("/settings").text
    assert 'data-theme="dark"' in text
    assert 'data-density="compact"' in text
    assert (
        pages.json("/settings")["prefs"] | {"page_size": "25", "live": "off"}
        == pages.json("/settings")["prefs"]
    )


def test_invalid_preferences_are_left(pages):
    """A value that nothing offers changes nothing."""
    pages.post("/settings", theme="pink", zone="Mars/Olympus", page_size="1000000")
    prefs = pages.json("/settings")["prefs"]
    assert (prefs["theme"], prefs["zone"], prefs["page_size"]) == ("auto", "auto", "50")


def test_retention_is_told(pages):
    """How long and how much is kept is shown, with what there is now."""
    text = pages.get("/settings").text
    assert "30 days" in text
    assert "100,000" in text
    assert str(pages.reader.path) in text


@pytest.mark.parametrize("path", ["/settings", "/status"])
def test_the_next_run_of_retention_is_told(pages, path):
    """With what the runs before have deleted; a database that is only looked at has none."""
    assert "nothing is deleted by itself here" in pages.get(path).text
    now_us = int(time.time() * 1e6)
    pages.site.ingest.retention.ran(now_us, 3, 900_000_000)
    pages.site.ingest.retention.ran(now_us, 4, 900_000_000)
    text = pages.get(path).text
    assert re.search(r"runs in 1[45] min", text)
    assert "7 sessions deleted since the start" in text
    assert pages.json(path)["retention"]["next_us"] == now_us + 900_000_000


def test_runs_of_retention_are_noted(pages):
    """By the thread that does them, with how many sessions went."""
    ingest = Ingest()
    thread = WritingThread(Writer(pages.database), Limits(max_sessions=45), ingest)
    thread.start()
    for _ in range(2):  # the first one may be made before the first run
        thread.change(lambda change: change.sql("SELECT 1").fetchall())
    thread.stop(5)
    assert ingest.retention.deleted == 5
    assert ingest.retention.last_us < ingest.retention.next_us


def test_what_is_masked_is_told(pages):
    """All kinds of it, with the names that core goes by."""
    text = pages.get("/settings").text
    for kind in kinds():
        assert kind.what in text
        assert all(f"<code>{each}</code>" in text for each in kind.such_as)


@pytest.mark.parametrize("confirm", ["", "yes", "delet"])
def test_deleting_needs_the_word(pages, confirm):
    """Nothing is deleted unless the word is typed."""
    before = sessions(pages)
    answer = pages.post("/settings/delete", what="age", value="0", confirm=confirm)
    assert (answer.status_code, sessions(pages)) == (409, before)


def test_deleting_a_session(pages):
    """One session is deleted with its events, and the deletion is in the trail."""
    answer = pages.post("/settings/delete", what="session", value="session-003", confirm="delete")
    assert answer.status_code == 303
    assert "1 session deleted" in pages.get("/settings").text
    assert pages.reader.sql("SELECT reason FROM gone") == [("deleted by hand",)]
    found = "SELECT count(*) FROM sessions WHERE public_id = 'session-003'"
    assert pages.reader.sql(found)[0][0] == 0
    assert pages.json("/settings")["audit"][0]["action"] == "delete"


def test_deleting_an_agents_sessions(pages):
    """All sessions of an agent are deleted, those of others are not."""
    agent = "SELECT id FROM agents WHERE key = 'planner'"
    of_it = f"SELECT count(*) FROM sessions WHERE agent_id = ({agent})"
    count, before = pages.reader.sql(of_it)[0][0], sessions(pages)
    pages.post("/settings/delete", what="agent", value="planner", confirm="DELETE ")
    assert count > 1
    assert pages.reader.sql(of_it)[0][0] == 0
    assert sessions(pages) == before - count


def test_deleting_by_age(pages):
    """Zero days deletes every session; more than there are, none."""
    before = sessions(pages)
    pages.post("/settings/delete", what="age", value="3650", confirm="delete")
    assert sessions(pages) == before
    pages.post("/settings/delete", what="age", value="0", confirm="delete")
    assert sessions(pages) == 0
    assert pages.get("/connect").status_code == 200


@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("age", "soon"),
        ("age", "-1"),
        ("age", "nan"),
        ("session", "nobody"),
        ("agent", ""),
        ("all", "1"),
    ],
)
def test_unclear_deletions(pages, what, value):
    """A deletion of which it is not clear what is meant deletes nothing."""
    before = sessions(pages)
    answer = pages.post("/settings/delete", what=what, value=value, confirm="delete")
    assert (answer.status_code, sessions(pages)) == (409, before)


def test_renaming_an_agent(pages):
    """An agent can be given a name, and the name can be taken away."""
    path = "/agents/planner/rename"
    assert pages.post(path, name="  The   planner ").status_code == 303
    assert pages.json("/agents/planner")["title"] == "The planner"
    pages.post(path, name="")
    assert pages.json("/agents/planner")["title"] == "planner"
    assert pages.post(path, name="x" * 121).status_code == 409
    assert pages.post("/agents/nobody/rename", name="x").status_code == 404
