"""What no record dates or shows (clinical.md 3.6): a gap of unknown length, an order of which nobody knows whether it was taken."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from service.alerts.case.case import Case
from service.alerts.case.ordered_dose import first_day_dose
from service.alerts.case.restart import tier_dose
from service.alerts.phrases.count import ending_lines
from service.alerts.phrases.result import day_of
from service.alerts.policy.words import policy_says
from service.alerts.rules.asked import when
from service.alerts.say.cited import own
from service.alerts.say.found import Fact, Found
from service.alerts.say.sentence import Dose, Sentence, recorded, sentence


def _goes_on(case: Case) -> bool:
    """The drafts renew, or refill, what may have run on until today; what was put on hold did not run on."""
    ending = case.course.ending
    if ending is None or ending.latest_by:
        return False
    ended = next((m for m in case.clozapine_records if m.ref == ending.ref), None)
    if ended is None or ended.status == "on-hold":
        return False
    in_time = timedelta(days=case.policy.unknown_end.renewed_within_days.value)
    if ending.due is not None and case.as_of > ending.due + in_time:
        return False  # it comes late: supply or the orders before lead one to expect it earlier
    return case.hook == "medication-refill" or any(ending.ref in d.replaces for d in case.clozapine_drafts)


@when("drafted")
def gap_not_known(case: Case) -> Iterator[Found]:
    """Clozapine is drafted after an order that ended on an unknown day: nobody knows how many doses were missed."""
    course = case.course
    ending = course.ending
    if not case.clozapine_drafts or ending is None or course.last_dose is not None or case.starting:
        return
    longest = case.policy.missed_dose[-1]
    target = tier_dose(case, longest)
    first = first_day_dose(case)
    if (target is not None and first is not None and first <= target[1]) or _goes_on(case):
        return
    yield Found(
        code="missed-dose-retitrate",
        severity="warning",
        subject="missed-dose",
        summary=_ask_first(ending.carried_out, first),
        why=(*ending_lines(case), sentence("gap-not-known.no-length")),
        policy_says=(
            policy_says(case.policy, f"missed_dose.{longest.name}.says", longest.says),
            policy_says(case.policy, "missed_dose_says", case.policy.missed_dose_says),
        ),
        suggested=(sentence("gap-not-known.ask"), sentence("gap-not-known.no-dose-missed")),
        evidence=(
            Fact(ending.ref, sentence("gap-not-known.without-end"), ending.start),
            *(Fact(d.ref, recorded(d.label)) for d in case.clozapine_drafts),
        ),
        missing=(sentence("gap-not-known.last-dose-time"),),
        citation=case.policy.cite(longest),
    )


def _ask_first(completed: bool, first: float | None) -> Sentence:
    """What is known of the order before, and what not to give before more is. ``first``: dose of the first day in mg, None when unknown."""
    if first is None:
        return sentence(
            "gap-not-known.completed-dose-unknown" if completed else "gap-not-known.held-dose-unknown"
        )
    return sentence("gap-not-known.completed" if completed else "gap-not-known.held", dose=Dose(first))


@when("drafted")
def order_not_seen_taken(case: Case) -> Iterator[Found]:
    """The order in question is on record already, and nothing else shows that any dose of it was taken."""
    if not case.clozapine_drafts or not case.unseen_orders:
        return
    order = case.unseen_orders[0]
    start = Dose(case.policy.dosing.restart_single.value)
    yield Found(
        code="data-unavailable",
        severity="warning",
        changes_order=True,
        subject="order-not-taken",
        summary=sentence("order-not-taken.summary", day=day_of(case, order.start), start=start),
        why=(sentence("order-not-taken.nothing-since"), sentence("order-not-taken.judged-as-taken")),
        policy_says=(sentence("order-not-taken.policy"),),
        suggested=(sentence("order-not-taken.ask"), sentence("order-not-taken.if-not", start=start)),
        unchecked=(sentence("order-not-taken.unchecked"),),
        evidence=(Fact(order.ref, recorded(order.label), order.start, order.start_date_only),),
        missing=(sentence("order-not-taken.a-dose-taken"),),
        citation=own("unchecked"),
    )


RULES = (gap_not_known, order_not_seen_taken)
