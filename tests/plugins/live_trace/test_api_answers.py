"""The HTTP API: what it answers, in pages of a bounded size, and how it says no."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import factory
import httpx
import msgspec
import pytest
from api_parts import served, talk, written

from perimeter_plugin_live_trace.api.agent_shapes import AgentDetail, Dashboard
from perimeter_plugin_live_trace.api.shapes import SessionDetail


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A dashboard full of data."""
    path = tmp_path_factory.mktemp("api") / "live-trace.db"
    factory.build(path)
    with served(path) as dashboard:
        yield dashboard


def get(site, path: str) -> httpx.Response:
    """Ask the API."""
    return httpx.get(site.url + path)


def test_dashboard_has_agents_and_the_newest_session(site):
    """`/api/dashboard` tells of every agent, newest activity first, and counts sessions."""
    answer = msgspec.json.decode(get(site, "/api/dashboard").content, type=Dashboard)

    assert {agent.id for agent in answer.agents} == {each.key for each in factory.AGENTS}
    assert [agent.last_seen for agent in answer.agents] == sorted(
        (agent.last_seen for agent in answer.agents), reverse=True
    )
    assert answer.sessions_count == sum(agent.total_sessions for agent in answer.agents) == 50
    assert answer.latest_session.id == "session-live"
    assert answer.next is None
    for agent in answer.agents:
        assert agent.total_sessions == agent.active_sessions + agent.completed_sessions
        assert agent.risk_status is None, "nothing is tested, so nothing is ok"


def test_dashboard_of_one_workflow(site):
    """A workflow narrows agents and sessions; there is no agent without one here."""
    helpdesk = get(site, "/api/dashboard?agent_workflow_id=helpdesk").json()
    nobody = get(site, "/api/dashboard?agent_workflow_id=unassigned").json()

    assert {agent["id"] for agent in helpdesk["agents"]} == {"support-triage", "mail-summariser"}
    assert helpdesk["latest_session"]["workflow_id"] == "helpdesk"
    assert nobody["agents"] == []
    assert nobody["latest_session"] is None


@pytest.mark.parametrize(
    ("path", "rows", "key"),
    [
        ("/api/dashboard?limit=2", "agents", lambda row: row["id"]),
        ("/api/agent/code-reviewer?limit=2", "sessions", lambda row: row["id"]),
        ("/api/session/session-007?limit=3", "events", lambda row: row["seq"]),
    ],
)
def test_pages_add_up_to_the_whole(site, path, rows, key):
    """Following `next` to the end gives every row once, in the order of one large page."""
    found, after = [], ""
    while True:
        answer = get(site, path + after).json()
        found += [key(row) for row in answer[rows]]
        if answer["next"] is None:
            break
        after = f"&after={answer['next']}"

    whole = get(site, path.partition("?")[0] + "?limit=200").json()
    assert found == [key(row) for row in whole[rows]]
    assert len(found) > 5 or rows == "agents"


def test_agent_is_told_in_numbers(site):
    """`/api/agent/{id}` agrees with the agent's sessions, and says that nothing was tested."""
    response = get(site, "/api/agent/code-reviewer?limit=200")
    answer = msgspec.json.decode(response.content, type=AgentDetail)

    sessions = answer.sessions
    assert answer.agent.total_sessions == len(sessions) == answer.patterns.sessions_looked_at
    assert answer.agent.total_messages == sum(each.message_count for each in sessions)
    assert answer.agent.total_tools == sum(each.tool_uses for each in sessions)
    assert answer.analytics.token_summary.total == sum(each.total_tokens for each in sessions)
    assert answer.analytics.token_summary.total_cost == pytest.approx(answer.agent.total_cost_usd)
    assert [each.model for each in answer.analytics.models] == ["claude-sonnet-4-5"]
    assert answer.analytics.models[0].requests == answer.agent.total_messages
    assert sum(day.requests for day in answer.analytics.timeline) == answer.agent.total_messages
    assert sum(tool.executions for tool in answer.analytics.tools) == answer.agent.total_tools
    assert answer.agent.available_tools == ["list_directory", "read_file", "run_tests"]
    assert answer.agent.tools_utilization_percent == 100
    assert answer.risk_analysis.evaluation_status == "NOT_TESTED"
    assert answer.risk_analysis.summary == "not tested"
    assert answer.risk_analysis.security_report is None


def test_session_has_events_and_timeline(site):
    """`/api/session/{id}` has the session, its events in order, and the same in lines."""
    response = get(site, "/api/session/session-003")
    answer = msgspec.json.decode(response.content, type=SessionDetail)

    assert answer.session.agent_id == "data-analyst"
    assert answer.session.system_prompt.startswith("You answer questions about the sales")
    assert answer.session.available_tools == ["run_sql"]
    assert answer.session.tags == {"env": "test", "team": "blue"}
    assert [event.name for event in answer.events] == [
        *("session.start", "llm.call.start", "llm.call.finish", "session.end")
    ]
    assert [event.seq for event in answer.events] == [1, 2, 3, 4]
    assert answer.events[2].attributes["llm.usage.input_tokens"] > 0
    assert [each.id for each in answer.timeline] == [event.id for event in answer.events]
    assert answer.timeline[1].description == "Which customers have not ordered for ninety days?"
    assert answer.risk_analysis.evaluation_status == "NOT_TESTED"


@pytest.mark.parametrize("path", ["/api/session/nope", "/api/agent/nope", "/api/nothing"])
def test_what_is_not_there_is_404(site, path):
    """Unknown sessions, agents and paths are 404, as JSON."""
    response = get(site, path)

    assert response.status_code == 404
    assert response.headers["content-type"] == "application/json"
    assert response.json()["error"]
    assert response.json()["detail"]


