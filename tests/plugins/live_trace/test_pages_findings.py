"""Findings: groups, what people decide about them, the matrix and its kinds of nothing."""

from __future__ import annotations

import csv
import html
import io
import json
import re

import factory
import pytest
from pages_site import Pages

from perimeter_plugin_live_trace.queries.findings import STATES, evidence, refused
from perimeter_plugin_live_trace.store import changes


@pytest.fixture
def pages(tmp_path):
    factory.build(tmp_path / "a.db")
    made = Pages(tmp_path / "a.db")
    yield made
    made.close()


@pytest.fixture
def empty(tmp_path):
    made = Pages(tmp_path / "a.db")
    yield made
    made.close()


def detector(pages, name, covers, **more):
    pages.changes.change(changes.put_document("detector", name, {"covers": covers, **more}))


def decide(pages, groups, state, reason=""):
    return pages.post(
        "/findings/state", page="/findings?range=all", group=groups, state=state, reason=reason
    )


def test_list_matches_groups(pages):
    """The list has every undecided group once, the worst first."""
    rows = pages.json("/findings")["rows"]
    assert len(rows) == pages.reader.sql("SELECT count(*) FROM finding_groups")[0][0] > 1
    assert [row["sev"] for row in rows] == sorted((row["sev"] for row in rows), reverse=True)
    for row in rows:
        assert sum(row["trend"]) <= row["count"]
        assert row["title"] in pages.get("/findings").text


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("sev", "critical", lambda row: row["sev"] == 4),
        ("sev", "medium", lambda row: row["sev"] >= 2),
        ("sev", "only-high", lambda row: row["sev"] == 3),
        ("owasp", "LLM06", lambda row: row["owasp"] == "LLM06"),
        ("rule", "prompt-injection", lambda row: row["rule"] == "prompt-injection"),
        ("agent", "planner", lambda row: row["agent"]["key"] == "planner"),
        ("agent", "nobody", lambda _: False),
        ("state", "fixed", lambda row: row["state"] == "fixed"),
    ],
)
def test_filters(pages, name, value, wanted):
    """Each filter leaves exactly the groups that it names."""
    every = pages.json("/findings", state="all")["rows"]
    params = {"state": "all", name: value}
    found = pages.json("/findings", **params)["rows"]
    assert found == [row for row in every if wanted(row)]


def test_deciding(pages):
    """A decision changes the state, is in the trail, and takes the group off the list."""
    group = pages.json("/findings")["rows"][0]["id"]
    answer = decide(pages, [group], "acknowledged", "we look at it")
    assert answer.status_code == 303, answer.text
    view = pages.json(f"/findings/{group}")
    assert view["group"]["state"] == "acknowledged"
    assert view["trail"][0] | {"at_us": 0} == {
        "at_us": 0, "action": "state", "before": "open", "after": "acknowledged",
        "reason": "we look at it",
    }  # fmt: skip
    assert group not in [row["id"] for row in pages.json("/findings")["rows"]]
    assert [row["id"] for row in pages.json("/findings", state="acknowledged")["rows"]] == [group]


def test_deciding_about_several(pages):
    """Several groups are decided about at once; those that are so already are left."""
    groups = [row["id"] for row in pages.json("/findings")["rows"]]
    assert decide(pages, groups[:1], "fixed").status_code == 303
    assert decide(pages, groups, "fixed").status_code == 303
    assert pages.json("/findings")["states"]["fixed"] == len(groups)
    assert len(pages.json(f"/findings/{groups[0]}")["trail"]) == 1


def test_ignoring_needs_a_reason(pages):
    """Ignoring without a reason is refused and changes nothing."""
    group = pages.json("/findings")["rows"][0]["id"]
    answer = decide(pages, [group], "ignored", "  ")
    assert (answer.status_code, "Say why" in answer.text) == (409, True)
    assert pages.json(f"/findings/{group}")["group"]["state"] == "open"
    assert decide(pages, [group], "ignored", "a test").status_code == 303
    assert pages.json(f"/findings/{group}")["group"]["note"] == "a test"


def test_a_rule_is_muted_for_an_agent_and_heard_again(pages):
    """It is no longer to be decided about, the trail has it, and it can be taken back."""
    row = pages.json("/findings")["rows"][0]
    assert "Mute this rule for this agent" in pages.get(f"/findings/{row['id']}").text
    assert decide(pages, [row["id"]], "muted").status_code == 303
    assert row["id"] not in [each["id"] for each in pages.json("/findings")["rows"]]
    assert [each["id"] for each in pages.json("/findings", state="muted")["rows"]] == [row["id"]]
    trail = pages.json(f"/findings/{row['id']}")["trail"]
    assert (trail[0]["before"], trail[0]["after"]) == ("open", "muted")
    assert "takes that back" in pages.get(f"/findings/{row['id']}").text

    assert decide(pages, [row["id"]], "open").status_code == 303
    assert pages.json(f"/findings/{row['id']}")["group"]["state"] == "open"


