"""Doses that ask for care (clinical.md 2.3): seizures, large single doses, patients who need less."""

from __future__ import annotations

from collections.abc import Iterator

from service.alerts.case.case import Case
from service.alerts.facts.patient import Medication
from service.alerts.phrases.dose import dose_fact
from service.alerts.phrases.problem import problem_evidence
from service.alerts.policy.parts.values import Value
from service.alerts.rules.asked import when
from service.alerts.say.found import Fact, Found
from service.alerts.say.sentence import (
    Dose,
    Listed,
    Number,
    Param,
    Record,
    Sentence,
    as_recorded,
    quoted,
    sentence,
)

_LESS_NEEDED = ("severe-renal-impairment", "severe-hepatic-impairment", "cyp2d6-poor-metaboliser")


def _dose_evidence(case: Case) -> tuple[Fact, ...]:
    records = case.clozapine_drafts or case.current_clozapine[:1]
    return tuple(dose_fact(m) for m in records)


@when("drafted", "taking")
def dose_seizure_risk(case: Case) -> Iterator[Found]:
    """A dose at which seizures are frequent, without an anticonvulsant on the list; a word of caution when one that begins to raise the risk is ordered."""
    dose, rule = case.current_mg_per_day, case.policy.dosing
    caution = rule.seizure_caution_above
    lowest = caution if caution is not None and case.clozapine_drafts else rule.seizure_above
    if dose is None or dose <= lowest.value or (case.is_order_hook and not case.clozapine_drafts):
        return
    if not (case.clozapine_drafts or case.on_clozapine) or case.taken_now("anticonvulsant"):
        return
    if dose <= rule.seizure_above.value:
        yield from _caution(case, dose, lowest)
        return
    read = case.snapshot.state("medications") == "complete"
    yield Found(
        code="dose-seizure-risk",
        severity="warning",
        subject="seizure",
        summary=sentence(
            "dose-seizure-risk.without" if read else "dose-seizure-risk.not-read", dose=Dose(dose)
        ),
        why=(
            sentence("dose-seizure-risk.dose", dose=Dose(dose)),
            sentence("dose-seizure-risk.none-on-list" if read else "dose-seizure-risk.none-as-far-as-read"),
        ),
        policy_says=(
            _seizures_by_dose(case),
            sentence("dose-seizure-risk.valproate"),
        ),
        suggested=(
            sentence("dose-seizure-risk.level"),
            sentence("dose-seizure-risk.consider"),
            sentence("dose-seizure-risk.ask"),
        ),
        unchecked=() if read else (sentence("dose-seizure-risk.unchecked"),),
        evidence=_dose_evidence(case),
        missing=(sentence("dose-seizure-risk.missing" if read else "dose-seizure-risk.missing-list"),),
        citation=case.policy.cite(rule.seizure_above),
    )


def _caution(case: Case, dose: float, limit: Value) -> Iterator[Found]:
    """The dose passes the one above which the protocol asks for caution; a renewal of it tells nobody anything new."""
    before = None if case.starting else case.established_mg_per_day
    if before is not None and before > limit.value:
        return
    yield Found(
        code="dose-seizure-risk",
        severity="info",
        subject="seizure",
        summary=sentence("dose-seizure-risk.caution", dose=Dose(dose), limit=Dose(limit.value)),
        why=(sentence("dose-seizure-risk.dose", dose=Dose(dose)),),
        policy_says=(_seizures_by_dose(case),),
        suggested=(sentence("dose-seizure-risk.level"), sentence("dose-seizure-risk.ask")),
        evidence=_dose_evidence(case),
        citation=case.policy.cite(limit),
        changes_order=True,
    )


def _seizures_by_dose(case: Case) -> Sentence:
    """What the policy says of seizures by dose."""
    return quoted("policy", f"{case.policy.id}/dosing.seizure_says", case.policy.dosing.seizure_says)


def _once_daily(drafts: tuple[Medication, ...]) -> dict[bool, float]:
    """mg given at one time of the day by all drafts that are taken once daily, by whether that is bedtime."""
    totals = {False: 0.0, True: 0.0}
    for draft in drafts:
        if draft.dose is not None and draft.dose.mg_per_day is not None and draft.dose.doses_per_day == 1:
            totals[draft.dose.bedtime] += draft.dose.mg_per_day
    return totals


