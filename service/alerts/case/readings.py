"""Which result of a kind counts today, and how it lies to a limit."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta

from service.alerts.case.case import Case
from service.alerts.case.series import Series, judged_value
from service.alerts.facts.patient import Measurement, UnusableResult

Wanted = Callable[[Measurement], bool]


def _all(m: Measurement) -> bool:
    return True


def is_recent(case: Case, m: Measurement) -> bool:
    """True unless a result is history (policy ``results.recent_days``). What is dated too far ahead is in no series."""
    return m.at is not None and case.age_days(m) <= case.policy.results.recent_days.value


def _one_moment(case: Case, one: Measurement, other: Measurement) -> bool:
    """True when nothing tells which of two results is the newer one."""
    if one.at is None or other.at is None or one.at == other.at:
        return one.at == other.at
    return (one.date_only or other.date_only) and case.snapshot.day(one.at) == case.snapshot.day(other.at)


def _newest_settled(case: Case, results: Series, wanted: Wanted) -> list[Measurement]:
    """The newest settled result that is no history, with those of the same moment and standing: nothing tells which came last."""
    found: list[Measurement] = []
    for m in results.settled:
        if not is_recent(case, m) or (found and case.age_days(m) != case.age_days(found[0])):
            break
        if wanted(m) and (
            not found or (m.status == found[0].status and any(_one_moment(case, f, m) for f in found))
        ):
            found.append(m)
    return found


def _that_count(case: Case, kind: str, wanted: Wanted = _all) -> list[Measurement]:
    """The newest settled results that are no history, and preliminary ones as new as those."""
    if kind not in case.snapshot.measurements:
        return []
    results = case.results(kind)
    settled = _newest_settled(case, results, wanted)
    since = settled[0].at if settled else None
    preliminary = [
        m
        for m in results.preliminary
        if wanted(m) and is_recent(case, m) and (since is None or (m.at is not None and m.at >= since))
    ]
    return [*settled, *preliminary]


def recent(
    case: Case, kind: str, *, lower_is_worse: bool = False, wanted: Wanted = _all
) -> Measurement | None:
    """The newest settled result of a kind, unless it is history; of several of one moment the worst.

    A preliminary result as new as that takes its place only when it is worse: it may warn, never calm (clinical.md 3.1).
    """
    found = _that_count(case, kind, wanted)
    if not found:
        return None
    if lower_is_worse:
        return min(found, key=lambda m: (m.bound == ">", m.value))
    return max(found, key=lambda m: (m.bound != "<", m.value))  # "<1200" does not calm 1100


def latest(case: Case, kind: str, wanted: Wanted = _all) -> Measurement | None:
    """The newest recent result of a kind, settled or preliminary."""
    return max(_that_count(case, kind, wanted), key=lambda m: (m.at, m.value), default=None)


def comparable(m: Measurement) -> bool:
    """True when a result can be compared with its own upper limit: it names one, and is not merely below something higher."""
    return bool(m.upper_limit) and not (m.bound == "<" and m.value > (m.upper_limit or 0))


def recent_comparable(case: Case, kind: str, wanted: Wanted = _all) -> Measurement | None:
    """As :func:`recent`, of the results that can be compared with their own upper limit, and by how far they lie above it."""
    if kind not in case.snapshot.measurements:
        return None
    return max(
        _that_count(case, kind, lambda m: comparable(m) and wanted(m)),
        key=lambda m: m.value / (m.upper_limit or 1),
        default=None,
    )


def exceeds(m: Measurement, limit: float) -> bool:
    """True when a result is above a limit. ``>100`` is above 100; of ``<0.1`` nobody knows how far it lies below."""
    if m.bound:
        return m.bound == ">" and reaches(m, limit)
    return m.value > limit and not math.isclose(m.value, limit)  # 3 × 0.7 is 2.1, not 2.0999…


def reaches(m: Measurement, limit: float) -> bool:
    """True when a result is at or above a limit; an upper bound such as ``<0.1`` never shows that."""
    return m.bound != "<" and (m.value >= limit or math.isclose(m.value, limit))


def falls_below(m: Measurement, limit: float) -> bool:
    """True when a result is below a limit. ``<90`` is below 90; of ``>80`` nobody knows how far it lies above."""
    return m.bound != ">" and judged_value(m) < limit


def in_myocarditis_window(case: Case) -> bool:
    """The first weeks; a course whose start nobody knows may be in them."""
    day = case.least_course_day
    return day is None or day < case.policy.myocarditis.window_days.value


def is_a_result(u: UnusableResult) -> bool:
    """False for an observation without any value: that says that nothing was measured."""
    return u.has_value


def within_hours(case: Case, kind: str, hours: float) -> tuple[Measurement, ...]:
    """Results of the last hours, newest first; preliminary ones among them, which may warn."""
    if kind not in case.snapshot.measurements:
        return ()
    since = case.as_of - timedelta(hours=hours)
    results = case.results(kind)
    found = [m for m in (*results.settled, *results.preliminary) if m.at is not None and since <= m.at]
    if results.preliminary:
        found.sort(key=lambda m: m.at, reverse=True)  # type: ignore[arg-type,return-value]
    return tuple(found)
