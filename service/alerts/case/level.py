"""A clozapine level and the doses before it: how long after the last one the sample was taken, and whether the dose was steady."""

from __future__ import annotations

from datetime import datetime, timedelta

from service.alerts.case.case import Case
from service.alerts.case.exposure import was_given
from service.alerts.facts.patient import Measurement, Medication

_NOT_GIVEN = frozenset({"not-done", "entered-in-error", "unknown"})
#: An order that begins so soon after the end of another goes on with it (dates without a clock time reach a day).
RENEWED_WITHIN = timedelta(days=1)


def hours_after_dose(case: Case, level: Measurement) -> float | None:
    """Hours between the last charted dose and the sample; None when no chart tells.

    A chart without any entry near the sample (policy ``levels.charted_within_hours``) was no longer, or not yet, kept then: it tells nothing.
    """
    if level.at is None or level.date_only:
        return None
    near = timedelta(hours=case.policy.levels.charted_within_hours.value)
    chart = [
        m
        for m in case.clozapine_records
        if m.role == "administration" and m.start is not None and abs(m.start - level.at) <= near
    ]
    if not chart:
        return None
    doses = [
        m.start
        for m in case.clozapine_records
        if m.role == "administration" and m.start is not None and not m.start_date_only
        and m.status not in _NOT_GIVEN and not m.not_taken and m.start <= level.at
    ]  # fmt: skip
    return (level.at - max(doses)).total_seconds() / 3600 if doses else None


def is_trough(case: Case, hours: float | None) -> bool:
    """True for a sample taken in the policy's hours after a dose, and when no chart tells the time."""
    rule = case.policy.levels
    return hours is None or rule.trough_hours_low.value <= hours <= rule.trough_hours_high.value


def is_steady(case: Case, level: Measurement) -> bool:
    """The dose had been the same for long enough when the sample was taken, and still is, as far as orders tell."""
    if level.at is None:
        return True
    now, then = _dose_since(case, case.as_of), _dose_since(case, level.at)
    if now is None:
        return True
    if then is None or then[1] != now[1]:
        return False  # the dose was changed since: the level tells of the one before
    return (level.at - then[0]).total_seconds() / 86400 >= case.policy.levels.steady_state_days.value


def _in_force(case: Case, m: Medication, at: datetime) -> tuple[datetime, float] | None:
    """Since when a record gives the dose it gives at a time, and that dose (mg per day); of a titration the step of that day."""
    began = m.start or m.authored
    if began is None or began > at or m.dose is None or m.dose.mg_per_day is None:
        return None
    day = (case.snapshot.day(at) - case.snapshot.day(began)).days
    step = max((s for s in m.dose.steps if s.first_day <= day), key=lambda s: s.first_day, default=None)
    if step is None:
        return began, m.dose.mg_per_day
    return began + timedelta(days=step.first_day), step.mg_per_day


def _dose_since(case: Case, at: datetime) -> tuple[datetime, float] | None:
    """Since when the dose of that time was taken, and the dose; a renewal that follows at the same dose changes nothing."""
    regimens = [
        (m, found)
        for m in case.clozapine_records
        if m.role in ("order", "statement")
        and was_given(m, case.as_of)
        and (found := _in_force(case, m, at)) is not None
    ]
    if not regimens:
        return None
    regimens.sort(key=lambda r: r[1][0], reverse=True)
    since, mg = regimens[0][1]
    for earlier, (began, dose) in regimens[1:]:
        if dose != mg or earlier.end is None or abs(since - earlier.end) > RENEWED_WITHIN:
            break
        since = began
    return since, mg
