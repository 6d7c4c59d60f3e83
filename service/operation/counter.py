"""What is handed over at the counter, as the order that it is: a dispense says how much is given, its prescription how it is taken."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Any

from msgspec import Struct

from service.fhir.references import read_reference

Json = dict[str, Any]
#: R4 id.
_LONGEST_ID = 64


class AtTheCounter(Struct, frozen=True):
    """The order to be judged, the name under which the rules know it, and the prescription of the record that it stands for."""

    order: Json
    name: str
    prescription: str = ""


def at_the_counter(dispense: Json, prescriptions: Mapping[str, Json]) -> AtTheCounter:
    """A MedicationDispense as the order in question.

    Args:
        dispense: as it was sent.
        prescriptions: ``MedicationRequest/id`` -> the prescriptions beside it.

    The prescription that it fills, when it was sent, is what is asked about: with the amount, the instruction and the product of the
    dispense, where that has them. Left in the record it would count as an earlier order.
    """
    filled = _filled(dispense, prescriptions)
    order = dict(prescriptions[filled]) if filled else _order(dispense, prescriptions)
    medication = {key: value for key, value in dispense.items() if key.startswith("medication") and value}
    if medication:
        order = {key: value for key, value in order.items() if not key.startswith("medication")} | medication
    if contained := [*_listed(order.get("contained")), *_listed(dispense.get("contained"))]:
        order["contained"] = contained
    if dispense.get("dosageInstruction"):
        order["dosageInstruction"] = dispense["dosageInstruction"]
    supply = order.get("dispenseRequest")
    given = {
        "quantity": dispense.get("quantity"),
        "expectedSupplyDuration": dispense.get("daysSupply"),
    }
    supplied = (supply if isinstance(supply, dict) else {}) | {k: v for k, v in given.items() if v}
    if given["quantity"] and not given["expectedSupplyDuration"]:
        supplied.pop(
            "expectedSupplyDuration", None
        )  # the prescription's own length is not that of a part fill
    if supplied:
        order["dispenseRequest"] = supplied
    return AtTheCounter(order, f"MedicationRequest/{order.get('id')}", filled)


def _filled(dispense: Json, prescriptions: Mapping[str, Json]) -> str:
    """The one prescription beside it that a dispense names; empty for none."""
    named = (
        read_reference(r.get("reference") if isinstance(r, dict) and isinstance(r.get("reference"), str) else None).local
        for r in _listed(dispense.get("authorizingPrescription"))
    )  # fmt: skip
    return next((name for name in named if name in prescriptions), "")


def _order(dispense: Json, prescriptions: Mapping[str, Json]) -> Json:
    own = dispense.get("id")
    name = own if isinstance(own, str) and own else "counter"
    if f"MedicationRequest/{name}" in prescriptions:
        taken = (f"{name[: _LONGEST_ID - len(str(n)) - 1]}-{n}" for n in count(1))
        name = next(free for free in taken if f"MedicationRequest/{free}" not in prescriptions)
    order: Json = {"resourceType": "MedicationRequest", "id": name, "status": "active", "intent": "order"}
    if "subject" in dispense:
        order["subject"] = dispense["subject"]
    if dispense.get("status") == "entered-in-error":
        order["status"] = "entered-in-error"
    when = dispense.get("whenPrepared") or dispense.get("whenHandedOver")
    if isinstance(when, str):
        order["authoredOn"] = when
    return order


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
