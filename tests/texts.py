"""Every text of a real-shaped call, one by one: where it stands, and the call with another text in its place."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.data import (
    KEYS,
    LOINC,
    PATIENT,
    RXNORM,
    ago,
    anc,
    baseline_labs,
    bundle,
    call,
    clozapine,
    day_ago,
    normal_vitals,
    observation,
    on_clozapine,
    order,
    prefetch,
)

Json = dict[str, Any]
Place = tuple[str | int, ...]
EXAMPLES = sorted(
    path
    for path in (Path(__file__).parents[1] / "examples").glob("*/request.json")
    if '"hookInstance"' in path.read_text()
)


def places(node: Any, here: Place = ()) -> Iterator[Place]:
    """Where the texts of a document stand."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from places(value, (*here, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from places(value, (*here, index))
    elif isinstance(node, str):
        yield here


def put(body: Json, place: Place, text: str) -> Json:
    """A copy of a document with another text at one place."""
    changed = copy.deepcopy(body)
    node: Any = changed
    for step in place[:-1]:
        node = node[step]
    node[place[-1]] = text
    return changed


def element(body: Json, place: Place) -> str:
    """What stands at a place, whichever record it is in: ``Observation.valueQuantity.unit``."""
    node: Any = body
    names: list[str] = []
    for step in place:
        if isinstance(node, dict) and node.get("resourceType", "Bundle") != "Bundle":
            names = [node["resourceType"]] if not names or names[0][:1].islower() else names
        if not isinstance(step, int):
            names.append(step)
        node = node[step]
    return ".".join(names)


def _about(resource_type: str, id: str, **more: Any) -> Json:
    subject = "patient" if resource_type == "AllergyIntolerance" else "subject"
    return {"resourceType": resource_type, "id": id, subject: {"reference": f"Patient/{PATIENT}"}} | more


def full_call(hook: str = "order-sign") -> Json:
    """A call whose record holds every element that this service reads as text, each where it reaches a card."""
    product = {
        "text": "clozapine 100 mg tablet",
        "coding": [{"system": "urn:local", "code": "c", "display": "clozapine 100 mg"}],
    }
    written = [{"text": "100 mg at night", "route": {"text": "oral", "coding": [{"display": "Oral route"}]}}]
    panel = observation("57021-8", None, None, 9, id="panel", status="final")
    panel["component"] = [
        {
            "code": {"coding": [{"system": LOINC, "code": code}]},
            "valueQuantity": {"value": value, "unit": unit},
        }
        for code, value, unit in (("6690-2", 5.0, "10*3/uL"), ("770-8", 50, "%"))
    ]
    panel["contained"] = [observation("777-3", 250, "10*3/uL", 9, id="inside")]
    standing = observation("8480-6", 118, "mm[Hg]", 2, id="standing")
    standing["extension"] = [
        {
            "url": "http://hl7.org/fhir/StructureDefinition/observation-bodyPosition",
            "valueCodeableConcept": {"text": "Standing", "coding": [{"display": "Standing position"}]},
        }
    ]
    labs = baseline_labs()
    labs["entry"] += [
        {"resource": resource}
        for resource in (
            observation(
                "89579-7",
                44,
                "ng/L",
                3,
                id="troponin-2",
                referenceRange=[{"text": "0-14 ng/L", "type": {"text": "normal"}}],
            ),
            observation("1742-6", 21, "zz", 2, id="alt-2"),
            observation("8636-3", None, None, 2, id="qtc-2", valueString="512 ms"),
        )
    ]
    vitals = normal_vitals()
    vitals["entry"].append({"resource": standing})
    stopped = order("fluvoxamine 50 mg", id="old", status="stopped", authoredOn=day_ago(90))
    stopped["statusReason"] = {"text": "did not help", "coding": [{"display": "Lack of effect"}]}
    by_reference = order("x", id="ref", status="active", authoredOn=day_ago(60))
    del by_reference["medicationCodeableConcept"]
    by_reference["medicationReference"] = {"reference": "Medication/m1", "display": "ciprofloxacin 500 mg"}
    content = prefetch(
        medications=bundle(
            on_clozapine(),
            stopped,
            by_reference,
            order("some local remedy", id="local", status="active", authoredOn=day_ago(20)),
            {
                "resourceType": "Medication",
                "id": "m1",
                "code": {"text": "ciprofloxacin 500 mg"},
                "form": {"text": "tablet", "coding": [{"display": "Tablet"}]},
                "ingredient": [{"itemCodeableConcept": {"text": "ciprofloxacin"}}],
            },
        ),
        statements=bundle(
            _about("MedicationStatement", "s1", status="active", medicationCodeableConcept=product, effectivePeriod={"start": day_ago(400)}, dosage=written, dateAsserted=day_ago(3))
        ),
        dispenses=bundle(
            _about("MedicationDispense", "d1", status="completed", medicationCodeableConcept=product, whenHandedOver=ago(20), daysSupply={"value": 28, "unit": "d"}, dosageInstruction=written)
        ),
        administrations=bundle(
            _about("MedicationAdministration", "a1", status="completed", medicationCodeableConcept=product, effectiveDateTime=ago(25), dosage={"text": "given", "dose": {"value": 100, "unit": "mg"}})
        ),
        counts=bundle(
            panel,
            anc(1.2, 3),
            observation("751-8", None, None, 2, id="text-count", valueString="1.1 x10^3/uL"),
            anc(1.1, 1, "furlongs", id="odd-unit"),
            observation("751-8", None, None, 0.5, id="word", valueCodeableConcept={"text": "clotted"}),
        ),
        labs=labs,
        vitals=vitals,
        conditions=bundle(
            *(
                _about("Condition", f"c{n}", code={"text": text, "coding": [{"system": "urn:local", "code": "x", "display": text}]}, recordedDate=day_ago(5), clinicalStatus={"text": "active"}, verificationStatus={"text": "perhaps"})
                for n, text in enumerate(("myocarditis", "ileus", "seizure disorder", "benign ethnic neutropenia", "influenza", "paralytic ileus"))
            )
        ),
        allergies=bundle(
            _about("AllergyIntolerance", "al", code={"text": "clozapine"}, verificationStatus={"text": "perhaps"}, reaction=[{"substance": {"text": "Clozaril"}, "description": "rash", "manifestation": [{"text": "hives"}]}])
        ),
        smoking=bundle(
            observation("72166-2", None, None, 40, id="sm1", valueCodeableConcept={"text": "Current smoker", "coding": [{"display": "Smokes"}]}),
            observation("72166-2", None, None, 4, id="sm2", valueString="Former smoker"),
        ),
    )  # fmt: skip
    assert set(content) == set(KEYS)
    draft = clozapine(300, basedOn=[{"reference": "MedicationRequest/older"}])
    draft["dosageInstruction"] = [{"text": "300 mg at night"}]
    cipro = order("ciprofloxacin 500 mg", "309309", id="cip")
    test = _about(
        "ServiceRequest", "t1", status="draft", intent="order", code={"text": "CBC with differential"}
    )
    unknown = order("a remedy nobody knows", id="unknown")
    unknown["medicationCodeableConcept"]["coding"] = [{"system": RXNORM, "code": "0", "display": "remedy"}]
    return call(hook, content, draft, cipro, test, unknown)


def calls() -> dict[str, Json]:
    """The examples, and the full call at an order and at a visit, by name."""
    found = {path.parent.name: json.loads(path.read_text()) for path in EXAMPLES}
    return found | {f"full, {hook}": full_call(hook) for hook in ("order-sign", "patient-view")}
