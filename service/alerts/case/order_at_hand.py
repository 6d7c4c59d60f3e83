"""What the order at hand has to do with clozapine: nothing yet, nothing at all, or something."""

from __future__ import annotations

from service.alerts.case.beside import warned_of
from service.alerts.case.case import Case
from service.alerts.facts.patient import NAMES_NO_PRODUCT, Medication

#: Hooks at which an order is still being written.
_WRITING = frozenset({"order-select", "order-sign"})


def is_blank(draft: Medication) -> bool:
    """An order of which the drug has not been chosen."""
    return draft.unread == NAMES_NO_PRODUCT and not draft.label and not draft.stops


def is_blank_order(case: Case) -> bool:
    """Nothing is ordered yet: of every order that is being written the drug has not been chosen."""
    snapshot = case.snapshot
    if snapshot.hook not in _WRITING or not snapshot.drafts or not all(map(is_blank, snapshot.drafts)):
        return False
    return not _tests_ordered(case) and _all_drafts_read(case)


def is_unrelated_order(case: Case) -> bool:
    """What is ordered is neither clozapine, nor a laboratory test of its, nor anything that warns beside it: an influenza vaccine."""
    if not case.is_order_hook or case.clozapine_drafts or case.stop_drafts:
        return False
    # What nobody could read may be anything.
    if _tests_ordered(case) or not _all_drafts_read(case):
        return False
    return not any((d.unread and not is_blank(d)) or warned_of(d) for d in case.other_drafts)


def _tests_ordered(case: Case) -> bool:
    return any(order.draft for order in case.snapshot.test_orders)


def _all_drafts_read(case: Case) -> bool:
    return all(p.source != "draftOrders" for p in case.snapshot.read_problems)
