"""Myocarditis (clinical.md 2.6; RON-2011): troponin and CRP in the first weeks, and a past myocarditis when clozapine is drafted."""

from __future__ import annotations

from collections.abc import Iterator

from service.alerts.case.case import Case
from service.alerts.case.myocarditis import (
    HEART_PROBLEMS,
    heart_citation,
    myocarditis_now,
    suspicion,
    taken_before,
)
from service.alerts.facts.patient import Measurement, Problem
from service.alerts.phrases.draft_removal import remove_drafts
from service.alerts.phrases.problem import problem_evidence
from service.alerts.phrases.result import (
    course_line,
    day_of,
    measured,
    offer_test,
    on_day,
    result_evidence,
    result_fact,
    result_line,
)
from service.alerts.policy.words import policy_says, policy_steps
from service.alerts.rules.asked import when
from service.alerts.say.finding import ReferTo
from service.alerts.say.found import Found, Wish
from service.alerts.say.sentence import Param, Quantity, Record, Sentence, as_recorded, sentence


@when("troponin", "crp")
@when("starting", "continuing")
def myocarditis_suspected(case: Case) -> Iterator[Found]:
    """Troponin or CRP in the first weeks speak for myocarditis, or cannot be judged."""
    found = suspicion(case)
    if found is None:
        return
    if found.stop:
        yield _stop(case, found.stop, found.unjudged)
    elif found.watch:
        yield _watch(case, found.watch, found.unjudged)
    elif found.unjudged is not None:
        yield _unjudged(case, found.unjudged)
    elif found.open_bound is not None:
        yield _open_bound(case, found.open_bound)


def _not_judged(case: Case, troponin: Measurement | None) -> tuple[Sentence, ...]:
    if troponin is None:
        return ()
    line = result_line(case, troponin)
    return (sentence(f"myocarditis-suspected.troponin-{_why_not(troponin)}", line=line),)


def _why_not(troponin: Measurement) -> str:
    return "no-limit" if troponin.upper_limit is None else "bound-above-limit"


def _stop(case: Case, results: tuple[Measurement, ...], unjudged: Measurement | None) -> Found:
    rule = case.policy.myocarditis
    return Found(
        code="myocarditis-suspected",
        severity="critical",
        subject="myocarditis",
        summary=sentence(
            "myocarditis-suspected.do-not-start" if case.starting else "myocarditis-suspected.stop",
            result=measured(results[0]),
            day=on_day(case, results[0]),
        ),
        why=(*(result_fact(case, m) for m in results), course_line(case)),
        policy_says=(policy_says(case.policy, "myocarditis.says", rule.says),),
        suggested=(
            sentence(
                "myocarditis-suspected.step-do-not-start"
                if case.starting
                else "myocarditis-suspected.step-stop-now"
            ),
            sentence("myocarditis-suspected.ask-cardiology"),
            sentence("myocarditis-suspected.ask-signs"),
            sentence("myocarditis-suspected.daily"),
        ),
        unchecked=_not_judged(case, unjudged),
        evidence=result_evidence(case, results),
        citation=case.policy.cite(
            rule.troponin_stop_factor if results[0].kind == "troponin" else rule.crp_stop
        ),
        offers=(
            *remove_drafts(case),
            *offer_test(case, "troponin-crp", "stat", sentence("myocarditis-suspected.reason-suspected")),
            Wish(ReferTo("cardiology", "stat"), sentence("myocarditis-suspected.reason-cardiology")),
        ),
    )


def _watch(case: Case, results: tuple[Measurement, ...], unjudged: Measurement | None) -> Found:
    rule = case.policy.myocarditis
    return Found(
        code="myocarditis-suspected",
        severity="warning",
        subject="myocarditis",
        summary=sentence(
            "myocarditis-suspected.watch", result=measured(results[0]), day=on_day(case, results[0])
        ),
        why=(*(result_fact(case, m) for m in results), course_line(case)),
        policy_says=(policy_says(case.policy, "myocarditis.says", rule.says),),
        suggested=policy_steps(case.policy, "myocarditis.watch_steps", rule.watch_steps),
        unchecked=_not_judged(case, unjudged),
        evidence=result_evidence(case, results),
        citation=case.policy.cite(rule.heart_rate if len(results) > 1 else rule.troponin_stop_factor),
        offers=(
            *offer_test(case, "troponin-crp", "urgent", sentence("myocarditis-suspected.reason-raised")),
            *offer_test(case, "ecg", "urgent", sentence("myocarditis-suspected.reason-ecg")),
        ),
    )


