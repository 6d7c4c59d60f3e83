"""Organ monitoring (clinical.md 2.5): baseline tests when clozapine starts, overdue tests while it is taken."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from functools import lru_cache

from msgspec import Struct

from service.alerts import wording as w
from service.alerts.case import Case
from service.alerts.facts import Measurement, SourceName
from service.alerts.finding import Evidence, Finding, OrderTest
from service.alerts.policy import MonitoringTest

_VITAL_KINDS = frozenset({"systolic", "diastolic", "heart-rate", "temperature", "weight", "bmi"})


class Overdue(Struct, frozen=True):
    """A test that should have been done."""

    test: MonitoringTest
    due: date
    last: Measurement | None


@lru_cache(maxsize=256)
def _source_of(test: MonitoringTest) -> SourceName:
    return "vitals" if set(test.kinds) & _VITAL_KINDS else "labs"


def _readable(case: Case, test: MonitoringTest) -> bool:
    """A test is called missing only when the place where it would be was read."""
    if case.snapshot.state(_source_of(test)) != "unavailable":
        return True
    return any(case.snapshot.measurements.get(kind) for kind in test.kinds)


def last_done(case: Case, test: MonitoringTest) -> Measurement | None:
    """The newest result that completes the test: of ``all_kinds`` the oldest of the newest ones."""
    if test.all_kinds:
        newest = [case.newest(kind) for kind in test.all_kinds]
        if any(m is None for m in newest):
            return None
        return min((m for m in newest if m is not None), key=lambda m: m.at)  # type: ignore[arg-type,return-value]
    found = [m for kind in test.kinds if (m := case.newest(kind)) is not None]
    return max(found, key=lambda m: m.at, default=None)  # type: ignore[arg-type,return-value]


def due_days(test: MonitoringTest, until: int) -> list[int]:
    """Days of the course on which the test was due, up to ``until``."""
    days = [d for d in test.days if d <= until]
    if test.then_every_days and test.days:
        day = test.days[-1] + test.then_every_days
        while day <= until:
            days.append(day)
            day += test.then_every_days
    return days


def overdue_tests(case: Case) -> list[Overdue]:
    """Tests of the schedule that are late by more than the policy tolerates."""
    start, course_day = case.course.start, case.course_day
    if start is None or course_day is None:
        return []
    first = case.snapshot.day(start)
    found: list[Overdue] = []
    for test in case.policy.monitoring:
        if test.until_day is not None and course_day >= test.until_day:
            continue
        passed = due_days(test, course_day)
        if not passed or not _readable(case, test):
            continue
        last = last_done(case, test)
        done_on = case.snapshot.day(last.at) if last is not None and last.at is not None else None
        # The last due day decides; a test done a little early counts for it.
        due = first + timedelta(days=passed[-1])
        if done_on is not None and done_on >= due - timedelta(days=test.early_days):
            continue
        if len(passed) > 1 and (
            done_on is None or done_on < first + timedelta(days=passed[-2] - test.early_days)
        ):
            due = first + timedelta(days=passed[-2])
        if (case.today - due).days > test.late_days:
            found.append(Overdue(test, due, last))
    return found


def monitoring_overdue(case: Case) -> Iterator[Finding]:
    """All overdue organ tests of one call share one finding."""
    if not case.continuing or case.starting:
        return
    overdue = overdue_tests(case)
    if not overdue:
        return
    names = [o.test.title for o in overdue]
    lines = []
    for o in overdue:
        last = f"last {w.day(case.snapshot, o.last.at)}" if o.last is not None else "none on record"
        lines.append(f"{o.test.title[0].upper()}{o.test.title[1:]}: due {o.due.isoformat()}, {last}.")
    unreadable = [t.title for t in case.policy.monitoring if not _readable(case, t)]
    offers = tuple(
        OrderTest(o.test.order, "routine", f"Clozapine monitoring: due {o.due.isoformat()}")
        for o in overdue
        if o.test.order and case.test_ordered(o.test.order) is None
    )
    yield Finding(
        code="monitoring-overdue",
        severity="warning",
        subject="monitoring",
        summary=w.summary(f"Clozapine monitoring overdue: {w.listed(names)}."),
        why=tuple(lines),
        policy_says=tuple(
            f"{o.test.title}: {_schedule(o.test)} ({case.policy.cite(o.test)})." for o in overdue
        ),
        suggested=("Order the overdue tests or record results from elsewhere.",),
        unchecked=(f"Not read, so not judged: {w.listed(unreadable)}.",) if unreadable else (),
        evidence=tuple(
            Evidence(o.last.ref, o.test.title, o.last.at, o.last.date_only)
            for o in overdue
            if o.last is not None
        ),
        missing=tuple(f"{o.test.title} since {o.due.isoformat()}" for o in overdue),
        citation=case.policy.cite(overdue[0].test),
        offers=offers,
        overrides="monitoring",
    )


@lru_cache(maxsize=256)
def _schedule(test: MonitoringTest) -> str:
    parts = ["baseline"] if test.baseline else []
    if test.days:
        parts.append(f"day {', '.join(str(d) for d in test.days)}")
    if test.then_every_days:
        parts.append(f"then every {test.then_every_days} days")
    return ", ".join(parts)


def baseline_incomplete(case: Case) -> Iterator[Finding]:
    """Tests that should be there before the first dose."""
    if not case.starting:
        return
    missing: list[MonitoringTest] = []
    for test in case.policy.monitoring:
        if not test.baseline or not _readable(case, test):
            continue
        last = last_done(case, test)
        if last is None or case.age_days(last) > test.baseline_window_days:
            missing.append(test)
    if not missing:
        return
    unreadable = [t.title for t in case.policy.monitoring if t.baseline and not _readable(case, t)]
    yield Finding(
        code="baseline-incomplete",
        severity="warning",
        subject="monitoring",
        summary=w.summary(
            f"Before clozapine starts, no recent baseline: {w.listed([t.title for t in missing])}."
        ),
        why=tuple(
            f"{t.title[0].upper()}{t.title[1:]}: none within {t.baseline_window_days} days." for t in missing
        ),
        policy_says=tuple(f"{t.title}: {_schedule(t)} ({case.policy.cite(t)})." for t in missing),
        suggested=("Order the missing baseline tests, or record results from elsewhere.",),
        unchecked=(f"Not read, so not judged: {w.listed(unreadable)}.",) if unreadable else (),
        missing=tuple(t.title for t in missing),
        citation=case.policy.cite(missing[0]),
        offers=tuple(
            OrderTest(t.order, "routine", "Baseline before clozapine")
            for t in missing
            if t.order and case.test_ordered(t.order) is None
        ),
        overrides="monitoring",
    )


RULES = (monitoring_overdue, baseline_incomplete)
