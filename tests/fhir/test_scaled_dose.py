"""A draft with another daily dose keeps its times of day, in doses that its tablets give."""

from __future__ import annotations

from typing import Any

import pytest

from service.fhir.build import scaled_dose
from service.fhir.dosage import read_dose
from service.fhir.strength import strength_in_name
from tests.data import clozapine, dosage


def _at(mg: float, when: str) -> dict[str, Any]:
    line = dosage(mg)[0]
    return {**line, "timing": {"repeat": {**line["timing"]["repeat"], "when": [when]}}}


def _given(order: dict[str, Any]) -> list[tuple[float, Any, str]]:
    return [
        (
            line["doseAndRate"][0]["doseQuantity"]["value"],
            line["timing"]["repeat"].get("when", line["timing"]["repeat"]["frequency"]),
            line["text"],
        )
        for line in order["dosageInstruction"]
    ]


@pytest.mark.parametrize(
    ("lines", "mg", "step", "given"),
    [
        (dosage(150, 2), 100, 50, [(50, 2, "50 mg twice daily")]),
        (dosage(300), 100, 50, [(100, 1, "100 mg once daily")]),
        ([_at(300, "HS")], 100, 50, [(100, ["HS"], "100 mg at bedtime")]),
        # What is left goes to the larger dose: the night's.
        ([_at(100, "MORN"), _at(200, "HS")], 100, 12.5, [(25, ["MORN"], "25 mg in the morning"), (75, ["HS"], "75 mg at bedtime")]),
        # Half a 100 mg tablet in the morning is more than its share: all at night.
        ([_at(100, "MORN"), _at(200, "HS")], 100, 50, [(100, ["HS"], "100 mg at bedtime")]),
        ([_at(100, "MORN"), _at(100, "HS")], 62.5, 12.5, [(25, ["MORN"], "25 mg in the morning"), (37.5, ["HS"], "37.5 mg at bedtime")]),
    ],
)  # fmt: skip
def test_times_are_kept(lines: list[dict[str, Any]], mg: float, step: float, given: list[Any]) -> None:
    order = clozapine(300) | {"dosageInstruction": lines, "dispenseRequest": {"quantity": {"value": 84}}}
    changed = scaled_dose(order, mg, step)
    assert changed is not None
    assert _given(changed) == given
    assert "dispenseRequest" not in changed
    read = read_dose(changed["dosageInstruction"], strength_in_name("clozapine 100 MG Oral Tablet"))
    assert read.mg_per_day == mg


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [{"text": "as before"}],
        # Two doses of 31.25 mg: no tablet gives them.
        dosage(100, 2),
        # Every other day is no daily dose to divide.
        [{**dosage(300)[0], "timing": {"repeat": {"frequency": 1, "period": 2, "periodUnit": "d"}}}],
    ],
)
def test_what_cannot_be_divided_so_is_not(lines: list[dict[str, Any]]) -> None:
    assert scaled_dose(clozapine(300) | {"dosageInstruction": lines}, 62.5, 12.5) is None


def test_a_rise_is_no_share_of_the_old_dose() -> None:
    assert scaled_dose(clozapine(100), 100, 12.5) is None
