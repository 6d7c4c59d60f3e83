"""The stories of ``stories.toml``: who the invented patients are, and what the service should say of them."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files

import msgspec
from msgspec import Struct


class Treatment(Struct, frozen=True, forbid_unknown_fields=True):
    """A drug ordered ``since`` so many days, ended ``until`` so many days ago if it has ended."""

    drug: str
    #: One dose.
    mg: float
    per_day: int = 1
    since: int = 0
    until: int | None = None
    #: A draft that takes the place of the running order of the same drug.
    replaces: bool = False


class Regular(Struct, frozen=True, forbid_unknown_fields=True):
    """Something that happened every so many days, last ``newest`` days ago."""

    every: int
    newest: int


class Dispensed(Struct, frozen=True, forbid_unknown_fields=True):
    """Clozapine handed over regularly, each time for ``supply`` days."""

    every: int
    newest: int
    supply: int
    times: int


class Given(Struct, frozen=True, forbid_unknown_fields=True):
    """Doses of clozapine recorded as given, one a day, the last ``newest_hours`` ago."""

    newest_hours: float
    times: int


class Count(Struct, frozen=True, forbid_unknown_fields=True):
    """An ANC in 10*3/µL; ``way`` overrides the laboratory's habit."""

    value: float
    days: float
    way: str = ""


class Result(Struct, frozen=True, forbid_unknown_fields=True):
    """A single result of a kind of ``coding.toml``, in that kind's first unit."""

    what: str
    value: float
    days: float


class Problem(Struct, frozen=True, forbid_unknown_fields=True):
    """An active problem."""

    what: str
    since: int
    verification: str = "confirmed"


class Smoking(Struct, frozen=True, forbid_unknown_fields=True):
    """An answer about smoking: current, former or never."""

    answer: str
    days: int


class Story(Struct, frozen=True, forbid_unknown_fields=True):
    """One invented patient. Times are days before the moment of the question."""

    id: str
    title: str
    sex: str
    age: int
    draft: Treatment
    #: Hook -> "code severity" of every finding, info included.
    expect: dict[str, list[str]]
    on: tuple[Treatment, ...] = ()
    counts: Regular | None = None
    anc: tuple[Count, ...] = ()
    results: tuple[Result, ...] = ()
    #: One visit with normal results, so many days ago: for patients who are not on clozapine.
    visited: int | None = None
    dispensed: Dispensed | None = None
    given: Given | None = None
    problems: tuple[Problem, ...] = (Problem("schizophrenia", 4000),)
    smoking: tuple[Smoking, ...] = ()

    @property
    def course_days(self) -> int | None:
        """How long ago clozapine began; None: never."""
        return max((t.since for t in self.on if t.drug == "clozapine"), default=None)

    def expected(self, hook: str) -> list[str]:
        """What the service should find when ``hook`` is called; order-select is answered like order-sign."""
        found = self.expect.get(hook)
        return sorted(self.expect["order-sign"] if found is None and hook == "order-select" else found or [])


class _Stories(Struct, forbid_unknown_fields=True):
    story: tuple[Story, ...]


@cache
def stories() -> tuple[Story, ...]:
    """All stories, in the order in which patients get them."""
    text = (files("service.synthetic") / "stories.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), _Stories).story
