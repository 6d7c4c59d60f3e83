"""What a finding showed: new evidence changes it; a new day, other ids of drafts, other cards and unrelated records do not."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from service.alerts.evaluate import evaluate
from service.alerts.facts.patient import (
    Allergy,
    ClinicianFlag,
    CodedResult,
    Dose,
    Measurement,
    Medication,
    PatientSnapshot,
    Problem,
    UnusableResult,
)
from service.alerts.facts.reason import because
from service.alerts.policy.policy import policy_by_id
from service.alerts.say import sentence as s
from service.alerts.say.finding import Evidence, Finding
from service.alerts.say.found import Found, told
from service.alerts.say.language import Language, english, parsed
from service.alerts.say.seen import Seen
from service.alerts.say.silence import Silence, audible, must_stop
from tests.alerts.vignette import patients
from tests.data import NOW
from tests.registry.roster import anc, facts

US = policy_by_id("us-label-2025")
DAY = timedelta(days=1)


@dataclass
class Shown:
    """One finding of an evaluation, and what it showed."""

    finding: Finding
    seen: str


def _shown(snapshot: PatientSnapshot, code: str, days: float = 0, policy: Any = US) -> Shown:
    findings = evaluate(snapshot, policy, NOW + timedelta(days=days))
    finding = next(f for f in findings if f.code == code)
    return Shown(finding, Seen(snapshot, findings)(finding))


def _with(snapshot: PatientSnapshot, *more: Medication) -> PatientSnapshot:
    return replace(snapshot, medications=(*snapshot.medications, *more))


def _given(number: int, hours: float, drug: str = "clozapine") -> Medication:
    at = NOW - timedelta(hours=hours)
    return Medication(
        ref=f"MedicationAdministration/{number}", role="administration", drugs=(drug,), label=drug, status="completed", start=at,
    )  # fmt: skip


def _draft(mg: float, ref: str = "MedicationRequest/draft-1", **more: Any) -> Medication:
    return Medication(
        ref=ref,
        role="draft",
        drugs=("clozapine",),
        label="clozapine 100 MG",
        dose=Dose(mg, mg, mg, 1),
        **more,
    )


def _start(
    mg: float, ref: str = "MedicationRequest/draft-1", hook: str = "order-sign", **more: Any
) -> PatientSnapshot:
    return replace(facts("p", anc(3200, 1)), medications=(), drafts=(_draft(mg, ref, **more),), hook=hook)


MILD = facts("p", anc(1200, 1))


@pytest.mark.parametrize(
    "changed",
    [
        facts("p", anc(1100, 1)),  # another value of the same result: a correction
        facts("p", anc(1200, 0.5)),  # another date
        facts("p", anc(1200, 1, "anc-2")),  # another record
        facts("p", anc(1200, 0.2, "anc-2"), anc(1200, 1)),  # one more result, as low
        facts("p", replace(anc(1200, 1), status="preliminary")),
        facts("p", replace(anc(1200, 1), bound="<")),
    ],
)
def test_another_result_is_new_evidence(changed: PatientSnapshot) -> None:
    assert _shown(changed, "anc-mild-neutropenia").seen != _shown(MILD, "anc-mild-neutropenia").seen


def test_a_day_later_the_same_facts_show_the_same_though_the_sentence_moves_on() -> None:
    overdue = facts("p", anc(3200, 31))
    first, later = _shown(overdue, "anc-overdue"), _shown(overdue, "anc-overdue", 9)
    assert first.finding.summary != later.finding.summary
    assert first.seen == later.seen
    assert _shown(facts("p", anc(3200, 33)), "anc-overdue").seen != first.seen


def test_a_more_severe_finding_on_the_same_facts_shows_the_same() -> None:
    """Whoever compares also compares the severity: that is what speaks here."""
    overdue = facts("p", anc(3200, 31))
    first, later = _shown(overdue, "anc-overdue"), _shown(overdue, "anc-overdue", 31)
    assert (first.finding.severity, later.finding.severity) == ("warning", "critical")
    assert first.seen == later.seen


@pytest.mark.parametrize(
    "unrelated",
    [
        {
            "medications": (
                Medication(ref="MedicationRequest/x", role="order", drugs=("senna",), label="senna"),
            )
        },
        {"medications": (_given(1, 20), _given(2, 8))},
        {"problems": (Problem("Condition/1", ("constipation",), "Constipation"),)},
        {"allergies": (Allergy("AllergyIntolerance/1", ("penicillin",), "Penicillin"),)},
    ],
)
def test_an_unrelated_record_is_no_evidence(unrelated: dict[str, Any]) -> None:
    more = {name: (*getattr(MILD, name), *values) for name, values in unrelated.items()}
    assert (
        _shown(replace(MILD, **more), "anc-mild-neutropenia").seen
        == _shown(MILD, "anc-mild-neutropenia").seen
    )


def test_the_order_in_which_facts_come_is_no_evidence() -> None:
    two = facts("p", anc(1200, 1), anc(3200, 8, "anc-0"))
    turned = facts("p", anc(3200, 8, "anc-0"), anc(1200, 1))
    assert _shown(two, "anc-mild-neutropenia").seen == _shown(turned, "anc-mild-neutropenia").seen


def test_the_dose_of_a_draft_is_seen_and_its_passing_id_is_not() -> None:
    code = "dose-start-too-high"
    fifty = _shown(_start(50), code).seen
    assert _shown(_start(900), code).seen != fifty
    assert _shown(_start(50, "MedicationRequest/tmp-77", hook="order-select"), code).seen == fifty
    assert _shown(_start(50, start=NOW), code).seen != fifty
    today = _shown(_start(50, start=NOW), code).seen
    assert _shown(_start(50, start=NOW + timedelta(minutes=9)), code).seen == today
    assert _shown(_start(50, start=NOW + DAY), code).seen != today


def test_of_a_signed_order_the_id_is_seen() -> None:
    code = "dose-start-too-high"
    first = _shown(_start(50, "MedicationRequest/1", hook="medication-verify"), code).seen
    assert _shown(_start(50, "MedicationRequest/2", hook="medication-verify"), code).seen != first


def _fluvoxamine(**more: Any) -> Medication:
    given: dict[str, Any] = {
        "ref": "MedicationRequest/f", "role": "order", "drugs": ("fluvoxamine",), "label": "fluvoxamine", "start": NOW - 9 * DAY,
    }  # fmt: skip
    return Medication(**given | more)


def test_an_interaction_shows_both_orders_and_no_single_dose() -> None:
    both = _with(facts("p", anc(3200, 1)), _fluvoxamine())
    findings = evaluate(both, US, NOW)
    code = next(f.code for f in findings if f.subject == "drug:fluvoxamine")
    first = _shown(both, code).seen
    # Charted doses of every day must not end an override.
    assert _shown(_with(both, _given(1, 30), _given(2, 6)), code).seen == first
    assert (
        _shown(_with(facts("p", anc(3200, 1)), _fluvoxamine(ref="MedicationRequest/g")), code).seen != first
    )
    order, *others = both.medications
    raised = replace(both, medications=(replace(order, dose=Dose(400, 400, 400, 1)), *others))
    assert _shown(raised, code).seen != first


def test_a_gap_that_reaches_the_next_tier_is_new() -> None:
    code = "missed-dose-retitrate"
    order = replace(facts("p", anc(3200, 1)).medications[0], status="active")

    def gap(hours: float) -> PatientSnapshot:
        taken = tuple(_given(n, hours + 24 * n) for n in range(5))
        return replace(
            facts("p", anc(3200, 1)),
            medications=(order, *taken),
            drafts=(_draft(300),),
            hook="order-sign",
        )

    first, later, long_after = (_shown(gap(40), code, days) for days in (0, 2, 4))
    assert first.finding.decisive[0] != later.finding.decisive[0]
    assert first.seen != later.seen
    assert later.finding.decisive == long_after.finding.decisive, "the last tier has no next one"
    assert later.seen == long_after.seen
    assert _shown(gap(41), code).seen != first.seen, "another last dose"


def test_an_agreement_is_seen() -> None:
    def agreed(at: float, text: str = "go on") -> PatientSnapshot:
        flag = ClinicianFlag("deviation", "Dr Hema", NOW - DAY, text, at, NOW + 9 * DAY)
        return replace(facts("p", anc(920, 0.1)), flags=(flag,))

    code = "anc-moderate-neutropenia"
    assert _shown(agreed(900), code).seen != _shown(agreed(800), code).seen
    assert _shown(agreed(900), code).seen == _shown(agreed(900, "in other words"), code).seen


def _alone(mg: float, *evidence: Evidence, words: Language | None = None) -> Finding:
    summary = s.sentence("dose-exceeds-max.summary", dose=s.Dose(mg), limit=s.Dose(900))
    missing = (s.sentence("monitoring-overdue.missing-level"),)
    found = Found(
        code="c", severity="warning", subject="s", summary=summary, missing=missing, evidence=evidence, citation=US.citation,
    )  # fmt: skip
    return told(found, words or english())


def test_a_finding_without_any_fact_is_told_apart_by_what_it_says() -> None:
    seen = Seen(MILD, [])
    assert seen(_alone(950)) != seen(_alone(1000))
    patient = Evidence("Patient/p", "age and sex")
    assert seen(_alone(950, patient)) == seen(_alone(1000, patient))


def test_another_wording_is_nothing_new() -> None:
    """An override lasts, and a closed alert stays closed, when the service is upgraded and says the same in other words."""
    plain = english()
    reworded = Language("xx", dict.fromkeys(plain.templates, parsed("In other words.")), plain.forms)
    seen, before, after = Seen(MILD, []), _alone(950), _alone(950, words=reworded)
    assert before.summary != after.summary
    assert before.missing != after.missing
    assert seen(before) == seen(after)


def test_nothing_of_the_record_can_be_read_in_it() -> None:
    seen = _shown(MILD, "anc-mild-neutropenia").seen
    assert len(seen) == 32
    int(seen, 16)


@pytest.mark.parametrize(
    ("given_at", "asked_at", "silent"),
    [
        ("order-select", "order-sign", True),
        ("order-sign", "order-select", True),
        ("patient-view", "encounter-start", True),
        ("order-sign", "medication-verify", False),
        ("order-sign", "medication-refill", False),
        ("order-sign", "patient-view", False),
        ("medication-verify", "order-sign", False),
        ("medication-verify", "medication-refill", False),
        ("medication-verify", "medication-verify", True),
        ("patient-view", "order-sign", False),
        ("", "order-sign", False),
    ],
)
def test_an_override_holds_for_those_it_was_shown_to(given_at: str, asked_at: str, silent: bool) -> None:
    shown = _shown(MILD, "anc-mild-neutropenia")
    silence = Silence(shown.finding.code, shown.finding.subject, 1, NOW + DAY, shown.seen, given_at)
    heard = audible([shown.finding], [silence], NOW, asked_at, Seen(MILD, [shown.finding]))
    assert heard == ([] if silent else [shown.finding])


def test_an_override_of_an_older_version_silences_nothing() -> None:
    shown = _shown(MILD, "anc-mild-neutropenia")
    silence = Silence(shown.finding.code, shown.finding.subject, 2, NOW + DAY, "", "order-sign")
    assert audible([shown.finding], [silence], NOW, "order-sign", lambda f: "") == [shown.finding]


def test_what_says_stop_is_known() -> None:
    assert must_stop("anc-severe-neutropenia", "critical")
    assert must_stop("myocarditis-suspected", "critical")
    assert must_stop("gi-hypomotility", "critical")
    assert not must_stop("anc-moderate-neutropenia", "warning"), "an agreement says that clozapine goes on"
    assert not must_stop("anc-overdue", "critical")


def test_every_finding_of_a_stopping_band_says_stop() -> None:
    """A policy's own band that stops clozapine must be among those that nobody can close."""
    from service.alerts.policy.policy import policy_ids

    for policy in map(policy_by_id, policy_ids()):
        for band in policy.bands:
            if band.treatment != "continue" and band.finding and band.severity:
                assert must_stop(band.finding, band.severity), (policy.id, band.name)


