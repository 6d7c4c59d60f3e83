"""The courses of ``courses.toml``: who the invented patients are, and what happens to them on which day of the course."""

from __future__ import annotations

import tomllib
from datetime import date
from functools import cache
from pathlib import Path

import msgspec
from msgspec import Struct

FOLDER = Path(__file__).parent
#: (day of the course, value) from that day on.
Steps = tuple[tuple[int, float], ...]
#: First and last day of the course.
Span = tuple[int, int]


class Taken(Struct, frozen=True, forbid_unknown_fields=True):
    """A drug beside clozapine; ``since`` and ``until`` are days of the course."""

    drug: str
    since: int = -400
    until: int | None = None


class Ordered(Struct, frozen=True, forbid_unknown_fields=True):
    """An order that is written on a day and changes nothing: the answer to it counts."""

    drug: str
    day: int


class Listed(Struct, frozen=True, forbid_unknown_fields=True):
    """An entry of the problem list, from one day to another of the course."""

    text: str
    since: int = -2000
    until: int | None = None


class Answered(Struct, frozen=True, forbid_unknown_fields=True):
    """An answer about smoking: current, former or never."""

    answer: str
    day: int


class Course(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One invented patient and two years. Days are counted from the first dose of clozapine (day 0); see ``courses.toml``."""

    id: str
    title: str
    sex: str = "male"
    age: int = 34
    #: Name of a titration, and the dose it ends at (mg/d).
    titration: str = "slow"
    target: float = 300
    #: How titration is ordered: a new order for each dose (``each``), or one order with steps (``steps``).
    ordered: str = "each"
    #: Days on a ward, where each dose is charted.
    stays: tuple[Span, ...] = ()
    #: The record begins so many days after the first dose: the patient comes from elsewhere.
    seen_from: int = 0
    #: Every supply is a new order that replaces the one before; else one order is refilled.
    renewed: bool = False
    #: The patient comes so many days before the due day; every so-many-th visit is put off to the very last moment (0: none).
    early: int = 0
    put_off: int = 0
    #: Usual ANC (10*3/µL).
    anc: float | None = None
    anc_under: dict[str, float] = {}
    #: Baseline counts beside the usual one.
    earlier_counts: tuple[int, ...] = ()
    level: float = 420
    smoking: tuple[Answered, ...] = (Answered("never", -3),)
    problems: tuple[Listed, ...] = ()
    drugs: tuple[Taken, ...] = (Taken("senna 8.6 MG Oral Tablet", 0),)
    more_drugs: tuple[Taken, ...] = ()
    orders: tuple[Ordered, ...] = ()
    #: Results that change for good: kind -> steps.
    values: dict[str, Steps] = {}
    #: Positive or negative pregnancy tests beside the one before the start.
    pregnancy_tests: tuple[tuple[int, str], ...] = ()
    #: Stretches in which something happens that may well be said; the rest is uneventful.
    eventful: tuple[Span, ...] = ()
    #: The same under one policy alone.
    eventful_under: dict[str, tuple[Span, ...]] = {}
    #: Policies under which the course is not uneventful, and why it is not played under them.
    not_under: dict[str, str] = {}
    #: Played only under policies with thresholds for benign ethnic neutropenia.
    needs_ben: bool = False

    @property
    def end(self) -> int:
        """The first day after the course."""
        return self.seen_from + told().days

    def is_eventful(self, day: int, policy_id: str) -> bool:
        """Something of the story is new on that day."""
        spans = (*self.eventful, *self.eventful_under.get(policy_id, ()))
        return any(first <= day <= last for first, last in spans)

    def on_ward(self, day: int) -> bool:
        """The patient is on a ward at noon of that day."""
        return any(first <= day < last for first, last in self.stays)


class Told(Struct, frozen=True, forbid_unknown_fields=True):
    """All of ``courses.toml``."""

    begins: date
    days: int
    titration: dict[str, Steps]
    course: tuple[Course, ...]


@cache
def told() -> Told:
    """The shipped courses."""
    return msgspec.convert(tomllib.loads((FOLDER / "courses.toml").read_text(encoding="utf-8")), Told)


def doses(course: Course) -> Steps:
    """(day, mg per day) from the first dose on: the titration up to the target."""
    steps = told().titration[course.titration]
    kept = [(day, mg) for day, mg in steps if mg < course.target]
    reached = next((day for day, mg in steps if mg >= course.target), None)
    assert reached is not None, f"{course.id}: the titration never reaches {course.target}"
    return (*kept, (reached, course.target))
