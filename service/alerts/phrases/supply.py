"""The supply that ends, as the rules of counts and of supply share it."""

from __future__ import annotations

from datetime import date

from service.alerts.case.case import Case
from service.alerts.say.found import Fact
from service.alerts.say.sentence import Counted, Day, Sentence, sentence


def supply_end(case: Case) -> date | None:
    """The day on which the dispensed supply ends, where that is within days and nothing new is ordered in this call."""
    until = case.course.supply_until
    if case.is_order_hook or until is None or not case.on_clozapine or case.clozapine_drafts:
        return None
    day = case.snapshot.day(until)
    return day if 0 <= (day - case.today).days < case.policy.supply.gap_days.value else None


def supply_line(case: Case, ends: date) -> Sentence:
    """How long the last dispense covers."""
    return sentence("supply-gap.covers", day=Day(ends), left=Counted((ends - case.today).days))


def supply_evidence(case: Case) -> Fact:
    """The dispense."""
    return Fact(case.course.supply_ref, sentence("supply-gap.evidence"))
