"""How a laboratory flags a result (``Observation.interpretation``): read where no range is sent that the result could be judged by."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from service.alerts.facts.record_text import VALUE, to_read
from service.fhir.resources import CodeableConcept

#: Codes of HL7's ObservationInterpretation and of table 0078, and words -> what they come to. “Abnormal” of a result that harms only
#: when it is high is high.
_FLAGS = {
    "H": "H", "HU": "HH", "HH": "HH", ">": "H", "A": "H", "AA": "HH", "L": "L", "LL": "LL", "LU": "LL", "POS": "POS",
    "HIGH": "H", "ABOVE HIGH NORMAL": "H", "ABNORMAL": "H", "CRITICAL HIGH": "HH", "CRITICALLY HIGH": "HH", "SIGNIFICANTLY HIGH": "HH",
    "ABOVE UPPER PANIC LIMITS": "HH", "CRITICAL ABNORMAL": "HH", "LOW": "L", "CRITICAL LOW": "LL", "CRITICALLY LOW": "LL",
    "POSITIVE": "POS",
}  # fmt: skip
#: The more urgent one of several counts.
_RANK = ("HH", "LL", "H", "L", "POS")
#: Words of a result that has no number.
_POSITIVE = frozenset({"positive", "pos", "detected", "elevated", "high", "abnormal"})
_POSITIVE_CODES = frozenset({"10828004", "260373001", "LA6576-8", "LA11882-0", "POS"})
_list = msgspec.json.Decoder(list[CodeableConcept] | CodeableConcept)


def flag_of(raw: Raw) -> str:
    """``HH``, ``H``, ``LL``, ``L``, ``POS``, or nothing."""
    if not len(raw):
        return ""
    try:
        sent = _list.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return ""
    found: set[str] = set()
    for concept in sent if isinstance(sent, list) else [sent]:  # one concept alone: STU3
        said = [concept.text]
        for coding in concept.coding or ():
            said += [coding.code, coding.display]
        for text in said:
            known = _FLAGS.get((to_read(text, VALUE) or "").strip().upper()) if text else None
            if known is not None:
                found.add(known)
    return next((flag for flag in _RANK if flag in found), "")


def is_positive(concept: CodeableConcept | None, text: str | None) -> bool:
    """True for a result without a number that says that it is positive."""
    codings = (concept.coding or ()) if concept is not None else ()
    if any(c.code in _POSITIVE_CODES for c in codings):
        return True
    sent = [text, concept.text if concept is not None else None, *(c.display for c in codings)]
    return any((to_read(t, VALUE) or "").strip().lower().rstrip(" .") in _POSITIVE for t in sent if t)