@pytest.mark.parametrize("state", ["regressed", "nonsense", ""])
def test_states_nobody_chooses(pages, state):
    """Only the states that people may choose are accepted."""
    group = pages.json("/findings")["rows"][0]["id"]
    assert decide(pages, [group], state).status_code == 409
    assert decide(pages, ["x"], "fixed").status_code == 409


def test_deciding_needs_the_form(pages):
    """A decision without the form's token is refused."""
    pages.get("/findings")
    answer = pages.client.post("/findings/state", data={"group": "1", "state": "fixed"})
    assert answer.status_code == 403


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("chosen", STATES)
def test_every_transition(state, chosen):
    """From each state, each other one that people may choose is allowed, with a reason."""
    allowed = chosen not in (state, "regressed")
    assert (refused(state, chosen, "because") == "") == allowed


def test_evidence_links_to_its_place(pages):
    """An occurrence shows its masked words and leads to its event."""
    group = pages.json("/findings")["rows"][0]["id"]
    view = pages.json(f"/findings/{group}")
    assert len(view["rows"]) == view["group"]["count"]
    text = pages.get(f"/findings/{group}").text
    for row in view["rows"]:
        assert f"/events/{row['event_id']}" in text
        assert row["evidence"]["sample"] in text


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"start": "x"}', "{", '{"sample": 3}'])
def test_garbage_evidence(text):
    """Evidence that makes no sense is left out."""
    assert evidence(text).sample in {"", "3"}


def cells(pages, key, path="/findings/matrix"):
    rows = {row["key"]: row for row in pages.json(path)["matrix"]["rows"]}
    return [rows[key]["total"], *rows[key]["cells"]]


def test_without_detectors_nothing_is_tested(empty):
    """Without detectors every cell reads "not tested", none 0, and nothing "passed"."""
    matrix = empty.json("/findings/matrix")["matrix"]
    assert not matrix["tested"]
    states = {cell["state"] for row in matrix["rows"] for cell in (row["total"], *row["cells"])}
    assert states == {"untested"}
    for path in ("/findings", "/findings/matrix", "/pii"):
        text = empty.get(path).text
        assert "Not tested" in text
        assert "assed" not in text.split("<main")[1].split("</main")[0]


def test_agents_are_not_tested(pages):
    """Agents without findings read "not tested" as long as no detector is on, and 0 then."""
    rows = {row["agent"]["key"]: row["findings"] for row in pages.json("/agents")["rows"]}
    assert rows["support-triage"] is None
    assert rows["planner"] == 8
    detector(pages, "injection", ["LLM01"])
    rows = {row["agent"]["key"]: row["findings"] for row in pages.json("/agents")["rows"]}
    assert rows["support-triage"] == 0


def test_three_kinds_of_nothing(pages):
    """Tested and clean, detector off, and not visible in traffic are three different cells."""
    detector(pages, "outputs", ["LLM05"])
    detector(pages, "leaks", ["LLM07"], state="off", reason="the model is missing")
    assert {cell["state"] for cell in cells(pages, "LLM05")} == {"clean"}
    assert {cell["state"] for cell in cells(pages, "LLM07")} == {"off"}
    assert {cell["state"] for cell in cells(pages, "LLM03")} == {"na"}
    assert {cell["state"] for cell in cells(pages, "LLM09")} == {"untested"}
    text = pages.get("/findings/matrix").text
    for words in ("tested, nothing found", "the detector is off", "needs static analysis"):
        assert words in text


def test_matrix_counts(pages):
    """A cell counts the findings of its risk and agent, and the total those of all agents."""
    matrix = pages.json("/findings/matrix")["matrix"]
    column = [agent["key"] for agent in matrix["agents"]].index("planner")
    for row in matrix["rows"]:
        found = pages.reader.sql(
            "SELECT count(*), coalesce(max(sev), 0) FROM findings WHERE owasp = ?", (row["key"],)
        )[0]
        cell = row["cells"][column]
        assert (cell["count"], cell["sev"]) == (row["total"]["count"], row["total"]["sev"]) == found


def test_fixed_findings_leave_the_matrix(pages):
    """What was fixed or ignored no longer colours a cell."""
    group = pages.json("/findings", owasp="LLM01")["rows"][0]["id"]
    decide(pages, [group], "fixed")
    assert cells(pages, "LLM01")[0]["state"] == "untested"


def test_matrix_by_severity(pages):
    """The columns are severities then, and the cells of a row add up to all agents together."""
    matrix = pages.json("/findings/matrix", by="severity")["matrix"]
    assert matrix["severities"] == [4, 3, 2, 1]
    assert matrix["agents"] == []
    by_agent = pages.json("/findings/matrix")["matrix"]["rows"]
    assert [row["total"] for row in matrix["rows"]] == [row["total"] for row in by_agent]
    for row in matrix["rows"]:
        found = {cell["sev"]: cell["count"] for cell in row["cells"] if cell["state"] == "found"}
        expected = pages.reader.sql(
            "SELECT sev, sum(count) FROM finding_groups WHERE owasp = ? GROUP BY sev", (row["key"],)
        )
        assert found == dict(expected)
        if found:
            others = {cell["state"] for cell in row["cells"] if cell["state"] != "found"}
            assert others == {"clean"}
    assert "LLM01" in pages.get("/findings/matrix", by="severity").text


