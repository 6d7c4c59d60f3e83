"""What no record dates or shows (clinical.md 3.6): a gap of unknown length, an order of which nobody knows whether it was taken."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from service.alerts.case.case import Case
from service.alerts.case.ordered_dose import first_day_dose
from service.alerts.case.restart import tier_dose
from service.alerts.rules.asked import when
from service.alerts.rules.count_lines import ending_line
from service.alerts.say import wording as w
from service.alerts.say.finding import Citation, Evidence, Finding


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
def gap_not_known(case: Case) -> Iterator[Finding]:
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
    over = (
        "The last clozapine order is completed, since when is not known"
        if ending.carried_out
        else "Clozapine was stopped or held on an unknown day"
    )
    yield Finding(
        code="missed-dose-retitrate",
        severity="warning",
        subject="missed-dose",
        summary=w.summary(
            f"{over}: ask when the last dose was taken before giving "
            f"{f'{w.mg(first)}/day' if first is not None else 'the full dose'}."
        ),
        why=(ending_line(case), "No dose, supply or change of the order tells how long the gap is."),
        policy_says=(longest.says, case.policy.missed_dose_says),
        suggested=(
            "Ask when the last dose was taken.",
            "No dose missed: go on as before. Otherwise restart at the dose for that gap.",
        ),
        evidence=(
            Evidence(ending.ref, "clozapine record without an end date", ending.start),
            *(Evidence(d.ref, w.safe(d.label)) for d in case.clozapine_drafts),
        ),
        missing=("the time of the last dose",),
        citation=case.policy.cite(longest),
    )


@when("drafted")
def order_not_seen_taken(case: Case) -> Iterator[Finding]:
    """The order in question is on record already, and nothing else shows that any dose of it was taken."""
    if not case.clozapine_drafts or not case.unseen_orders:
        return
    order = case.unseen_orders[0]
    start = case.policy.dosing.restart_single.value
    yield Finding(
        code="data-unavailable",
        severity="warning",
        changes_order=True,
        subject="order-not-taken",
        summary=w.summary(
            f"No record shows that the clozapine order of {w.day(case.snapshot, order.start)} was taken: if not, this is a start "
            f"({w.mg(start)})."
        ),
        why=(
            "No dose, supply or statement since the order was written, and no later blood count shows treatment.",
            "Judged here as if it had been taken.",
        ),
        policy_says=("An order is never presented as checked when the data for the check are missing.",),
        suggested=(
            "Ask whether, and at which dose, clozapine is taken.",
            f"If it is not: baseline count and tests first, and start at {w.mg(start)} once or twice daily.",
        ),
        unchecked=("Whether this is the first dose: start dose, baseline count and baseline tests.",),
        evidence=(Evidence(order.ref, w.safe(order.label), order.start, order.start_date_only),),
        missing=("a record of a dose taken",),
        citation=Citation("This service", "what could not be checked"),
    )


RULES = (gap_not_known, order_not_seen_taken)
