"""Titration (clinical.md 2.3): doses that rise too fast, from the steps of the drafts and from the dose before."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise

from msgspec import Struct

from service.alerts.case.case import Case
from service.alerts.case.exposure import was_given
from service.alerts.case.together import is_return_after_stop
from service.alerts.policy.parts import Value
from service.alerts.rules.asked import when
from service.alerts.rules.dose import how_read
from service.alerts.say import wording as w
from service.alerts.say.finding import Evidence, Finding


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
        steps = [(s.first_day, s.mg_per_day) for s in dose.steps] or [(0, dose.mg_per_day)]
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


def dated_doses(case: Case) -> list[tuple[datetime, float]]:
    """(from when, mg per day) of every clozapine order and of the steps of titrations, oldest first."""
    given: list[tuple[datetime, float]] = []
    for m in case.clozapine_records:
        began = m.start or m.authored
        if m.role != "order" or began is None or m.dose is None or m.dose.mg_per_day is None:
            continue
        if not was_given(m, case.as_of):
            continue
        steps = [(s.first_day, s.mg_per_day) for s in m.dose.steps] or [(0, m.dose.mg_per_day)]
        dated = [(began + timedelta(days=day), mg) for day, mg in steps]
        # Steps after the end of the order were never taken, and those to come not yet.
        given += [(at, mg) for at, mg in dated if at <= (m.end or at) and at <= case.as_of]
    return sorted(given)


def _lately_raised(case: Case) -> list[int]:
    """Days from today (negative) on which orders of the last week, or their steps, raised the dose."""
    week_ago = case.as_of - timedelta(weeks=1)
    return [
        -case.days_since(at)
        for (_, before), (at, after) in pairwise(dated_doses(case))
        if after > before and week_ago < at
    ]


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


@when("drafted")
def dose_titration_too_fast(case: Case) -> Iterator[Finding]:
    """A step larger than allowed on its day, too many steps in a week, or too high a dose before day 14."""
    if not case.clozapine_drafts:
        return
    plan = _plan(case)
    if not plan:
        return
    rule = case.policy.dosing
    found = rises(case, plan)
    problems: list[tuple[str, Value]] = []
    # A return after a gap is a titration anew, on whatever day of the course it is.
    anew = -1 if case.returning is None else rule.early_days.value - case.days_since(case.returning.since)
    for r in found:
        step = f"{w.mg(r.before)} to {w.mg(r.after)}/day"
        when = f" on day {r.course_day}" if r.course_day is not None else ""
        if (r.course_day is not None and r.course_day < rule.early_days.value) or r.in_days < anew:
            if r.by > rule.early_rise_maximum.value:
                problems.append(
                    (
                        f"{step}{when}: more than {w.mg(rule.early_rise_maximum.value)} a day in the first two weeks",
                        rule.early_rise_maximum,
                    )
                )
        elif r.by > rule.late_step_maximum.value:
            problems.append(
                (
                    f"{step}{when}: more than {w.mg(rule.late_step_maximum.value)} in one step",
                    rule.late_step_maximum,
                )
            )
    early = _too_much_before_day_14(case, plan)
    if early is not None:
        problems.append(
            (
                f"{w.mg(early[1])}/day on day {early[0]}: more than {w.mg(rule.day_14_maximum.value)} before day {w.number(rule.day_14.value)}",
                rule.day_14_maximum,
            )
        )
    late = [
        r.in_days
        for r in found
        if (r.course_day is None or r.course_day >= rule.early_days.value) and r.in_days >= anew
    ]
    if late:
        raised = sorted([*_lately_raised(case), *late])
        for first in raised:
            within = [day for day in raised if first <= day < first + timedelta(weeks=1).days]
            if len(within) > rule.late_steps_per_week.value:
                problems.append((f"{len(within)} rises within a week", rule.late_steps_per_week))
                break
    if not problems:
        return
    texts = list(dict.fromkeys(text for text, _ in problems))
    yield Finding(
        code="dose-titration-too-fast",
        severity="warning",
        subject="titration",
        summary=w.summary(f"Clozapine titration too fast: {texts[0]}."),
        why=(*(f"{text}." for text in texts), *how_read(case.clozapine_drafts)),
        policy_says=(
            f"First two weeks: rise by at most {w.mg(rule.early_rise_maximum.value)} a day, to at most {w.mg(rule.day_14_maximum.value)}/day; "
            f"later by at most {w.mg(rule.late_step_maximum.value)}, at most {w.number(rule.late_steps_per_week.value)} times a week.",
        ),
        suggested=("Write smaller steps.", "Measure blood pressure and pulse at each rise."),
        evidence=tuple(
            Evidence(d.ref, w.safe(f"{d.label}: {d.dose.text if d.dose else ''}"))
            for d in case.clozapine_drafts
        ),
        citation=case.policy.cite(problems[0][1]),
    )


RULES = (dose_titration_too_fast,)
