"""Whether an order that was carried out goes on in the next one: its end alone is no sign that a dose was missed."""

from __future__ import annotations

from datetime import timedelta

from service.alerts.case.case import Case
from service.alerts.case.judged_counts import stalest
from service.alerts.case.ordered_dose import first_day_dose


def is_between_orders(case: Case) -> bool:
    """No order of this call, and only the end of one that was carried out a few days ago tells of the last dose."""
    course = case.course
    return (
        course.ending is not None
        and course.ending.between
        and not case.clozapine_drafts
        and course.last_dose_basis in ("update", "rhythm")
    )


def is_renewed_in_time(case: Case) -> bool:
    """The draft follows an order for home that was carried out (``completed``) a few days ago, at no higher dose, and counts go on.

    That an order is completed is no sign that a dose was missed, no more than an order that stays active; it is worth a question.
    """
    course = case.course
    ending, last = course.ending, course.last_dose
    if ending is None or not ending.carried_out or last is None or not case.clozapine_drafts:
        return False
    if course.last_dose_basis not in ("update", "rhythm"):
        return False
    if case.as_of - last > timedelta(days=case.policy.unknown_end.renewed_within_days.value):
        return False
    first, established, newest = first_day_dose(case), case.established_mg_per_day, stalest(case)
    if first is None or established is None or first > established or newest is None:
        return False
    return case.answered_days(newest) <= case.interval.days
