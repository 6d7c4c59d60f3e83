"""Who is difficult to treat (clinical.md 2.8): symptoms poor by a score, or two adequate trials on record; never in the first weeks."""

from __future__ import annotations

from msgspec import Struct

from service.alerts.case.case import Case
from service.alerts.case.response import Response, newest_score, response
from service.alerts.case.trials import Trial, trials
from service.alerts.facts.patient import Measurement


def is_wanted(case: Case) -> bool:
    """The site wants the pathway."""
    return case.practice.pathway


def _asked(case: Case) -> bool:
    return is_wanted(case) and case.hook == "patient-view"


class Untreated(Struct, frozen=True):
    """What speaks for looking at the trials of a patient without clozapine."""

    trials: tuple[Trial, ...]
    adequate: tuple[Trial, ...]
    #: The newest score, when symptoms are at least moderate by it.
    poor: Measurement | None


def untreated(case: Case) -> Untreated | None:
    """Schizophrenia without clozapine, and either symptoms are poor by a score or two adequate trials stand on record; None otherwise.

    Never in the first weeks of the first treatment, and not while a score says that the patient is well.
    """
    if not _asked(case) or case.relevant or case.snapshot.state("medications") == "unavailable":
        return None
    if not case.problems_of("schizophrenia"):
        return None
    found = tuple(trials(case))
    adequate = tuple(t for t in found if t.standing == "adequate")
    score = newest_score(case)
    if score is not None and not score[1]:
        return None
    if len(adequate) < case.policy.pathway.trials.value and (score is None or not _tried(case, found)):
        return None
    return Untreated(found, adequate, score[0] if score is not None else None)


def _tried(case: Case, found: tuple[Trial, ...]) -> bool:
    """Treatment began long enough ago for one trial: before that nothing can be difficult to treat."""
    needed = case.policy.pathway.trial_days.value
    begun = [case.days_since(t.since) for t in found if t.since is not None]
    if any(days >= needed for days in begun):
        return True
    # Of a drug taken since nobody knows when the diagnosis tells: a first episode is young.
    onsets = [case.days_since(p.onset) for p in case.problems_of("schizophrenia") if p.onset is not None]
    return any(t.since is None for t in found) and any(days >= needed for days in onsets)


def poor_response(case: Case) -> Response | None:
    """The response to clozapine if it is less than a trial asks for, the illness is still at least moderate, and the first weeks are over."""
    if not _asked(case) or not case.on_clozapine:
        return None
    rule, day = case.policy.pathway, case.course_day
    if day is not None and day < rule.trial_days.value:
        return None
    answer = response(case)
    if answer is None or answer.percent >= rule.response_percent.value or not answer.moderate:
        return None
    return answer
