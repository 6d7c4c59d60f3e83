"""What no record dates or shows (clinical.md 3.6): a gap of unknown length, an order of which nobody knows whether it was taken."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from service.alerts.case.case import Case
from service.alerts.case.ordered_dose import first_day_dose
from service.alerts.case.restart import tier_dose
from service.alerts.rules.asked import when
from service.alerts.rules.count_phrases import ending_lines
from service.alerts.rules.dose_phrases import missed_dose_says, order_fact, tier_says
from service.alerts.say.finding import Citation
from service.alerts.say.found import Fact, Found
from service.alerts.say.sentence import Day, Dose, Record, Sentence, sentence


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
        summary=_ask_before(ending.carried_out, first),
        why=(*ending_lines(case), sentence("missed-dose-retitrate.gap-unknown")),
        policy_says=(tier_says(case, longest), missed_dose_says(case)),
        suggested=(sentence("missed-dose-retitrate.ask"), sentence("missed-dose-retitrate.none-missed")),
        evidence=(
            Fact(ending.ref, sentence("missed-dose-retitrate.evidence-undated"), ending.start),
            *(order_fact(d) for d in case.clozapine_drafts),
        ),
        missing=(sentence("missed-dose-retitrate.missing"),),
        citation=case.policy.cite(longest),
    )


def _ask_before(carried_out: bool, mg: float | None) -> Sentence:
    if mg is None:
        return sentence(
            "missed-dose-retitrate.completed-undated-full-dose"
            if carried_out
            else "missed-dose-retitrate.stopped-undated-full-dose"
        )
    return sentence(
        "missed-dose-retitrate.completed-undated" if carried_out else "missed-dose-retitrate.stopped-undated",
        dose=Dose(mg),
    )


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
        summary=sentence(
            "order-not-taken.summary",
            day=Day(case.snapshot.day(order.start) if order.start is not None else None),
            start=start,
        ),
        why=(sentence("order-not-taken.nothing-since"), sentence("order-not-taken.judged-as-taken")),
        policy_says=(sentence("order-not-taken.policy"),),
        suggested=(
            sentence("order-not-taken.ask"),
            sentence("order-not-taken.if-not", start=start),
        ),
        unchecked=(sentence("order-not-taken.unchecked"),),
        evidence=(
            Fact(
                order.ref,
                sentence("dose.order", order=Record(order.label)),
                order.start,
                order.start_date_only,
            ),
        ),
        missing=(sentence("order-not-taken.missing"),),
        citation=Citation("This service", "what could not be checked"),
    )


RULES = (gap_not_known, order_not_seen_taken)
