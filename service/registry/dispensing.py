"""May clozapine be handed out to a registered patient now: the answer of the clinical core, as it is sent."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from msgspec.structs import replace
from sqlalchemy import Connection

from service.alerts.case import remembered
from service.alerts.dispensing import NEEDED, Answer, dispensing
from service.alerts.say.cited import cited
from service.alerts.say.language import english
from service.alerts.say.sentence import Sentence, sentence
from service.options.site import Site
from service.options.weighed import Weighed
from service.registry import roster


def answer_of(connection: Connection, site: Site, patient_id: str, now: datetime) -> dict[str, Any]:
    """The answer for a patient, from what the registry keeps of the record. Raises NotRegistered."""
    row = roster.find(connection, site.name, patient_id)
    known: dict[str, Any] = {
        "patient_id": patient_id,
        "site": site.name,
        "policy": site.policy.id,
        "worked_out_at": now,
        "record_read_at": None,
    }
    try:
        facts = remembered.load(row.facts)
    except msgspec.ValidationError:
        return known | _NOTHING | {"verdict": "cannot-say", "says": _text(sentence("dispensing.unreadable"))}
    read_at = roster.read_wholly(row, facts, NEEDED)
    flags = roster.flags_of(connection, [row.id]).get(row.id, ())
    asked = Weighed(replace(facts, hook="sweep", flags=flags, zone=site.zone), site, now)
    return known | {"record_read_at": read_at} | _told(dispensing(asked.case, asked.findings, read_at))


#: What an answer holds, where there is nothing to say of it.
_NOTHING: dict[str, Any] = {
    "days": None,
    "until": None,
    "next_due": None,
    "counts": [],
    "arithmetic": None,
    "at_home": None,
    "reasons": [],
    "unconfirmed": [],
    "holds": None,
    "source": None,
}


def _told(answer: Answer) -> dict[str, Any]:
    return {
        "verdict": answer.verdict,
        "says": _text(answer.says),
        "days": answer.days,
        "until": answer.until,
        "next_due": answer.next_due,
        "counts": [
            {
                "kind": m.kind,
                "value": m.value,
                "unit": "cells/µL",
                "at": m.at,
                "reference": m.ref,
                "asSent": english().reason(m.shown) if m.shown else m.raw,
            }
            for m in answer.counts
        ],
        "arithmetic": _or_none(answer.arithmetic),
        "at_home": _or_none(answer.at_home),
        "reasons": [_text(line) for line in answer.reasons],
        "unconfirmed": [_text(line) for line in answer.unconfirmed],
        "holds": _text(answer.holds),
        "source": _text(cited(answer.citation)),
    }


def _text(said: Sentence) -> str:
    return english().plain(said)


def _or_none(said: Sentence | None) -> str | None:
    return None if said is None else _text(said)
