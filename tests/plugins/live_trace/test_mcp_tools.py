"""Every tool of the MCP server, with good and with bad input."""

from __future__ import annotations

import json

import factory
import jsonschema
import pytest
from api_parts import EVER, talk, written

from perimeter_plugin_live_trace.mcp.tool import MOST_BYTES, Here, ToolProblem
from perimeter_plugin_live_trace.mcp.tools import OWN
from perimeter_plugin_live_trace.web.site import Site


TOOLS = {tool.name: tool for tool in OWN}
NAMES = [
    *("get_agents", "get_workflow_agents", "get_workflow_sessions", "list_workflows", "search"),
    *("get_session_events", "get_event", "get_usage_summary", "get_tool_usage_summary"),
    *("get_findings", "compare_sessions", "explain_session_match", "get_prompt_cache_report"),
]


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A database full of data."""
    database = factory.build(tmp_path_factory.mktemp("tools") / "live-trace.db")
    reader = database.reader()
    yield Here(reader, Site(), lambda: factory.NOW)
    reader.close()


def call(here, tool: str, **given: object) -> dict:
    """Call a tool with arguments that its schema takes."""
    jsonschema.validate(given, TOOLS[tool].schema)
    answer = TOOLS[tool].call(here, given)
    assert len(json.dumps(answer)) <= MOST_BYTES * 2
    return answer


def refused(here, tool: str, **given: object) -> str:
    """Call a tool that refuses, and return why."""
    with pytest.raises(ToolProblem) as problem:
        TOOLS[tool].call(here, given)
    return str(problem.value)


def pages(here, tool: str, rows: str, **given: object) -> list:
    """Return the rows of all pages."""
    found, after = [], ""
    while True:
        answer = call(here, tool, **given, after=after)
        found += answer[rows]
        if not answer["next"]:
            assert len({json.dumps(each) for each in found}) == len(found), "no row comes twice"
            return found
        after = answer["next"]


def test_the_tools_are_these():
    """Nothing is missing, and names are unique."""
    assert sorted(tool.name for tool in OWN) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_schemas_are_strict(name):
    """Each schema is valid, describes an object, and lets no unknown argument pass."""
    schema = TOOLS[name].schema

    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False
    limit = schema["properties"].get("limit")
    assert limit is None or limit["maximum"] <= 100


@pytest.mark.parametrize("name", NAMES)
def test_unknown_arguments_are_refused(here, name):
    """A mistyped argument is named in the answer."""
    needed = dict.fromkeys(TOOLS[name].schema["required"], "x")

    assert "no_such_argument" in refused(here, name, **needed, no_such_argument=1)


@pytest.mark.parametrize("name", [name for name in NAMES if TOOLS[name].schema["required"]])
def test_missing_arguments_are_named(here, name):
    """What is missing is named."""
    assert any(each in refused(here, name) for each in TOOLS[name].schema["required"])


@pytest.mark.parametrize("name", [n for n in NAMES if "limit" in TOOLS[n].schema["properties"]])
@pytest.mark.parametrize("limit", [0, 101, -1, "many", None, 1.5, 10**30])
def test_limits_are_bounded(here, name, limit):
    """A limit is a whole number from 1 to 100."""
    needed = dict.fromkeys(TOOLS[name].schema["required"], "session-003")

    assert "limit" in refused(here, name, **needed, limit=limit)


@pytest.mark.parametrize("name", [n for n in NAMES if "after" in TOOLS[n].schema["properties"]])
@pytest.mark.parametrize("after", ["forged", "W10", "WyJ4Il0", "[1]", "e30"])
def test_forged_cursors_are_refused(here, name, after):
    """A cursor that no answer gave is refused, and the message says which argument it is."""
    given = dict.fromkeys(TOOLS[name].schema["required"], "session-003")
    if name == "get_prompt_cache_report":
        given = {"session_id": "session-003"}
    if name == "get_workflow_agents":
        given = {"workflow_id": "helpdesk"}

    assert "after" in refused(here, name, **given, after=after)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("get_session_events", {"session_id": "nope"}),
        ("get_event", {"session_id": "nope", "event_id": 1}),
        ("get_event", {"session_id": "session-003", "event_id": "99999999"}),
        ("compare_sessions", {"first": "session-003", "second": "nope"}),
        ("explain_session_match", {"session_id": "nope"}),
        ("get_prompt_cache_report", {"session_id": "nope"}),
        ("get_findings", {"session_id": "nope"}),
        ("get_findings", {"agent_id": "nope"}),
        ("get_workflow_sessions", {"agent_id": "nope"}),
        ("get_workflow_agents", {"workflow_id": "nope"}),
        ("get_usage_summary", {"agent_id": "nope"}),
        ("get_tool_usage_summary", {"agent_id": "nope"}),
    ],
)
def test_what_is_not_there_is_said(here, name, given):
    """Nothing unknown looks like an empty result."""
    message = refused(here, name, **given)

    assert "no" in message.split()
    assert "Traceback" not in message


def test_get_agents(here):
    """Agents come in pages, with or without totals."""
    listed = pages(here, "get_agents", "agents", limit=2)
    bare = call(here, "get_agents", include_stats=False)["agents"]

    assert {agent["id"] for agent in listed} == {each.key for each in factory.AGENTS}
    assert len(listed) == len(bare) == len(factory.AGENTS)
    assert "total_tokens" in listed[0]
    assert "total_tokens" not in bare[0]
    assert call(here, "get_agents", agent_workflow_id="unlinked")["agents"] == []


def test_get_workflow_agents(here):
    """A workflow's agents come with their prompts, and with what they did last."""
    answer = call(here, "get_workflow_agents", workflow_id="helpdesk")
    short = call(here, "get_workflow_agents", workflow_id="helpdesk", include_system_prompts=False)

    assert {agent["id"] for agent in answer["agents"]} == {"support-triage", "mail-summariser"}
    prompts = {agent["id"]: agent["system_prompt"] for agent in answer["agents"]}
    assert prompts["mail-summariser"] == "Summarise e-mails in three bullet points."
    assert len(answer["recent_sessions"]) == 10
    assert {each["workflow_id"] for each in answer["recent_sessions"]} == {"helpdesk"}
    assert "system_prompt" not in short["agents"][0]


