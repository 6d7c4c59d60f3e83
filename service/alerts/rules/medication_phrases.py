"""Medications in words."""

from __future__ import annotations

from collections.abc import Iterable

from service.alerts.facts.patient import Medication
from service.alerts.say.found import Fact
from service.alerts.say.sentence import recorded


def medication_evidence(medications: Iterable[Medication]) -> tuple[Fact, ...]:
    """Orders, statements and dispenses as evidence, without their days."""
    return tuple(Fact(m.ref, recorded(m.label)) for m in medications)
