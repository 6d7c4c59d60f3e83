"""On which days a patient is seen, counted and tested under a policy, when everything is done in time."""

from __future__ import annotations

from itertools import takewhile

from msgspec import Struct

from service.alerts.policy.parts.schedule import MonitoringTest
from service.alerts.policy.policy import Policy
from tools.courses.story import Course, doses

#: The patient is seen and supplied at least so often, however rarely counts are due.
_MONTH = 28
BASELINE = -2


class Calendar(Struct, frozen=True):
    """Days of the course. ``tests``: id of the organ test -> the days on which it is done."""

    visits: tuple[int, ...]
    counts: tuple[int, ...]
    tests: dict[str, tuple[int, ...]]


def calendar(course: Course, policy: Policy) -> Calendar:
    """The days of a course under a policy: each count by the policy's schedule, each test at the first visit on or after its day."""
    end = course.end
    counts = _counts(course, policy, end)
    visits = sorted({*counts, *_between(counts, end)})
    tests = {test.id: _days_of(test, visits, end) for test in policy.monitoring}
    first = course.seen_from
    return Calendar(
        tuple(d for d in visits if d >= first or d == BASELINE),
        counts,
        tests,
    )


def _counts(course: Course, policy: Policy, end: int) -> tuple[int, ...]:
    """Days of counts: the baseline, then each an interval (in whole weeks where there are any) after the one before."""
    days, day = [*course.earlier_counts, BASELINE], 0
    while True:
        every = next(p for p in policy.schedule if p.until_day is None or day < p.until_day).every_days
        step = every - every % 7
        # A visit that is put off has the whole interval of the policy; all others come some days early.
        put_off = course.put_off and (len(days) + 1) % course.put_off == 0
        day += every if put_off else step - course.early
        if day >= end:
            return tuple(days)
        days.append(day)


def _between(counts: tuple[int, ...], end: int) -> list[int]:
    """Visits between two counts that are further apart than a month."""
    found = []
    for first, then in zip(counts, (*counts[1:], end), strict=True):
        day = max(first, 0) + _MONTH
        while day + _MONTH // 2 < then:
            found.append(day)
            day += _MONTH
    return found


def _days_of(test: MonitoringTest, visits: list[int], end: int) -> tuple[int, ...]:
    """The baseline, then the first visit that answers each due day."""
    done = [BASELINE]
    every = test.then_every_days
    for due in takewhile(lambda d: every is None or d < every, test.days):
        done += [visit for visit in visits if visit >= due - test.early_days][:1]
    while every is not None:
        # A yearly test is due an interval after the last one; the day of the baseline counts as the first day.
        due = max(done[-1], 0) + every
        nearest = [visit for visit in visits if visit >= due and visit < end][:1]
        if not nearest:
            break
        done += nearest
    return tuple(dict.fromkeys(done))


def dose_on(course: Course, day: int) -> float:
    """mg per day in force on a day of the course."""
    return max((step for step in doses(course) if step[0] <= day), key=lambda s: s[0])[1]
