"""What a charted dose (MedicationAdministration) came to."""

from __future__ import annotations

from typing import Any

from service.fhir.dosage import amount_mg
from service.fhir.dosage_text import read_text
from service.fhir.resources import MedicationAdministration
from service.fhir.sig import sig_of
from service.fhir.strength import Strength


def _get(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


def nothing_given(a: MedicationAdministration) -> bool:
    """A dose charted as zero: withheld."""
    return any(_get(_get(line, "dose"), "value") == 0 for line in sig_of(a.dosage).lines)


def given_mg(a: MedicationAdministration, strength: Strength) -> float | None:
    """mg of the dose that was charted, as a quantity or, without one, in words; None when it cannot be read."""
    lines = sig_of(a.dosage).lines
    if len(lines) != 1:
        return None
    (line,) = lines
    quantity, text = _get(line, "dose"), _get(line, "text")
    if quantity is None and isinstance(text, str) and text.strip():
        return _written_mg(text, strength)
    return amount_mg(quantity, strength)


def _written_mg(text: str, strength: Strength) -> float | None:
    """mg of one dose in words. Charts write “25 mg”, and orders say how often, too: of one dose the amount counts, however often it is given."""
    for words in (text, f"{text} daily"):
        written = read_text(words, strength)
        if not written.unreadable and len(written.doses) == 1:
            return written.doses[0].mg
    return None
