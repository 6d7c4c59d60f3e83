"""Allergies and intolerances to clozapine on record."""

from __future__ import annotations

from service.alerts.case.case import Case
from service.alerts.facts.patient import CLOZAPINE, Allergy

_NEVER_TRUE = frozenset({"refuted", "entered-in-error"})
_OVER = frozenset({"inactive", "resolved"})


def clozapine_allergies(case: Case) -> tuple[Allergy, ...]:
    """Allergies and intolerances to clozapine that are neither over nor refuted."""
    return tuple(
        a
        for a in case.snapshot.allergies
        if CLOZAPINE in a.drugs and a.verification not in _NEVER_TRUE and a.clinical_status not in _OVER
    )
