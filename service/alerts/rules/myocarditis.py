"""Myocarditis (clinical.md 2.6; RON-2011): troponin and CRP in the first weeks, and a past myocarditis when clozapine is drafted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

from service.alerts.case.case import Case
from service.alerts.facts.patient import Measurement, Problem
from service.alerts.rules.asked import when
from service.alerts.rules.count_lines import remove_drafts
from service.alerts.rules.readings import (
    comparable,
    course_line,
    evidence,
    exceeds,
    in_myocarditis_window,
    latest,
    line,
    on_day,
    order,
    reaches,
    recent,
    recent_comparable,
    value,
    within_hours,
)
from service.alerts.say import wording as w
from service.alerts.say.finding import Citation, Evidence, Finding, Offer, ReferTo

#: Flags of a raised result (``Measurement.flag``).
_RAISED = frozenset({"H", "HH", "POS"})
HEART_PROBLEMS = ("myocarditis", "cardiomyopathy")
HEART_SAYS = "Clozapine can cause myocarditis and cardiomyopathy: it is stopped as soon as one is suspected, and as a rule not given again."


def heart_citation(case: Case) -> Citation:
    """Where it stands that clozapine is stopped for the heart."""
    source = case.policy.sources["US-PI"]
    return Citation(source.title, "boxed warning", source.url)


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


@when("troponin", "crp")
@when("starting", "continuing")
def myocarditis_suspected(case: Case) -> Iterator[Finding]:
    """Troponin or CRP in the first weeks speak for myocarditis, or cannot be judged."""
    if not (case.starting or case.continuing) or not in_myocarditis_window(case):
        return
    rule = case.policy.myocarditis
    ours = _of_course(case)
    newest, crp = latest(case, "troponin", ours), recent(case, "crp", wanted=ours)
    if newest is None and crp is None:
        return
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
        yield _stop(case, [*stop, *(m for m in raised if m not in stop)], unjudged)
        return
    crp_limit = crp.upper_limit if crp is not None and crp.upper_limit is not None else rule.crp_raised.value
    if crp is not None and exceeds(crp, crp_limit):
        signs = (
            _heart_rate_signs(case)
            + [
                m
                for m in within_hours(case, "temperature", case.policy.fever.window_hours.value)
                if m.value >= rule.fever.value
            ][:1]
        )
        if signs or raised:
            raised += [crp, *signs]
    if raised:
        yield _watch(case, raised, unjudged)
    elif unjudged is not None:
        yield _unjudged(case, unjudged)
    elif crp is not None and crp.bound == ">":
        yield _open_bound(case, crp)


def _not_judged(case: Case, troponin: Measurement | None) -> tuple[str, ...]:
    if troponin is None:
        return ()
    return (f"{line(case, troponin)}: it {_why_not(troponin)}, so it was not judged.",)


def _why_not(troponin: Measurement) -> str:
    if troponin.upper_limit is None:
        return "names no upper limit of normal"
    return "is below a bound that lies above its upper limit of normal"


def _stop(case: Case, results: list[Measurement], unjudged: Measurement | None) -> Finding:
    rule = case.policy.myocarditis
    referral: tuple[Offer, ...] = (ReferTo("cardiology", "stat", "Suspected myocarditis under clozapine"),)
    what = "do not start clozapine" if case.starting else "stop clozapine now"
    return Finding(
        code="myocarditis-suspected",
        severity="critical",
        subject="myocarditis",
        summary=w.summary(
            f"{value(results[0])} {on_day(case, results[0])}: myocarditis? {what}, cardiology."
        ),
        why=(*(f"{line(case, m)}." for m in results), course_line(case)),
        policy_says=(rule.says,),
        suggested=(
            f"{what[0].upper()}{what[1:]}.",
            "Ask cardiology at once; echocardiogram.",
            "Ask about chest pain, breathlessness, palpitations and fever.",
            "Daily troponin and CRP until they are normal.",
        ),
        unchecked=_not_judged(case, unjudged),
        evidence=evidence(case, results),
        citation=case.policy.cite(
            rule.troponin_stop_factor if results[0].kind == "troponin" else rule.crp_stop
        ),
        offers=(
            *remove_drafts(case),
            *order(case, "troponin-crp", "stat", "Suspected myocarditis"),
            *referral,
        ),
    )


def _watch(case: Case, results: list[Measurement], unjudged: Measurement | None) -> Finding:
    rule = case.policy.myocarditis
    return Finding(
        code="myocarditis-suspected",
        severity="warning",
        subject="myocarditis",
        summary=w.summary(
            f"{value(results[0])} {on_day(case, results[0])}: repeat troponin and CRP daily (myocarditis?)."
        ),
        why=(*(f"{line(case, m)}." for m in results), course_line(case)),
        policy_says=(rule.says,),
        suggested=rule.watch_steps,
        unchecked=_not_judged(case, unjudged),
        evidence=evidence(case, results),
        citation=case.policy.cite(rule.heart_rate if len(results) > 1 else rule.troponin_stop_factor),
        offers=(
            *order(case, "troponin-crp", "urgent", "Raised troponin or CRP in the first weeks of clozapine"),
            *order(case, "ecg", "urgent", "Myocarditis?"),
        ),
    )


def _unjudged(case: Case, troponin: Measurement) -> Finding:
    """Assays differ by orders of magnitude: a troponin is compared with its own upper limit or not at all."""
    return Finding(
        code="myocarditis-suspected",
        severity="info",
        subject="myocarditis",
        summary=w.summary(
            f"{value(troponin)} {on_day(case, troponin)} {_why_not(troponin)}: judge it by hand."
        ),
        why=(f"{line(case, troponin)}.", course_line(case)),
        policy_says=(case.policy.myocarditis.says,),
        suggested=("Compare the troponin with the laboratory's upper limit.",),
        unchecked=(f"Whether the troponin is raised: the result {_why_not(troponin)}.",),
        evidence=evidence(case, [troponin]),
        citation=case.policy.cite(case.policy.myocarditis.troponin_stop_factor),
    )


def _open_bound(case: Case, crp: Measurement) -> Finding:
    """The analyser stopped counting below the limit: nobody knows whether the CRP is over it."""
    limit = case.policy.myocarditis.crp_stop
    return Finding(
        code="myocarditis-suspected",
        severity="info",
        subject="myocarditis",
        summary=w.summary(
            f"{value(crp)} {on_day(case, crp)} may be over {w.number(limit.value)} {limit.unit}: have it measured out."
        ),
        why=(f"{line(case, crp)}.", course_line(case)),
        policy_says=(case.policy.myocarditis.says,),
        suggested=("Ask the laboratory for the exact CRP; repeat it with troponin.",),
        unchecked=(f"Whether the CRP is over {w.number(limit.value)} {limit.unit}.",),
        evidence=evidence(case, [crp]),
        citation=case.policy.cite(limit),
        offers=order(case, "troponin-crp", "urgent", "CRP sent as a lower bound only"),
    )


def myocarditis_now(case: Case) -> tuple[Problem, ...]:
    """Myocarditis on the problem list that arose in the present course, as far as the record tells; none while clozapine is drafted."""
    found = case.problems_of("myocarditis")
    if not found or not case.continuing or case.clozapine_drafts:
        return ()
    start = case.course.start
    first = case.snapshot.day(start) if start is not None else None
    # One from before the course is history: it was weighed when clozapine was ordered.
    return tuple(p for p in found if first is None or p.onset is None or case.snapshot.day(p.onset) >= first)


@when("problems")
@when("continuing")
def myocarditis_on_the_list(case: Case) -> Iterator[Finding]:
    """Myocarditis stands on the problem list since the present course began; when clozapine is drafted rechallenge-caution says it."""
    now = myocarditis_now(case)
    if not now:
        return
    verified = f" ({w.safe(now[0].verification)})" if now[0].verification not in ("", "confirmed") else ""
    yield Finding(
        code="myocarditis-suspected",
        severity="critical",
        subject="myocarditis-problem",
        summary=w.summary(
            f"{w.plain(now[0].label) or 'Myocarditis'}{verified} on the problem list under clozapine: stop clozapine, ask cardiology."
        ),
        why=(*(_problem_line(case, p) for p in now), course_line(case)),
        policy_says=("Clozapine can cause myocarditis; it is stopped as soon as one is suspected.",),
        suggested=(
            "Stop clozapine.",
            "Ask cardiology at once; echocardiogram.",
            "If the problem is over, close it on the problem list.",
        ),
        evidence=tuple(Evidence(p.ref, w.safe(p.label), p.onset, p.onset_date_only) for p in now),
        citation=heart_citation(case),
        offers=(
            *order(case, "troponin-crp", "stat", "Myocarditis under clozapine"),
            ReferTo("cardiology", "stat", "Myocarditis under clozapine"),
        ),
        overrides="general",
    )


def _problem_line(case: Case, p: Problem) -> str:
    when = f" (since {w.day(case.snapshot, p.onset)})" if p.onset is not None else ""
    verified = f", {w.safe(p.verification)}" if p.verification not in ("", "confirmed") else ""
    return f"Problem list: {w.safe(p.label)}{when}{verified}."


def taken_before(case: Case, problem: Problem) -> bool:
    """The heart problem arose under clozapine, as far as the record tells: its text says so, or clozapine came first."""
    if "clozapine" in problem.label.lower():
        return True
    first = case.course.first_ever
    return first is not None and (problem.onset is None or problem.onset >= first)


@when("problems")
@when("drafted")
def myocarditis_history(case: Case) -> Iterator[Finding]:
    """A past myocarditis or cardiomyopathy that clozapine did not precede; one under clozapine is rechallenge-caution."""
    if not case.clozapine_drafts:
        return
    past = [p for p in case.problems_of(*HEART_PROBLEMS, history=True) if not taken_before(case, p)]
    if not past:
        return
    active = [p for p in case.problems_of(*HEART_PROBLEMS) if p in past]
    yield Finding(
        code="myocarditis-history",
        severity="critical",
        subject="rechallenge",
        summary=w.summary(
            f"{w.plain(active[0].label)} on the problem list: do not start clozapine, ask cardiology."
            if active and case.starting
            else f"{w.plain(past[0].label)} in the record: ask cardiology before clozapine."
        ),
        why=tuple(_problem_line(case, p) for p in past),
        policy_says=(
            "Clozapine can cause myocarditis and cardiomyopathy; after one of them it is not given again as a rule.",
        ),
        suggested=("Ask cardiology before going on.", "Document why the benefit outweighs the risk."),
        evidence=tuple(Evidence(p.ref, w.safe(p.label), p.onset, p.onset_date_only) for p in past),
        citation=case.policy.cite(case.policy.myocarditis.window_days),
        offers=(
            *remove_drafts(case),
            ReferTo("cardiology", "urgent", "Myocarditis or cardiomyopathy before clozapine"),
        ),
    )


RULES = (myocarditis_suspected, myocarditis_on_the_list, myocarditis_history)
