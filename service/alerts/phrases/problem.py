"""The problem list in words."""

from __future__ import annotations

from collections.abc import Iterable

from service.alerts.case.case import Case
from service.alerts.facts.patient import Problem
from service.alerts.phrases.result import day_of
from service.alerts.say.found import Fact
from service.alerts.say.sentence import Param, Record, Sentence, as_recorded, sentence


def problem_name(p: Problem, short: int = 60) -> Sentence:
    """A problem by its name, and that it is only suspected; in a summary cut to ``short`` characters."""
    problem = as_recorded(p.name, short=short)
    if p.verification in ("", "confirmed"):
        return sentence("problem.name", problem=problem)
    return sentence("problem.name-unconfirmed", problem=problem, verification=Record(p.verification))


def problem_line(case: Case, p: Problem) -> Sentence:
    """A problem as a fact for the card."""
    said: dict[str, Param] = {"problem": as_recorded(p.name)}
    since = unconfirmed = ""
    if p.onset is not None:
        said["day"], since = day_of(case, p.onset, p.onset_until), "-since"
    if p.verification not in ("", "confirmed"):
        said["verification"], unconfirmed = Record(p.verification), "-unconfirmed"
    return Sentence(f"problem.line{since}{unconfirmed}", said)


def problem_evidence(problems: Iterable[Problem]) -> tuple[Fact, ...]:
    """Problems as evidence."""
    return tuple(
        Fact(p.ref, sentence("problem.label", problem=as_recorded(p.name)), p.onset, p.onset_date_only)
        for p in problems
    )
