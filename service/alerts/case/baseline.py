"""The counts on which clozapine is begun: what they must reach, and how old they may be (clinical.md 1.2, 2.1)."""

from __future__ import annotations

from service.alerts.case.case import Case
from service.alerts.case.judged_counts import judged_kinds
from service.alerts.case.series import judged_value
from service.alerts.facts.patient import Measurement
from service.alerts.policy.parts.counts import Analyte
from service.alerts.policy.parts.values import Minimum


def minima(case: Case) -> list[tuple[Analyte, Minimum]]:
    """What must be reached before the first dose, the ANC first."""
    found = [(kind, case.policy.start.minimum(case.population, kind)) for kind in judged_kinds(case)]
    return [(kind, minimum) for kind, minimum in found if minimum is not None]


def below_minimum(case: Case) -> list[tuple[Measurement, Minimum]]:
    """Newest counts that do not reach what the policy asks for before the first dose."""
    return [
        (newest, minimum)
        for kind, minimum in minima(case)
        if (newest := case.worst_new(kind)) is not None and not minimum.reached(judged_value(newest))
    ]


def was_begun_on_old_baseline(case: Case, newest: Measurement) -> bool:
    """The first weekly count is not due yet, but clozapine was begun on a count that was too old for it."""
    day = case.course_day
    if (
        day is None
        or case.starting
        or case.interval.band is not None
        or case.course.restarted_after is not None
    ):
        return False
    return day <= case.interval.days and case.age_days(newest) - day > case.policy.baseline_window[0]
