"""Words and choices about the problem list, for the rules whose sentences are still text."""

from __future__ import annotations

from collections.abc import Iterable

from service.alerts.case.case import Case
from service.alerts.case.onset import in_course as in_course
from service.alerts.case.onset import is_recent_problem as is_recent_problem
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
