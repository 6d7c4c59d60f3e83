"""Words and choices that the result rules share."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from service.alerts import wording as w
from service.alerts.case import Case
from service.alerts.codes import kinds, title
from service.alerts.facts import Measurement
from service.alerts.finding import Evidence, Offer, OrderTest


def recent(case: Case, kind: str) -> Measurement | None:
    """The newest result of a kind (a worse preliminary one included), unless it is history (policy ``results.recent_days``)."""
    newest = case.newest(kind)
    lately = [
        m
        for m in (*case.results(kind).preliminary, *([newest] if newest is not None else []))
        if m.at is not None and 0 <= case.age_days(m) <= case.policy.results.recent_days.value
    ]
    return max(lately, key=lambda m: (m.at, m.value), default=None)


def recent_with_limit(case: Case, kind: str) -> Measurement | None:
    """The newest recent result of a kind that names its own upper limit of normal."""
    results = case.results(kind)
    lately = [
        m
        for m in (*results.preliminary, *results.settled)
        if m.at is not None
        and m.upper_limit is not None
        and 0 <= case.age_days(m) <= case.policy.results.recent_days.value
    ]
    return max(lately, key=lambda m: (m.at, m.value), default=None)


def exceeds(m: Measurement, limit: float) -> bool:
    """True when a result is above a limit. ``>100`` is above 100; of ``<0.1`` nobody knows how far it lies below."""
    return m.bound != "<" and (m.value >= limit if m.bound == ">" else m.value > limit)


def reaches(m: Measurement, limit: float) -> bool:
    """True when a result is at or above a limit; an upper bound such as ``<0.1`` never shows that."""
    return m.bound != "<" and m.value >= limit


def within_hours(case: Case, kind: str, hours: float) -> tuple[Measurement, ...]:
    """Results of the last hours, newest first."""
    since = case.as_of - timedelta(hours=hours)
    return tuple(m for m in case.series(kind) if m.at is not None and since <= m.at)


def value(m: Measurement) -> str:
    """A result with its unit: ``QTc 512 ms``; a kind judged by its own range keeps the unit it was sent in."""
    kind = kinds().get(m.kind)
    preliminary = " (preliminary)" if m.status == "preliminary" else ""
    name = title(m.kind)
    name = name if name[:2].isupper() else name[0].upper() + name[1:]
    if kind is None or kind.dimension == "own-range":
        return f"{name} {w.plain(m.raw, 40)}{preliminary}"
    return f"{name} {w.bound_word(m)}{w.number(m.value, 1)} {kind.unit}{preliminary}"


def line(case: Case, m: Measurement) -> str:
    """A result as a fact for the card."""
    limit = f", upper limit of normal {w.number(m.upper_limit, 2)}" if m.upper_limit is not None else ""
    return (
        f"{w.safe(value(m))}, {w.moment(case.snapshot, m.at, m.date_only)}{limit} (as sent: {w.safe(m.raw)})"
    )


def evidence(case: Case, results: Iterable[Measurement]) -> tuple[Evidence, ...]:
    """Results as evidence."""
    return tuple(Evidence(m.ref, line(case, m), m.at, m.date_only) for m in results)


def order(case: Case, test: str, priority: str, reason: str) -> tuple[Offer, ...]:
    """The offer of a test, unless it is ordered already."""
    return () if case.test_ordered(test) is not None else (OrderTest(test, priority, reason),)


def on_day(case: Case, m: Measurement) -> str:
    """``on 2026-11-20``."""
    return f"on {w.day(case.snapshot, m.at)}"


def course_line(case: Case) -> str:
    """Where in the course the patient is."""
    if case.starting:
        return "Clozapine is being started."
    day = case.course_day
    return f"Day {day} of clozapine." if day is not None else "The start of clozapine is not in the record."
