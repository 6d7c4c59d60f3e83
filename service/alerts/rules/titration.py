"""Titration (clinical.md 2.3): doses that rise too fast, from the steps of the drafts and from the dose before."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise

from msgspec import Struct

from service.alerts.case.case import Case
from service.alerts.case.ordered_dose import dated_doses, is_elderly, steps_from_today
from service.alerts.case.together import is_return_after_stop
from service.alerts.phrases.dose import dose_fact, how_read
from service.alerts.policy.parts.values import Value
from service.alerts.rules.asked import when
from service.alerts.say.found import Found
from service.alerts.say.sentence import Counted, Dose, Number, Param, Sentence, sentence


class Rise(Struct, frozen=True):
    """The daily dose changes on a day of the course (None: the course's start is not known)."""

    course_day: int | None
    #: Days from today.
    in_days: int
    before: float
    after: float

    @property
    def by(self) -> float:
        """mg per day."""
        return self.after - self.before


def _plan(case: Case) -> list[tuple[int, float]] | None:
    """(days from today, mg per day) of all drafts together, changes only; None when a draft cannot be read."""
    if (
        len(case.clozapine_drafts) == 1
        and (only := case.clozapine_drafts[0].dose) is not None
        and not only.steps
    ):
        return [(0, only.mg_per_day)] if only.mg_per_day is not None else None
    days: set[int] = set()
    drafts = []
    for draft in case.clozapine_drafts:
        dose = draft.dose
        if dose is None or dose.mg_per_day is None:
            return None
        steps = steps_from_today(case, draft) or [(0, dose.mg_per_day)]
        drafts.append(sorted(steps))
        days.update(day for day, _ in steps)
    plan: list[tuple[int, float]] = []
    for day in sorted(days):
        total = sum(max((s for s in steps if s[0] <= day), default=(0, 0.0))[1] for steps in drafts)
        if not plan or plan[-1][1] != total:
            plan.append((day, total))
    return plan


def rises(case: Case, plan: list[tuple[int, float]]) -> list[Rise]:
    """Every rise of the daily dose that the drafts mean, the first one against the dose the patient is on."""
    today = case.course_day
    before = None if case.starting else case.established_mg_per_day
    found: list[Rise] = []
    for index, (in_days, mg) in enumerate(plan):
        # The first dose after a gap has a finding of its own: missed-dose-retitrate. Back to the dose before an inhibitor is no titration.
        if (
            before is not None
            and mg > before
            and (index or case.returning is None)
            and not (index == 0 and is_return_after_stop(case, mg))
        ):
            found.append(Rise(today + in_days if today is not None else None, in_days, before, mg))
        before = mg
    return found


def _lately_raised(case: Case, anew: float) -> list[int]:
    """Days from today (negative) on which orders of the last week, or their steps, raised the dose; the daily rises of the first weeks are none."""
    week_ago, today = case.as_of - timedelta(weeks=1), case.course_day
    raised = (
        Rise(today - ago if today is not None else None, -ago, before, after)
        for (_, before), (at, after) in pairwise(dated_doses(case))
        if after > before and week_ago < at and (ago := case.days_since(at)) >= 0
    )
    return [r.in_days for r in raised if not _is_early(case, r, anew)]


def _is_early(case: Case, r: Rise, anew: float) -> bool:
    """A rise of the first weeks, of treatment or since a return (``anew``: days from today until those are over)."""
    rule = case.policy.dosing
    if rule.early_below is not None and r.before >= rule.early_below.value:
        return False
    return (r.course_day is not None and r.course_day < rule.early_days.value) or r.in_days < anew


def _too_much_before_day_14(case: Case, plan: list[tuple[int, float]]) -> tuple[int, float] | None:
    """(day of the course, mg per day) of the first dose above the maximum of the first weeks, whether it rises or not."""
    rule, today = case.policy.dosing, case.course_day
    if today is None:
        return None
    # A first dose that is too high has a finding of its own: dose-start-too-high.
    for in_days, mg in plan[1:] if case.starting else plan:
        if today + in_days < rule.day_14.value and mg > rule.day_14_maximum.value:
            return today + in_days, mg
    return None


def _limit(case: Case, *, early: bool) -> tuple[Value, dict[str, Param], str]:
    """How far the dose may rise at once: the number, what else is said of it, and the sentence that says it."""
    rule = case.policy.dosing
    limit = rule.early_rise_maximum if early else rule.late_step_maximum
    old = rule.elderly_rise_maximum
    if old is not None and old.value < limit.value and is_elderly(case):
        return old, {"years": Number(rule.elderly_from_years.value, 0)}, "elderly-rise"
    if early:
        return limit, {"early": _early_days(case)}, "early-rise"
    return limit, {}, "late-step"


def _early_days(case: Case) -> Counted:
    """How long the first, slower part of a titration lasts."""
    return Counted(int(case.policy.dosing.early_days.value))


def _too_large(r: Rise, limit: tuple[Value, dict[str, Param], str]) -> Sentence:
    value, more, kind = limit
    said: dict[str, Param] = {
        "before": Dose(r.before),
        "after": Dose(r.after),
        "limit": Dose(value.value),
        **more,
    }
    if r.course_day is None:
        return Sentence(f"dose-titration-too-fast.{kind}", said)
    return Sentence(f"dose-titration-too-fast.{kind}-on-day", {**said, "day": Number(r.course_day, 0)})


@when("drafted")
def dose_titration_too_fast(case: Case) -> Iterator[Found]:
    """A step larger than allowed on its day, too many steps in a week, or too high a dose before day 14."""
    if not case.clozapine_drafts:
        return
    plan = _plan(case)
    if not plan:
        return
    rule = case.policy.dosing
    found = rises(case, plan)
    #: By what they say: a plan that goes up and down may hold the same rise twice.
    problems: dict[tuple[object, ...], tuple[Sentence, Value]] = {}
    # A return after a gap is a titration anew, on whatever day of the course it is.
    anew = (
        float("-inf")
        if case.returning is None
        else rule.early_days.value - case.days_since(case.returning.since)
    )
    for r in found:
        early = _is_early(case, r, anew)
        limit = _limit(case, early=early)
        if r.by > limit[0].value:
            same = (r.course_day, r.before, r.after, early)
            problems.setdefault(same, (_too_large(r, limit), limit[0]))
    too_much = _too_much_before_day_14(case, plan)
    if too_much is not None:
        day, mg = too_much
        said = sentence(
            "dose-titration-too-fast.too-much-before",
            dose=Dose(mg),
            day=Number(day, 0),
            limit=Dose(rule.day_14_maximum.value),
            until=Number(rule.day_14.value),
        )
        problems[("day-14",)] = said, rule.day_14_maximum
    late = [r.in_days for r in found if not _is_early(case, r, anew)]
    if late:
        raised = sorted([*_lately_raised(case, anew), *late])
        apart = rule.late_steps_apart_days
        if apart is not None and (close := [b - a for a, b in pairwise(raised) if b - a < apart.value]):
            said = sentence(
                "dose-titration-too-fast.steps-too-close",
                days=Counted(min(close)),
                apart=Counted(int(apart.value)),
            )
            problems[("apart",)] = said, apart
        for first in raised:
            within = [at for at in raised if first <= at < first + timedelta(weeks=1).days]
            if len(within) > rule.late_steps_per_week.value:
                said = sentence("dose-titration-too-fast.rises-in-a-week", rises=Number(len(within), 0))
                problems[("week",)] = said, rule.late_steps_per_week
                break
    if not problems:
        return
    first_said, decides = next(iter(problems.values()))
    yield Found(
        code="dose-titration-too-fast",
        severity="warning",
        subject="titration",
        summary=sentence("dose-titration-too-fast.summary", problem=first_said),
        why=(
            *(
                sentence("dose-titration-too-fast.problem", problem=problem)
                for problem, _ in problems.values()
            ),
            *how_read(case.clozapine_drafts),
        ),
        policy_says=_policy_says(case),
        suggested=(sentence("dose-titration-too-fast.smaller"), sentence("dose-titration-too-fast.measure")),
        evidence=tuple(dose_fact(d) for d in case.clozapine_drafts),
        citation=case.policy.cite(decides),
    )


def _policy_says(case: Case) -> tuple[Sentence, ...]:
    rule = case.policy.dosing
    apart, old = rule.late_steps_apart_days, rule.elderly_rise_maximum
    said: dict[str, Param] = {
        "early": _early_days(case),
        "rise": Dose(rule.early_rise_maximum.value),
        "maximum": Dose(rule.day_14_maximum.value),
        "step": Dose(rule.late_step_maximum.value),
    }
    titration = (
        Sentence("dose-titration-too-fast.policy-apart", {**said, "apart": Counted(int(apart.value))})
        if apart is not None
        else Sentence(
            "dose-titration-too-fast.policy",
            {**said, "times": Number(rule.late_steps_per_week.value)},
        )
    )
    if old is None:
        return (titration,)
    years = Number(rule.elderly_from_years.value, 0)
    return titration, sentence("dose-titration-too-fast.policy-elderly", years=years, rise=Dose(old.value))


RULES = (dose_titration_too_fast,)
