"""Every page of figures: with data, without, and for what is not there."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import factory
import pytest
from pages_site import Pages


PAGES = (
    "/overview", "/agents", "/tools", "/models", "/findings", "/findings/matrix", "/pii",
    "/plugins", "/status", "/settings", "/connect", "/reports",
)  # fmt: skip
TABS = ("overview", "sessions", "findings", "tools", "prompts", "behaviour")


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    path = tmp_path_factory.mktemp("pages") / "full.db"
    factory.build(path)
    pages = Pages(path)
    yield pages
    pages.close()


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    pages = Pages(tmp_path_factory.mktemp("pages") / "empty.db")
    yield pages
    pages.close()


@pytest.mark.parametrize("path", PAGES)
def test_with_data(full, path):
    """Every page renders what there is, with a title of its own."""
    answer = full.get(path)
    assert answer.status_code == 200, answer.text
    assert len(re.findall("<h1>", answer.text)) == 1
    assert " style=" not in answer.text


@pytest.mark.parametrize("path", PAGES[1:])
def test_without_data(empty, path):
    """Every page renders before anything is recorded."""
    answer = empty.get(path)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("path", PAGES)
def test_twins(full, empty, path):
    """Every page has a JSON twin, with and without data."""
    for pages in (full, empty):
        assert isinstance(pages.json(path), dict)


def test_empty_overview(empty):
    """Before anything is recorded, the overview leads to the page that helps to connect."""
    answer = empty.get("/overview")
    assert (answer.status_code, answer.headers["location"]) == (303, "/connect")


@pytest.mark.parametrize("tab", TABS)
def test_agent_tabs(full, tab):
    """Every tab of an agent renders."""
    key = full.json("/agents")["rows"][0]["agent"]["key"]
    answer = full.get(f"/agents/{key}", tab=tab)
    assert answer.status_code == 200, answer.text
    assert full.json(f"/agents/{key}", tab=tab)["tab"] == tab


@pytest.mark.parametrize(
    "path",
    ["/agents/nobody", "/findings/999999", "/findings/x", "/reports/RPT-0", "/export/x.csv",
     "/export/sessions.xml", "/export/sessions", "/reports/RPT-0/file/html"],
)  # fmt: skip
def test_not_there(full, path):
    """What is not there is a 404 page that says so."""
    answer = full.get(path)
    assert answer.status_code == 404
    assert "There is no" in answer.text or "Exports are" in answer.text


@pytest.mark.parametrize("path", ["/overview", "/agents", "/findings/matrix"])
def test_wrong_method(full, path):
    """A page cannot be posted to."""
    assert full.client.post(path).status_code in {403, 405}


def test_invalid_parameters_are_told(full):
    """Invalid parameters leave the page as it is by default, and the page says so."""
    text = full.get("/agents", sort="-nonsense", after="forged").text
    assert "“sort” is one of" in text
    assert "“after” is no place" in text


def test_machine_health(full):
    """Machines are told in JSON how things are, and Prometheus in its own format."""
    health = full.get("/health")
    assert health.json()["status"] == "ok"
    assert health.json()["service"] == "live_trace"
    text = full.get("/metrics").text
    assert re.search(r"^perimeter_live_trace_database_bytes [1-9]", text, re.MULTILINE)
    assert 'perimeter_live_trace_rows{table="sessions"} 50.0' in text


def test_failing_health(tmp_path: Path):
    """A full disk and dropped records are told, and need attention."""
    factory.build(tmp_path / "a.db")
    pages = Pages(tmp_path / "a.db")
    try:
        pages.site.ingest.state, pages.site.ingest.problem = "full", "The disk is full."
        pages.site.ingest.lost = 7
        pages.site.ingest.plugins = [{"name": "broken", "state": "failed", "errors": 1}]
        assert pages.get("/health").json()["status"] == "failing"
        titles = [item["title"] for item in pages.json("/overview")["attention"]]
        assert titles[0] == "The database is full"
        assert "7 records could not be stored" in titles
        assert "Plugin broken failed to load" in titles
        assert "Something does not work" in pages.get("/status").text
    finally:
        pages.close()


def test_plugins(tmp_path: Path):
    """A plugin is shown with what its hooks cost and how often they failed, called or not."""
    pages = Pages(tmp_path / "a.db")
    try:
        pages.site.ingest.plugins = [
            {
                "name": "slow",
                "state": "loaded",
                "hooks": ["on_request", "on_error"],
                "errors": 2,
                "costs": {"on_request": [1500, 3.0, 2]},
            }
        ]
        (plugin,) = pages.json("/plugins")["plugins"]
        shown = re.sub("</?span[^>]*>", "|", pages.get("/plugins").text)
    finally:
        pages.close()
    assert (plugin["calls"], plugin["seconds"], plugin["errors"]) == (1500, 3.0, 2)
    assert "|on_request |1.5k| \N{MULTIPLICATION SIGN} 2 ms, 2 failures|" in shown
    assert "|on_error|" in shown


def test_connect_turns(tmp_path: Path):
    """The connect page waits, and turns when the first request has come."""
    waiting = Pages(tmp_path / "a.db")
    try:
        assert "Waiting for the first request" in waiting.get("/connect").text
        assert "http://127.0.0.1:4000/v1" in waiting.get("/connect", client="curl").text
    finally:
        waiting.close()
    factory.build(tmp_path / "b.db")
    turned = Pages(tmp_path / "b.db")
    try:
        assert "Received" in turned.get("/connect/waiting").text
        assert turned.json("/connect")["waiting"]["sessions"] == 50
    finally:
        turned.close()


@pytest.mark.parametrize("key", ["openai", "anthropic", "gemini", "langchain", "curl"])
def test_clients(empty, key):
    """Each client's tab has snippets with the proxy's own address."""
    view = empty.json("/connect", client=key)
    tab = next(tab for tab in view["clients"] if tab["key"] == key)
    assert all("http://127.0.0.1:4000" in snippet["text"] for snippet in tab["snippets"])


def test_assistants(empty):
    """Each assistant's settings name the MCP server, with a token only where one is asked for."""
    for tab in empty.json("/connect")["assistants"]:
        text = "".join(snippet["text"] for snippet in tab["snippets"])
        assert "http://127.0.0.1:7100/mcp" in text
        assert "TOKEN" not in text