def test_over_all_vignettes_a_day_alone_changes_nothing_that_was_seen() -> None:
    """But for what a day brings that was not there: the next tier of a gap, one more test that is overdue."""
    pairs = changed = 0
    for name, row, snapshot in patients():
        policy = policy_by_id(row.get("policy", US.id))
        today, tomorrow = (evaluate(snapshot, policy, NOW + n * DAY) for n in (0, 1))
        before, after = Seen(snapshot, today), Seen(snapshot, tomorrow)
        later = {(f.code, f.subject, f.severity): f for f in reversed(tomorrow)}
        for first in today:
            second = later.get((first.code, first.subject, first.severity))
            if second is None:
                continue
            pairs += 1
            if before(first) != after(second):
                changed += 1
                assert (first.evidence, first.about, first.decisive) != (
                    second.evidence,
                    second.about,
                    second.decisive,
                ), name
    assert pairs > 4000
    assert changed < pairs / 100


def test_over_all_vignettes_whatever_says_stop_clozapine_cannot_be_closed() -> None:
    said = 0
    for name, row, snapshot in patients():
        policy = policy_by_id(row.get("policy", US.id))
        for finding in evaluate(snapshot, policy, NOW):
            if finding.severity == "critical" and "stop clozapine" in finding.summary.lower():
                said += 1
                assert must_stop(finding.code, finding.severity), (name, finding.code)
    assert said > 50


