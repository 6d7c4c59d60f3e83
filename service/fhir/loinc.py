"""How systems name LOINC."""

from __future__ import annotations

from service.alerts.knowledge.codes import LOINC

LOINC_SYSTEMS = frozenset({LOINC, "urn:oid:2.16.840.1.113883.6.1"})
#: What some systems write in its place, in lower case and without a slash at the end; a code without a system was found by
#: a search for LOINC codes, and no other code looks like one.
_AS_LOINC = frozenset({"", "http://loinc.org", "https://loinc.org", "http://www.loinc.org", "loinc", "ln"})


def is_loinc(system: str | None) -> bool:
    """True for LOINC, however its system is written."""
    return system in LOINC_SYSTEMS or (system or "").strip().lower().rstrip("/") in _AS_LOINC
