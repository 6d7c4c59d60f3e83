"""Myocarditis: what the problem list tells of the heart under clozapine, and what troponin and CRP do in the first weeks (RON-2011)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from msgspec import Struct

from service.alerts.case.case import Case
from service.alerts.case.onset import in_course, is_recent_problem
from service.alerts.case.readings import (
    comparable,
    exceeds,
    in_myocarditis_window,
    latest,
    reaches,
    recent,
    recent_comparable,
    within_hours,
)
from service.alerts.facts.patient import Measurement, Problem
from service.alerts.say.finding import Citation

#: Flags of a raised result (``Measurement.flag``).
_RAISED = frozenset({"H", "HH", "POS"})
HEART_PROBLEMS = ("myocarditis", "cardiomyopathy")


def heart_citation(case: Case) -> Citation:
    """Where it stands that clozapine is stopped for the heart."""
    source = case.policy.sources["US-PI"]
    return Citation(source.title, "boxed warning", source.url)


def myocarditis_now(case: Case) -> tuple[Problem, ...]:
    """Myocarditis on the problem list that arose in the present course, as far as the record tells, and cardiomyopathy that is new.

    None while clozapine is drafted. A cardiomyopathy may have been there for years: only one that is known to have begun in the course, and in
    the last weeks, stops clozapine; an older one was weighed.
    """
    if not case.continuing or case.clozapine_drafts:
        return ()
    start = case.course.start
    first = case.snapshot.day(start) if start is not None else None
    # One from before the course is history: it was weighed when clozapine was ordered.
    found = [
        p
        for p in case.problems_of("myocarditis")
        if first is None or p.onset is None or case.snapshot.day(p.onset) >= first
    ]
    found += [
        p
        for p in case.problems_of("cardiomyopathy")
        if p not in found and p.onset is not None and in_course(case, p) and is_recent_problem(case, p)
    ]
    return tuple(found)


def taken_before(case: Case, problem: Problem) -> bool:
    """The problem arose under clozapine, as far as the record tells: its text says so, or clozapine came first."""
    if "clozapine" in problem.label.lower():
        return True
    first = case.course.first_ever
    return first is not None and (problem.onset is None or problem.onset >= first)


class Suspicion(Struct, frozen=True):
    """What troponin and CRP of the first weeks say of a myocarditis; of ``stop``, ``watch`` and ``open_bound`` one at most is there."""

    #: Results at which clozapine is stopped, and after them those that are raised.
    stop: tuple[Measurement, ...] = ()
    #: Results that are watched day by day.
    watch: tuple[Measurement, ...] = ()
    #: The newest troponin, when it cannot be compared with its own upper limit.
    unjudged: Measurement | None = None
    #: A CRP of which only a lower bound was sent: nobody knows whether it is over the limit.
    open_bound: Measurement | None = None


def suspicion(case: Case) -> Suspicion | None:
    """What the results of the first weeks say; None outside them, and without any."""
    if not (case.starting or case.continuing) or not in_myocarditis_window(case):
        return None
    rule = case.policy.myocarditis
    ours = _of_course(case)
    newest, crp = latest(case, "troponin", ours), recent(case, "crp", wanted=ours)
    if newest is None and crp is None:
        return None
    # A newer troponin that nobody can judge does not make an older, raised one disappear.
    troponin = recent_comparable(case, "troponin", ours) or newest
    limit = troponin.upper_limit if troponin is not None else None
    # Where it sends no range, the laboratory's own flag tells: raised, but nobody knows by how much.
    flagged = newest if newest is not None and newest.flag in _RAISED else None
    unjudged = newest if newest is not None and flagged is None and not comparable(newest) else None
    stop = [
        m
        for m, reached in (
            (
                troponin,
                troponin is not None
                and limit is not None
                and exceeds(troponin, rule.troponin_stop_factor.value * limit),
            ),
            (crp, crp is not None and exceeds(crp, rule.crp_stop.value)),
        )
        if m is not None and reached
    ]
    raised = [troponin] if troponin is not None and limit is not None and exceeds(troponin, limit) else []
    if flagged is not None and flagged not in raised:
        raised.append(flagged)
    if stop:
        return Suspicion(stop=(*stop, *(m for m in raised if m not in stop)), unjudged=unjudged)
    crp_limit = crp.upper_limit if crp is not None and crp.upper_limit is not None else rule.crp_raised.value
    if crp is not None and exceeds(crp, crp_limit):
        fever = within_hours(case, "temperature", case.policy.fever.window_hours.value)
        signs = [*_heart_rate_signs(case), *[m for m in fever if m.value >= rule.fever.value][:1]]
        if signs or raised:
            raised += [crp, *signs]
    open_bound = crp if not raised and crp is not None and crp.bound == ">" else None
    return Suspicion(watch=tuple(raised), unjudged=unjudged, open_bound=open_bound)


def _of_course(case: Case) -> Callable[[Measurement], bool]:
    """Whether a result belongs to the present course (or to the start at hand)."""
    start = case.course.start
    if case.starting or start is None:
        return lambda m: True
    first = case.snapshot.day(start)
    return lambda m: m.at is not None and case.snapshot.day(m.at) >= first


def _heart_rate_signs(case: Case) -> list[Measurement]:
    """A pulse that is too fast, or much faster than before the course."""
    rule = case.policy.myocarditis
    since = case.as_of - timedelta(hours=case.policy.fever.window_hours.value)
    pulse = recent(case, "heart-rate", wanted=lambda m: m.at is not None and m.at >= since)
    if pulse is None or reaches(pulse, rule.heart_rate.value):
        return [pulse] if pulse is not None else []
    start = case.course.start
    before = [
        m
        for m in case.series("heart-rate")
        if start is not None and m.at is not None and case.snapshot.day(m.at) <= case.snapshot.day(start)
    ]
    if before and pulse.value - before[0].value >= rule.heart_rate_rise.value:
        return [pulse, before[0]]
    return []
