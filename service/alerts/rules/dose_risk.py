"""Doses that ask for care (clinical.md 2.3): seizures, large single doses, patients who need less."""

from __future__ import annotations

from collections.abc import Iterator

from service.alerts.case.case import Case
from service.alerts.facts.patient import Medication
from service.alerts.rules.asked import when
from service.alerts.say import wording as w
from service.alerts.say.finding import Evidence, Finding

_LESS_NEEDED = ("severe-renal-impairment", "severe-hepatic-impairment", "cyp2d6-poor-metaboliser")


def _dose_evidence(case: Case) -> tuple[Evidence, ...]:
    records = case.clozapine_drafts or case.current_clozapine[:1]
    return tuple(Evidence(m.ref, w.safe(f"{m.label}: {m.dose.text if m.dose else ''}")) for m in records)


@when("drafted", "taking")
def dose_seizure_risk(case: Case) -> Iterator[Finding]:
    """More than 600 mg a day without an anticonvulsant on the list."""
    dose, rule = case.current_mg_per_day, case.policy.dosing
    if dose is None or dose <= rule.seizure_above.value or (case.is_order_hook and not case.clozapine_drafts):
        return
    if not (case.clozapine_drafts or case.on_clozapine) or case.taken_now("anticonvulsant"):
        return
    read = case.snapshot.state("medications") == "complete"
    yield Finding(
        code="dose-seizure-risk",
        severity="warning",
        subject="seizure",
        summary=w.summary(
            f"Clozapine {w.mg(dose)}/day without an anticonvulsant: seizure risk, consider prophylaxis."
            if read
            else f"Clozapine {w.mg(dose)}/day: seizure risk; whether an anticonvulsant is taken could not be read."
        ),
        why=(
            f"Clozapine {w.mg(dose)}/day.",
            "No anticonvulsant on the list."
            if read
            else "No anticonvulsant among the medications that could be read.",
        ),
        policy_says=(
            rule.seizure_says,
            "Valproate is the usual choice, but adds to neutropenia, and to myocarditis while the dose is rising.",
        ),
        suggested=(
            "Check a clozapine level.",
            "Consider an anticonvulsant or a lower dose; not carbamazepine.",
            "Ask about myoclonus and drop attacks.",
        ),
        unchecked=() if read else ("Not all medications could be read.",),
        evidence=_dose_evidence(case),
        missing=("an anticonvulsant",) if read else ("the complete medication list",),
        citation=case.policy.cite(rule.seizure_above),
    )


def _once_daily(drafts: tuple[Medication, ...]) -> dict[bool, float]:
    """mg given at one time of the day by all drafts that are taken once daily, by whether that is bedtime."""
    totals = {False: 0.0, True: 0.0}
    for draft in drafts:
        if draft.dose is not None and draft.dose.mg_per_day is not None and draft.dose.doses_per_day == 1:
            totals[draft.dose.bedtime] += draft.dose.mg_per_day
    return totals


@when("drafted")
def dose_single_too_high(case: Case) -> Iterator[Finding]:
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
            text, limit = f"a single dose of {w.mg(single)}", rule.single_maximum
        elif dose.doses_per_day == 1 and not dose.bedtime and together[False] > rule.once_daily_maximum.value:
            text, limit = (
                f"{w.mg(together[False])} once daily, not said to be at bedtime",
                rule.once_daily_maximum,
            )
        else:
            continue
        yield Finding(
            code="dose-single-too-high",
            severity="info",
            subject="single-dose",
            summary=w.summary(f"Clozapine: {text}; divide it or give the larger part at bedtime."),
            # A structured dose may have no text.
            why=(f"{w.safe(draft.label)}: {w.safe(dose.text) if dose.text else text}.",),
            policy_says=(
                f"More than {w.mg(rule.once_daily_maximum.value)}/day is divided, the larger part in the evening; "
                f"one dose is at most {w.mg(rule.single_maximum.value)}.",
            ),
            suggested=("Divide the dose, or write that it is taken at bedtime.",),
            evidence=(Evidence(draft.ref, w.safe(f"{draft.label}: {dose.text or text}")),)
            if draft.ref
            else (),
            missing=() if draft.ref else ("an id on the draft order",),
            citation=case.policy.cite(limit),
            changes_order=limit is rule.single_maximum,
        )
        return


@when("starting")
def dose_reduced_need(case: Case) -> Iterator[Finding]:
    """A start in a patient who needs less than others."""
    if not case.starting:
        return
    rule = case.policy.dosing
    age = case.age_years
    strong: list[str] = []
    evidence: list[Evidence] = []
    patient = Evidence(f"Patient/{case.snapshot.patient_id}", "age and sex")
    if age is not None and age >= rule.elderly_from_years.value:
        strong.append(f"{age} years old")
        evidence.append(patient)
    for p in case.problems_of(*_LESS_NEEDED):
        strong.append(w.plain(p.label))
        evidence.append(Evidence(p.ref, w.safe(p.label), p.onset, p.onset_date_only))
    mild: list[str] = []
    if case.snapshot.sex == "female":
        mild.append("woman")
        evidence.append(patient)
    smoking = case.coded("smoking")
    if smoking and smoking[0].value in ("never", "former"):
        mild.append("does not smoke")
        evidence.append(Evidence(smoking[0].ref, w.safe(smoking[0].raw), smoking[0].at, smoking[0].date_only))
    reasons = [*strong, *mild]
    if not reasons:
        return
    yield Finding(
        code="dose-reduced-need",
        severity="info",
        subject="reduced-need",
        summary=w.summary(
            f"Likely to need less clozapine: {w.listed(reasons)}. Titrate slowly, check a level."
        ),
        why=(f"{w.safe(w.listed(reasons))}.",),
        policy_says=(
            "Older patients, women, non-smokers, poor CYP2D6 metabolisers, patients of Asian ancestry (about half the dose) and those with "
            "severe kidney or liver disease reach the same level with less.",
        ),
        suggested=("Rise in smaller steps.", "Check a level before going beyond a low dose."),
        evidence=tuple(dict.fromkeys(evidence)),
        citation=case.policy.cite(rule.elderly_from_years),
        # Sex and smoking alone shape the target, not the order at hand.
        changes_order=bool(strong),
    )


RULES = (dose_seizure_risk, dose_single_too_high, dose_reduced_need)
