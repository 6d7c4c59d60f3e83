"""Organ monitoring (clinical.md 2.5): baseline tests when clozapine starts, overdue tests while it is taken."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import date, timedelta
from functools import lru_cache

from msgspec import Struct

from service.alerts.case.case import Case
from service.alerts.case.readings import is_a_result
from service.alerts.facts.patient import Measurement, SourceName, UnusableResult
from service.alerts.knowledge.codes import source_of
from service.alerts.phrases.medication import drug_fact
from service.alerts.phrases.result import offer_test, on_day, refusal
from service.alerts.policy.parts.schedule import MonitoringTest
from service.alerts.policy.words import policy_says, policy_steps, policy_word
from service.alerts.rules.asked import when, when_it_bears
from service.alerts.say.finding import OrderTest
from service.alerts.say.found import Fact, Found, Wish
from service.alerts.say.sentence import (
    Counted,
    Day,
    Listed,
    Number,
    Param,
    Sentence,
    Term,
    as_recorded,
    sentence,
)

_SOURCES: tuple[SourceName, ...] = ("labs", "vitals")


class Overdue(Struct, frozen=True):
    """A test that should have been done."""

    test: MonitoringTest
    #: None when the start of treatment is unknown and the test was never done.
    due: date | None
    last: Measurement | None

    @property
    def since(self) -> Sentence:
        """``due 2026-11-20``."""
        if self.due is None:
            return sentence("monitoring-overdue.due-start-unknown")
        return sentence("monitoring-overdue.due", day=Day(self.due))


@lru_cache(maxsize=256)
def _source_of(kinds: tuple[str, ...]) -> SourceName:
    return "vitals" if any(source_of(kind) == "vitals" for kind in kinds) else "labs"


def _not_read(case: Case) -> list[MonitoringTest]:
    """Tests that nobody can call missing: the place where they would be was not read, and none came from elsewhere."""
    unread = [s for s in _SOURCES if case.snapshot.state(s) == "unavailable"]
    if not unread:
        return []
    return [
        test
        for test in case.policy.monitoring
        if _source_of(test.kinds) in unread
        and not any(case.snapshot.measurements.get(kind) for kind in test.kinds)
    ]


def last_done(case: Case, test: MonitoringTest) -> Measurement | None:
    """The newest result that completes the test: of ``all_kinds`` the oldest of the newest ones."""
    if test.all_kinds:
        newest = [case.newest(kind) for kind in test.all_kinds]
        if any(m is None for m in newest):
            return None
        return min((m for m in newest if m is not None), key=lambda m: m.at)  # type: ignore[arg-type,return-value]
    found = [m for kind in test.kinds if (m := case.newest(kind)) is not None]
    return max(found, key=lambda m: m.at, default=None)  # type: ignore[arg-type,return-value]


def _due_day(test: MonitoringTest, today: int, done_on: int | None) -> int | None:
    """The first due day up to today that no test answered; None when none is open. All in days of the course.

    On the days of the course that the schedule names a test done a little early counts; after them the next one is due an
    interval after the last, so that a yearly test done some weeks early is not called late.
    """
    if test.until_day is not None and today >= test.until_day:
        return None
    every = test.then_every_days
    for day in test.days:
        if every is not None and day >= every:
            break  # "yearly" is an interval, too
        if day > today:
            return None
        if done_on is None or done_on < day - test.early_days:
            return day
    if every is None:
        return None
    due = every if done_on is None else max(done_on, 0) + every
    return due if due <= today else None


def overdue_tests(case: Case, not_read: Collection[MonitoringTest]) -> list[Overdue]:
    """Tests of the schedule that are late by more than the policy tolerates, but for those that were not read.

    While the start is unknown only what is due for ever is judged: it is late when the last one is older than the interval.
    """
    started = case.course.start
    start = case.snapshot.day(started) if started is not None else None
    today = (case.today - start).days if start is not None else 0
    found: list[Overdue] = []
    for test in case.policy.monitoring:
        if (start is None and not test.then_every_days) or test in not_read:
            continue
        last = last_done(case, test) if case.has_any(test.kinds) else None
        done_on = case.snapshot.day(last.at) if last is not None and last.at is not None else None
        if start is None:
            due = done_on + timedelta(days=test.then_every_days or 0) if done_on is not None else None
            if due is None or (case.today - due).days > test.late_days:
                found.append(Overdue(test, due, last))
            continue
        day = _due_day(test, today, (done_on - start).days if done_on is not None else None)
        if day is not None and today - day > test.late_days:
            found.append(Overdue(test, start + timedelta(days=day), last))
    return found


def _unusable(case: Case, test: MonitoringTest, last: Measurement | None) -> UnusableResult | None:
    """The newest result of a test that exists but cannot be used, when no usable one came later."""
    if not case.snapshot.unusable:
        return None
    results = [u for kind in test.kinds for u in case.unusable(kind) if is_a_result(u)]
    newer = [u for u in results if last is None or u.at is None or (last.at is not None and u.at > last.at)]
    return newer[-1] if newer else None


def _said_of_unusable(unusable: UnusableResult) -> dict[str, Param]:
    return {"reason": refusal(unusable), "raw": as_recorded(unusable.as_sent)}


def _name(case: Case, test: MonitoringTest, *, first: bool = False) -> Term:
    return policy_word(case.policy, f"monitoring.{test.id}.title", test.title, first=first)


def _not_judged(case: Case, not_read: list[MonitoringTest]) -> tuple[Sentence, ...]:
    if not not_read:
        return ()
    tests = Listed(tuple(_name(case, t) for t in not_read))
    return (sentence("monitoring-overdue.not-read", tests=tests),)


#: So many of the missing tests a summary names that is too long for all of them; the card names each.
_NAMED = 3


@when_it_bears
@when("continuing")
def monitoring_overdue(case: Case) -> Iterator[Found]:
    """All overdue organ tests of one call share one finding."""
    if not case.continuing or case.starting or (case.stop_drafts and not case.clozapine_drafts):
        return
    not_read = _not_read(case)
    overdue = overdue_tests(case, not_read)
    if not overdue:
        return
    missing: list[Sentence] = []
    evidence: list[Fact] = []
    offers: list[Wish] = []
    for o in overdue:
        since = o.since
        missing.append(sentence("monitoring-overdue.missing", test=_name(case, o.test), due=since))
        if o.last is not None:
            title = policy_says(case.policy, f"monitoring.{o.test.id}.title", o.test.title)
            evidence.append(Fact(o.last.ref, title, o.last.at, o.last.date_only))
        if o.test.order and case.test_ordered(o.test.order) is None:
            reason = sentence("monitoring-overdue.reason", due=since)
            offers.append(Wish(OrderTest(o.test.order, "routine"), reason))
    yield Found(
        code="monitoring-overdue",
        severity="warning",
        subject="monitoring",
        summary=sentence(
            "monitoring-overdue.summary", tests=Listed(tuple(_name(case, o.test) for o in overdue))
        ),
        why=tuple(_overdue_line(case, o) for o in overdue),
        policy_says=tuple([case.policy.monitoring_says[o.test.id] for o in overdue]),
        suggested=(sentence("monitoring-overdue.order"),),
        unchecked=_not_judged(case, not_read),
        evidence=tuple(evidence),
        missing=tuple(missing),
        citation=case.policy.cite(overdue[0].test),
        offers=tuple(offers),
    )


def _overdue_line(case: Case, o: Overdue) -> Sentence:
    said: dict[str, Param] = {
        "test": _name(case, o.test, first=True),
        "due": o.since,
        "last": sentence("monitoring-overdue.last", day=on_day(case, o.last))
        if o.last is not None
        else sentence("monitoring-overdue.never"),
    }
    unusable = _unusable(case, o.test, o.last)
    if unusable is None:
        return Sentence("monitoring-overdue.line", said)
    return Sentence("monitoring-overdue.line-unusable", said | _said_of_unusable(unusable))


def _pregnancy_test_missing(case: Case) -> Sentence | None:
    """Starting, pregnancy possible by sex and age or one of them unknown, and no recent test: what to say of it."""
    rule, age, sex = case.policy.pregnancy_test, case.age_years, case.snapshot.sex
    if sex == "male" or "unavailable" in (case.snapshot.state("labs"), case.snapshot.state("patient")):
        return None
    if age is not None and not rule.from_years.value <= age <= rule.to_years.value:
        return None
    done = [c for c in case.coded("pregnancy-test") if c.at is not None]
    if any(case.days_since(c.at) <= rule.window_days.value for c in done if c.at is not None):
        return None
    unknown = _UNKNOWN[sex == "female", age is not None]
    return sentence(
        f"baseline-incomplete.pregnancy{unknown}", days=Counted(int(rule.window_days.value), "day")
    )


#: How the id says what is not known: (sex is known, age is known).
_UNKNOWN = {
    (True, True): "",
    (True, False): "-age-unknown",
    (False, True): "-sex-unknown",
    (False, False): "-sex-and-age-unknown",
}


def _missing_line(case: Case, test: MonitoringTest) -> Sentence:
    said: dict[str, Param] = {
        "test": _name(case, test, first=True),
        "days": Counted(test.baseline_window_days, "day"),
    }
    unusable = _unusable(case, test, last_done(case, test))
    if unusable is None:
        return Sentence("baseline-incomplete.line", said)
    return Sentence("baseline-incomplete.line-unusable", said | _said_of_unusable(unusable))


@when("starting")
def baseline_incomplete(case: Case) -> Iterator[Found]:
    """Tests that should be there before the first dose: one finding, one offer per missing test."""
    if not case.starting:
        return
    missing: list[MonitoringTest] = []
    not_read = [t for t in _not_read(case) if t.baseline]
    for test in case.policy.monitoring:
        if not test.baseline or test in not_read:
            continue
        last = last_done(case, test)
        if last is None or case.age_days(last) > test.baseline_window_days:
            missing.append(test)
    pregnancy = _pregnancy_test_missing(case)
    if not missing and pregnancy is None:
        return
    names: list[Param] = [_name(case, t) for t in missing]
    titles = [policy_says(case.policy, f"monitoring.{t.id}.title", t.title) for t in missing]
    why = [_missing_line(case, t) for t in missing]
    says = [case.policy.monitoring_says[t.id] for t in missing]
    orders = [t.order for t in missing if t.order]
    if pregnancy is not None:
        name = sentence("baseline-incomplete.test-of-pregnancy")
        names.append(name)
        titles.append(name)
        why.append(pregnancy)
        says.append(policy_says(case.policy, "pregnancy_test.says", case.policy.pregnancy_test.says))
        orders.append("pregnancy-test")
    reason = sentence("baseline-incomplete.reason")
    yield Found(
        code="baseline-incomplete",
        severity="warning" if missing else "info",
        changes_order=True,
        subject="monitoring",
        summary=sentence("baseline-incomplete.summary", tests=Listed(tuple(names))),
        shorter=sentence(
            "baseline-incomplete.shorter",
            tests=Listed(tuple(names[:_NAMED]), last=""),
            more=Number(len(names) - _NAMED, 0),
        )
        if len(names) > _NAMED
        else None,
        why=tuple(why),
        policy_says=tuple(says),
        suggested=(sentence("baseline-incomplete.order"),),
        unchecked=_not_judged(case, not_read),
        missing=tuple(titles),
        citation=case.policy.cite(missing[0] if missing else case.policy.pregnancy_test.from_years),
        offers=tuple(offer for order in orders for offer in offer_test(case, order, "routine", reason)),
    )


@when("visit")
@when("taking")
def clozapine_level_due(case: Case) -> Iterator[Found]:
    """Past titration and no clozapine level on record: information only."""
    if case.is_order_hook:
        return  # information for a visit, not for an order
    day = case.course_day
    if not case.on_clozapine or case.starting or case.snapshot.state("labs") == "unavailable" or day is None:
        return
    results = case.results("clozapine-level")
    if day < case.policy.interactions.titration_days.value or results.settled or results.preliminary:
        return
    unusable = [u for u in results.unusable if is_a_result(u)]
    yield Found(
        code="monitoring-overdue",
        severity="info",
        subject="monitoring-level",
        summary=sentence(
            "monitoring-overdue.no-level", apart=Counted(int(case.policy.pathway.levels_apart_days.value))
        ),
        why=(
            sentence("monitoring-overdue.no-level-found", day=Number(day, 0)),
            *(Sentence("monitoring-overdue.level-unusable", _said_of_unusable(u)) for u in unusable[-1:]),
        ),
        policy_says=(policy_says(case.policy, "levels.says", case.policy.levels.says),),
        suggested=policy_steps(case.policy, "levels.steps", case.policy.levels.steps),
        evidence=tuple(drug_fact(m) for m in case.current_clozapine[:1]),
        missing=(sentence("monitoring-overdue.missing-level"),),
        citation=case.policy.cite(case.policy.levels.steady_state_days),
        offers=offer_test(case, "clozapine-level", "routine", sentence("monitoring-overdue.reason-level")),
    )


RULES = (monitoring_overdue, baseline_incomplete, clozapine_level_due)
