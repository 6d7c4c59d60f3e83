"""Free text beside the dose of an order – notes, advice to patients, additional instructions –: whether it may say that the dose is another one, or none."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Any

import msgspec
from msgspec import Raw

from service.alerts.facts.reason import because

#: Why an order with such a text is not known in full. The text itself may hold anything and is not repeated.
SPEAKS_OF_THE_DOSE = because("unread.speaks-of-the-dose")
#: Characters that are looked through.
_LOOKED_AT = 4000
_anything = msgspec.json.Decoder()
#: Words of a stop; what stops something else, or is to be done only if something happens, is no stop of today.
_STOPS = re.compile(
    r"\b(?:stop(?:ped|pen|pez|pt)?|(?:with)?h(?:old|eld)|on hold|discontinu\w*|cease[ds]?|omit(?:ted)?|paus(?:e|ed|iert|ieren)|suspend\w*|"
    r"do not (?:give|take|administer|use)|don'?t (?:give|take)|not to be (?:given|taken)|abgesetzt|absetzen|nicht (?:geben|nehmen|einnehmen)|"
    r"arr[êe]t(?:er|é|ée)?|ne pas (?:donner|prendre)|niet (?:geven|innemen)|gestopt|suspender|no dar|no tomar|sospendere|sospeso)\b"
    r"(?!\s+(?:smoking|date|rauchen|fumer|roken))(?![^.;\n]{0,60}\b(?:if|when|unless|in case|wenn|falls|bei|si|indien|als|bij|se)\b)",
    re.IGNORECASE,
)
_CHANGES = re.compile(
    r"\b(?:increas|titrat|taper|reduc|decreas|escalat|wean|doubl|halv|chang(?:e|ed) (?:to|dose)|steiger|erhöh|aufdos|reduz|ausschleich|augment|diminu|aument|"
    r"opbouw|verhog|verlaag|afbouw)",
    re.IGNORECASE,
)
_AMOUNTS = re.compile(r"(?<!\d)(\d++(?:[.,]\d++)?)\s*+mg\b", re.IGNORECASE)


def texts_of(notes: Raw) -> list[str]:
    """The texts of an element ``note`` (a list of Annotation)."""
    try:
        sent = _anything.decode(notes) if len(notes) else []
    except (msgspec.DecodeError, RecursionError):
        return []
    found = sent if isinstance(sent, list) else [sent]
    return [n["text"] for n in found if isinstance(n, dict) and isinstance(n.get("text"), str)]


def advice_of(lines: Iterable[Any]) -> list[str]:
    """What dosage instructions say beside their text: ``patientInstruction`` and ``additionalInstruction``."""
    found: list[str] = []
    for line in lines:
        if not isinstance(line, dict):
            continue
        if isinstance(line.get("patientInstruction"), str):
            found.append(line["patientInstruction"])
        advice = line.get("additionalInstruction")
        for concept in advice if isinstance(advice, list) else [advice]:
            if isinstance(concept, dict):
                codings = concept.get("coding")
                shown = (
                    [c.get("display") for c in codings if isinstance(c, dict)]
                    if isinstance(codings, list)
                    else []
                )
                found += [t for t in (concept.get("text"), *shown) if isinstance(t, str)]
    return found


def amounts_of(lines: Iterable[Any]) -> set[float]:
    """Amounts of single doses, mg, in the fields and the text of dosage instructions."""
    found: set[float] = set()
    for line in lines:
        if not isinstance(line, dict):
            continue
        if isinstance(line.get("text"), str):
            found |= set(_mg_in(line["text"]))
        doses = line.get("doseAndRate")
        for dose in doses if isinstance(doses, list) else ():
            quantity = dose.get("doseQuantity") if isinstance(dose, dict) else None
            if not isinstance(quantity, dict) or quantity.get("code", quantity.get("unit", "mg")) != "mg":
                continue  # two tablets are not 2 mg
            if isinstance(quantity.get("value"), int | float):
                found.add(float(quantity["value"]))
    return found


def _mg_in(text: str) -> list[float]:
    return [float(amount.replace(",", ".")) for amount in _AMOUNTS.findall(text[:_LOOKED_AT])]


def speaks_of_a_stop(text: str) -> bool:
    """Whether a text says that the drug is not to be taken."""
    return _STOPS.search(text[:_LOOKED_AT]) is not None


def speaks_of_another_dose(text: str, known_mg: Collection[float]) -> bool:
    """Whether a text names a change of the dose, or an amount that the order does not have (mg)."""
    return _CHANGES.search(text[:_LOOKED_AT]) is not None or any(mg not in known_mg for mg in _mg_in(text))
