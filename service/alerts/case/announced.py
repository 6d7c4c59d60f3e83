"""The next blood count, where it is announced at a visit."""

from __future__ import annotations

from service.alerts.case.case import Case
from service.alerts.case.judged_counts import stalest
from service.alerts.case.kept import counts_kept

_HOOKS = frozenset({"patient-view", "encounter-discharge"})


def announced_in(case: Case) -> int | None:
    """In how many days the next count is due, where that is said here; None where it is not, or cannot be planned."""
    newest = stalest(case)
    if case.hook not in _HOOKS or newest is None or not case.on_clozapine:
        return None
    interval = case.interval
    left = interval.days - case.answered_days(newest)
    if interval.band is not None or not 0 <= left <= interval.due_soon_days(case.policy.schedule):
        return None
    # Whoever comes in time needs no reminder: a count that is missed is overdue the day after.
    return None if counts_kept(case) else left
