"""Doses of clozapine as they are ordered: of the first day after this call, and of each day that orders on record began or changed one."""

from __future__ import annotations

from datetime import datetime, timedelta

from service.alerts.case.doses import Doses
from service.alerts.case.exposure import was_given
from service.alerts.case.record import Record
from service.alerts.facts.patient import Medication

#: Hooks at which an order may have begun long ago.
_LATER = frozenset({"medication-verify", "medication-refill"})


def is_elderly(case: Record) -> bool:
    """True from the age at which the policy asks for smaller doses; an unknown age is none."""
    age = case.age_years
    return age is not None and age >= case.policy.dosing.elderly_from_years.value


def drafted_first_day(case: Doses) -> float | None:
    """mg on the first day of all drafts together: a titration counts with its first step; None when a draft cannot be read."""
    total = 0.0
    for draft in case.clozapine_drafts:
        if draft.dose is None or draft.dose.mg_per_day is None:
            return None
        steps = steps_from_today(case, draft)
        total += steps[0][1] if steps else draft.dose.first_mg_per_day or draft.dose.mg_per_day
    return total


def steps_from_today(case: Doses, draft: Medication) -> list[tuple[int, float]]:
    """(days from today, mg per day) of the steps of an order; one that runs already, verified late or filled again, is in the step of today."""
    steps = sorted((s.first_day, s.mg_per_day) for s in draft.dose.steps) if draft.dose is not None else []
    begun = case.days_since(draft.start) if draft.start is not None and case.hook in _LATER else 0
    if begun <= 0 or not steps:
        return steps
    over = [mg for day, mg in steps if day <= begun]
    return [*([(0, over[-1])] if over else []), *((day - begun, mg) for day, mg in steps if day > begun)]


def first_day_dose(case: Doses) -> float | None:
    """mg on the first day after this call: what is drafted, and without a draft the established dose; None when it is not known."""
    return drafted_first_day(case) if case.clozapine_drafts else case.established_mg_per_day


def dated_doses(case: Doses) -> list[tuple[datetime, float]]:
    """(from when, mg per day) of every clozapine order and of the steps of titrations, oldest first."""
    given: list[tuple[datetime, float]] = []
    for m in case.clozapine_records:
        began = m.start or m.authored
        if m.role != "order" or began is None or m.dose is None or m.dose.mg_per_day is None:
            continue
        if not was_given(m, case.as_of):
            continue
        steps = [(s.first_day, s.mg_per_day) for s in m.dose.steps] or [(0, m.dose.mg_per_day)]
        dated = [(began + timedelta(days=day), mg) for day, mg in steps]
        # Steps after the end of the order were never taken, and those to come not yet.
        given += [(at, mg) for at, mg in dated if at <= (m.end or at) and at <= case.as_of]
    return sorted(given)
