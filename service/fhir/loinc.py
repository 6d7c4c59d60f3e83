"""How systems name LOINC."""

from __future__ import annotations

from service.alerts.knowledge.code_systems import canonical
from service.alerts.knowledge.codes import LOINC


def is_loinc(system: str | None) -> bool:
    """True for LOINC, however its system is written.

    A code without a system is taken for one, too: it was found by a search for LOINC codes, and no other code looks like one.
    """
    return not system or system == LOINC or not system.strip() or canonical(system) == LOINC
