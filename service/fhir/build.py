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
from service.fhir.dosage import read_dose
from service.fhir.strength import strength_in_name

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
#: Times of day (``Timing.repeat.when``) in words.
_AT = {
    "HS": "at bedtime", "NIGHT": "at night", "EVE": "in the evening", "MORN": "in the morning", "NOON": "at noon", "AFT": "in the afternoon",
}  # fmt: skip


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


def scaled_dose(order: dict[str, Any], mg_per_day: float, step_mg: float) -> dict[str, Any] | None:
    """A draft MedicationRequest with another daily dose at the same times of day; None where its dosage cannot be divided so.

    Each line keeps its share of the day as far as multiples of ``step_mg`` allow; what is left goes to the last of the largest doses,
    which is the night's where doses are equal. A line that would be left without a dose is left out.

    Args:
        order: as sent.
        mg_per_day: the new daily dose, a multiple of ``step_mg``.
        step_mg: the smallest dose its tablets give.
    """
    lines = order.get("dosageInstruction")
    if not isinstance(lines, list) or not lines:
        return None
    strength = strength_in_name(_name_of(order))
    doses = [read_dose([line], strength) for line in lines]
    if any(d.mg_per_day is None or not d.doses_per_day or d.steps or d.only_as_needed for d in doses):
        return None
    times = [round(d.doses_per_day or 0) for d in doses]
    if any(n < 1 or abs(n - (d.doses_per_day or 0)) > 1e-6 for n, d in zip(times, doses, strict=True)):
        return None
    before = [d.mg_per_day or 0.0 for d in doses]
    total = sum(before)
    if not total or total <= mg_per_day:
        return None
    units = [n * step_mg for n in times]
    after = [of_day * mg_per_day / total // unit * unit for of_day, unit in zip(before, units, strict=True)]
    left = mg_per_day - sum(after)
    for index in sorted(range(len(lines)), key=lambda i: (before[i], i), reverse=True):
        more = left // units[index] * units[index]
        after[index] += more
        left -= more
    if left > 1e-6:
        return None
    kept = [
        _with_dose(line, of_day / n, n)
        for line, of_day, n in zip(lines, after, times, strict=True)
        if of_day > 0
    ]
    return _without_amounts(order) | {"dosageInstruction": kept}


def _name_of(order: dict[str, Any]) -> str:
    concept = order.get("medicationCodeableConcept")
    if not isinstance(concept, dict):
        return ""
    displays = [c.get("display") for c in concept.get("coding") or () if isinstance(c, dict)]
    return str(next((t for t in (concept.get("text"), *displays) if t), ""))


def _with_dose(line: dict[str, Any], single: float, times: int) -> dict[str, Any]:
    """A line of the dosage with another single dose at the same times."""
    kept: dict[str, Any] = {
        key: line[key] for key in ("sequence", "timing", "route", "site", "method") if key in line
    }
    kept.setdefault("timing", {"repeat": {"frequency": times, "period": 1, "periodUnit": "d"}})
    advice = line.get("additionalInstruction")
    if isinstance(advice, list) and (plain := [a for a in advice if not _names_a_number(a)]):
        kept["additionalInstruction"] = plain
    timing = line.get("timing")
    repeat = timing.get("repeat") if isinstance(timing, dict) else None
    when = repeat.get("when") if isinstance(repeat, dict) else None
    at = [_AT[w] for w in when if w in _AT] if isinstance(when, list) else []
    words = (
        " and ".join(at)
        if at and len(at) == len(when or ())
        else _FREQUENCY.get(times, f"{times} times daily")
    )
    return kept | {"text": f"{mg(single)} {words}", "doseAndRate": [_dose_and_rate(single)]}


def _dose_and_rate(single: float) -> dict[str, Any]:
    quantity = {"value": float(number(single, 3)), "unit": "mg", "system": UCUM, "code": "mg"}
    return {"doseQuantity": quantity}


def _without_amounts(order: dict[str, Any]) -> dict[str, Any]:
    """An order without its narrative and the amount to dispense, which fitted the old dose."""
    changed = {key: value for key, value in order.items() if key != "text"}
    dispense = order.get("dispenseRequest")
    if isinstance(dispense, dict):
        rest = {key: value for key, value in dispense.items() if key not in ("quantity", "initialFill")}
        changed.pop("dispenseRequest")
        if rest:
            changed["dispenseRequest"] = rest
    return changed


def changed_dose(
    order: dict[str, Any], mg_per_day: float, doses_per_day: int, tablet_mg: float | None = None
) -> dict[str, Any]:
    """A draft MedicationRequest as sent, with only its dose replaced (a whole resource, as an ``update`` needs).

    What restates the old dose is left out: the narrative, extensions and numbered instructions of the dosage, and the amount to
    dispense, which the prescriber enters. An order for a limited time stays limited.

    With ``tablet_mg`` the product is named anew, by name and strength alone: the one of the order cannot give the dose.
    """
    changed = _without_amounts(order)
    if tablet_mg is not None:
        changed.pop("medicationReference", None)
        changed["medicationCodeableConcept"] = {"text": f"clozapine {mg(tablet_mg)} oral tablet"}
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
            "doseAndRate": [_dose_and_rate(single)],
        }
    ]
    return changed
