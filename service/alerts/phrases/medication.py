"""Medications in words."""

from __future__ import annotations

from collections.abc import Iterable

from service.alerts.facts.patient import Medication
from service.alerts.say.found import Fact
from service.alerts.say.sentence import recorded


def medication_evidence(medications: Iterable[Medication]) -> tuple[Fact, ...]:
    """Orders, statements and dispenses as evidence, without their days."""
    return tuple(Fact(m.ref, recorded(m.label)) for m in medications)


def drug_fact(m: Medication) -> Fact:
    """A medication as evidence, with the day it was begun."""
    return Fact(m.ref, recorded(m.label), m.start, m.start_date_only)
