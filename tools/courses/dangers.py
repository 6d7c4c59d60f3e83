"""One danger on one day of a course that is quiet otherwise: does its card come on that day, at each hook that must know?"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from datetime import timedelta
from functools import cache, lru_cache
from random import Random

import msgspec
from msgspec import Struct

from service.alerts.policy.policy import policy_by_id
from service.alerts.say.finding import SEVERITY_RANK, Severity
from service.synthetic.coding import Json
from tools.courses.calendar import dose_on
from tools.courses.play import Answer, Call, Played, answer, is_played, played
from tools.courses.record import Entry, moment
from tools.courses.story import FOLDER, Course, told

#: What happened is seen in the morning, orders follow.
_HAPPENED, _SEEN, _ORDERED = timedelta(hours=7), timedelta(hours=16), timedelta(hours=16.5)


class Instead(Struct, frozen=True, forbid_unknown_fields=True):
    """What is expected of patients with benign ethnic neutropenia."""

    expect: tuple[str, ...]
    severity: Severity


class Ordered(Struct, frozen=True, forbid_unknown_fields=True):
    """A dose of clozapine: a multiple of the one in force, or mg per day."""

    factor: float | None = None
    mg: float | None = None


class Danger(
    Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename={"first": "from", "last": "until"}
):
    """One danger; see ``dangers.toml``."""

    id: str
    hooks: tuple[str, ...]
    expect: tuple[str, ...]
    severity: Severity
    results: dict[str, float] = {}
    problem: str = ""
    draft: str = ""
    taken: str = ""
    clozapine: Ordered | None = None
    missed: int = 0
    uncounted: int = 0
    smoking: str = ""
    stop: bool = False
    first: int = 0
    last: int = 700
    only: str = ""
    not_beside: tuple[str, ...] = ()
    at_least_mg: float = 0
    ben: Instead | None = None
    not_ben: bool = False


class Injection(Struct, frozen=True):
    """A danger put into a course under a policy on a day."""

    danger: Danger
    course: Course
    policy_id: str
    day: int

    def __str__(self) -> str:
        return f"{self.danger.id} on day {self.day} of {self.course.id} under {self.policy_id}"


class Missed(Struct, frozen=True):
    """A call that did not say what it must."""

    injection: Injection
    hook: str
    said: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.injection}, {self.hook}: {', '.join(self.said) or 'no card'}"


class _Dangers(Struct, frozen=True, forbid_unknown_fields=True):
    danger: tuple[Danger, ...]


@cache
def dangers() -> tuple[Danger, ...]:
    """The shipped dangers."""
    return msgspec.convert(
        tomllib.loads((FOLDER / "dangers.toml").read_text(encoding="utf-8")), _Dangers
    ).danger


def injections(policies: tuple[str, ...], number: int, seed: int = 1) -> Iterator[Injection]:
    """So many injections, evenly over dangers and policies, on courses and days drawn from the seed."""
    random = Random(seed)
    for index in range(number):
        danger = dangers()[index % len(dangers())]
        policy_id = policies[(index // len(dangers())) % len(policies)]
        yield _drawn(danger, policy_id, random)


def _drawn(danger: Danger, policy_id: str, random: Random) -> Injection:
    policy = policy_by_id(policy_id)
    while True:
        course = random.choice(told().course)
        first = max(danger.first, course.seen_from)
        day = random.randint(first, max(first, min(danger.last + course.seen_from, course.end - 10)))
        if is_played(course, policy) and _can_happen(danger, course, day):
            return Injection(danger, course, policy_id, day)


def _can_happen(danger: Danger, course: Course, day: int) -> bool:
    if day > danger.last and danger.last < 700:
        return False
    if (
        any(course.on_ward(day - d) for d in range(danger.missed + 1)) != (danger.only == "ward")
        and danger.missed
    ):
        return False
    if danger.only == "ward" and not all(course.on_ward(day - d) for d in range(danger.missed + 2)):
        return False
    if danger.only == "female" and (
        course.sex != "female" or any(p.text == "Pregnancy" for p in course.problems)
    ):
        return False
    if danger.only == "smoker" and [a.answer for a in course.smoking if a.day <= day][-1:] != ["current"]:
        return False
    beside = " ".join(t.drug for t in (*course.drugs, *course.more_drugs))
    if any(drug in beside for drug in danger.not_beside):
        return False
    if danger.at_least_mg and dose_on(course, day) < danger.at_least_mg:
        return False
    return not (danger.not_ben and _is_ben(course))


def _is_ben(course: Course) -> bool:
    return any("ethnic" in p.text for p in course.problems)


@lru_cache(maxsize=8)
def _played(course_id: str, policy_id: str) -> Played:
    return played(next(c for c in told().course if c.id == course_id), policy_id)


def asked(injection: Injection) -> Iterator[Answer]:
    """What each hook of that day is answered."""
    danger, day = injection.danger, injection.day
    p = _played(injection.course.id, injection.policy_id)
    entries = _with(danger, p, day)
    for hook in danger.hooks:
        at = moment(day, _SEEN if hook in ("patient-view", "encounter-discharge") else _ORDERED)
        orders = _orders(danger, p, day, hook)
        yield answer(p, Call(day, at, hook, orders), entries)


def missed(injection: Injection) -> list[Missed]:
    """The calls that did not say what they must."""
    danger = injection.danger
    wanted, severity = danger.expect, danger.severity
    if danger.ben is not None and _is_ben(injection.course):
        wanted, severity = danger.ben.expect, danger.ben.severity
    found = []
    for said in asked(injection):
        if not any(
            c.code in wanted and SEVERITY_RANK[c.severity] >= SEVERITY_RANK[severity] for c in said.cards
        ):
            found.append(
                Missed(injection, said.call.hook, tuple(f"{c.code} {c.severity}" for c in said.cards))
            )
    return found


def _with(danger: Danger, p: Played, day: int) -> list[Entry]:
    """The record of the course with the danger in it."""
    entries = p.entries
    if danger.missed:
        stop = moment(day - danger.missed, _HAPPENED)
        entries = [e for e in entries if not (e.what in ("given", "dispense") and e.shown > stop)]
    if danger.uncounted:
        every = next(s for s in p.policy.schedule if s.until_day is None or day < s.until_day).every_days
        since = moment(day - danger.uncounted * every - 1)
        entries = [e for e in entries if not (e.what == "count" and e.shown > since)]
    if danger.results:
        # The sample of that day is the one that tells of it.
        entries = [e for e in entries if not (e.what in ("count", "test", "level") and e.day == day)]
    writer = p.writer
    before = len(writer.entries)
    if "anc" in danger.results:
        writer.count(day, danger.results["anc"], white=danger.results["white"], hours=_HAPPENED, at_once=True)
    for what, value in danger.results.items():
        if what not in ("anc", "white"):
            writer.result(what, value, day, _HAPPENED)
    added = writer.entries[before:]
    del writer.entries[before:]
    if danger.problem:
        added.append(Entry(moment(day, _HAPPENED), writer.problem(danger.problem, day)))
    if danger.taken:
        added.append(Entry(moment(day, _HAPPENED), writer.named_order(danger.taken, day)))
    if danger.smoking:
        writer.answer_smoking(danger.smoking, day)
        added.append(writer.entries.pop())
    if danger.missed and danger.only == "ward":
        added += [
            Entry(moment(d, timedelta(hours=22)), writer.not_given(d))
            for d in range(day - danger.missed, day)
        ]
    elif danger.missed:
        added.append(Entry(moment(day, _HAPPENED), writer.not_taken(day - danger.missed, day)))
    return [*entries, *added]


def _orders(danger: Danger, p: Played, day: int, hook: str) -> tuple[Json, ...]:
    if not hook.startswith(("order", "medication")):
        return ()
    if danger.draft:
        return (p.writer.named_order(danger.draft, day, draft=True),)
    running = [d for d in p.drafted if d.at < moment(day, _SEEN)]
    if danger.stop:
        return (running[-1].signed | {"status": "stopped"},)
    if hook == "medication-refill":
        return (running[-1].signed,)
    mg = dose_on(p.course, day)
    if danger.clozapine is not None:
        mg = danger.clozapine.mg or mg * (danger.clozapine.factor or 1)
    draft = p.writer.clozapine(mg, day, replaces=running[-1].draft["id"] if running else "", by_hand=True)
    return (draft if hook != "medication-verify" else draft | {"status": "active"},)
