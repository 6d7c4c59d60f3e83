"""Words and choices that the rules about the problem list share."""

from __future__ import annotations

from collections.abc import Iterable

from service.alerts.case.case import Case
from service.alerts.facts.patient import Problem
from service.alerts.say import wording as w
from service.alerts.say.finding import Evidence


def verified(p: Problem) -> str:
    """`` (provisional, not confirmed)`` for what is only suspected."""
    return f" ({w.safe(p.verification)}, not confirmed)" if p.verification not in ("", "confirmed") else ""


def problem_line(case: Case, p: Problem) -> str:
    """A problem as a fact for the card."""
    since = f", since {w.day(case.snapshot, p.onset)}" if p.onset is not None else ""
    return f"Problem list: {w.safe(p.label)}{since}{verified(p)}."


def problem_evidence(problems: Iterable[Problem]) -> tuple[Evidence, ...]:
    """Problems as evidence."""
    return tuple(Evidence(p.ref, w.safe(p.label), p.onset, p.onset_date_only) for p in problems)


def is_recent_problem(case: Case, p: Problem) -> bool:
    """A problem that began in the last weeks (policy ``results.recent_days``)."""
    return p.onset is not None and case.days_since(p.onset) <= case.policy.results.recent_days.value


def in_course(case: Case, p: Problem) -> bool:
    """A problem that arose in the present course, as far as its date tells; when nobody knows when either began, it may have."""
    start = case.course.start
    if case.starting or not case.continuing:
        return False
    return start is None or p.onset is None or case.snapshot.day(p.onset) >= case.snapshot.day(start)
