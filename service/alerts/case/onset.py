"""When a problem of the list began: in the last weeks, in the present course."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from service.alerts.case.beginning import latest_beginning
from service.alerts.case.case import Case
from service.alerts.facts.patient import Problem


def latest_onset(case: Case, p: Problem) -> datetime | None:
    """When a problem began at the latest: of a month or a year its last day, today at most; None: nobody knows."""
    return latest_beginning(p.onset, p.onset_until, case.as_of) if p.onset is not None else None


def is_recent_problem(case: Case, p: Problem) -> bool:
    """A problem that began in the last weeks (policy ``results.recent_days``)."""
    began = latest_onset(case, p)
    return began is not None and case.days_since(began) <= case.policy.results.recent_days.value


def in_course(case: Case, p: Problem) -> bool:
    """A problem that arose in the present course, as far as its date tells; when nobody knows when either began, it may have."""
    start = case.course.start
    if case.starting or not case.continuing:
        return False
    began = latest_onset(case, p)
    return start is None or began is None or case.snapshot.day(began) >= case.snapshot.day(start)


def latest_known(case: Case, problems: Iterable[Problem]) -> datetime | None:
    """Since when the record knows the last of them: it may have begun long before it was put on record. None: one has no date at all.

    A beginning known to the month or year alone lies before the day on which it was put on record; without that day it may be its last.
    """
    latest: datetime | None = None
    for p in problems:
        began = latest_onset(case, p)
        if p.recorded is not None:
            began = max(p.recorded, p.onset) if p.onset is not None else p.recorded
        if began is None:
            return None
        latest = began if latest is None else max(latest, began)
    return latest
