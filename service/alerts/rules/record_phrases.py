"""What the record names by itself, as evidence: an order, an allergy, an answer."""

from __future__ import annotations

from collections.abc import Iterable

from service.alerts.facts.patient import Allergy, CodedResult, Medication
from service.alerts.say.found import Fact
from service.alerts.say.sentence import Record, sentence


def medication_evidence(medications: Iterable[Medication]) -> tuple[Fact, ...]:
    """Orders, statements and dispenses as evidence, without their days."""
    return tuple(Fact(m.ref, sentence("record.text", text=Record(m.label))) for m in medications)


def allergy_evidence(allergies: Iterable[Allergy]) -> tuple[Fact, ...]:
    """Allergies as evidence."""
    return tuple(Fact(a.ref, sentence("record.text", text=Record(a.label))) for a in allergies)


def answer_evidence(answer: CodedResult) -> Fact:
    """A coded answer with its day as evidence."""
    return Fact(answer.ref, sentence("record.text", text=Record(answer.raw)), answer.at, answer.date_only)
