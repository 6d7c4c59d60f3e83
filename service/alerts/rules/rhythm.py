"""How often blood is counted (clinical.md 1.8): when fewer counts will be enough, and standing orders that ask for more or fewer than the policy."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from service.alerts.case.case import Case
from service.alerts.case.interval import had_neutropenia, next_phase
from service.alerts.case.judged_counts import stalest
from service.alerts.facts.patient import TestOrder
from service.alerts.phrases.count import count_evidence, judged_names, start_line
from service.alerts.policy.words import phase_every
from service.alerts.rules.asked import when
from service.alerts.say.found import Fact, Found
from service.alerts.say.sentence import Counted, Day, Param, Record, Sentence, sentence

_TEST = "cbc-with-differential"
_WEEK = timedelta(weeks=1).days


@when("visit")
@when("taking")
def anc_less_often(case: Case) -> Iterator[Found]:
    """The schedule asks for fewer counts from a day on that comes before the next count but one; said at visits only."""
    if case.is_order_hook or not case.on_clozapine or case.snapshot.state("counts") != "complete":
        return
    interval, newest = case.interval, stalest(case)
    found = next_phase(case, interval)
    if found is None or newest is None or case.answered_days(newest) > interval.days:
        return  # while a count is overdue nothing is taken away
    first_day, phase = found
    ahead = (first_day - case.today).days
    soon = ahead <= case.policy.overdue.less_often_days.value or case.answered_days(newest) in (
        0,
        interval.days,
    )
    if not (0 <= ahead <= interval.days and soon):
        return
    assert interval.phase is not None
    assert interval.phase.until_day is not None
    said: dict[str, Param] = {
        "day": Day(first_day),
        "every": phase_every(case.policy, phase),
        "counts": judged_names(case),
        "weeks": Counted(interval.phase.until_day // _WEEK, "week"),
    }
    free = not had_neutropenia(case)
    yield Found(
        code="anc-less-often",
        severity="info",
        subject="anc-schedule",
        summary=Sentence("anc-less-often.summary-free" if free else "anc-less-often.summary", said),
        why=(start_line(case),),
        policy_says=(
            sentence(
                "anc-less-often.policy", counts=said["counts"], every=said["every"], weeks=said["weeks"]
            ),
        ),
        suggested=(sentence("anc-less-often.change"), sentence("anc-less-often.who-decides")),
        evidence=count_evidence(case, newest),
        citation=case.policy.cite(phase),
    )


@when("taking", "drafted")
def standing_order_rhythm(case: Case) -> Iterator[Found]:
    """A standing order for the blood count asks for it more or less often than the policy does today."""
    if not case.on_clozapine or not case.snapshot.test_orders:
        return
    interval = case.interval
    orders = [o for o in case.snapshot.test_orders if o.every_days is not None and _TEST in o.tests]
    if not orders or not interval.start_known:
        return
    if case.is_order_hook and not any(o.draft for o in orders):
        return
    order = min(orders, key=_every)
    every, tolerance = _every(order), interval.days * case.policy.overdue.rhythm_percent.value / 100
    if abs(every - interval.days) <= tolerance:
        return
    rare = every > interval.days
    said: dict[str, Param] = {
        "ordered": Counted(round(every)),
        "asked": interval.label,
        "counts": judged_names(case),
    }
    newest = stalest(case)
    yield Found(
        code="anc-standing-order",
        # Too rare: counts will be missed. Too often: work that the policy does not ask for, for which there may be a reason.
        severity="warning" if rare else "info",
        subject="anc-standing-order",
        summary=Sentence("anc-standing-order.rare" if rare else "anc-standing-order.often", said),
        why=(
            sentence("anc-standing-order.order", order=Record(order.label), ordered=said["ordered"]),
            start_line(case),
        ),
        policy_says=(
            sentence(
                "anc-standing-order.policy", counts=said["counts"], asked=interval.label, why=interval.why
            ),
        ),
        suggested=(
            sentence(
                "anc-standing-order.more-often" if rare else "anc-standing-order.less-often",
                asked=interval.label,
            ),
        ),
        evidence=(
            Fact(order.ref, sentence("anc-standing-order.evidence")),
            *count_evidence(case, *([newest] if newest is not None else [])),
        ),
        decisive=(f"{every:g}", str(interval.days)),
        citation=case.policy.cite(interval.cited or case.policy.schedule[0]),
    )


def _every(order: TestOrder) -> float:
    assert order.every_days is not None
    return order.every_days


RULES = (anc_less_often, standing_order_rhythm)
