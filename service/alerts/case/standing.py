"""Conditions that last: when they are told again, decided from the record alone, so that the same record gets the same answer."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from service.alerts.case.case import Case
from service.alerts.case.judged_counts import stalest
from service.alerts.facts.patient import Measurement


def is_new(case: Case, since: datetime | None) -> bool:
    """A condition that began (or changed) then is still news; of one without a date nobody knows."""
    return since is None or case.days_since(since) <= case.policy.quiet.standing_days.value


def is_told(case: Case, since: datetime | None) -> bool:
    """A condition since then is told here: it is news, or this is a visit on which a blood count is due.

    An order that makes the condition matter (``raises_dose``, another drug of the same effect) is for the rule to ask about: it is never
    answered by silence because the condition is old.
    """
    return is_new(case, since) or (not case.is_order_hook and is_count_due(case))


def raises_dose(case: Case) -> bool:
    """More clozapine is ordered than is taken now; a dose that nobody can read, before or after, may be more."""
    drafted, now = case.drafted_mg_per_day, case.established_mg_per_day
    more = drafted is None or now is None or drafted > now
    return case.continuing and bool(case.clozapine_drafts) and more


def changes_dose(case: Case) -> bool:
    """Another dose of clozapine is ordered than is taken now, as far as both can be read."""
    drafted, now = case.drafted_mg_per_day, case.established_mg_per_day
    return case.continuing and bool(case.clozapine_drafts) and (drafted is None or drafted != now)


def is_count_due(case: Case) -> bool:
    """The next blood count is due within the days in which it is announced, is late, or was never taken."""
    newest = stalest(case)
    if newest is None:
        return True
    interval = case.interval
    return interval.days - case.answered_days(newest) <= interval.due_soon_days(case.policy.schedule)


def worse_since(run: Iterable[Measurement]) -> datetime | None:
    """Since when a run of results that lie beyond a limit (newest first) is as bad as it is: the first one, or the first that was worse than all before."""
    since: datetime | None = None
    worst: float | None = None
    for m in reversed(list(run)):
        if worst is None or m.value > worst:
            since, worst = m.at, m.value
    return since
