"""A result that no range can be compared with is judged by the laboratory's own flag, or by its word."""

from __future__ import annotations

from typing import Any

import pytest

from tests.alerts.test_which_count import judge
from tests.data import anc, observation, on_clozapine

Json = dict[str, Any]
_HL7 = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"
_EARLY = on_clozapine(20, 100)


def _flag(code: str, system: str = _HL7) -> Json:
    return {"interpretation": [{"coding": [{"system": system, "code": code}]}]}


def _troponin(value: float | None = 60, days: float = 1, **more: Any) -> Json:
    return observation("67151-1", value, "ng/L" if value else None, days, **({"id": "trop"} | more))


def _said(*results: Json, medication: Json = _EARLY) -> str:
    found = judge(anc(3.0, 1), *results, medication=medication)
    return next((f.severity for f in found if f.code == "myocarditis-suspected"), "")


@pytest.mark.parametrize("code", ["H", "HH", "HU", "A", "AA", "POS", ">"])
def test_a_troponin_without_a_range_that_is_flagged_is_a_warning_in_the_first_weeks(code: str) -> None:
    assert _said(_troponin(**_flag(code))) == "warning"
    assert _said(_troponin(**_flag(code, "http://hl7.org/fhir/v2/0078"))) == "warning"
    assert _said(_troponin(interpretation={"coding": [{"code": code}]})) == "warning"  # STU3


@pytest.mark.parametrize("text", ["High", "CRITICAL HIGH", "Above high normal"])
def test_a_flag_in_words(text: str) -> None:
    assert _said(_troponin(interpretation=[{"text": text}])) == "warning"


@pytest.mark.parametrize("code", ["N", "L", "B", "S", "IND"])
def test_other_flags_raise_nothing(code: str) -> None:
    assert _said(_troponin(**_flag(code))) == "info"  # it cannot be judged, as before


def test_the_flag_is_shown_beside_the_value() -> None:
    found = judge(anc(3.0, 1), _troponin(**_flag("HH")), medication=_EARLY)
    (card,) = [f for f in found if f.code == "myocarditis-suspected"]
    assert any("60 ng/L HH" in line for line in card.why)


def test_the_range_decides_where_it_is_sent() -> None:
    within = {"referenceRange": [{"high": {"value": 100, "unit": "ng/L"}}]}
    assert _said(_troponin(**_flag("HH"), **within)) == ""


def test_a_newer_flagged_troponin_is_not_calmed_by_an_older_normal_one() -> None:
    normal = _troponin(4, 3, id="old", referenceRange=[{"high": {"value": 14, "unit": "ng/L"}}])
    assert _said(normal, _troponin(**_flag("HH"))) == "warning"


def test_long_after_the_first_weeks_a_troponin_is_not_judged() -> None:
    assert _said(_troponin(**_flag("HH")), medication=on_clozapine(500)) == ""


@pytest.mark.parametrize(
    "value",
    [
        {"valueCodeableConcept": {"coding": [{"system": "http://snomed.info/sct", "code": "10828004"}]}},
        {"valueCodeableConcept": {"text": "Positive"}},
        {"valueCodeableConcept": {"coding": [{"code": "LA6576-8", "display": "Positive"}]}},
        {"valueString": "POSITIVE"},
        {"valueString": "detected"},
    ],
)
def test_a_troponin_that_is_only_called_positive(value: Json) -> None:
    assert _said(_troponin(None, **value)) == "warning"


@pytest.mark.parametrize("word", ["Negative", "Not detected", "see report", "positive control failed"])
def test_other_words_are_no_positive_troponin(word: str) -> None:
    assert _said(_troponin(None, valueCodeableConcept={"text": word})) in ("", "info")


def test_a_count_that_cannot_be_used_shows_its_flag() -> None:
    found = judge(anc(3.0, 9, id="before"), anc(0.4, 1, unit=None, id="bare", **_flag("LL")))
    (card,) = [f for f in found if f.code == "anc-unusable"]
    assert any("0.4 LL" in line for line in card.why)