def _unjudged(case: Case, troponin: Measurement) -> Found:
    """Assays differ by orders of magnitude: a troponin is compared with its own upper limit or not at all."""
    rule, why_not = case.policy.myocarditis, _why_not(troponin)
    return Found(
        code="myocarditis-suspected",
        severity="info",
        subject="myocarditis",
        summary=sentence(
            f"myocarditis-suspected.unjudged-{why_not}", result=measured(troponin), day=on_day(case, troponin)
        ),
        why=(result_fact(case, troponin), course_line(case)),
        policy_says=(policy_says(case.policy, "myocarditis.says", rule.says),),
        suggested=(sentence("myocarditis-suspected.compare"),),
        unchecked=(sentence(f"myocarditis-suspected.unchecked-troponin-{why_not}"),),
        evidence=result_evidence(case, [troponin]),
        citation=case.policy.cite(rule.troponin_stop_factor),
    )


def _open_bound(case: Case, crp: Measurement) -> Found:
    """The analyser stopped counting below the limit: nobody knows whether the CRP is over it."""
    rule = case.policy.myocarditis
    limit = Quantity(rule.crp_stop.value, rule.crp_stop.unit)
    return Found(
        code="myocarditis-suspected",
        severity="info",
        subject="myocarditis",
        summary=sentence(
            "myocarditis-suspected.open-bound", result=measured(crp), day=on_day(case, crp), limit=limit
        ),
        why=(result_fact(case, crp), course_line(case)),
        policy_says=(policy_says(case.policy, "myocarditis.says", rule.says),),
        suggested=(sentence("myocarditis-suspected.exact-crp"),),
        unchecked=(sentence("myocarditis-suspected.unchecked-crp", limit=limit),),
        evidence=result_evidence(case, [crp]),
        citation=case.policy.cite(rule.crp_stop),
        offers=offer_test(case, "troponin-crp", "urgent", sentence("myocarditis-suspected.reason-bound")),
    )


@when("problems")
@when("continuing")
def myocarditis_on_the_list(case: Case) -> Iterator[Found]:
    """Myocarditis stands on the problem list since the present course began; when clozapine is drafted rechallenge-caution says it."""
    now = myocarditis_now(case)
    if not now:
        return
    first = now[0]
    said: dict[str, Param] = {
        "problem": as_recorded(first.name) if first.name else sentence("myocarditis-suspected.unnamed")
    }
    unconfirmed = _unconfirmed(first)
    if unconfirmed:
        said["verification"] = Record(first.verification)
    yield Found(
        code="myocarditis-suspected",
        severity="critical",
        subject="myocarditis-problem",
        summary=Sentence(f"myocarditis-suspected.on-the-list{unconfirmed}", said),
        why=(*(_problem_line(case, p) for p in now), course_line(case)),
        policy_says=(sentence("myocarditis-suspected.policy"),),
        suggested=(
            sentence("myocarditis-suspected.step-stop"),
            sentence("myocarditis-suspected.ask-cardiology"),
            sentence("myocarditis-suspected.close-problem"),
        ),
        evidence=problem_evidence(now),
        citation=heart_citation(case),
        offers=(
            *offer_test(case, "troponin-crp", "stat", sentence("myocarditis-suspected.reason-listed")),
            Wish(ReferTo("cardiology", "stat"), sentence("myocarditis-suspected.reason-listed")),
        ),
        overrides="general",
    )


def _unconfirmed(p: Problem) -> str:
    """How an id says that a problem is only suspected."""
    return "-unconfirmed" if p.verification not in ("", "confirmed") else ""


def _problem_line(case: Case, p: Problem) -> Sentence:
    said: dict[str, Param] = {"problem": as_recorded(p.name)}
    since, unconfirmed = "", _unconfirmed(p)
    if p.onset is not None:
        said["day"], since = day_of(case, p.onset, p.onset_until), "-since"
    if unconfirmed:
        said["verification"] = Record(p.verification)
    return Sentence(f"heart-problem.line{since}{unconfirmed}", said)


@when("problems")
@when("drafted")
def myocarditis_history(case: Case) -> Iterator[Found]:
    """A past myocarditis or cardiomyopathy that clozapine did not precede; one under clozapine is rechallenge-caution."""
    if not case.clozapine_drafts:
        return
    past = [p for p in case.problems_of(*HEART_PROBLEMS, history=True) if not taken_before(case, p)]
    if not past:
        return
    active = [p for p in case.problems_of(*HEART_PROBLEMS) if p in past]
    yield Found(
        code="myocarditis-history",
        severity="critical",
        subject="rechallenge",
        summary=sentence("myocarditis-history.start", problem=as_recorded(active[0].name))
        if active and case.starting
        else sentence("myocarditis-history.order", problem=as_recorded(past[0].name)),
        why=tuple(_problem_line(case, p) for p in past),
        policy_says=(sentence("myocarditis-history.policy"),),
        suggested=(
            sentence("myocarditis-history.ask-cardiology"),
            sentence("myocarditis-history.document"),
        ),
        evidence=problem_evidence(past),
        citation=case.policy.cite(case.policy.myocarditis.window_days),
        offers=(
            *remove_drafts(case),
            Wish(ReferTo("cardiology", "urgent"), sentence("myocarditis-history.reason")),
        ),
    )


RULES = (myocarditis_suspected, myocarditis_on_the_list, myocarditis_history)
