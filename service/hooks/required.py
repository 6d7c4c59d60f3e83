"""The least that must have been read for a call to be answered (cds-hooks checklist P5, clinical.md 3.6)."""

from __future__ import annotations

from collections.abc import Sequence

from cds_hooks import PreconditionFailed
from service.alerts.case.beside import warned_of
from service.alerts.facts.patient import ORDER_HOOKS, Medication, PatientSnapshot
from service.alerts.say.finding import Finding
from service.fhir.gather import Gathered
from service.fhir.queries import QUERIES

#: Without any of these a call cannot be answered; the patient resource alone does not help. What matters most is named first.
_CLINICAL = ("counts", *(key for key in QUERIES if key not in ("patient", "counts")))

#: Without both of them nobody can tell at a visit whether clozapine is taken, nor whether it would matter.
_GROUNDS = ("counts", "medications")


def require_data(gathered: Gathered, snapshot: PatientSnapshot) -> None:
    """Refuse a call that may concern clozapine and for which nothing at all could be read. Raises PreconditionFailed (412)."""
    if snapshot.remembered or any(gathered.state(key) != "unavailable" for key in _CLINICAL):
        return
    if snapshot.hook in ORDER_HOOKS and not any(_may_concern_clozapine(d) for d in snapshot.drafts):
        return
    raise PreconditionFailed(
        _CLINICAL,
        "Nothing could be read for the clozapine check: send the prefetch keys counts and medications (and the others of "
        "the discovery document), or a fhirServer that this service is allowed to read. Nothing was checked.",
    )


def require_grounds(gathered: Gathered, snapshot: PatientSnapshot, findings: Sequence[Finding]) -> None:
    """Refuse to say nothing at a visit where neither orders nor counts could be read. Raises PreconditionFailed (412).

    Nothing hints at clozapine then, so it is not worth a card on every chart while an EHR is slow; but an empty answer would say
    that there is nothing to say, and nobody would count it.
    """
    if findings or snapshot.remembered or snapshot.hook in ORDER_HOOKS:
        return
    if any(gathered.state(key) != "unavailable" for key in _GROUNDS):
        return
    raise PreconditionFailed(
        _GROUNDS,
        "Neither blood counts nor medication orders could be read: send the prefetch keys counts and medications, or a "
        "fhirServer that this service is allowed to read and that answers in time. Nothing was checked.",
    )


def _may_concern_clozapine(draft: Medication) -> bool:
    return "clozapine" in draft.drugs or bool(warned_of(draft))