def test_every_kind_of_fact_is_evidence() -> None:
    """A problem, an allergy, a coded answer and a result that cannot be used change what was seen when they change."""
    base = facts("p", anc(3200, 1))

    def shown(kind: str, fact: Any) -> str:
        finding = Finding(
            code="c", severity="warning", subject="s", summary="same", citation=US.citation, evidence=(Evidence(fact.ref, "same"),),
        )  # fmt: skip
        return Seen(replace(base, **{kind: (fact,)}), [finding])(finding)

    problem = Problem("Condition/1", ("syncope", "constipation"), "Syncope", "active", "confirmed", NOW - DAY)
    allergy = Allergy("AllergyIntolerance/1", ("clozapine",), "Clozapine", "active")
    coded = CodedResult("smoking", "current", NOW - DAY, "Observation/1", "current")
    unusable = UnusableResult("anc", "2.5", because("unit.none"), "Observation/1", NOW - DAY)
    changes: list[tuple[str, Any, dict[str, Any]]] = [
        ("problems", problem, {"clinical_status": "resolved"}),
        ("problems", problem, {"verification": "refuted"}),
        ("problems", problem, {"onset": NOW}),
        ("problems", problem, {"kinds": ("syncope",)}),
        ("allergies", allergy, {"verification": "confirmed"}),
        ("allergies", allergy, {"drugs": ()}),
        ("coded", coded, {"value": "never"}),
        ("coded", coded, {"at": NOW}),
        ("unusable", unusable, {"raw": "3.5"}),
    ]
    for kind, fact, change in changes:
        assert shown(kind, fact) == shown(kind, replace(fact))
        assert shown(kind, fact) != shown(kind, replace(fact, **change)), change


def test_a_measurement_of_a_panel_is_found_by_its_reference() -> None:
    troponin = Measurement("troponin", 90, NOW - DAY, "Observation/t", "90 ng/L", upper_limit=14)
    base = facts("p", anc(3200, 1), course_days=20)
    ill = replace(base, measurements={**base.measurements, "troponin": (troponin,)})
    worse = replace(base, measurements={**base.measurements, "troponin": (replace(troponin, value=190),)})
    first = _shown(ill, "myocarditis-suspected")
    assert (first.finding.severity, _shown(worse, "myocarditis-suspected").seen == first.seen) == (
        "critical",
        False,
    )