@pytest.mark.parametrize("by", ["agent", "severity"])
def test_a_cell_leads_to_what_it_counts(pages, by):
    """The list behind a cell has the counted findings and no other, whoever knows of them."""
    rows = pages.json("/findings")["rows"]
    decide(pages, [rows[0]["id"]], "acknowledged")
    decide(pages, [rows[-1]["id"]], "fixed")
    text = pages.get("/findings/matrix", by=by).text
    links = re.findall(r'<a class="cell"[^>]* href="([^"]+)"[^>]*>(.*?)</a>', text, re.DOTALL)
    assert links
    for href, words in links:
        path, _, query = html.unescape(href).partition("?")
        found = pages.client.get(f"{path}.json?{query}").json()["rows"]
        assert sum(row["count"] for row in found) == int(re.search(r"<b>(\d+)", words)[1])


@pytest.mark.parametrize("by", ["agent", "severity"])
def test_matrix_as_a_table(pages, by):
    """Each cell is a line of the CSV, with the state in words."""
    link = f"/export/matrix.csv?by={by}"
    assert link in pages.get("/findings/matrix", by=by).text
    lines = list(csv.DictReader(io.StringIO(pages.client.get(link).text)))
    matrix = pages.json("/findings/matrix", by=by)["matrix"]
    cells = [(row["key"], cell) for row in matrix["rows"] for cell in row["cells"]]
    assert [(line["risk"], line["state"], int(line["count"])) for line in lines] == [
        (key, cell["state"], cell["count"]) for key, cell in cells
    ]
    assert {"planner" if by == "agent" else "critical"} <= {line[by] for line in lines}
    assert any(int(line["count"]) for line in lines)


def test_matrix_has_pages(empty):
    """More agents than columns are on further pages, each once."""
    for number in range(30):
        empty.changes.change(
            lambda work, number=number: work.sql(
                "INSERT INTO agents (key, name, workflow, tools, first_us, last_us, sessions,"
                " calls, errors, tok_in, tok_out, cost_nano, rev)"
                " VALUES (?, '', '', '[]', ?, ?, 0, 0, 0, 0, 0, 0, 0)",
                (f"agent-{number}", number, number),
            )
        )
    first = empty.json("/findings/matrix")["matrix"]
    keys = [
        agent["key"]
        for number in range(1, first["pages"] + 1)
        for agent in empty.json("/findings/matrix", page=number)["matrix"]["agents"]
    ]
    assert first["pages"] == 3
    assert sorted(keys) == sorted(f"agent-{number}" for number in range(30))


def test_pii(pages):
    """Personal data is shown by kind and agent; a detector makes the other agents clean."""
    view = pages.json("/pii")
    assert view["state"] == "none"
    assert [row["name"] for row in view["matrix"]["rows"]] == ["email"]
    assert {cell["state"] for cell in cells(pages, "pii.email", "/pii")} == {"found", "untested"}
    detector(pages, "presidio", ["pii"])
    assert {cell["state"] for cell in cells(pages, "pii.email", "/pii")} == {"found", "clean"}


def test_pii_engine_missing(empty):
    """A detector that cannot run says why, and what to do about it."""
    detector(
        empty, "presidio", ["pii"], state="off", reason="The engine is not installed.",
        command="pip install engine",
    )  # fmt: skip
    text = empty.get("/pii").text
    assert "The engine is not installed." in text
    assert "pip install engine" in text


@pytest.mark.parametrize("body", [{"covers": "LLM01"}, {"state": "maybe"}, {"covers": [1]}, []])
def test_detectors_that_make_no_sense_are_off(empty, body):
    """A plugin that tells nonsense of its detector does not make anything tested."""
    empty.changes.change(changes.put_document("detector", "odd", body))
    said = empty.json("/findings/matrix")["coverage"]["detectors"]
    assert [each["state"] for each in said] == ["off"]
    assert not empty.json("/findings/matrix")["matrix"]["tested"]


def test_hostile_findings(tmp_path):
    """What stands in findings is text, whatever it looks like."""
    factory.build(tmp_path / "a.db", "hostile")
    hostile = Pages(tmp_path / "a.db")
    try:
        for path in ("/overview", "/agents", "/models", "/tools", "/findings", "/pii",
                     "/findings/matrix", "/overview/events"):  # fmt: skip
            text = hostile.get(path).text
            assert "<script>alert" not in text
            assert "<img src=x" not in text
        for row in hostile.json("/findings", state="all")["rows"]:
            text = hostile.get(f"/findings/{row['id']}").text
            assert "<script>alert" not in text
        json.dumps(hostile.json("/overview"))
    finally:
        hostile.close()