@pytest.mark.parametrize("path", ["/sessions", "/events", "/findings"])
def test_many_agents_are_a_field(tmp_path, path):
    """Of hundreds of agents a few are offered, and any can be typed; the page stays small."""
    factory.build(tmp_path / "a.db")
    with sqlite3.connect(tmp_path / "a.db") as db:
        columns = [row[1] for row in db.execute("PRAGMA table_info(agents)") if row[1] != "id"]
        others = ", ".join(each for each in columns if each != "key")
        count = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 600)"
        db.execute(
            f"{count} INSERT INTO agents (key, {others}) SELECT 'many-' || i, {others}"
            " FROM n, (SELECT * FROM agents LIMIT 1)"
        )
        columns = [row[1] for row in db.execute("PRAGMA table_info(finding_groups)")]
        others = ", ".join(each for each in columns if each not in {"id", "agent_id"})
        db.execute(
            f"WITH one AS (SELECT {others} FROM finding_groups LIMIT 1), many AS"
            " (SELECT id AS agent FROM agents WHERE key LIKE 'many-%')"
            f" INSERT INTO finding_groups (agent_id, {others})"
            f" SELECT agent, {others} FROM one, many"
        )
    db.close()
    made = Pages(tmp_path / "a.db")
    text = made.get(path, agent="many-599").text
    assert 'list="agents" value="many-599"' in text
    assert text.count('<option value="many-') <= 50
    assert len(re.findall(r"<[a-z]", text)) < 1500
    made.close()
