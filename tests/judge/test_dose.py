"""``read_dose``: the daily dose of an order as the service reads it, or why not."""

from __future__ import annotations

from typing import Any

import pytest

from service.judge import DoseRead, JudgeError, judge, read_dose
from tests.data import NOW, anc, bundle, call, clozapine, dosage, on_clozapine, prefetch

TABLET = "clozapine 100 MG Oral Tablet"


@pytest.mark.parametrize(
    ("instructions", "product", "mg"),
    [
        (dosage(150, 2), TABLET, 300),
        (dosage(150, 2)[0], TABLET, 300),
        ([{"text": "1 tablet in the morning and 2 tablets at night"}], TABLET, 300),
        ("1 tablet in the morning and 2 tablets at night", "Clozaril 25 mg tablets", 75),
        ("100 mg nocte", "", 100),
        ("2 mL at night", "clozapine 50 mg/mL oral suspension", 100),
    ],
)
def test_a_dose_that_can_be_read(instructions: Any, product: str, mg: float) -> None:
    read = read_dose(instructions, product)
    assert (read.mg_per_day, read.reason) == (mg, "")


@pytest.mark.parametrize(
    ("instructions", "product", "says"),
    [
        ("2 tablets at night", "clozapine tablets", "the strength of the product is not known"),
        ("2 tablets at night", "clozapine 100 mg " + "x" * 5000, "the strength of the product is not known"),
        ("aim for 300 mg", TABLET, "“aim”"),
        ("x" * 50_000, TABLET, "longer than 2000"),
        ([], TABLET, "no dosage instruction"),
        ("", TABLET, ""),
        (None, TABLET, "no dosage instruction"),
        ([7], TABLET, "not an object"),
        (dosage(0), TABLET, "zero"),
        (dosage(100) * 101, TABLET, "more than 100"),
    ],
)
def test_a_dose_that_cannot_be_read_says_why(instructions: Any, product: str, says: str) -> None:
    read = read_dose(instructions, product)
    assert read.mg_per_day is None
    assert says in read.reason
    assert read.reason


def test_what_was_assumed_and_what_is_contradictory_is_told() -> None:
    assert read_dose("200 mg nocte").notes == ("read from the text",)
    (in_tablets,) = dosage(2)
    in_tablets["doseAndRate"] = [{"doseQuantity": {"value": 2, "unit": "tablet"}}]
    assert read_dose(in_tablets, TABLET) == DoseRead(200, notes=("strength from the product name",))
    two_ways = read_dose([dosage(100)[0] | {"text": "200 mg nocte"}], TABLET)
    assert two_ways.mg_per_day == 200
    assert any("by its text" in note for note in two_ways.notes)


def test_it_is_the_dose_that_an_order_is_judged_by() -> None:
    """One tablet more than the limit, in tablets and words alone."""
    words = [{"text": "4 tablets in the morning and 6 tablets at night"}]
    assert read_dose(words, TABLET).mg_per_day == 1000
    draft = clozapine(100) | {"dosageInstruction": words}
    asked = call("order-sign", prefetch(medications=bundle(on_clozapine()), counts=bundle(anc())), draft)
    assert "dose-exceeds-max" in [f.code for f in judge(asked, as_of=NOW).findings]


def test_what_is_not_json_is_an_error() -> None:
    with pytest.raises(JudgeError, match="not JSON"):
        read_dose([{"text": object()}], TABLET)


def test_the_answer_is_frozen() -> None:
    with pytest.raises(AttributeError):
        DoseRead(100.0).mg_per_day = 200.0  # type: ignore[misc]
