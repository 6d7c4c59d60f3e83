"""The daily dose of an order, read as the service reads it (clinical.md 3.5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from msgspec import Raw, Struct

from service.alerts.facts.record_text import NAME, to_read
from service.alerts.say.language import english
from service.fhir.sig import dose_of
from service.fhir.strength import strength_in_name
from service.judge.errors import JudgeError
from service.judge.turn import TURN


class DoseRead(Struct, frozen=True):
    """What dosage instructions come to.

    Args:
        mg_per_day: the most that is given on any one day; None when it cannot be read.
        reason: why it cannot be read; empty when it can.
        notes: what was assumed while reading ("strength from the product name"), and where text and fields contradict each other.
    """

    mg_per_day: float | None
    reason: str = ""
    notes: tuple[str, ...] = ()


def read_dose(
    dosage_instructions: Sequence[Mapping[str, Any]] | Mapping[str, Any] | str | None,
    product_name: str = "",
) -> DoseRead:
    """The daily dose of an order that is being placed.

    Args:
        dosage_instructions: ``MedicationRequest.dosageInstruction`` as decoded from JSON, one of its members, or a written instruction.
        product_name: as on the order; a dose in tablets or mL is counted by the strength it names.

    Where text and fields contradict each other, the higher dose counts. Raises JudgeError for what is not JSON.
    """
    lines: object = dosage_instructions
    if isinstance(lines, str):
        lines = [{"text": lines}]
    elif isinstance(lines, Mapping):
        lines = [dict(lines)]
    elif isinstance(lines, Sequence):
        lines = [dict(line) if isinstance(line, Mapping) else line for line in lines]
    try:
        raw = orjson.dumps(lines)
    except TypeError as error:
        raise JudgeError(f"the dosage instructions hold what is not JSON ({error})") from None
    name = to_read(product_name, NAME) or ""
    with TURN:
        dose = dose_of(Raw(raw if lines else b""), strength_in_name(name), draft=True)
    notes = (*dose.notes, *((dose.two_ways,) if dose.two_ways else ()))
    words = english()
    return DoseRead(dose.mg_per_day, words.reason(dose.unreadable), tuple(map(words.reason, notes)))
