"""Doses, their orders and the time since the last one in words, as the rules about doses share them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from service.alerts.case.case import Case
from service.alerts.case.witness import Basis
from service.alerts.facts.patient import FROM_THE_TEXT, Medication
from service.alerts.policy.parts.breaks import MissedDoseTier
from service.alerts.say.found import Fact
from service.alerts.say.sentence import Day, Moment, Param, Record, Sentence, Why, quoted, sentence

#: What a last dose is known by.
_BY: dict[Basis, str] = {
    "administration": "last-dose.by-administration",
    "withheld": "last-dose.by-withheld",
    "statement": "last-dose.by-statement",
    "stop": "last-dose.by-stop",
    "supply": "last-dose.by-supply",
    "update": "last-dose.by-update",
    "rhythm": "last-dose.by-rhythm",
    "": "last-dose.by-record",
}
#: Last doses that nobody saw or stated (``witness.ESTIMATED``): that a time since then is estimated.
_ESTIMATED: dict[Basis, str] = {
    "supply": "gap.estimated-from-supply",
    "update": "gap.estimated-from-update",
    "rhythm": "gap.estimated-from-rhythm",
}


def moment_of(case: Case, at: datetime, date_only: bool = False) -> Param:
    """A time in the site's time zone; the day alone when only that is known."""
    return Day(case.snapshot.day(at)) if date_only else Moment(at.astimezone(case.snapshot.zone))


def known_by(basis: Basis) -> Sentence:
    """What a last dose is known by: ``administration record``."""
    return sentence(_BY[basis])


def estimated(gap: Param, basis: Basis) -> Param:
    """A length of time since a last dose, with the word that it is estimated where nobody saw or stated that dose."""
    return sentence(_ESTIMATED[basis], gap=gap) if basis in _ESTIMATED else gap


def order_fact(m: Medication) -> Fact:
    """An order by its drug."""
    return Fact(m.ref, sentence("dose.order", order=Record(m.label)))


def dose_fact(m: Medication) -> Fact:
    """An order with its dose as it is written."""
    if m.dose is None or not m.dose.text:
        return Fact(m.ref, sentence("dose.order-unwritten", order=Record(m.label)))
    return Fact(m.ref, sentence("dose.order-written", order=Record(m.label), dose=Record(m.dose.text)))


def how_read(drafts: Iterable[Medication]) -> tuple[Sentence, ...]:
    """What was assumed while the doses were read, a line per assumption: the days without a dose, the two ways it is written."""
    notes = (note for d in drafts if d.dose is not None for note in d.dose.notes if note != FROM_THE_TEXT)
    return tuple(sentence("dose.read-so", how=Why(note)) for note in dict.fromkeys(notes))


def tier_says(case: Case, tier: MissedDoseTier) -> Sentence:
    """What the policy says of a gap that calls for a restart dose."""
    return quoted("policy", f"{case.policy.id}/missed_dose.{tier.name}.says", tier.says)


def missed_dose_says(case: Case) -> Sentence:
    """What the policy says of missed doses altogether."""
    return quoted("policy", f"{case.policy.id}/missed_dose_says", case.policy.missed_dose_says)
