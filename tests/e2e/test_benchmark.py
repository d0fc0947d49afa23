"""The benchmark's command still runs; what it measures is nothing to assert."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


pytest.importorskip("perimeter_plugin_printer")
pytest.importorskip("perimeter_plugin_recorders")
pytest.importorskip("perimeter_plugin_live_trace")

RUN = Path(__file__).parents[1] / "bench" / "run.py"
ROWS = {
    "costs": {"bare Litestar app", "+ printer and three recorders", "an event of 4 streams"},
    "reading": {"reading, a request", "reading, a megabyte of history"},
    "latency": {"added at one connection, p99", "added to the first event, p99"},
    "memory": {"idle", "an open stream"},
    "workers": {"CPU per request with two workers", "share of the busier worker"},
    "soak": {"growth after 4 of 40 exchanges"},
    "ingest": {"  records dropped", "  answer to visible, p95"},
    "dashboard": {"list of sessions, p95", "search, p95", "first load of the sessions"},
}


def run(folder: Path, part: str) -> dict:
    """Run the least of a part of the benchmark, and return what it found."""
    found = folder / "found.json"
    command = [sys.executable, str(RUN), "--least", "--only", part, "--json", str(found)]
    # Other gateways may be installed, and would take minutes.
    environment = {**os.environ, "PATH": "", "EVENT_SECONDS": "0"}
    subprocess.run(command, env=environment, timeout=110, check=True, stdout=subprocess.DEVNULL)
    return json.loads(found.read_text(encoding="utf-8"))


@pytest.mark.parametrize("part", ROWS)
def test_budget_has_its_rows(tmp_path, part):
    """Each part of the budget is measured, and is met, missed or has no bar."""
    rows = {row["name"]: row for row in run(tmp_path, part)["budget"]}

    assert rows.keys() >= ROWS[part]
    assert {row["verdict"] for row in rows.values()} <= {"met", "missed", ""}


def test_grid_has_answers_and_streams(tmp_path):
    """Answers and streams are sent in closed loops and in open ones."""
    cells = run(tmp_path, "grid")["grid"]

    assert [cell["stream"] for cell in cells] == [False, True]
    assert all(min(*cell["closed"][:2], *cell["open"][:2], cell["ratio"]) > 0 for cell in cells)


def test_absent_gateways_are_named(tmp_path):
    """A gateway that is not installed is named, and the run goes on."""
    assert run(tmp_path, "gateways")["gateways"] == [
        f"{name}: not installed" for name in ("LiteLLM", "Portkey", "mitmproxy")
    ]
