"""Whether the tablet of an order can give a dose, and which one can."""

from __future__ import annotations

from service.alerts.case.doses import Doses
from service.alerts.facts.patient import Medication

#: A tablet can be halved.
HALVES = 2


def gives(tablet_mg: float | None, single_mg: float) -> bool:
    """Whether a tablet, whole or halved, gives a single dose; one that nobody knows may."""
    return tablet_mg is None or not single_mg % (tablet_mg / HALVES)


def other_tablet(case: Doses, draft: Medication, single_mg: float) -> float | None:
    """mg of the tablet that gives a single dose where that of the order cannot, whole or halved; None where it can, or is not known."""
    if gives(draft.strength_mg, single_mg):
        return None
    # Doses offered are multiples of half the smallest tablet.
    return HALVES * case.policy.dosing.dose_step.value
