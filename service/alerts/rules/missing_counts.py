"""How urgent it is that a blood count is missing or overdue, and what to do: not at every order, and not where another place holds the counts."""

from __future__ import annotations

from service.alerts.case.case import Case
from service.alerts.case.order_at_hand import is_unrelated_order
from service.alerts.phrases.count import offer_cbc
from service.alerts.say.finding import SEVERITY_RANK, Severity
from service.alerts.say.found import Wish
from service.alerts.say.sentence import Record, Sentence, quoting, sentence

#: Hooks at which a policy that requires a current count for dispensing makes an overdue count critical (clinical.md 2.1).
SUPPLY_HOOKS = frozenset({"order-sign", "medication-verify", "medication-refill"})


def supply_forbidden(case: Case) -> bool:
    """The policy is known to require a current count where clozapine is supplied, and this call is about a supply.

    That it requires one is not enough where nobody has read so: national rules decide then, and the card says it.
    """
    required = case.policy.dispensing.requires_current_count
    return required.value and required.confirmed and case.hook in SUPPLY_HOOKS


def national_rules(case: Case) -> tuple[Sentence, ...]:
    """That national rules decide, where nobody has read that the policy requires a current count."""
    required = case.policy.dispensing.requires_current_count
    return (sentence("anc-overdue.national-rules"),) if required.value and not required.confirmed else ()


def urgency(case: Case, severity: Severity) -> Severity:
    """The severity of a finding that a count is missing or overdue.

    Information at an order that has nothing to do with clozapine, and where the counts are held elsewhere; but no first dose passes as
    information because its baseline may lie elsewhere.
    """
    if is_unrelated_order(case):
        return "info"
    if not case.practice.counts_elsewhere:
        return severity
    most: Severity = "warning" if case.starting else "info"
    return severity if SEVERITY_RANK[severity] <= SEVERITY_RANK[most] else most


def holder(case: Case) -> Record | None:
    """Who holds the counts, where the site does not."""
    return quoting(case.practice.counts_elsewhere) if case.practice.counts_elsewhere else None


def held_lines(case: Case) -> tuple[Sentence, ...]:
    """Who holds the counts, as a fact."""
    held = holder(case)
    return () if held is None else (sentence("missing-count.held", place=held),)


def offer_count(case: Case, priority: str, reason: Sentence) -> tuple[tuple[Wish, ...], tuple[Sentence, ...]]:
    """The offer of a CBC and its step; where counts are held elsewhere, to look there first, and no offer of a second sample."""
    held = holder(case)
    if held is None:
        return offer_cbc(case, priority, reason)
    return (), (sentence("missing-count.look", place=held),)
