"""Statuses of medication records (R4 value sets): brought into the form the rules compare, and one that R4 does not have is no word of an end.

Codes are compared as they are written, so that ``Active`` would read as an order that is over, and ``Not-Done`` as a dose that was given.
"""

from __future__ import annotations

from service.alerts.facts.reason import because
from service.fhir.resources import (
    MedicationAdministration,
    MedicationDispense,
    MedicationRequest,
    MedicationStatement,
)

Record = MedicationRequest | MedicationStatement | MedicationDispense | MedicationAdministration
#: R4 medicationrequest-status, medication-statement-status, medicationdispense-status, medication-admin-status; ``ended`` is R5's.
_KNOWN: dict[type[Record], frozenset[str]] = {
    MedicationRequest: frozenset(
        {"active", "on-hold", "cancelled", "completed", "entered-in-error", "stopped", "draft", "unknown", "ended"}
    ),
    MedicationStatement: frozenset(
        {"active", "completed", "entered-in-error", "intended", "stopped", "on-hold", "unknown", "not-taken"}
    ),
    MedicationDispense: frozenset(
        {
            "preparation", "in-progress", "cancelled", "on-hold", "completed", "entered-in-error", "stopped", "declined", "unknown",
        }
    ),
    MedicationAdministration: frozenset(
        {"in-progress", "not-done", "on-hold", "completed", "entered-in-error", "stopped", "unknown"}
    ),
}  # fmt: skip
UNKNOWN_STATUS = because("unread.status")


def settle(record: Record) -> bool:
    """Bring the status of a record into the form of its code; False when it is none that is known.

    What says neither that it is over nor that it was a mistake may be taken: the record is read as one without a status. Of a dose
    that was charted with such a status nobody knows whether it was given.
    """
    status = record.status
    if status is None:
        return True
    known = _KNOWN[type(record)]
    if status in known:
        return True
    word = status.strip().lower()
    if word in known:
        record.status = word
        return True
    record.status = "unknown" if type(record) is MedicationAdministration else None
    return not word
