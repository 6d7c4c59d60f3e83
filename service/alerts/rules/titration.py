"""Titration (clinical.md 2.3): doses that rise too fast, from the steps of the drafts and from the dose before."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise

from msgspec import Struct

from service.alerts.case.case import Case
from service.alerts.case.ordered_dose import dated_doses, steps_from_today
from service.alerts.case.together import is_return_after_stop
from service.alerts.phrases.dose import dose_fact, how_read
from service.alerts.policy.parts import Value
from service.alerts.rules.asked import when
from service.alerts.say.found import Found
from service.alerts.say.sentence import Dose, Number, Sentence, sentence


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


def _lately_raised(case: Case) -> list[int]:
    """Days from today (negative) on which orders of the last week, or their steps, raised the dose, after the first two weeks of the course."""
    week_ago = case.as_of - timedelta(weeks=1)
    raised = [
        -case.days_since(at)
        for (_, before), (at, after) in pairwise(dated_doses(case))
        if after > before and week_ago < at
    ]
    # The small steps of the first weeks have a limit of their own.
    today, early = case.course_day, case.policy.dosing.early_days.value
    return [day for day in raised if today is None or today + day >= early]


def _too_much_before_day_14(case: Case, plan: list[tuple[int, float]]) -> tuple[int, float] | None:
    """(day of the course, mg per day) of the first dose above the maximum of the first two weeks, whether it rises or not."""
    rule, today = case.policy.dosing, case.course_day
    if today is None:
        return None
    # A first dose that is too high has a finding of its own: dose-start-too-high.
    for in_days, mg in plan[1:] if case.starting else plan:
        if today + in_days < rule.day_14.value and mg > rule.day_14_maximum.value:
            return today + in_days, mg
    return None


def _too_large(r: Rise, limit: Value, *, early: bool) -> Sentence:
    before, after, most = Dose(r.before), Dose(r.after), Dose(limit.value)
    if r.course_day is None:
        return sentence(
            "dose-titration-too-fast.early-rise" if early else "dose-titration-too-fast.late-step",
            before=before,
            after=after,
            limit=most,
        )
    return sentence(
        "dose-titration-too-fast.early-rise-on-day" if early else "dose-titration-too-fast.late-step-on-day",
        before=before,
        after=after,
        day=Number(r.course_day, 0),
        limit=most,
    )


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
    anew = -1 if case.returning is None else rule.early_days.value - case.days_since(case.returning.since)
    for r in found:
        early = (r.course_day is not None and r.course_day < rule.early_days.value) or r.in_days < anew
        limit = rule.early_rise_maximum if early else rule.late_step_maximum
        if r.by > limit.value:
            same = (r.course_day, r.before, r.after, early)
            problems.setdefault(same, (_too_large(r, limit, early=early), limit))
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
    late = [
        r.in_days
        for r in found
        if (r.course_day is None or r.course_day >= rule.early_days.value) and r.in_days >= anew
    ]
    if late:
        raised = sorted([*_lately_raised(case), *late])
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
        policy_says=(
            sentence(
                "dose-titration-too-fast.policy",
                rise=Dose(rule.early_rise_maximum.value),
                maximum=Dose(rule.day_14_maximum.value),
                step=Dose(rule.late_step_maximum.value),
                times=Number(rule.late_steps_per_week.value),
            ),
        ),
        suggested=(sentence("dose-titration-too-fast.smaller"), sentence("dose-titration-too-fast.measure")),
        evidence=tuple(dose_fact(d) for d in case.clozapine_drafts),
        citation=case.policy.cite(decides),
    )


RULES = (dose_titration_too_fast,)
