"""Problems on the list that are dangers under clozapine (``knowledge/concerns.toml``): one finding for each concern."""

from __future__ import annotations

from collections.abc import Iterator

from service.alerts.case.case import Case
from service.alerts.facts.patient import Problem
from service.alerts.knowledge.concerns import Concern, concerning_kinds, concerns
from service.alerts.rules.asked import ENDANGERED, when, when_it_bears
from service.alerts.rules.count_lines import CBC, count_line, ending_line, remove_drafts
from service.alerts.rules.listed import (
    in_course,
    is_recent_problem,
    problem_evidence,
    problem_line,
    verified,
)
from service.alerts.rules.readings import course_line, in_myocarditis_window, order
from service.alerts.say import wording as w
from service.alerts.say.finding import Citation, Finding, Offer, ReferTo, Severity


@when_it_bears
@when("problems")
@when(*ENDANGERED)
def concern_on_the_list(case: Case) -> Iterator[Finding]:
    """A problem that is a danger under clozapine: neuroleptic malignant syndrome, neutropenic fever, thromboembolism and others."""
    if not case.endangered or case.stopping or not case.has_problems(concerning_kinds()):
        return
    for code, concern in concerns().items():
        if case.has_problems(concern.kinds) or (concern.history and case.has_problems((concern.history,))):
            yield from _finding(case, code, concern)


def _finding(case: Case, code: str, concern: Concern) -> Iterator[Finding]:
    """What goes on and belongs to this course (or to the start at hand) decides; what is older is weighed at a start only."""
    listed = case.problems_of(*concern.kinds)
    now = [p for p in listed if p.onset is None or is_recent_problem(case, p) or in_course(case, p)]
    if now:
        early = concern.early if concern.early and not case.starting and in_myocarditis_window(case) else None
        severity = early or _while_it_lasts(case, concern, now)
        words = concern.at_start if case.starting else concern.now_early if early else concern.now
        stops = concern.stops or (early is not None and concern.stops_early)
        if not early and not case.starting and not concern.lasts and _is_stale(case, now):
            if "neutropenic-fever" in concern.kinds and case.clozapine_drafts:
                return  # rechallenge-caution says it
            # It passes within weeks: either nobody closed it, or somebody must look at once.
            severity, stops = _MILDER[severity], False
            words = f"on the list since {w.day(case.snapshot, now[0].onset)}: if it is not over, {words}"
        if not case.relevant and (severity != "critical" or not any(is_recent_problem(case, p) for p in now)):
            return  # whether clozapine is taken at all is an estimate: only what is new and dangerous is said
        yield _said(case, code, concern, now, severity, words, stops=stops)
        return
    if concern.history and not listed and case.continuing and not case.starting:
        # What is closed within days was there all the same.
        over = [
            p
            for p in case.problems_of(concern.history, history=True)
            if in_course(case, p) and is_recent_problem(case, p)
        ]
        if over:
            steps = ("Find out whether it is over.", *concern.steps[-1:])
            yield _said(
                case,
                code,
                concern,
                over,
                _MILDER[concern.severity],
                concern.just_over,
                stops=False,
                steps=steps,
            )
            return
    older = listed or (case.problems_of(concern.history, history=True) if concern.history else ())
    if older and case.starting:
        yield _said(case, code, concern, list(older), concern.before, concern.later, stops=False)


_MILDER: dict[Severity, Severity] = {"critical": "warning", "warning": "info", "info": "info"}


def _is_stale(case: Case, problems: list[Problem]) -> bool:
    """All of them are dated, and none began in the last weeks."""
    return all(p.onset is not None and not is_recent_problem(case, p) for p in problems)


def _while_it_lasts(case: Case, concern: Concern, problems: list[Problem]) -> Severity:
    """What may go on for years is said aloud while it is new, or clozapine is."""
    if not concern.lasts or case.in_titration or any(is_recent_problem(case, p) for p in problems):
        return concern.severity
    return "info"


def _said(
    case: Case,
    code: str,
    concern: Concern,
    problems: list[Problem],
    severity: Severity,
    words: str,
    *,
    stops: bool,
    steps: tuple[str, ...] = (),
) -> Finding:
    urgency = "stat" if severity == "critical" else "routine"
    source = case.policy.sources.get(concern.source)
    count = case.anc.newest if CBC in concern.orders else None
    offers: list[Offer] = [*remove_drafts(case)] if stops else []
    if severity != "info":
        for test in concern.orders:
            offers += order(case, test, urgency, f"{w.plain(problems[0].label)} under clozapine")
        if concern.refer:
            offers.append(
                ReferTo(concern.refer, "stat" if severity == "critical" else "urgent", "Under clozapine")
            )
    return Finding(
        code=code,
        severity=severity,
        subject=code,
        summary=w.summary(f"{w.plain(problems[0].label)}{verified(problems[0])}: {words}"),
        why=(
            *(problem_line(case, p) for p in problems),
            course_line(case) if case.relevant else ending_line(case),
            *((f"Last usable ANC: {count_line(case, count)}.",) if count is not None else ()),
        ),
        policy_says=(concern.says,),
        suggested=(*(steps or concern.steps), "If the problem is over, close it on the problem list."),
        evidence=problem_evidence(problems),
        citation=Citation(
            source.title if source is not None else concern.source,
            concern.section,
            source.url if source is not None else "",
            concern.confirmed,
        ),
        offers=tuple(offers),
        changes_order=case.starting,
    )


RULES = (concern_on_the_list,)
