"""Problems on the list that are dangers under clozapine (``knowledge/concerns.toml``): one finding for each concern."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Literal

from service.alerts.case.case import Case
from service.alerts.case.onset import in_course, is_recent_problem
from service.alerts.case.readings import in_myocarditis_window
from service.alerts.facts.patient import Problem
from service.alerts.knowledge.concerns import Concern, concerning_kinds, concerns
from service.alerts.phrases.count import CBC, count_line, ending_lines
from service.alerts.phrases.draft_removal import remove_drafts
from service.alerts.phrases.problem import problem_evidence, problem_line, problem_name
from service.alerts.phrases.result import course_line, offer_test
from service.alerts.rules.asked import ENDANGERED, when, when_it_bears
from service.alerts.say.finding import Citation, Offer, ReferTo, Severity
from service.alerts.say.found import Found, Wish
from service.alerts.say.sentence import Day, Record, Sentence, Term, quoted, sentence


@when_it_bears
@when("problems")
@when(*ENDANGERED)
def concern_on_the_list(case: Case) -> Iterator[Found]:
    """A problem that is a danger under clozapine: neuroleptic malignant syndrome, neutropenic fever, thromboembolism and others."""
    if not case.endangered or case.stopping or not case.has_problems(concerning_kinds()):
        return
    for code, concern in concerns().items():
        if case.has_problems(concern.kinds) or (concern.history and case.has_problems((concern.history,))):
            yield from _finding(case, code, concern)


def _finding(case: Case, code: str, concern: Concern) -> Iterator[Found]:
    """What goes on and belongs to this course (or to the start at hand) decides; what is older is weighed at a start only."""
    listed = case.problems_of(*concern.kinds)
    now = [p for p in listed if p.onset is None or is_recent_problem(case, p) or in_course(case, p)]
    if now:
        early = concern.early if concern.early and not case.starting and in_myocarditis_window(case) else None
        severity = early or _while_it_lasts(case, concern, now)
        words = _words(code, concern, "at_start" if case.starting else "now_early" if early else "now")
        summary = sentence("concern.summary", problem=problem_name(now[0]), words=words)
        stops = concern.stops or (early is not None and concern.stops_early)
        if not early and not case.starting and not concern.lasts and (since := _stale_since(case, now)):
            if "neutropenic-fever" in concern.kinds and case.clozapine_drafts:
                return  # rechallenge-caution says it
            # It passes within weeks: either nobody closed it, or somebody must look at once.
            severity, stops = _MILDER[severity], False
            summary = sentence(
                "concern.summary-stale", problem=problem_name(now[0]), day=Day(since), words=words
            )
        if not case.relevant and (severity != "critical" or not any(is_recent_problem(case, p) for p in now)):
            return  # whether clozapine is taken at all is an estimate: only what is new and dangerous is said
        steps = (*_steps_early(code, concern), *_steps(code, concern)) if early else ()
        yield _said(case, code, concern, now, severity, summary, stops=stops, steps=steps)
        return
    if concern.history and not listed and case.continuing and not case.starting:
        # What is closed within days was there all the same.
        over = [
            p
            for p in case.problems_of(concern.history, history=True)
            if in_course(case, p) and is_recent_problem(case, p)
        ]
        if over:
            summary = sentence(
                "concern.summary",
                problem=problem_name(over[0]),
                words=_words(code, concern, "just_over"),
            )
            last = _steps(code, concern)[-1:]
            yield _said(
                case,
                code,
                concern,
                over,
                _MILDER[concern.severity],
                summary,
                stops=False,
                steps=(sentence("concern.is-over"), *last),
            )
            return
    older = listed or (case.problems_of(concern.history, history=True) if concern.history else ())
    if older and case.starting:
        words = _words(code, concern, "later")
        summary = sentence("concern.summary", problem=problem_name(older[0]), words=words)
        yield _said(case, code, concern, list(older), concern.before, summary, stops=False)


_MILDER: dict[Severity, Severity] = {"critical": "warning", "warning": "info", "info": "info"}
_Words = Literal["now", "now_early", "at_start", "later", "just_over"]


def _words(code: str, concern: Concern, which: _Words) -> Term:
    """What the table says after the name of the problem."""
    return Term("concern", f"{code}.{which}", getattr(concern, which))


def _steps(code: str, concern: Concern) -> tuple[Sentence, ...]:
    return tuple(quoted("concern", f"{code}.steps.{n}", step) for n, step in enumerate(concern.steps))


def _steps_early(code: str, concern: Concern) -> tuple[Sentence, ...]:
    return tuple(
        quoted("concern", f"{code}.steps_early.{n}", step) for n, step in enumerate(concern.steps_early)
    )


def _stale_since(case: Case, problems: list[Problem]) -> date | None:
    """The day of the first of them, if all are dated and none began in the last weeks."""
    if any(p.onset is None or is_recent_problem(case, p) for p in problems):
        return None
    onset = problems[0].onset
    return case.snapshot.day(onset) if onset is not None else None


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
    summary: Sentence,
    *,
    stops: bool,
    steps: tuple[Sentence, ...] = (),
) -> Found:
    source = case.policy.sources.get(concern.source)
    count = case.anc.newest if CBC in concern.orders else None
    offers: list[Offer | Wish] = [*remove_drafts(case)] if stops else []
    if severity != "info":
        offers += _wishes(case, concern, problems[0], severity)
    return Found(
        code=code,
        severity=severity,
        subject=code,
        summary=summary,
        why=(
            *(problem_line(case, p) for p in problems),
            *((course_line(case),) if case.relevant else ending_lines(case)),
            *((sentence("concern.last-anc", line=count_line(case, count)),) if count is not None else ()),
        ),
        policy_says=(quoted("concern", f"{code}.says", concern.says),),
        suggested=(*(steps or _steps(code, concern)), sentence("problem.close")),
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


def _wishes(case: Case, concern: Concern, problem: Problem, severity: Severity) -> Iterator[Wish]:
    """The tests and the consultation that the concern calls for."""
    critical = severity == "critical"
    reason = sentence("concern.reason", problem=Record(problem.label))
    for test in concern.orders:
        yield from offer_test(case, test, "stat" if critical else "routine", reason)
    if concern.refer:
        priority = "stat" if critical else "urgent"
        yield Wish(ReferTo(concern.refer, priority), sentence("concern.reason-referral"))


RULES = (concern_on_the_list,)
