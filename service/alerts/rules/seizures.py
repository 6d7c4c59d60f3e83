"""Seizures and epilepsy on the problem list (clinical.md 2.3, 2.7): clozapine lowers the threshold, by dose and level."""

from __future__ import annotations

from collections.abc import Iterator

from service.alerts.case.case import Case
from service.alerts.facts.patient import Medication, Problem
from service.alerts.rules.asked import when, when_it_bears
from service.alerts.rules.count_lines import remove_drafts
from service.alerts.rules.levels import level_text
from service.alerts.rules.listed import (
    in_course,
    is_recent_problem,
    problem_evidence,
    problem_line,
    verified,
)
from service.alerts.rules.readings import order
from service.alerts.say import wording as w
from service.alerts.say.finding import Citation, Evidence, Finding, Severity

UNCONTROLLED = "uncontrolled-epilepsy"


def _answered(case: Case, p: Problem, protection: tuple[Medication, ...]) -> bool:
    """An old seizure that was dealt with: an anticonvulsant is taken, and a level was measured since."""
    level = case.newest("clozapine-level")
    measured = p.onset is not None and level is not None and level.at is not None and level.at >= p.onset
    return bool(protection) and measured and not is_recent_problem(case, p)


def _seizures(case: Case, protection: tuple[Medication, ...]) -> list[Problem]:
    """Seizures of the present course that nothing answered yet. A single one is often closed the same day: while it is new it counts."""
    found = [
        p
        for p in case.problems_of("seizure", history=True)
        if in_course(case, p) and (is_recent_problem(case, p) or p in case.problems_of("seizure"))
    ]
    # The disease, first diagnosed in the course; without a date it is taken for older.
    found += [
        p
        for p in case.problems_of("epilepsy", UNCONTROLLED)
        if p.onset is not None and case.course.start is not None and in_course(case, p) and p not in found
    ]
    return [p for p in found if not _answered(case, p, protection)]


@when_it_bears
@when("problems")
@when("continuing")
def seizure(case: Case) -> Iterator[Finding]:
    """A seizure under clozapine: dose, level, anticonvulsant."""
    if not case.continuing or case.starting or case.stopping:
        return
    if not case.has_problems(("seizure", "epilepsy", UNCONTROLLED)):
        return
    protection = case.taken_now("anticonvulsant")
    found = _seizures(case, protection)
    if not found:
        return
    found.sort(key=lambda p: p.onset or case.as_of, reverse=True)
    first, dose, rule = found[0], case.current_mg_per_day, case.policy.dosing
    level = case.newest("clozapine-level")
    readable = case.snapshot.state("medications") == "complete"
    since = f" ({w.day(case.snapshot, first.onset)})" if first.onset is not None else ""
    at_dose = f" at {w.mg(dose)}/day" if dose is not None else ""
    yield Finding(
        code="seizure",
        severity="warning",
        subject="seizure-problem",
        summary=w.summary(
            f"{w.plain(first.label, 40)}{verified(first)}{since} under clozapine{at_dose}: lower the dose, check a level"
            + ("." if protection else ", anticonvulsant.")
        ),
        why=(
            *(problem_line(case, p) for p in found),
            *((f"Clozapine {w.mg(dose)}/day.",) if dose is not None else ()),
            f"Last level: {level_text(case, level)}."
            if level is not None
            else "No clozapine level on record.",
            *(
                (f"Anticonvulsant: {w.safe(protection[0].label)}.",)
                if protection
                else ("No anticonvulsant on the list.",)
                if readable
                else ()
            ),
        ),
        policy_says=(
            rule.seizure_says,
            "After a seizure the dose is lowered or held and an anticonvulsant is added; if seizures come back all the same, clozapine is stopped.",
            "Valproate is the usual choice, but adds to neutropenia, and to myocarditis while the dose is rising.",
        ),
        suggested=(
            "Lower or hold the dose until the level is known.",
            "Take a clozapine level now; look for an inhibitor, infection, smoking stopped, alcohol.",
            *(() if protection else ("Add an anticonvulsant, not carbamazepine.",)),
            "EEG; ask neurology.",
        ),
        unchecked=() if readable else ("Not all medications could be read.",),
        evidence=(
            *problem_evidence(found),
            *((Evidence(level.ref, level_text(case, level), level.at, level.date_only),) if level else ()),
        ),
        citation=case.policy.cite(rule.seizure_above),
        offers=order(case, "clozapine-level", "urgent", "Seizure under clozapine"),
    )


@when("problems")
@when("starting")
def epilepsy_before_start(case: Case) -> Iterator[Finding]:
    """Epilepsy or a seizure before the first dose: uncontrolled it forbids the start, controlled it calls for care."""
    if not case.starting or not case.has_problems((UNCONTROLLED, "epilepsy", "seizure-history")):
        return
    uncontrolled = case.problems_of(UNCONTROLLED)
    found = uncontrolled or case.problems_of("epilepsy", "seizure-history")
    if not found:
        return
    severity: Severity = "critical" if uncontrolled else "warning"
    protection = case.taken_now("anticonvulsant")
    source = case.policy.sources["UK-SmPC"]
    yield Finding(
        code="epilepsy",
        severity=severity,
        subject="epilepsy",
        summary=w.summary(
            f"{w.plain(found[0].label)}{verified(found[0])}: "
            + (
                "do not start clozapine before it is controlled."
                if uncontrolled
                else "clozapine lowers the seizure threshold, rise slowly."
            )
        ),
        why=(
            *(problem_line(case, p) for p in found),
            *(
                (f"Anticonvulsant: {w.safe(protection[0].label)}.",)
                if protection
                else ("No anticonvulsant on the list.",)
                if case.snapshot.state("medications") == "complete"
                else ()
            ),
        ),
        policy_says=(
            "Uncontrolled epilepsy is a contraindication of the European product information."
            if uncontrolled
            else "A history of seizures calls for caution: the risk rises with the dose.",
            case.policy.dosing.seizure_says,
        ),
        suggested=(
            *(("Do not start clozapine; ask neurology first.",) if uncontrolled else ()),
            "Check that the anticonvulsant goes well with clozapine; not carbamazepine.",
            "Small steps, low target dose, early level.",
            "Document why the benefit outweighs the risk.",
        ),
        evidence=problem_evidence(found),
        citation=Citation(source.title, "4.3" if uncontrolled else "4.4", source.url, confirmed=False),
        offers=remove_drafts(case) if uncontrolled else (),
    )


RULES = (seizure, epilepsy_before_start)
