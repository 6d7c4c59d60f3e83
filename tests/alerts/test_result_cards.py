"""What the cards of the result rules tell, beside their code and severity."""

from __future__ import annotations

from typing import Any

import pytest

from service.alerts.knowledge.catalogue import test as orderable
from service.alerts.say.finding import Finding, OrderTest
from tests.alerts.vignette import findings


def only(code: str, **row: Any) -> Finding:
    (found,) = [f for f in findings({"hook": "patient-view", **row}) if f.code == code]
    return found


EARLY = ["clozapine 100 mg since 20 d"]
LONG = ["clozapine 300 mg since 500 d"]


def test_the_card_that_says_stop_shows_what_else_is_raised() -> None:
    found = only(
        "myocarditis-suspected",
        on=EARLY,
        counts=["CRP 120 mg/L 1 d ago", "troponin 20 ng/L limit 14 1 d ago"],
    )
    assert found.severity == "critical"
    assert [line.split(",")[0] for line in found.why[:2]] == ["CRP 120 mg/L", "Troponin 20 ng/L"]
    assert {e.ref for e in found.evidence} == {"Observation/r-0", "Observation/r-1"}


def test_a_preliminary_sign_is_called_preliminary() -> None:
    found = only("fever", on=LONG, counts=["temperature 39 Cel 5 h ago preliminary"])
    assert "(preliminary)" in found.summary
    assert "(preliminary)" in found.why[0]


def test_a_posture_in_the_card() -> None:
    counts = ["systolic 130 mm[Hg] lying 26 h ago", "systolic 100 mm[Hg] standing 25.9 h ago"]
    assert (
        "systolic 130 lying to 100 standing"
        in only("orthostatic-hypotension", on=LONG, counts=counts).summary
    )


def test_no_laxative_on_a_list_that_was_read_in_part_only() -> None:
    whole = only("constipation-no-prophylaxis", on=LONG)
    part = only("constipation-no-prophylaxis", on=LONG, unread=["statements"])
    assert not whole.unchecked
    assert part.unchecked == ("What the patient takes without an order was not read.",)


def test_an_overdue_test_names_the_result_that_cannot_be_used() -> None:
    found = only(
        "monitoring-overdue",
        on=["clozapine 300 mg since 130 d"],
        counts=["HbA1c 5.4 1 d ago", "level 400 ng/mL 9 d ago"],
    )
    (line,) = [line for line in found.why if "HbA1c" in line]
    assert "none on record; one on record cannot be used, it has no unit (as sent: 5.4)" in line.replace(
        "\\", ""
    )


def test_what_is_overdue_from_an_unknown_start() -> None:
    found = only("monitoring-overdue", on=["clozapine 300 mg"], counts=["level 400 ng/mL 9 d ago"])
    assert found.why[0] == "ECG: due since an unknown start, none on record."
    assert found.missing


def test_a_start_without_sex_and_age_says_so() -> None:
    found = only(
        "baseline-incomplete", draft=["clozapine 12.5 mg"], hook="order-sign", sex="unknown", born=""
    )
    assert "Pregnancy test: none within 14 days (sex and age not in the record)." in found.why


def test_results_that_could_not_be_judged_are_named_with_the_reason() -> None:
    found = only(
        "data-unavailable",
        on=EARLY,
        counts=["CRP 180 1 d ago", "ALT 400 U/L 2 d ago", "troponin 'see report' 1 d ago"],
    )
    assert found.summary.startswith(
        "Not judged: troponin, CRP and ALT (see report, its text is not one number with a unit)"
    )
    assert [line.split(",")[0] for line in found.why] == ["Troponin “see report”", "CRP “180”", "ALT 400 U/L"]
    assert {e.ref for e in found.evidence} == {"Observation/r-0", "Observation/r-1", "Observation/r-2"}


def _offered(found: Finding) -> set[str]:
    return {o.test for o in found.offers if isinstance(o, OrderTest)}


@pytest.mark.parametrize(
    "test", ["troponin-crp", "ecg", "vital-signs", "weight", "hba1c", "lipids", "liver", "pregnancy-test"]
)
def test_a_test_that_was_suggested_and_ordered_is_not_offered_again(test: str) -> None:
    offered = orderable(test)
    row: dict[str, Any] = {"draft": ["clozapine 12.5 mg"], "hook": "order-sign", "sex": "female"}
    assert test in _offered(only("baseline-incomplete", **row))
    again = only("baseline-incomplete", **row, ordered=[offered.code or offered.text])
    assert test not in _offered(again)
    assert len(_offered(again)) == len(_offered(only("baseline-incomplete", **row))) - 1


def test_another_test_that_is_ordered_changes_no_offer() -> None:
    row: dict[str, Any] = {"draft": ["clozapine 12.5 mg"], "hook": "order-sign"}
    assert _offered(only("baseline-incomplete", **row, ordered=["Serum sodium"])) == _offered(
        only("baseline-incomplete", **row)
    )


@pytest.mark.parametrize(
    ("problem", "code", "named"),
    [
        ("code I40.9", "myocarditis-suspected", "myocarditis (code I40.9)"),
        ("code G21.0", "neuroleptic-malignant-syndrome", "neuroleptic malignant syndrome (code G21.0)"),
        ("code H40.031", "angle-closure", "angle closure (code H40.031)"),
    ],
)
def test_a_problem_that_is_a_code_without_words_is_named(problem: str, code: str, named: str) -> None:
    found = only(code, on=LONG, problems=[problem])
    assert found.why[0].startswith(f"Problem list: {named}")
    assert not found.summary.startswith((":", " "))


def test_a_single_dose_is_shown_where_the_order_has_no_text() -> None:
    found = only("dose-single-too-high", hook="order-sign", on=LONG, draft=["clozapine 500 mg"])
    assert "500 mg" in found.why[0]


@pytest.mark.parametrize(
    ("row", "cause"),
    [
        ({"counts": ["CRP >80 mg/L 1 d ago"]}, "CRP raised: CRP above 80 mg/L, 2026-11-19 10:00 (as sent: ›80 mg/L)"),
        ({"counts": ["CRP 80 mg/L limit 5 1 d ago"]}, "CRP raised: CRP 80 mg/L, 2026-11-19 10:00, upper limit of normal 5 (as sent: 80 mg/L)"),
        ({"problems": ["pneumonia since 4 d"]}, "Problem list: pneumonia"),
    ],
)  # fmt: skip
def test_the_cause_of_a_suggested_level_is_plain_and_whole_in_the_summary(
    row: dict[str, Any], cause: str
) -> None:
    found = only("level-suggested", on=LONG, **row)
    assert found.summary == f"A clozapine level is worth taking now: {cause}."
