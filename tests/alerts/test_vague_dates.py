"""When a result was taken, where it does not say so to the day: a month is the whole of it, and panel, report or specimen may know."""

from __future__ import annotations

from typing import Any

import pytest

from tests.alerts.test_which_count import judge
from tests.data import NOW, ago, anc, bundle, observation
from tests.fhir.asking import visit

Json = dict[str, Any]
_BANDS = ("anc-mild-neutropenia", "anc-moderate-neutropenia", "anc-severe-neutropenia")


def _band(*counts: Json) -> str:
    return next((f.code for f in judge(*counts) if f.code in _BANDS), "")


def _undated(value: float, id: str = "bare", **more: Any) -> Json:
    made = anc(value, 1, id=id, **more)
    del made["effectiveDateTime"]
    return made


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("written", ["2026-11", "2026"])
def test_a_low_count_of_the_month_never_loses_to_a_normal_one_of_its_days(written: str, turned: bool) -> None:
    counts = [
        anc(0.4, id="low", effectiveDateTime=written),
        anc(3.0, 2, id="normal"),
        anc(3.1, 9, id="older"),
    ]
    assert _band(*(counts[::-1] if turned else counts)) == "anc-severe-neutropenia"


def test_a_corrected_normal_count_of_the_month_calms_it_no_more_than_a_final_one() -> None:
    low = anc(0.4, id="low", effectiveDateTime="2026-11")
    assert _band(low, anc(3.0, 2, id="normal", status="corrected")) == "anc-severe-neutropenia"


def test_a_low_count_of_the_month_beside_a_day_without_a_clock_time() -> None:
    low = anc(0.9, id="low", effectiveDateTime="2026-11")
    assert _band(low, anc(3.0, id="normal", effectiveDateTime="2026-11-18")) == "anc-moderate-neutropenia"


def test_a_normal_count_of_the_month_calms_no_low_one_of_its_days() -> None:
    assert _band(anc(3.0, id="m", effectiveDateTime="2026-11"), anc(0.9, 2, id="low")) == (
        "anc-moderate-neutropenia"
    )
    # Nor does it bring back a low one that exact counts have left behind.
    assert (
        _band(anc(3.0, id="m", effectiveDateTime="2026-11"), anc(3.1, 2, id="n"), anc(0.9, 16, id="low"))
        == ""
    )


def test_a_low_count_of_an_earlier_month_is_an_earlier_count() -> None:
    assert _band(anc(0.9, id="low", effectiveDateTime="2026-08"), anc(3.0, 2, id="n")) == ""


def test_a_low_preliminary_count_of_the_month_warns() -> None:
    low = anc(0.4, id="low", status="preliminary", effectiveDateTime="2026-11")
    assert _band(low, anc(3.0, 2, id="normal")) == "anc-severe-neutropenia"


def test_people_see_that_the_day_is_not_known() -> None:
    found = judge(anc(0.4, id="low", effectiveDateTime="2026-11"))
    assert any("no exact date" in line for f in found for line in f.why)


@pytest.mark.parametrize(
    ("written", "said", "late"),
    [
        ("2026", "in 2026", "up to 322 days"),
        ("2026-11", "in 2026-11", "up to 18 days"),
        ("2026-11-10", "on 2026-11-10", "by 9 days"),
    ],
)
def test_cards_name_no_day_that_nobody_knows(written: str, said: str, late: str) -> None:
    found = {f.code: f for f in judge(anc(0.4, id="low", effectiveDateTime=written))}
    assert f"ANC 400/µL {said}:" in found["anc-severe-neutropenia"].summary
    assert late in found["anc-overdue"].summary
    assert said in found["anc-overdue"].summary
    assert any(f"ANC 400/µL {said} (as sent" in line for line in found["anc-severe-neutropenia"].why)
    if len(written) < 10:
        assert not any(f"{written}-01" in line for f in found.values() for line in (f.summary, *f.why))


def _smoking(answer: str, written: str) -> Json:
    concept = {"coding": [{"system": "http://snomed.info/sct", "code": answer}]}
    return observation(
        "72166-2",
        None,
        None,
        id=f"{answer}-{written}",
        effectiveDateTime=written,
        valueCodeableConcept=concept,
    )


_SMOKES, _EX = "77176002", "8517006"


