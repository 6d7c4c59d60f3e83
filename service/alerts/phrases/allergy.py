"""The allergy list in words."""

from __future__ import annotations

from collections.abc import Iterable

from service.alerts.facts.patient import Allergy
from service.alerts.say.found import Fact
from service.alerts.say.sentence import Param, Record, Sentence, recorded, sentence


def allergy_line(a: Allergy) -> Sentence:
    """An allergy as a fact for the card, by its name alone."""
    return sentence("allergy.line", allergy=Record(a.label))


def allergy_told(a: Allergy) -> Sentence:
    """An allergy with the reaction and how sure it is."""
    said: dict[str, Param] = {"allergy": Record(a.label)}
    reaction = verified = ""
    if a.reaction:
        said["reaction"], reaction = Record(a.reaction), "-reaction"
    if a.verification:
        said["verification"], verified = Record(a.verification), "-verified"
    return Sentence(f"allergy.line{reaction}{verified}", said)


def allergy_evidence(allergies: Iterable[Allergy]) -> tuple[Fact, ...]:
    """Allergies as evidence."""
    return tuple(Fact(a.ref, recorded(a.label)) for a in allergies)