def test_list_workflows(here):
    """All workflows, with what is in them."""
    found = {each["id"]: each for each in call(here, "list_workflows")["workflows"]}

    assert set(found) == {"helpdesk", "engineering", "analysis"}
    assert sum(each["session_count"] for each in found.values()) == 50


def test_get_workflow_sessions(here):
    """Sessions come in pages, newest first, and every filter narrows."""
    everything = pages(here, "get_workflow_sessions", "sessions", limit=7)
    assert len({each["id"] for each in everything}) == len(everything) == 50

    def ids(**given: object) -> set[str]:
        return {each["id"] for each in pages(here, "get_workflow_sessions", "sessions", **given)}

    def those(wanted) -> set[str]:
        return {each["id"] for each in everything if wanted(each)}

    assert ids(workflow_id="analysis") == those(lambda each: each["workflow_id"] == "analysis")
    assert ids(agent_id="planner") == those(lambda each: each["agent_id"] == "planner")
    assert ids(status="COMPLETED") == ids(status="done") == those(lambda each: each["is_completed"])
    assert ids(errors_only=True) == those(lambda each: each["errors"])
    assert ids(model="o4-mini") == those(lambda each: each["models"] == ["o4-mini"])
    assert ids(tag="team:blue") | ids(tag="team:red") == ids(tag="team") | ids(tag="team:blue")
    assert ids(tag="team:blue") < ids(tag="team")
    assert ids(since="2199-01-01") == set()
    assert ids(since="2026-09-21T14:00Z") == {"session-live"}
    assert "since" in refused(here, "get_workflow_sessions", since="yesterday")


