"""PII: which personal data went where."""

from __future__ import annotations

import msgspec

from perimeter_plugin_live_trace.queries.coverage import Coverage, Detector, coverage
from perimeter_plugin_live_trace.queries.findings import Sample, newest_of
from perimeter_plugin_live_trace.queries.matrix import PII_RULE, Matrix, pii_kind, pii_matrix
from perimeter_plugin_live_trace.web.page import Ask, page


class PiiView(msgspec.Struct, frozen=True):
    """
    The page.

    Attributes:
        state: `on`, `off` (the detector is, or cannot run) or `none` (there is none).
        detectors: Those for personal data.
    """

    title: str
    state: str
    detectors: list[Detector]
    coverage: Coverage
    matrix: Matrix
    samples: list[Sample]
    kinds: dict[str, str]
    directions: dict[str, int]


@page("/pii", template="pages/pii.html", nav="pii", title="PII")
def pii(ask: Ask) -> PiiView:
    """Show kinds of personal data by agent, and the newest finds, masked."""
    said = coverage(ask.reader)
    samples = newest_of(ask.reader, PII_RULE)
    directions: dict[str, int] = {}
    for sample in samples:
        name = sample.occurrence.evidence.direction or "not told"
        directions[name] = directions.get(name, 0) + 1
    return PiiView(
        title="PII",
        state=said.of("pii"),
        detectors=[each for each in said.detectors if "pii" in each.covers],
        coverage=said,
        matrix=pii_matrix(ask.reader, ask.params.integer("page", 1, 1, 10_000)),
        samples=samples,
        kinds={sample.rule: pii_kind(sample.rule) for sample in samples},
        directions=directions,
    )


routes = (pii,)
