"""
Measure everything: `python tests/bench/run.py [--quick] [--only PART]... [--json FILE]`.

The rows of the budget, the pages of the dashboard, the grid and other gateways, each beside its
partner in the same run; a table of each, and JSON where asked for. All takes half an hour, with
`--quick` a few minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import attrs
import budget
import dashboard
import gateways
import grid
import holding
import ingest
import reading
import rows
from extent import FULL, LEAST, QUICK, Extent
from processes import LIVE, started
from rich.console import Console


BUDGET = {
    "costs": budget.cost_rows,
    "reading": reading.reading_rows,
    "latency": budget.latency_rows,
    "memory": holding.memory_rows,
    "workers": budget.worker_rows,
    "soak": holding.soak_rows,
    **({"ingest": ingest.ingest_rows, "dashboard": dashboard.dashboard_rows} if LIVE else {}),
}
PARTS = (*BUDGET, "grid", "gateways")


def measure(parts: list[str], extent: Extent, console: Console) -> dict[str, Any]:
    """Measure, print, and return what was found as JSON values."""
    found: dict[str, Any] = {"machine": _machine()}
    with started("provider") as provider:
        lines = [
            line
            for part, measured in BUDGET.items()
            if part in parts
            for line in measured(provider.port, extent)
        ]
        if lines:
            console.print(rows.table_of(lines))
            found["budget"] = [{**attrs.asdict(line), "verdict": line.verdict} for line in lines]
        if "grid" in parts:
            cells = list(grid.cells(provider.port, extent))
            console.print(grid.table_of(cells))
            found["grid"] = [{**attrs.asdict(cell), "ratio": cell.ratio} for cell in cells]
        if "gateways" in parts:
            compared = list(gateways.compare(provider.port, extent))
            console.print(gateways.table_of(compared))
            found["gateways"] = [
                each if isinstance(each, str) else attrs.asdict(each) for each in compared
            ]
    return found


def _machine() -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": platform.system(),
    }


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    extent = parser.add_mutually_exclusive_group()
    extent.set_defaults(extent=FULL)
    extent.add_argument(
        "--quick", action="store_const", dest="extent", const=QUICK, help="a few minutes"
    )
    extent.add_argument(
        "--least", action="store_const", dest="extent", const=LEAST, help="to see that it works"
    )
    parser.add_argument("--only", choices=PARTS, action="append", help="this part; repeatable")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    console = Console() if sys.stdout.isatty() else Console(width=120)
    found = measure(options.only or list(PARTS), options.extent, console)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
