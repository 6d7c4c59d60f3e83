"""The dose a card offers is one that raises no dose finding itself."""

from __future__ import annotations

from typing import Any

import pytest

from service.alerts.say.finding import ChangeDose
from tests.alerts.vignette import findings

ROWS: list[tuple[dict[str, Any], tuple[float, int]]] = [
    ({"on": ["clozapine 225 mg x2 since 500 d"], "draft": ["clozapine 225 mg x2"], "given": ["40 h"]}, (225, 2)),
    ({"on": ["clozapine 237.5 mg x2 since 500 d"], "draft": ["clozapine 237.5 mg x2"], "given": ["40 h"]}, (225, 2)),
    ({"on": ["clozapine 150 mg x2 since 500 d"], "draft": ["clozapine 150 mg x2"], "given": ["60 h"]}, (75, 1)),
    ({"on": ["clozapine 150 mg x2 since 500 d"], "draft": ["clozapine 150 mg x2"], "given": ["80 h"]}, (12.5, 1)),
    ({"draft": ["clozapine 100 mg"]}, (12.5, 1)),
]  # fmt: skip


@pytest.mark.parametrize(("row", "expected"), ROWS)
def test_the_offered_dose_passes(row: dict[str, Any], expected: tuple[float, int]) -> None:
    row = row | {"counts": ["ANC 3.2 10*3/uL 1 d ago"]}
    offers = {o for f in findings(row) for o in f.offers if isinstance(o, ChangeDose)}
    assert {(o.mg_per_day, o.doses_per_day) for o in offers} == {expected}
    mg, times = expected
    again = findings(row | {"draft": [f"clozapine {mg / times} mg x{times}"]})
    assert [f.code for f in again if f.code.startswith(("missed-dose", "dose-s", "dose-t", "dose-e"))] == []