def test_a_deleted_session_says_why(tmp_path):
    """A session that retention deleted is 404 with the date and the reason."""
    path = tmp_path / "live-trace.db"
    database = written(path)
    connection = database.connect()
    connection.execute("INSERT INTO gone VALUES ('old', 1790000000000000, 'older than 30 days')")
    connection.close()
    with served(path) as site:
        response = get(site, "/api/session/old")

    assert response.status_code == 404
    assert "2026-09-21" in response.json()["detail"]
    assert "older than 30 days" in response.json()["detail"]


@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=201", "limit=x", "after=forged", "after=W10", "after=%00"),
        "after=WzEsMl0x",
        "after=Wzk5OTk5OTk5OTk5OTk5OTk5OTk5LDFd",
    ],
)
def test_what_makes_no_sense_is_400(site, query):
    """Limits out of bounds and forged cursors are refused with a reason, not corrected."""
    response = get(site, f"/api/dashboard?{query}")

    assert response.status_code == 400
    assert response.json()["detail"]


def test_ids_may_hold_anything(tmp_path):
    """Ids with slashes, dots and other scripts are found when they are quoted."""
    path = tmp_path / "live-trace.db"
    ids = ["a/b/../c", "日本 語", "x.json", "..", "50%"]
    sessions = [talk(factory.AGENTS[0], each, seed=seed) for seed, each in enumerate(ids)]
    written(path, *(session.turn("Hello.") for session in sessions))
    with served(path) as site:
        for each in ids:
            quoted = "".join(f"%{byte:02X}" for byte in each.encode())
            assert get(site, f"/api/session/{quoted}").json()["session"]["id"] == each


def test_long_texts_are_cut_and_say_so(tmp_path):
    """An event with an enormous attribute costs an answer of a bounded size."""
    path = tmp_path / "live-trace.db"
    session = talk(factory.AGENTS[0], "long")
    turn = session.turn("Hello.")
    loud = session.happened("note.taken", {"note.text": "x" * 3_000_000, "note.list": [1] * 5000})
    written(path, [*turn, loud])
    with served(path) as site:
        response = get(site, "/api/session/long")

    attributes = response.json()["events"][-1]["attributes"]
    assert len(response.content) < 200_000
    assert attributes["note.text"].endswith("more characters]")
    assert attributes["note.list"][-1] == "[4,800 more items]"


def test_heavy_pages_are_shorter(tmp_path):
    """A page ends before it gets heavier than a few MiB, and `next` leads on."""
    path = tmp_path / "live-trace.db"
    session = talk(factory.AGENTS[0], "heavy")
    batches = [session.turn("Hello.")]
    batches += [[session.happened("note.taken", {"text": "x" * 90_000})] for _ in range(60)]
    written(path, *batches)
    with served(path) as site:
        first = get(site, "/api/session/heavy").json()
        rest = get(site, f"/api/session/heavy?after={first['next']}").json()

    assert rest["next"] is None
    assert len(first["events"]) + len(rest["events"]) == rest["session"]["total_events"]


def test_the_token_is_asked_for(tmp_path):
    """With a token, the API answers 401 as JSON without it, and takes it as bearer."""
    with served(tmp_path / "live-trace.db", token="let-me-in") as site:
        refused = get(site, "/api/dashboard")
        told = {"authorization": "Bearer let-me-in"}
        taken = httpx.get(f"{site.url}/api/dashboard", headers=told)

    assert refused.status_code == 401
    assert refused.json()["error"]
    assert taken.status_code == 200


def test_foreign_names_are_refused(site):
    """A request for another host's name is refused, as for every address of the dashboard."""
    response = httpx.get(f"{site.url}/api/dashboard", headers={"host": "evil.example"})

    assert response.status_code == 421


def test_openapi_describes_what_is_answered(site):
    """The document has the three operations, and every field of an answer in its schema."""
    document = get(site, "/api/docs/openapi.json").json()

    assert set(document["paths"]) == {
        *("/api/dashboard", "/api/agent/{agent_id}", "/api/session/{session_id}")
    }
    schemas = document["components"]["schemas"]
    answer = get(site, "/api/session/session-003").json()
    assert set(answer) == set(schemas["SessionDetail"]["properties"])
    assert set(answer["session"]) == set(schemas["Session"]["properties"])
    assert set(answer["events"][0]) == set(schemas["Event"]["properties"])
    for operation in document["paths"].values():
        assert {"200", "400"} <= set(operation["get"]["responses"])


def test_documentation_loads_nothing_from_elsewhere(site):
    """`/api/docs` is a page of our own, under the policy of all pages, with every operation."""
    response = get(site, "/api/docs")

    assert response.status_code == 200
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert "/api/session/{session_id}" in response.text
    assert 'id="SessionDetail"' in response.text
    assert "http://" not in response.text.replace(site.url, "")
    assert "https://" not in response.text


def test_many_may_ask_at_once(site):
    """Requests at the same time get the answers that they get alone."""
    paths = [f"/api/session/session-{number:03d}" for number in range(16)] * 2
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda path: get(site, path), paths))

    assert [each.json()["session"]["id"] for each in found] == [path[13:] for path in paths]


def test_a_missing_database_is_503(tmp_path):
    """While the database is gone, the API says so as JSON."""
    path = tmp_path / "live-trace.db"
    with served(path) as site:
        assert get(site, "/api/dashboard").status_code == 200
        site.changes.writer.close()
        for file in tmp_path.iterdir():
            file.unlink()
        response = get(site, "/api/dashboard")

    assert response.status_code == 503
    assert "gone" in json.dumps(response.json())