def test_search(here):
    """Words are found in what was said, in pages, and never as operators."""
    found = pages(here, "search", "results", query="invoice 4711", limit=2)

    assert len(found) > 2
    assert all("invoice 4711" in each["text"] for each in found)
    assert [each["event_id"] for each in found] == sorted(
        (each["event_id"] for each in found), reverse=True
    )
    assert call(here, "search", query='"invoice 4711" OR zebra')["results"] == []
    assert call(here, "search", query="台風")["results"]
    assert "query" in refused(here, "search", query="***")
    for hostile in ('"', "NEAR(", "a OR", "*", "-x", "words:x", "\0x", "{a}"):
        try:
            TOOLS["search"].call(here, {"query": hostile})
        except ToolProblem as problem:  # there was no word in it
            told = str(problem)
            assert "query" in told


def test_an_unknown_kind_is_no_empty_list(here):
    """A filter by a kind that there is not is an error that names those there are."""
    with pytest.raises(ToolProblem, match=r"no llm\.call;.* llm\.call\.finish.* session\.end"):
        call(here, "get_session_events", session_id="session-007",
             event_types=["llm.call.finish", "llm.call"])  # fmt: skip


def test_get_session_events(here):
    """A session's events come in order, of some kinds or of all, each in a few words."""
    found = pages(here, "get_session_events", "events", session_id="session-007", limit=5)
    tools = call(
        here, "get_session_events", session_id="session-007", event_types=["tool.execution"]
    )

    assert [each["seq"] for each in found] == list(range(1, len(found) + 1))
    assert {each["name"] for each in tools["events"]} == {"tool.execution"}
    assert all(each["tool_name"] for each in tools["events"])
    ended = next(each for each in found if each["name"] == "llm.call.finish")
    assert {"model", "duration_ms", "input_tokens", "output_tokens", "cost_usd"} <= set(ended)
    assert found[0]["tools"] == ["read_file", "run_tests", "list_directory"]


def test_get_event(here):
    """An event is found by its id or its span, with the messages of its call."""
    events = call(here, "get_session_events", session_id="session-007")["events"]
    by_name = {each["name"]: each for each in events}
    asked = call(
        here, "get_event", session_id="session-007", event_id=by_name["llm.call.start"]["id"]
    )
    answered = call(
        here, "get_event", session_id="session-007", event_id=str(by_name["llm.call.finish"]["id"])
    )
    span = asked["event"]["span_id"]
    by_span = call(here, "get_event", session_id="session-007", event_id=span)

    assert asked["new_messages"][-1]["role"] == "user"
    assert answered["reply"]["parts"][0]["type"] == "text"
    assert by_span["event"]["span_id"] == span
    assert by_span["others_of_this_span"]


def test_an_event_of_another_session_is_not_shown(here):
    """An id leads to an event of the named session only."""
    other = call(here, "get_session_events", session_id="session-007")["events"][0]["id"]

    assert "no event" in refused(here, "get_event", session_id="session-003", event_id=other)


@pytest.mark.parametrize("by", ["model", "agent", "day"])
def test_get_usage_summary(here, by):
    """Rows add up to the total, whatever they stand for."""
    answer = call(here, "get_usage_summary", by=by, days=EVER)
    key = "requests" if by == "model" else "calls"

    assert answer["rows"]
    assert sum(row[key] for row in answer["rows"]) == answer["total"]["calls"]
    assert sum(row["input_tokens"] for row in answer["rows"]) == answer["total"]["input_tokens"]


def test_usage_of_one_agent(here):
    """An agent narrows the summary."""
    whole = call(here, "get_usage_summary", days=EVER)["total"]
    one = call(here, "get_usage_summary", days=EVER, agent_id="planner")

    assert 0 < one["total"]["calls"] < whole["calls"]
    assert [row["model"] for row in one["rows"]] == ["gpt-4.1-mini"]