@pytest.mark.parametrize(
    ("answers", "code", "severity", "day"),
    [
        # A year may end today, and a smoker's year may have begun on its first day.
        ([(_SMOKES, "2025"), (_EX, "2026")], "smoking-stopped", "critical", "2026"),
        ([(_SMOKES, "2026-10-01"), (_EX, "2026-11")], "smoking-stopped", "critical", "2026-11"),
        ([(_SMOKES, "2026"), (_EX, "2026-11-10")], "smoking-stopped", "critical", "2026-11-10"),
        # Which of the two is the newer one nobody knows.
        ([(_SMOKES, "2026"), (_EX, "2026")], "smoking-stopped", "warning", "2026"),
        ([(_SMOKES, "2026-10-01"), (_EX, "2026")], "smoking-stopped", "warning", "2026"),
        ([(_EX, "2025"), (_SMOKES, "2026")], "smoking-started", "warning", "2026"),
        ([(_SMOKES, "2024"), (_EX, "2025")], "", "", ""),
        ([(_EX, "2026-01-05"), (_SMOKES, "2024")], "", "", ""),
        ([(_SMOKES, "2025"), (_SMOKES, "2026")], "", "", ""),
    ],
)
def test_smoking_answers_of_a_month_or_a_year(
    answers: list[tuple[str, str]], code: str, severity: str, day: str
) -> None:
    for turned in (answers, answers[::-1]):
        found = visit(smoking=bundle(*(_smoking(*a) for a in turned)))
        changes = {c: f for c, f in found.items() if c.startswith("smoking")}
        assert list(changes) == ([code] if code else [])
        if code:
            assert changes[code][0] == severity
            assert f"({day})" in changes[code][1]


def test_an_answer_that_is_not_understood_may_be_of_the_last_day_of_its_year() -> None:
    strange = _smoking(_EX, "2026") | {"valueCodeableConcept": {"text": "see note"}}
    found = visit(smoking=bundle(_smoking(_SMOKES, "2026-10-01"), strange))
    assert "of 2026 was not understood" in found["smoking-unclear"][1]


def _report(**times: Any) -> Json:
    return {
        "resourceType": "DiagnosticReport",
        "id": "rep",
        "status": "final",
        "subject": {"reference": "Patient/clz-p1"},
        "result": [{"reference": "Observation/bare"}],
    } | times


def _specimen(**collection: Any) -> Json:
    return {"resourceType": "Specimen", "id": "s1", "subject": {"reference": "Patient/clz-p1"}} | collection


_BEFORE = anc(3.0, 9, id="before")


@pytest.mark.parametrize("at", [ago(1), ago(1)[:10]])
def test_a_result_takes_its_time_from_the_report_that_names_it(at: str) -> None:
    assert _band(_BEFORE, _undated(0.4), _report(effectiveDateTime=at)) == "anc-severe-neutropenia"
    assert _band(_BEFORE, _undated(0.4), _report(issued=ago(1))) == "anc-severe-neutropenia"


def test_a_result_takes_its_time_from_the_panel_that_names_it() -> None:
    panel = observation("57021-8", None, None, 1, id="panel", hasMember=[{"reference": "Observation/bare"}])
    assert _band(_BEFORE, _undated(0.4), panel) == "anc-severe-neutropenia"


@pytest.mark.parametrize(
    "taken",
    [
        {"collection": {"collectedDateTime": ago(1)}},
        {"collection": {"collectedPeriod": {"start": ago(1), "end": ago(1)}}},
        {"receivedTime": ago(1)},
    ],
)
def test_a_result_takes_its_time_from_its_specimen(taken: Json) -> None:
    bare = _undated(0.4, specimen={"reference": "Specimen/s1"})
    assert _band(_BEFORE, bare, _specimen(**taken)) == "anc-severe-neutropenia"
    inside = _undated(0.4, specimen={"reference": "#s1"}, contained=[_specimen(**taken)])
    assert _band(_BEFORE, inside) == "anc-severe-neutropenia"


def test_its_own_time_goes_before_any_other() -> None:
    old = anc(0.4, 300, id="bare")
    assert _band(_BEFORE, old, _report(effectiveDateTime=ago(1))) == ""
    # The day of collection is the day of the result, however late the laboratory wrote it down.
    late = _undated(0.4, specimen={"reference": "Specimen/s1"}, issued=ago(1))
    assert _band(_BEFORE, late, _specimen(collection={"collectedDateTime": ago(300)})) == ""


def test_a_report_of_several_weeks_dates_nothing_to_a_day() -> None:
    report = _report(effectivePeriod={"start": ago(40), "end": NOW.strftime("%Y-%m-%d")})
    assert _band(_BEFORE, _undated(0.4), report) == "anc-severe-neutropenia"
    assert _band(anc(0.9, 3, id="low"), _undated(3.0), report) == "anc-moderate-neutropenia"


def test_a_stretch_of_days_is_named_by_both_ends() -> None:
    report = _report(effectivePeriod={"start": "2026-10-11", "end": "2026-11-20"})
    found = {f.code: f for f in judge(_undated(0.4), report)}
    assert "between 2026-10-11 and 2026-11-20:" in found["anc-severe-neutropenia"].summary


def test_a_result_that_nothing_dates_stays_undated() -> None:
    found = judge(_BEFORE, _undated(0.4), _specimen(collection={}))
    assert "anc-unusable" in [f.code for f in found]
