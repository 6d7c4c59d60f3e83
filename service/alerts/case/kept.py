"""Whether counts and supplies came in time lately: then nobody needs to be reminded of the next one."""

from __future__ import annotations

from itertools import pairwise

from service.alerts.case.case import Case
from service.alerts.case.exposure import supplies_of
from service.alerts.case.interval import had_neutropenia
from service.alerts.policy.judge import phase_for


def counts_kept(case: Case) -> bool:
    """The last counts each followed the one before within the interval of the schedule.

    False where the start is not known, and while a band, a recovery, a break or falling counts ask for more than the schedule: those counts
    are new to the patient, and being in time for the schedule tells nothing of them.
    """
    if case.interval.cited is not case.interval.phase:
        return False
    started, times = case.course.start, int(case.policy.quiet.kept_times.value)
    taken = [m.at for m in case.series("anc")[: times + 1] if m.at is not None]
    if started is None or len(taken) <= times:
        return False
    first = case.snapshot.day(started)
    days = [(case.snapshot.day(at) - first).days for at in taken]
    return all(
        later - earlier
        <= phase_for(case.policy.schedule, max(earlier, 0), lambda: had_neutropenia(case)).every_days
        for later, earlier in pairwise(days)
    )


def supplies_kept(case: Case) -> bool:
    """The last supplies were each handed over before the one before was used up."""
    times = int(case.policy.quiet.kept_times.value)
    handed = supplies_of(case.clozapine_records, case.as_of)[-times - 1 :]
    return len(handed) > times and all(
        following.start is not None and case.snapshot.day(following.start) <= case.snapshot.day(until)
        for (_, until), (following, _) in pairwise(handed)
    )