def test_get_tool_usage_summary(here):
    """Tools that were offered are used or not, of all agents, a workflow's, or one's."""
    whole = call(here, "get_tool_usage_summary", days=EVER)
    flow = call(here, "get_tool_usage_summary", days=EVER, agent_workflow_id="engineering")
    one = call(here, "get_tool_usage_summary", days=EVER, agent_id="data-analyst")

    offered = {name for each in factory.AGENTS for name in each.tools}
    assert set(whole["tools_defined"]) == offered
    assert set(whole["tools_used"]) | set(whole["tools_unused"]) == offered
    assert set(flow["tools_defined"]) == {
        *("read_file", "run_tests", "list_directory", "create_task", "list_tasks")
    }
    assert one["tools_used"] == ["run_sql"]
    assert one["coverage_percent"] == 100
    used = {each["tool"]: each["executions"] for each in whole["tool_usage"]}
    assert used["run_sql"] == one["tool_usage"][0]["executions"]


def test_get_findings(here):
    """Findings come newest first, narrowed by every filter; untested is not clean."""
    found = pages(here, "get_findings", "findings", limit=3)
    answer = call(here, "get_findings", severity="critical")

    assert len(found) == 8
    assert answer["evaluation_status"] == "NOT_TESTED"
    assert {each["severity"] for each in answer["findings"]} == {"critical"}
    session = found[0]["session_id"]
    assert call(here, "get_findings", session_id=session)["findings"][0]["id"] == found[0]["id"]
    flow = call(here, "get_findings", agent_workflow_id="engineering")["findings"]
    assert flow
    assert call(here, "get_findings", status="fixed")["findings"] == []
    assert "severity" in refused(here, "get_findings", severity="terrible")


def test_compare_sessions(here):
    """Two sessions are put side by side, call by call, with their difference."""
    answer = call(here, "compare_sessions", first="session-003", second="session-007")

    assert answer["first"]["id"] == "session-003"
    difference = answer["second"]["total_tokens"] - answer["first"]["total_tokens"]
    assert answer["difference"]["total_tokens"] == difference
    assert len(answer["calls"]) == answer["second"]["message_count"]
    assert answer["calls"][0]["first"]["asked"]
    assert answer["calls"][-1]["first"] is None


def test_explain_session_match(here):
    """Each call says by which evidence it was recognised, and whether its context was rewritten."""
    answer = call(here, "explain_session_match", session_id="session-rewritten")

    assert answer["recognised_by"] == "new"
    assert "conversation began" in answer["meaning"]
    assert [each["number"] for each in answer["calls"]] == [1, 2, 3, 4]
    assert [each["context_rewritten"] for each in answer["calls"]] == [False, False, False, True]
    found = pages(here, "explain_session_match", "calls", session_id="session-rewritten", limit=1)
    assert found == answer["calls"]


def test_get_prompt_cache_report(here):
    """Of a session, call by call; of all, those that lost most."""
    calls = pages(here, "get_prompt_cache_report", "calls", session_id="session-rewritten", limit=1)
    dearest = call(here, "get_prompt_cache_report", days=EVER)["sessions"]

    assert calls[0]["cause"] == "first"
    assert calls[3]["cause"] == "messages"
    assert calls[3]["broke_at"] == 2
    assert [each["lost_usd"] for each in dearest] == sorted(
        (each["lost_usd"] for each in dearest), reverse=True
    )


def test_answers_stay_small(tmp_path):
    """What was said in megabytes is answered in kilobytes."""
    session = talk(factory.AGENTS[0], "loud")
    batches = [session.turn("shout " * 100_000, answer="back " * 100_000) for _ in range(3)]
    reader = written(tmp_path / "live-trace.db", *batches).reader()
    here = Here(reader, Site(), lambda: factory.NOW)
    events = call(here, "get_session_events", session_id="loud")["events"]
    asked = next(each["id"] for each in events if each["name"] == "llm.call.start")
    answer = call(here, "get_event", session_id="loud", event_id=asked)

    assert answer["new_messages"][-1]["parts"][0]["text"].endswith("more characters]")
    reader.close()


def test_an_empty_database_is_no_error(tmp_path):
    """Every tool that needs no id answers before anything was recorded."""
    reader = written(tmp_path / "live-trace.db").reader()
    here = Here(reader, Site(), lambda: factory.NOW)
    for tool in OWN:
        if not tool.schema["required"]:
            tool.call(here, {})
    reader.close()
