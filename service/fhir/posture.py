"""In which position a blood pressure was taken."""

from __future__ import annotations

import re

import msgspec
from msgspec import Struct

from service.alerts.facts.record_text import NAME, to_read
from service.alerts.knowledge.codes import posture
from service.fhir.resources import CodeableConcept, Observation

_BODY_POSITION = "http://hl7.org/fhir/StructureDefinition/observation-bodyPosition"
#: Beginnings of words that tell the body position (SNOMED CT displays and plain text); "position" holds "sit", too.
_POSTURES = {
    "stand": "standing",
    "orthostatic": "standing",
    "sit": "sitting",
    "supine": "lying",
    "lying": "lying",
    "recumbent": "lying",
}
_POSTURE_WORD = re.compile(rf"\b({'|'.join(_POSTURES)})", re.IGNORECASE)


class _Extension(Struct):
    url: str = ""
    valueCodeableConcept: CodeableConcept | None = None


_extension_list = msgspec.json.Decoder(list[_Extension])


def posture_of(o: Observation, code: CodeableConcept | None) -> str:
    """In which position a blood pressure was taken: by its code, else by the bodyPosition extension."""
    for coding in (code.coding or ()) if code is not None else ():
        if coding.code and (said := posture(coding.code)):
            return said
    try:
        extensions = _extension_list.decode(o.extension) if len(o.extension) else []
    except (msgspec.DecodeError, RecursionError):
        return ""
    position = next((e.valueCodeableConcept for e in extensions if e.url == _BODY_POSITION), None)
    if position is None:
        return ""
    for coding in position.coding or ():
        if coding.code and (known := posture(coding.code)):
            return known
    for words in (position.text, *(c.display for c in position.coding or ())):
        if words and (text := to_read(words, NAME)) and (found := _POSTURE_WORD.search(text)):
            return _POSTURES[found.group(1).lower()]
    return ""
