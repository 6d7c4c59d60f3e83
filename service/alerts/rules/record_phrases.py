"""Text of the record: the label of a medication, a reason."""

from __future__ import annotations

from service.alerts.facts.patient import Medication
from service.alerts.say.found import Fact
from service.alerts.say.sentence import Record, recorded
from service.alerts.say.wording import REASON_LIMIT


def drug_fact(m: Medication) -> Fact:
    """A medication as evidence, from its start on."""
    return Fact(m.ref, recorded(m.label), m.start, m.start_date_only)


def why_unusable(reason: str) -> Record:
    """Why a result cannot be used: it may quote a unit as written and as coded, or the values it was found by."""
    return Record(reason, REASON_LIMIT, REASON_LIMIT)
