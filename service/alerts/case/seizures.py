"""Seizures and epilepsy of a patient: uncontrolled, before clozapine, and in the present course."""

from __future__ import annotations

from service.alerts.case.case import Case
from service.alerts.case.onset import in_course, is_recent_problem
from service.alerts.facts.patient import Medication, Problem

#: The kind of epilepsy that the European product information calls a contraindication.
UNCONTROLLED = "uncontrolled-epilepsy"
#: Kinds that may be a seizure of the present course.
SEIZURES = ("seizure", "epilepsy", UNCONTROLLED)
#: Kinds that count before a start, the controlled ones.
CONTROLLED = ("epilepsy", "seizure-history")


def unanswered_seizures(case: Case, protection: tuple[Medication, ...]) -> list[Problem]:
    """Seizures of the present course that nothing answered yet, newest first. ``protection``: anticonvulsants that are taken.

    A single one is often closed the same day: while it is new it counts.
    """
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
    found = [p for p in found if not _answered(case, p, protection)]
    return sorted(found, key=lambda p: p.onset or case.as_of, reverse=True)


def _answered(case: Case, p: Problem, protection: tuple[Medication, ...]) -> bool:
    """An old seizure that was dealt with: an anticonvulsant is taken, and a level was measured since."""
    level = case.newest("clozapine-level")
    measured = p.onset is not None and level is not None and level.at is not None and level.at >= p.onset
    return bool(protection) and measured and not is_recent_problem(case, p)
