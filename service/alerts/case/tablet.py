"""Whether the tablet of an order can give a dose, and which one can."""

from __future__ import annotations

from service.alerts.case.doses import Doses
from service.alerts.facts.patient import Medication

#: A tablet can be halved.
HALVES = 2


def other_tablet(case: Doses, draft: Medication, single_mg: float) -> float | None:
    """mg of the tablet that gives a single dose where that of the order cannot, whole or halved; None where it can, or is not known."""
    if draft.strength_mg is None or not single_mg % (draft.strength_mg / HALVES):
        return None
    # Doses offered are multiples of half the smallest tablet.
    return HALVES * case.policy.dosing.dose_step.value
