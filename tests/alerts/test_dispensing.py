"""May clozapine be handed out now: the verdict under each policy, on both sides of each border."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from service.alerts.case.case import Case
from service.alerts.dispensing import Answer, dispensing, with_refill
from service.alerts.evaluate import could_not_run, evaluate_case
from service.alerts.facts.patient import (
    ClinicianFlag,
    Dose,
    Measurement,
    Medication,
    PatientSnapshot,
    UnusableResult,
)
from service.alerts.facts.reason import because
from service.alerts.facts.record_text import RecordText
from service.alerts.policy.policy import policy_by_id
from service.alerts.say.language import english
from service.alerts.say.sentence import Sentence
from tests.data import NOW
from tests.registry.roster import COMPLETE, ZONE, anc, facts

TODAY = NOW.astimezone(ZONE).date()
US, UK, EU, CLASSIC, AU, CA = (
    "us-label-2025",
    "uk-smpc",
    "eu-smpc-2025",
    "eu-classic",
    "au-2021",
    "ca-2020",
)


def _count(value: float, days: float, id: str = "c", **more: Any) -> tuple[Measurement, Measurement]:
    """ANC and white cells of one sample."""
    count = replace(anc(value, days, f"{id}-anc"), **more)
    return count, replace(count, kind="wbc", value=value * 2, ref=f"Observation/{id}-wbc")


def _patient(*samples: tuple[Measurement, Measurement], **more: Any) -> PatientSnapshot:
    course_days = more.pop("course_days", 500)
    known = facts("p1", *(a for a, _ in samples), course_days=course_days)
    cells = known.measurements | {"wbc": tuple(w for _, w in samples)}
    return replace(known, measurements=cells, **more)


def _ask(policy: str, patient: PatientSnapshot, read_at: datetime | None = None) -> Answer:
    case = Case(patient, policy_by_id(policy), NOW)
    return dispensing(case, evaluate_case(case), read_at)


def _text(said: Sentence | None) -> str:
    return "" if said is None else english().plain(said)


def _in(days: int) -> date:
    return TODAY + timedelta(days=days)


@pytest.mark.parametrize(
    ("policy", "age", "course_days", "verdict", "days"),
    [
        # Monthly or four-weekly counts: the day before the count is due, that day, the day after.
        (US, 0, 500, "allowed", 30),
        (US, 29, 500, "allowed", 30),
        (US, 30, 500, "allowed", 30),
        (US, 31, 500, "left-to-you", None),
        (UK, 0, 500, "allowed", 28),
        (UK, 27, 500, "allowed", 28),
        (UK, 28, 500, "allowed", 28),
        (UK, 29, 500, "not-allowed", None),
        (CLASSIC, 28, 500, "allowed", 28),
        (CLASSIC, 29, 500, "not-allowed", None),
        (CA, 28, 500, "allowed", 28),
        (CA, 29, 500, "not-allowed", None),
        # Counts every twelve weeks.
        (EU, 83, 500, "allowed", 84),
        (EU, 84, 500, "allowed", 84),
        (EU, 85, 500, "not-allowed", None),
        # Supply ends with the next count.
        (AU, 0, 500, "allowed", 28),
        (AU, 1, 500, "allowed", 27),
        (AU, 27, 500, "allowed", 1),
        (AU, 28, 500, "not-allowed", None),
        (AU, 29, 500, "not-allowed", None),
        # Weekly counts.
        (US, 7, 60, "allowed", 7),
        (US, 8, 60, "left-to-you", None),
        (UK, 7, 60, "allowed", 7),
        (UK, 8, 60, "not-allowed", None),
        (EU, 7, 60, "allowed", 7),
        (EU, 8, 60, "not-allowed", None),
        (AU, 6, 60, "allowed", 1),
        (AU, 7, 60, "not-allowed", None),
        (CA, 7, 60, "allowed", 7),
        (CA, 8, 60, "not-allowed", None),
    ],
)
def test_on_both_sides_of_the_day_the_count_is_due(
    policy: str, age: int, course_days: int, verdict: str, days: int | None
) -> None:
    answer = _ask(policy, _patient(_count(3200, age), course_days=course_days))
    assert (answer.verdict, answer.days) == (verdict, days), _text(answer.says)
    assert answer.until == (None if days is None else _in(days - 1))
    assert bool(answer.arithmetic) == (days is not None)
    if days is not None:
        assert f"{_in(days - 1)} ({days} day" in _text(answer.says)


def test_the_arithmetic_can_be_followed() -> None:
    answer = _ask(AU, _patient(_count(3200, 3)))
    assert (
        _text(answer.arithmetic)
        == "Count of 2026-11-17 + 28 days = 2026-12-15; from 2026-11-20 on that is 25 days."
    )
    assert (answer.next_due, answer.until) == (date(2026, 12, 15), date(2026, 12, 14))
    answer = _ask(UK, _patient(_count(3200, 3)))
    assert _text(answer.arithmetic) == (
        "Counts every 4 weeks: supply for at most 28 days, from 2026-11-20 to 2026-12-17."
    )
    assert [m.ref for m in answer.counts] == ["Observation/c-anc", "Observation/c-wbc"]
    assert _text(answer.holds) == "Worked out 2026-11-20 05:00; it holds today unless a new result arrives."


@pytest.mark.parametrize(("age", "told"), [(1, False), (2, True), (28, True)])
def test_supply_that_outlasts_the_count_says_so_where_the_policy_does_not_end_it(
    age: int, told: bool
) -> None:
    answer = _ask(UK, _patient(_count(3200, age)))
    assert any("before this supply ends" in _text(line) for line in answer.reasons) is told


@pytest.mark.parametrize("policy", [US, UK, EU, CLASSIC, AU, CA])
@pytest.mark.parametrize("status", ["final", "preliminary"])
def test_a_count_at_which_clozapine_stops_is_not_handed_out_on(policy: str, status: str) -> None:
    low = _count(400, 0.2, "low", status=status)
    answer = _ask(policy, _patient(low, _count(3200, 10)))
    assert (answer.verdict, answer.days) == ("do-not", None)
    assert _text(answer.says).startswith("Do not hand out: ")
    assert "400/µL" in _text(answer.says)


@pytest.mark.parametrize("policy", [US, UK, EU, CLASSIC, AU, CA])
def test_without_any_count_the_policy_decides(policy: str) -> None:
    answer = _ask(policy, _patient())
    assert answer.verdict == ("left-to-you" if policy == US else "not-allowed")
    assert "no usable ANC is on record" in _text(answer.says)


def test_where_both_counts_are_judged_one_alone_does_not_do() -> None:
    known = facts("p1", anc(3200, 2))
    assert _ask(US, known).verdict == "allowed"
    answer = _ask(UK, known)
    assert (answer.verdict, _text(answer.says)) == (
        "not-allowed",
        "The policy does not allow supply: no usable WBC is on record.",
    )


@pytest.mark.parametrize("source", ["counts", "medications"])
@pytest.mark.parametrize("state", ["incomplete", "unavailable"])
def test_what_was_not_read_completely_is_no_answer(source: str, state: Any) -> None:
    answer = _ask(UK, _patient(_count(3200, 3), sources=COMPLETE | {source: state}))
    assert (answer.verdict, answer.days) == ("cannot-say", None)


def test_a_stop_is_told_though_nothing_can_be_said() -> None:
    answer = _ask(UK, _patient(_count(400, 0.2), sources=COMPLETE | {"counts": "incomplete"}))
    assert answer.verdict == "cannot-say"
    assert "400/µL" in _text(answer.reasons[0])


@pytest.mark.parametrize(("hours", "verdict"), [(0, "allowed"), (36, "allowed"), (36.1, "cannot-say")])
def test_a_record_read_too_long_ago_is_no_answer(hours: float, verdict: str) -> None:
    answer = _ask(UK, _patient(_count(3200, 3)), NOW - timedelta(hours=hours))
    assert answer.verdict == verdict
    assert any("36 h" in _text(line) for line in answer.unconfirmed) is (verdict == "cannot-say")


def test_a_newer_count_that_cannot_be_used_is_no_answer() -> None:
    unit = UnusableResult(
        "anc", RecordText("0.4"), because("unit.none"), "Observation/x", NOW - timedelta(hours=2)
    )
    answer = _ask(US, _patient(_count(3200, 3), unusable=(unit,)))
    assert answer.verdict == "cannot-say"


def _flag(kind: str, hours: float = 1) -> ClinicianFlag:
    at = NOW - timedelta(hours=hours)
    return ClinicianFlag(kind, RecordText("Dr Hema"), at, since=at)


@pytest.mark.parametrize(
    ("flags", "verdict"),
    [
        ((_flag("hold"),), "do-not"),
        ((_flag("stop"),), "do-not"),
        ((_flag("do-not-rechallenge"),), "do-not"),
        ((_flag("hold", 3), _flag("restart", 1)), "allowed"),
        ((_flag("contact"),), "allowed"),
        ((), "allowed"),
    ],
)
def test_what_is_stated_in_the_registry_decides(flags: tuple[ClinicianFlag, ...], verdict: str) -> None:
    answer = _ask(UK, _patient(_count(3200, 3), flags=flags))
    assert answer.verdict == verdict
    if verdict == "do-not":
        assert "Dr Hema" in _text(answer.says)


def test_nothing_is_handed_out_to_the_dead_and_nothing_said_of_those_without_clozapine() -> None:
    assert _ask(UK, _patient(_count(3200, 3), deceased=True)).verdict == "do-not"
    answer = _ask(UK, _patient(_count(3200, 3), medications=()))
    assert (answer.verdict, answer.days) == ("cannot-say", None)
    ended = Medication(
        ref="MedicationRequest/e", role="order", drugs=("clozapine",), label=RecordText("clozapine"), status="stopped",
        start=NOW - timedelta(days=90), end=NOW - timedelta(days=9), stops=False,
    )  # fmt: skip
    assert _ask(UK, _patient(_count(3200, 3), medications=(ended,))).verdict == "cannot-say"


def _dispensed(days_ago: float, days: float) -> Medication:
    return Medication(
        ref="MedicationDispense/d", role="dispense", drugs=("clozapine",), label=RecordText("clozapine"), status="completed",
        start=NOW - timedelta(days=days_ago), days_supply=days, dose=Dose(300, 300, 300, 1),
    )  # fmt: skip


def _given(hours_ago: float, days: int) -> tuple[Medication, ...]:
    return tuple(
        Medication(
            ref=f"MedicationAdministration/{n}", role="administration", drugs=("clozapine",), label=RecordText("clozapine"), status="completed",
            start=NOW - timedelta(hours=hours_ago + 24 * n), dose=Dose(300, 300, 300, 1),
        )
        for n in range(days)
    )  # fmt: skip


@pytest.mark.parametrize(("hours", "verdict"), [(24, "allowed"), (75, "not-the-usual")])
def test_after_missed_doses_the_usual_supply_is_not_handed_out(hours: float, verdict: str) -> None:
    known = _patient(_count(3200, 3))
    answer = _ask(UK, replace(known, medications=(*known.medications, *_given(hours, 20))))
    assert answer.verdict == verdict, _text(answer.says)
    if verdict == "not-the-usual":
        assert "12.5 mg" in _text(answer.says)
        assert answer.days is None


def test_what_is_at_home_is_told_and_not_taken_off() -> None:
    known = _patient(_count(3200, 3))
    answer = _ask(UK, replace(known, medications=(*known.medications, _dispensed(20, 28))))
    assert answer.days == 28
    assert _text(answer.at_home).startswith("The last dispense covers until 2026-11-28, 8 days from today")
    assert _ask(UK, known).at_home is None


def test_another_danger_leaves_it_to_whoever_hands_out_and_says_how_much() -> None:
    known = _patient(_count(3200, 3))
    drug = Medication(
        ref="MedicationRequest/f", role="order", drugs=("ciprofloxacin", "fluvoxamine"), label=RecordText("fluvoxamine 100 mg"),
        start=NOW - timedelta(days=1), authored=NOW - timedelta(days=1),
    )  # fmt: skip
    beside = replace(known, medications=(*known.medications, drug))
    case = Case(beside, policy_by_id(UK), NOW)
    answer = dispensing(case, evaluate_case(case))
    assert (answer.verdict, answer.days) == ("left-to-you", 28)
    assert _text(answer.says).startswith("The policy leaves it to you: ")


@pytest.mark.parametrize(
    ("policy", "says"),
    [(EU, ["national rules", "days' supply"]), (UK, ["days' supply"]), (CA, [])],
)
def test_what_nobody_confirmed_is_named(policy: str, says: list[str]) -> None:
    answer = _ask(policy, _patient(_count(3200, 3)))
    told = [_text(line) for line in answer.unconfirmed]
    assert len(told) == len(says)
    assert all(words in line for words, line in zip(says, told, strict=True))


def test_of_many_reasons_five_are_told_and_how_many_there_are_more() -> None:
    case = Case(_patient(_count(400, 0.2)), policy_by_id(UK), NOW)
    [stop] = [f for f in evaluate_case(case) if f.severity == "critical"]
    answer = dispensing(case, [replace(stop, subject=str(n)) for n in range(8)])
    assert len(answer.reasons) == 5
    assert _text(answer.reasons[-1]) == "5 more; see the findings of the patient."


def test_a_rule_that_failed_is_no_answer_and_a_fault_of_the_answer_costs_itself() -> None:
    case = Case(_patient(_count(3200, 3)), policy_by_id(UK), NOW)
    assert dispensing(case, [could_not_run("anc_overdue")]).verdict == "cannot-say"
    order = replace(case.snapshot.medications[0], role="draft", ref="MedicationRequest/d")
    refill = Case(replace(case.snapshot, hook="medication-refill", drafts=(order,)), policy_by_id(UK), NOW)
    assert [f.code for f in with_refill(refill, [])] == ["dispensing"]
    faults: list[str] = []
    broken = with_refill(refill, [None], lambda name, fault: faults.append(name))  # type: ignore[list-item]
    assert faults == ["dispensing"]
    assert broken[-1].code == "data-unavailable"
