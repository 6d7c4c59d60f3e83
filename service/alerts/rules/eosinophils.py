"""Eosinophils that may have reached an organ (clinical.md 2.1): a reason to stop, before any count does."""

from __future__ import annotations

from collections.abc import Iterator

from service.alerts.case.case import Case
from service.alerts.case.onset import in_course, is_recent_problem
from service.alerts.case.readings import exceeds, is_recent, reaches, recent_comparable
from service.alerts.facts.patient import Measurement, Problem
from service.alerts.phrases.count import count_evidence, ending_lines
from service.alerts.phrases.draft_removal import remove_drafts
from service.alerts.phrases.problem import problem_evidence, problem_line, problem_name
from service.alerts.phrases.result import (
    bound_of,
    course_line,
    name_of,
    offer_test,
    result_evidence,
    result_fact,
    when_of,
    within,
)
from service.alerts.rules.asked import ENDANGERED, when
from service.alerts.say.found import Found
from service.alerts.say.sentence import Count, Day, Listed, Sentence, sentence

_BY_NAME = "eosinophilic-organ-disease"
_ORGANS = ("inflamed-organ", "myocarditis", "pericarditis")


def _raised(case: Case) -> Measurement | None:
    """A recent count above the policy's early limit, whatever the week of treatment."""
    limit = case.policy.eosinophils.early.value
    counts = case.snapshot.measurements.get("eosinophils", ())
    if not any(m.value >= limit or reaches(m, limit) for m in counts):
        return None
    newest = case.worst_new("eosinophils", higher_is_worse=True)
    return newest if newest is not None and is_recent(case, newest) and exceeds(newest, limit) else None


def _of_now(case: Case, *kinds: str) -> list[Problem]:
    return [p for p in case.problems_of(*kinds) if in_course(case, p) or is_recent_problem(case, p)]


def _organ_results(case: Case) -> list[Measurement]:
    """Troponin and liver tests far above their own limits. A milder troponin is watched day by day (myocarditis-suspected)."""
    troponin = case.policy.myocarditis.troponin_stop_factor.value
    liver = case.policy.results.transaminase_factor.value
    found = []
    for kind, times in (("troponin", troponin), ("alt", liver), ("ast", liver)):
        m = recent_comparable(case, kind)
        if m is not None and m.upper_limit is not None and exceeds(m, times * m.upper_limit):
            found.append(m)
    return found


def _counted(count: Measurement) -> Sentence:
    """``Eosinophils 1200/µL``."""
    return sentence(f"result.value{bound_of(count)}", name=name_of(count.kind), amount=Count(count.value))


def _sign(problems: list[Problem], results: list[Measurement]) -> Sentence:
    """What tells of an organ: the first problem, or else the results."""
    if not problems:
        raised = tuple(within(m.kind) for m in results)
        return sentence("eosinophilia-organ.results", results=Listed(raised))
    return problem_name(problems[0])


@when("problems", "eosinophils")
@when(*ENDANGERED)
def eosinophilia_organ(case: Case) -> Iterator[Found]:
    """Eosinophilia with signs of an organ: by the name of the disease, or a raised count beside an inflamed organ."""
    if not case.endangered or case.stopping:
        return
    named = _of_now(case, _BY_NAME) if case.has_problems((_BY_NAME,)) else []
    count = _raised(case) if "eosinophils" in case.snapshot.measurements else None
    organs = _of_now(case, *_ORGANS) if count is not None else []
    results = _organ_results(case) if count is not None else []
    if not named and not organs and not results:
        return
    problems = [*named, *(p for p in organs if p not in named)]
    sign = _sign(problems, results)
    if count is not None:
        sign = sentence("eosinophilia-organ.sign-counted", count=_counted(count), sign=sign)
    rule = case.policy.eosinophils
    # By its name alone, and of weeks ago: either nobody closed it, or somebody must look.
    stale = (
        count is None
        and not case.starting
        and all(p.onset is not None and not is_recent_problem(case, p) for p in named)
    )
    began = named[0].onset if stale else None
    if began is not None:
        day = Day(case.snapshot.day(began))
        summary = sentence("eosinophilia-organ.stale", sign=sign, day=day)
    else:
        what = "eosinophilia-organ.do-not-start" if case.starting else "eosinophilia-organ.stop"
        summary = Sentence(what, {"sign": sign})
    reason = sentence("eosinophilia-organ.reason")
    yield Found(
        code="eosinophilia-organ",
        severity="warning" if stale else "critical",
        subject="eosinophils-organ",
        summary=summary,
        why=(
            *(problem_line(case, p) for p in problems),
            *(
                (sentence("eosinophilia-organ.count", count=_counted(count), when=when_of(case, count)),)
                if count is not None
                else ()
            ),
            *(result_fact(case, m) for m in results),
            *((course_line(case),) if case.relevant else ending_lines(case)),
        ),
        policy_says=(sentence("eosinophilia-organ.policy"),),
        suggested=(
            sentence(
                "eosinophilia-organ.step-do-not-start" if case.starting else "eosinophilia-organ.step-stop"
            ),
            sentence("eosinophilia-organ.look"),
            sentence("eosinophilia-organ.specialist"),
        ),
        evidence=(
            *problem_evidence(problems),
            *(count_evidence(case, count) if count is not None else ()),
            *result_evidence(case, results),
        ),
        citation=case.policy.cite(rule.early),
        offers=(
            *remove_drafts(case),
            *offer_test(case, "cbc-with-differential", "urgent", reason),
            *offer_test(case, "troponin-crp", "stat", reason),
            *offer_test(case, "liver", "urgent", reason),
        ),
    )


RULES = (eosinophilia_organ,)