@when("drafted")
def dose_single_too_high(case: Case) -> Iterator[Found]:
    """One dose above 450 mg, or more than 200 mg a day given once outside bedtime."""
    rule = case.policy.dosing
    together = _once_daily(case.clozapine_drafts)
    for draft in case.clozapine_drafts:
        dose = draft.dose
        if dose is None or dose.mg_per_day is None:
            continue
        single = max(
            dose.largest_single_mg or 0.0, together.get(dose.bedtime, 0.0) if dose.doses_per_day == 1 else 0.0
        )
        if single > rule.single_maximum.value:
            given, limit = (
                sentence("dose-single-too-high.single", dose=Dose(single)),
                rule.single_maximum,
            )
        elif dose.doses_per_day == 1 and not dose.bedtime and together[False] > rule.once_daily_maximum.value:
            given, limit = (
                sentence("dose-single-too-high.once-daily", dose=Dose(together[False])),
                rule.once_daily_maximum,
            )
        else:
            continue
        # A structured dose may have no text.
        written: Param = Record(dose.text) if dose.text else given
        yield Found(
            code="dose-single-too-high",
            severity="info",
            subject="single-dose",
            summary=sentence("dose-single-too-high.summary", dose=given),
            why=(sentence("dose-single-too-high.order", order=Record(draft.label), dose=written),),
            policy_says=(
                sentence(
                    "dose-single-too-high.policy",
                    once=Dose(rule.once_daily_maximum.value),
                    single=Dose(rule.single_maximum.value),
                ),
            ),
            suggested=(sentence("dose-single-too-high.divide"),),
            evidence=(
                Fact(draft.ref, sentence("dose.order-written", order=Record(draft.label), dose=written)),
            )
            if draft.ref
            else (),
            missing=() if draft.ref else (sentence("dose-single-too-high.missing"),),
            citation=case.policy.cite(limit),
            changes_order=limit is rule.single_maximum,
        )
        return


@when("starting")
def dose_reduced_need(case: Case) -> Iterator[Found]:
    """A start in a patient who needs less than others."""
    if not case.starting:
        return
    rule = case.policy.dosing
    age = case.age_years
    strong: list[Param] = []
    evidence: list[Fact] = []
    patient = Fact(f"Patient/{case.snapshot.patient_id}", sentence("dose-reduced-need.patient"))
    if age is not None and age >= rule.elderly_from_years.value:
        strong.append(sentence("dose-reduced-need.age", years=Number(age, 0)))
        evidence.append(patient)
    problems = case.problems_of(*_LESS_NEEDED)
    strong += [as_recorded(p.name, 60, 60) for p in problems]
    evidence += problem_evidence(problems)
    mild: list[Param] = []
    if case.snapshot.sex == "female":
        mild.append(sentence("dose-reduced-need.woman"))
        if patient not in evidence:
            evidence.append(patient)
    smoking = case.coded("smoking")
    if smoking and smoking[0].value in ("never", "former"):
        answer = smoking[0]
        mild.append(sentence("dose-reduced-need.no-smoker"))
        said = sentence("dose-reduced-need.smoking", answer=Record(answer.raw))
        evidence.append(Fact(answer.ref, said, answer.at, answer.date_only))
    if not (strong or mild):
        return
    reasons = Listed((*strong, *mild))
    yield Found(
        code="dose-reduced-need",
        severity="info",
        subject="reduced-need",
        summary=sentence("dose-reduced-need.summary", reasons=reasons),
        why=(sentence("dose-reduced-need.why", reasons=reasons),),
        policy_says=(sentence("dose-reduced-need.policy"),),
        suggested=(sentence("dose-reduced-need.smaller"), sentence("dose-reduced-need.level")),
        evidence=tuple(evidence),
        citation=case.policy.cite(rule.elderly_from_years),
        # Sex and smoking alone shape the target, not the order at hand.
        changes_order=bool(strong),
    )


RULES = (dose_seizure_risk, dose_single_too_high, dose_reduced_need)
