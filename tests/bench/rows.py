"""Lines of the budget."""

from __future__ import annotations

import attrs
from rich.table import Table


NO_BAR = float("inf")


@attrs.frozen
class Row:
    """A line of the budget: what was measured, and what it may be at most."""

    name: str
    value: float
    bar: float
    unit: str
    rounds: tuple[float, ...] = ()

    @property
    def verdict(self) -> str:
        """Whether it is within the budget; empty where there is none."""
        if self.bar == NO_BAR:
            return ""
        return "met" if self.value <= self.bar else "missed"


def table_of(rows: list[Row]) -> Table:
    """Put the rows into a table."""
    table = Table("", "measured", "budget", "", "rounds")
    for row in rows:
        budget = f"{row.bar:g}" if row.verdict else ""
        spread = f"{min(row.rounds):.2f} to {max(row.rounds):.2f}" if row.rounds else ""
        table.add_row(row.name, f"{row.value:.2f} {row.unit}", budget, row.verdict, spread)
    return table
