"""Results in words, and offers of tests, as the rules about results share them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from service.alerts.case.case import Case
from service.alerts.facts.patient import Measurement, UnusableResult
from service.alerts.knowledge.codes import kinds, title
from service.alerts.say.finding import OrderTest
from service.alerts.say.found import Fact, Text, Wish
from service.alerts.say.sentence import (
    Day,
    Moment,
    Number,
    Param,
    Quantity,
    Sent,
    Sentence,
    Term,
    Why,
    as_recorded,
    recorded,
    sentence,
)
from service.alerts.say.wording import REASON_LIMIT

#: Characters of a value that stands in its unit as it was sent.
_SENT = 40
_BOUND = {"<": "-below", ">": "-above"}


def bound_of(m: Measurement) -> str:
    """How an id says that a result is only a bound: ``-below``, ``-above`` or nothing."""
    return _BOUND.get(m.bound, "")


def name_of(kind: str) -> Term:
    """A kind of result at the beginning of a sentence."""
    name = title(kind)
    return Term("kind", kind, name, first=not name[:2].isupper())


def within(kind: str) -> Term:
    """A kind of result within a sentence."""
    return Term("kind", kind, title(kind))


def measured(m: Measurement) -> Sentence:
    """A result with its unit: ``QTc 512 ms``; a kind judged by its own range keeps the unit it was sent in."""
    kind = kinds().get(m.kind)
    standing = "-preliminary" if m.status == "preliminary" else ""
    if kind is None or kind.dimension == "own-range":
        return sentence(f"result.sent{standing}", name=name_of(m.kind), sent=_value_as_sent(m))
    amount = Quantity(m.value, kind.unit, 1)
    return sentence(f"result.value{bound_of(m)}{standing}", name=name_of(m.kind), amount=amount)


def _value_as_sent(m: Measurement) -> Param:
    return Sent(m.raw) if not m.shown else Why(m.shown, _SENT, _SENT)


def when_of(case: Case, m: Measurement) -> Param:
    """The moment of a result in the site's time zone; the day, the month or the year alone when only that is known."""
    return on_day(case, m) if m.at is None or m.date_only else moment_of(case, m.at)


def moment_of(case: Case, at: datetime | None, date_only: bool = False) -> Day | Moment:
    """A moment in the site's time zone; the day alone when only that is known."""
    if at is None or date_only:
        return day_of(case, at)
    return Moment(at.astimezone(case.snapshot.zone))


def on_day(case: Case, m: Measurement) -> Day:
    """The day of a result, or the month or the year when only that is known."""
    return day_of(case, m.at, m.until)


def day_of(case: Case, at: datetime | None, until: datetime | None = None) -> Day:
    """The day of a moment in the site's time zone; None is a day that nobody knows. ``until``: it is one of the days before."""
    day = case.snapshot.day
    return Day(day(at) if at is not None else None, day(until) if until is not None else None)


def result_line(case: Case, m: Measurement) -> Sentence:
    """A result as a fact, without full stop."""
    shared: dict[str, Param] = {"value": measured(m), "when": when_of(case, m), "raw": as_recorded(m.as_sent)}
    if m.upper_limit is None:
        return Sentence("result.line", shared)
    return Sentence("result.line-limit", {**shared, "limit": Number(m.upper_limit)})


def result_fact(case: Case, m: Measurement) -> Sentence:
    """A result as a fact of its own."""
    return sentence("result.fact", line=result_line(case, m))


def result_evidence(case: Case, results: Iterable[Measurement]) -> tuple[Fact, ...]:
    """Results as evidence."""
    return tuple(Fact(m.ref, result_line(case, m), m.at, m.date_only) for m in results)


def refusal(u: UnusableResult) -> Why:
    """Why a result was not used: it may quote the record."""
    return Why(u.reason, REASON_LIMIT, REASON_LIMIT)


def refused_evidence(results: Iterable[UnusableResult]) -> tuple[Fact, ...]:
    """Results that could not be used, as evidence: as they were sent."""
    return tuple(Fact(u.ref, recorded(u.as_sent), u.at, u.date_only) for u in results)


def offer_test(case: Case, test: str, priority: str, reason: Text) -> tuple[Wish, ...]:
    """The offer of a test, unless it is ordered already."""
    return () if case.test_ordered(test) is not None else (Wish(OrderTest(test, priority), reason),)


def course_line(case: Case) -> Sentence:
    """Where in the course the patient is."""
    if case.starting:
        return sentence("course.starting")
    day = case.course_day
    return sentence("course.day", day=Number(day, 0)) if day is not None else sentence("course.unknown")
