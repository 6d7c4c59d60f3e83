"""The least that must have been read for a call to be answered (cds-hooks checklist P5, clinical.md 3.6)."""

from __future__ import annotations

from cds_hooks import PreconditionFailed
from service.alerts.beside import warned_of
from service.alerts.facts import Medication, PatientSnapshot
from service.alerts.treatment import ORDER_HOOKS
from service.fhir.gather import Gathered
from service.fhir.queries import QUERIES

#: Without any of these a call cannot be answered; the patient resource alone does not help. What matters most is named first.
_CLINICAL = ("counts", *(key for key in QUERIES if key not in ("patient", "counts")))


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


def _may_concern_clozapine(draft: Medication) -> bool:
    return "clozapine" in draft.drugs or bool(warned_of(draft))
