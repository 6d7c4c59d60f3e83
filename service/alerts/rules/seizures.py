"""Seizures and epilepsy on the problem list (clinical.md 2.3, 2.7): clozapine lowers the threshold, by dose and level."""

from __future__ import annotations

from collections.abc import Iterator

from service.alerts.case.case import Case
from service.alerts.case.seizures import CONTROLLED, SEIZURES, UNCONTROLLED, unanswered_seizures
from service.alerts.facts.patient import Medication, Problem
from service.alerts.phrases.draft_removal import remove_drafts
from service.alerts.phrases.level import level_on_day
from service.alerts.phrases.problem import problem_evidence, problem_line, problem_name
from service.alerts.phrases.result import day_of, offer_test
from service.alerts.rules.asked import when, when_it_bears
from service.alerts.say.finding import Citation
from service.alerts.say.found import Fact, Found
from service.alerts.say.sentence import Dose, Param, Record, Sentence, quoted, sentence

#: A problem is named in so many characters of a summary: the dose stands beside it.
_SHORT = 40


@when_it_bears
@when("problems")
@when("continuing")
def seizure(case: Case) -> Iterator[Found]:
    """A seizure under clozapine: dose, level, anticonvulsant."""
    if not case.continuing or case.starting or case.stopping:
        return
    if not case.has_problems(SEIZURES):
        return
    protection = case.taken_now("anticonvulsant")
    found = unanswered_seizures(case, protection)
    if not found:
        return
    dose, level = case.current_mg_per_day, case.newest("clozapine-level")
    readable = case.snapshot.state("medications") == "complete"
    yield Found(
        code="seizure",
        severity="warning",
        subject="seizure-problem",
        summary=_seizure_summary(case, found[0], dose, protected=bool(protection)),
        why=(
            *(problem_line(case, p) for p in found),
            *((sentence("seizure.dose", dose=Dose(dose)),) if dose is not None else ()),
            sentence("seizure.last-level", level=level_on_day(case, level))
            if level is not None
            else sentence("seizure.no-level"),
            *_protection_lines(case, protection),
        ),
        policy_says=(
            _seizures_by_dose(case),
            sentence("seizure.policy"),
            sentence("seizure.valproate"),
        ),
        suggested=(
            sentence("seizure.lower"),
            sentence("seizure.take-level"),
            *(() if protection else (sentence("seizure.add"),)),
            sentence("seizure.ask-neurology"),
        ),
        unchecked=() if readable else (sentence("seizure.unread"),),
        evidence=(
            *problem_evidence(found),
            *((Fact(level.ref, level_on_day(case, level), level.at, level.date_only),) if level else ()),
        ),
        citation=case.policy.cite(case.policy.dosing.seizure_above),
        offers=offer_test(case, "clozapine-level", "urgent", sentence("seizure.reason")),
    )


def _seizure_summary(case: Case, first: Problem, dose: float | None, *, protected: bool) -> Sentence:
    event = problem_name(first, short=_SHORT)
    if first.onset is not None:
        event = sentence("seizure.event", problem=event, day=day_of(case, first.onset, first.onset_until))
    said: dict[str, Param] = {"event": event}
    at_dose = ""
    if dose is not None:
        said["dose"], at_dose = Dose(dose), "-at-dose"
    return Sentence(f"seizure.summary{at_dose}{'-protected' if protected else ''}", said)


def _protection_lines(case: Case, protection: tuple[Medication, ...]) -> tuple[Sentence, ...]:
    """The anticonvulsant that is taken, or that none is; nothing where the medications could not all be read."""
    if protection:
        return (sentence("anticonvulsant.taken", drug=Record(protection[0].label)),)
    if case.snapshot.state("medications") == "complete":
        return (sentence("anticonvulsant.none"),)
    return ()


def _seizures_by_dose(case: Case) -> Sentence:
    """What the policy says of seizures by dose."""
    path = f"{case.policy.id}/dosing.seizure_says"
    return quoted("policy", path, case.policy.dosing.seizure_says)


@when("problems")
@when("starting")
def epilepsy_before_start(case: Case) -> Iterator[Found]:
    """Epilepsy or a seizure before the first dose: uncontrolled it forbids the start, controlled it calls for care."""
    if not case.starting or not case.has_problems((UNCONTROLLED, *CONTROLLED)):
        return
    uncontrolled = case.problems_of(UNCONTROLLED)
    found = uncontrolled or case.problems_of(*CONTROLLED)
    if not found:
        return
    source = case.policy.sources["UK-SmPC"]
    yield Found(
        code="epilepsy",
        severity="critical" if uncontrolled else "warning",
        subject="epilepsy",
        summary=sentence(
            "epilepsy.uncontrolled" if uncontrolled else "epilepsy.controlled",
            problem=problem_name(found[0]),
        ),
        why=(
            *(problem_line(case, p) for p in found),
            *_protection_lines(case, case.taken_now("anticonvulsant")),
        ),
        policy_says=(
            sentence("epilepsy.policy-uncontrolled" if uncontrolled else "epilepsy.policy-controlled"),
            _seizures_by_dose(case),
        ),
        suggested=(
            *((sentence("epilepsy.no-start"),) if uncontrolled else ()),
            sentence("epilepsy.goes-well"),
            sentence("epilepsy.small-steps"),
            sentence("problem.weigh"),
        ),
        evidence=problem_evidence(found),
        citation=Citation(source.title, "4.3" if uncontrolled else "4.4", source.url, confirmed=False),
        offers=remove_drafts(case) if uncontrolled else (),
    )


RULES = (seizure, epilepsy_before_start)
