"""Eosinophils that may have reached an organ (clinical.md 2.1): a reason to stop, before any count does."""

from __future__ import annotations

from collections.abc import Iterator

from service.alerts.case.case import Case
from service.alerts.facts.patient import Measurement, Problem
from service.alerts.rules.asked import ENDANGERED, when
from service.alerts.rules.count_lines import ending_line, evidence_of, remove_drafts
from service.alerts.rules.listed import (
    in_course,
    is_recent_problem,
    problem_evidence,
    problem_line,
    verified,
)
from service.alerts.rules.readings import (
    course_line,
    evidence,
    exceeds,
    is_recent,
    line,
    order,
    reaches,
    recent_comparable,
)
from service.alerts.say import wording as w
from service.alerts.say.finding import Finding

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


@when("problems", "eosinophils")
@when(*ENDANGERED)
def eosinophilia_organ(case: Case) -> Iterator[Finding]:
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
    counted = f"Eosinophils {w.bound_word(count)}{w.count(count.value)}" if count is not None else ""
    if problems:
        sign = f"{w.plain(problems[0].label)}{verified(problems[0])}"
    else:
        sign = (
            " and ".join(m.kind.upper() if m.kind != "troponin" else "troponin" for m in results) + " raised"
        )
    rule = case.policy.eosinophils
    what = "do not start clozapine" if case.starting else "stop clozapine"
    # By its name alone, and of weeks ago: either nobody closed it, or somebody must look.
    stale = (
        not counted
        and not case.starting
        and all(p.onset is not None and not is_recent_problem(case, p) for p in named)
    )
    since = (
        f"on the list since {w.day(case.snapshot, named[0].onset)}: if it is not over, {what}"
        if stale
        else ""
    )
    yield Finding(
        code="eosinophilia-organ",
        severity="warning" if stale else "critical",
        subject="eosinophils-organ",
        summary=w.summary(
            f"{f'{counted}, {sign}' if counted else sign}: {since or f'systemic reaction? {what}'}."
        ),
        why=(
            *(problem_line(case, p) for p in problems),
            *(
                (f"{counted}, {w.moment(case.snapshot, count.at, count.date_only)}.",)
                if count is not None
                else ()
            ),
            *(f"{line(case, m)}." for m in results),
            course_line(case) if case.relevant else ending_line(case),
        ),
        policy_says=(
            "Eosinophilia with signs of an organ or of the skin: clozapine is stopped, and a systemic reaction is looked for.",
        ),
        suggested=(
            f"{what[0].upper()}{what[1:]}.",
            "Look for rash, fever, swollen lymph nodes; troponin, ECG, liver, kidney, chest.",
            "Ask the specialist of the organ; do not give clozapine again before it is cleared up.",
        ),
        evidence=(
            *problem_evidence(problems),
            *(evidence_of(case, count) if count is not None else ()),
            *evidence(case, results),
        ),
        citation=case.policy.cite(rule.early),
        offers=(
            *remove_drafts(case),
            *order(case, "cbc-with-differential", "urgent", "Eosinophilia with signs of an organ"),
            *order(case, "troponin-crp", "stat", "Eosinophilia with signs of an organ"),
            *order(case, "liver", "urgent", "Eosinophilia with signs of an organ"),
        ),
    )


RULES = (eosinophilia_organ,)
