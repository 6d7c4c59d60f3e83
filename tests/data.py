"""Synthetic FHIR for tests: small builders that read like the chart they stand for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from service.alerts.facts.reason import Reason
from service.alerts.say.language import english

NOW = datetime(2026, 11, 20, 10, tzinfo=UTC)
PATIENT = "clz-p1"
LOINC = "http://loinc.org"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
UCUM = "http://unitsofmeasure.org"
CLOZAPINE_100 = ("197535", "clozapine 100 MG Oral Tablet")
CLOZAPINE_25 = ("197536", "clozapine 25 MG Oral Tablet")
KEYS = (
    "patient", "medications", "statements", "dispenses", "administrations", "counts", "labs", "vitals", "conditions", "allergies", "smoking",
)  # fmt: skip
Json = dict[str, Any]


def ago(days: float = 0, hours: float = 0) -> str:
    """An instant before NOW."""
    return (NOW - timedelta(days=days, hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")


def day_ago(days: int) -> str:
    """A date before NOW."""
    return (NOW - timedelta(days=days)).strftime("%Y-%m-%d")


def observation(
    code: str,
    value: float | None,
    unit: str | None,
    days: float = 1,
    *,
    id: str = "obs-1",
    patient: str = PATIENT,
    **more: Any,
) -> Json:
    """A laboratory or vital-sign result."""
    content: Json = {
        "resourceType": "Observation",
        "id": id,
        "status": "final",
        "code": {"coding": [{"system": LOINC, "code": code}]},
        "subject": {"reference": f"Patient/{patient}"},
        "effectiveDateTime": ago(days),
    }
    if value is not None:
        content["valueQuantity"] = {"value": value} | ({"unit": unit} if unit else {})
    return content | more


def anc(value: float | None = 3.2, days: float = 3, unit: str | None = "10*3/uL", **more: Any) -> Json:
    """An absolute neutrophil count."""
    return observation("751-8", value, unit, days, **({"id": "anc-1"} | more))


def dosage(mg: float, frequency: int = 1) -> list[Json]:
    """A structured dosage instruction."""
    return [
        {
            "timing": {"repeat": {"frequency": frequency, "period": 1, "periodUnit": "d"}},
            "doseAndRate": [{"doseQuantity": {"value": mg, "unit": "mg", "system": UCUM, "code": "mg"}}],
        }
    ]


def order(
    label: str,
    code: str = "",
    *,
    id: str = "draft-2",
    status: str = "draft",
    patient: str = PATIENT,
    **more: Any,
) -> Json:
    """A MedicationRequest for any drug."""
    coding = [{"system": RXNORM, "code": code, "display": label}] if code else []
    concept: Json = {"text": label} | ({"coding": coding} if coding else {})
    return {
        "resourceType": "MedicationRequest",
        "id": id,
        "status": status,
        "intent": "order",
        "medicationCodeableConcept": concept,
        "subject": {"reference": f"Patient/{patient}"},
    } | more


def clozapine(
    mg: float = 12.5, *, id: str = "draft-1", status: str = "draft", frequency: int = 1, **more: Any
) -> Json:
    """A clozapine order; by default a careful first one."""
    code, label = CLOZAPINE_25 if mg <= 25 else CLOZAPINE_100
    return order(label, code, id=id, status=status, dosageInstruction=dosage(mg, frequency), **more)


def on_clozapine(days: int = 500, mg: float = 300, id: str = "mr-9") -> Json:
    """An active clozapine order since so many days."""
    return clozapine(mg, id=id, status="active", authoredOn=day_ago(days))


def bundle(*resources: Json) -> Json:
    """A searchset."""
    return {
        "resourceType": "Bundle",
        "type": "searchset",
        "total": len(resources),
        "entry": [{"resource": r, "search": {"mode": "match"}} for r in resources],
    }


def baseline_labs(days: float = 5) -> Json:
    """Everything the baseline asks for, normal."""
    return bundle(
        observation(
            "67151-1", 4, "ng/L", days, id="trop", referenceRange=[{"high": {"value": 14, "unit": "ng/L"}}]
        ),
        observation("1988-5", 2, "mg/L", days, id="crp"),
        observation("4548-4", 5.4, "%", days, id="a1c"),
        observation("13457-7", 101, "mg/dL", days, id="ldl"),
        observation(
            "1742-6", 21, "U/L", days, id="alt", referenceRange=[{"high": {"value": 40, "unit": "U/L"}}]
        ),
        observation("8636-3", 412, "ms", days, id="qtc"),
        observation("6896-5", 420, "ng/mL", days, id="level"),
        observation("2106-3", None, None, days, id="hcg", valueCodeableConcept={"text": "Negative"}),
    )


def normal_vitals(days: float = 5, temperature: float = 36.8) -> Json:
    """Blood pressure, pulse, temperature, weight."""
    pressure = observation("85354-9", None, None, days, id="bp")
    pressure["component"] = [
        {
            "code": {"coding": [{"system": LOINC, "code": code}]},
            "valueQuantity": {"value": value, "unit": "mm[Hg]"},
        }
        for code, value in (("8480-6", 122), ("8462-4", 78))
    ]
    return bundle(
        observation("8310-5", temperature, "Cel", days, id="temp"),
        observation("8867-4", 78, "/min", days, id="hr"),
        observation("29463-7", 71, "kg", days, id="wt"),
        pressure,
    )


def prefetch(**given: Any) -> Json:
    """A complete prefetch: what is not given is null (looked, found nothing) but for a sound baseline."""
    content: Json = dict.fromkeys(KEYS)
    content["patient"] = {
        "resourceType": "Patient",
        "id": PATIENT,
        "gender": "female",
        "birthDate": "1984-05-02",
    }
    content["labs"], content["vitals"] = baseline_labs(), normal_vitals()
    return content | given


def call(hook: str, prefetch: Json | None = None, *orders: Json, **more: Any) -> Json:
    """A hook call."""
    context: Json = {"userId": "Practitioner/dr-lee", "patientId": PATIENT, "encounterId": "enc-77"}
    drafts = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": o} for o in orders]}
    if hook in ("order-sign", "order-select"):
        context["draftOrders"] = drafts
    if hook == "order-select":
        context["selections"] = [f"{o['resourceType']}/{o.get('id')}" for o in orders]
    if hook == "medication-refill":
        context = {"patientId": PATIENT, "medications": drafts}
    if hook == "medication-verify":
        context["medication"] = orders[0]
    body: Json = {"hook": hook, "hookInstance": "9a3e7b10-55c4-4d1a-b7a9-6c1f2d3e4a03", "context": context}
    if prefetch is not None:
        body["prefetch"] = prefetch
    return body | more


def codes(answer: Json) -> list[tuple[str, str]]:
    """(finding code, indicator) of every card."""
    return [(card["source"]["topic"]["code"], card["indicator"]) for card in answer["cards"]]


def words(reason: Reason) -> str:
    """Why something was not read, or how it was, in English."""
    return english().reason(reason)
