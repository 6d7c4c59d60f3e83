"""Resources the service suggests, built and checked with fhir.resources (R4B models serve R4 content).

Building a model costs more than a whole evaluation, so each kind of resource is built and validated once; per call only the
patient, the reason and the priority are put in.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import orjson
from fhir.resources.R4B.servicerequest import ServiceRequest
from fhir.resources.R4B.task import Task

from service.alerts.knowledge.catalogue import referral, test
from service.alerts.say.wording import mg, number

UCUM = "http://unitsofmeasure.org"
LOINC = "http://loinc.org"


def _checked(model: Any, content: dict[str, Any]) -> dict[str, Any]:
    """The content as FHIR JSON, after validation. Raises ValueError when it is not valid R4."""
    checked: dict[str, Any] = orjson.loads(model.model_validate(content).model_dump_json(exclude_none=True))
    return {"resourceType": model.get_resource_type(), **checked}


@lru_cache(maxsize=256)
def _test_template(test_id: str) -> dict[str, Any]:
    wanted = test(test_id)
    code: dict[str, Any] = {"text": wanted.text or wanted.title}
    if wanted.code:
        code["coding"] = [{"system": LOINC, "code": wanted.code, "display": wanted.display}]
    return _checked(
        ServiceRequest,
        {
            "status": "draft",
            "intent": "order",
            "priority": "routine",
            "category": [{"text": "Laboratory or examination"}],
            "code": code,
            "subject": {"reference": "Patient/template"},
            "reasonCode": [{"text": "clozapine monitoring"}],
        },
    )


@lru_cache(maxsize=64)
def _referral_template(specialty: str) -> dict[str, Any]:
    return _checked(
        ServiceRequest,
        {
            "status": "draft",
            "intent": "order",
            "priority": "urgent",
            "code": {"text": referral(specialty).title},
            "subject": {"reference": "Patient/template"},
            "reasonCode": [{"text": "clozapine"}],
        },
    )


@lru_cache(maxsize=64)
def _task_template(task: str) -> dict[str, Any]:
    return _checked(
        Task,
        {
            "status": "requested",
            "intent": "proposal",
            "priority": "routine",
            "code": {"text": f"Clozapine monitoring: {task.replace('-', ' ')}"},
            "description": "clozapine monitoring",
            "for": {"reference": "Patient/template"},
        },
    )


def test_order(test_id: str, patient_id: str, priority: str, reason: str) -> dict[str, Any]:
    """A draft ServiceRequest for a test of the catalogue."""
    order = dict(_test_template(test_id))
    order["priority"] = priority
    order["subject"] = {"reference": f"Patient/{patient_id}"}
    if reason:
        order["reasonCode"] = [{"text": reason}]
    return order


def referral_order(specialty: str, patient_id: str, priority: str, reason: str) -> dict[str, Any]:
    """A draft ServiceRequest for a consultation."""
    order = dict(_referral_template(specialty))
    order["priority"] = priority
    order["subject"] = {"reference": f"Patient/{patient_id}"}
    if reason:
        order["reasonCode"] = [{"text": reason}]
    return order


def team_task(task: str, patient_id: str, reason: str) -> dict[str, Any]:
    """A Task for the monitoring team."""
    built = dict(_task_template(task))
    built["for"] = {"reference": f"Patient/{patient_id}"}
    if reason:
        built["description"] = reason
    return built


_FREQUENCY = {1: "once daily", 2: "twice daily", 3: "three times daily"}


def _names_a_number(instruction: Any) -> bool:
    """True when an additional instruction holds a number (“increase by 25 mg”), which was meant for the old dose."""
    concept = instruction if isinstance(instruction, dict) else {}
    codings = concept.get("coding")
    displays = [c.get("display") for c in codings if isinstance(c, dict)] if isinstance(codings, list) else []
    return any(char.isdigit() for name in (concept.get("text"), *displays) for char in str(name or ""))


def _bounds(instruction: dict[str, Any]) -> dict[str, Any]:
    """The time for which an instruction holds, as sent."""
    timing = instruction.get("timing")
    repeat = timing.get("repeat") if isinstance(timing, dict) else None
    found = repeat if isinstance(repeat, dict) else {}
    return {key: found[key] for key in ("boundsPeriod", "boundsDuration", "boundsRange") if key in found}


def changed_dose(order: dict[str, Any], mg_per_day: float, doses_per_day: int) -> dict[str, Any]:
    """A draft MedicationRequest as sent, with only its dose replaced (a whole resource, as an ``update`` needs).

    What restates the old dose is left out: the narrative, extensions and numbered instructions of the dosage, and the amount to
    dispense, which the prescriber enters. An order for a limited time stays limited.
    """
    changed = {key: value for key, value in order.items() if key != "text"}
    single = mg_per_day / doses_per_day
    old = order.get("dosageInstruction")
    first = old[0] if isinstance(old, list) and old and isinstance(old[0], dict) else {}
    kept = {key: first[key] for key in ("route", "site", "method") if key in first}
    advice = first.get("additionalInstruction")
    if isinstance(advice, list) and (plain := [a for a in advice if not _names_a_number(a)]):
        kept["additionalInstruction"] = plain
    repeat: dict[str, Any] = {"frequency": doses_per_day, "period": 1, "periodUnit": "d"}
    if isinstance(old, list) and len(old) == 1:
        repeat = _bounds(first) | repeat
    changed["dosageInstruction"] = [
        {
            **kept,
            "text": f"{mg(single)} {_FREQUENCY.get(doses_per_day, f'{doses_per_day} times daily')}",
            "timing": {"repeat": repeat},
            "doseAndRate": [
                {
                    "doseQuantity": {
                        "value": float(number(single, 3)),
                        "unit": "mg",
                        "system": UCUM,
                        "code": "mg",
                    }
                }
            ],
        }
    ]
    dispense = order.get("dispenseRequest")
    if isinstance(dispense, dict):
        rest = {key: value for key, value in dispense.items() if key not in ("quantity", "initialFill")}
        changed.pop("dispenseRequest")
        if rest:
            changed["dispenseRequest"] = rest
    return changed
