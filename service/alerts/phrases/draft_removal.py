"""The offer to take the clozapine drafts of a call away, as every rule that forbids clozapine makes it."""

from __future__ import annotations

from service.alerts.case.case import Case
from service.alerts.say import wording as w
from service.alerts.say.finding import RemoveDraft


def remove_drafts(case: Case) -> tuple[RemoveDraft, ...]:
    """Offers to remove every clozapine draft of the call."""
    if case.hook in ("medication-verify", "encounter-discharge"):
        return ()  # a signed order is the pharmacist's to refuse, not a draft to delete
    return tuple(RemoveDraft(d.ref, w.plain(d.label)) for d in case.clozapine_drafts if d.ref)
