"""Synthetic requests of the size and shape EHRs send: an order-sign call with n Observations of about 1 kB."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

NOW = datetime(2026, 11, 20, 10, tzinfo=UTC)
#: LOINC code, display, unit, base value: what a clozapine patient's chart holds, counts first.
_CODES = (
    ("751-8", "Neutrophils [#/volume] in Blood by Automated count", "10*3/uL", 3.2),
    ("6690-2", "Leukocytes [#/volume] in Blood by Automated count", "10*3/uL", 6.1),
    ("711-2", "Eosinophils [#/volume] in Blood by Automated count", "10*3/uL", 0.2),
    ("777-3", "Platelets [#/volume] in Blood by Automated count", "10*3/uL", 240.0),
)


def observation(index: int, patient: int = 0) -> dict[str, Any]:
    """One laboratory result, as large as EHRs send them; every patient has values and samples of their own."""
    code, display, unit, base = _CODES[index % len(_CODES)]
    at = NOW - timedelta(days=2 + 7 * (index // len(_CODES)), hours=2)
    stamp = at.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "resourceType": "Observation",
        "id": f"obs-{index}",
        "meta": {"versionId": "1", "lastUpdated": stamp},
        "status": "final",
        "category": [
            {
                "coding": [
                    {
                        "system": "http://terminology.hl7.org/CodeSystem/observation-category",
                        "code": "laboratory",
                        "display": "Laboratory",
                    }
                ]
            }
        ],
        "code": {
            "coding": [
                {"system": "http://loinc.org", "code": code, "display": display},
                {"system": "urn:oid:1.2.3.4.5.6", "code": f"L{index % 4}", "display": display},
            ],
            "text": display,
        },
        "subject": {"reference": "Patient/clz-p1", "display": "Synthetic Patient"},
        "encounter": {"reference": "Encounter/e-77"},
        "effectiveDateTime": stamp,
        "issued": stamp,
        "performer": [{"reference": "Organization/lab-1", "display": "Central Laboratory"}],
        "valueQuantity": {
            "value": round(base * (1 + (index % 7) / 50 + (patient * 37 % 100) / 1000), 2),
            "unit": unit,
            "system": "http://unitsofmeasure.org",
            "code": unit,
        },
        "interpretation": [
            {
                "coding": [
                    {
                        "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation",
                        "code": "N",
                        "display": "Normal",
                    }
                ]
            }
        ],
        "specimen": {"reference": f"Specimen/s-{index // len(_CODES)}"},
        "referenceRange": [
            {
                "low": {"value": base / 2, "unit": unit},
                "high": {"value": base * 2, "unit": unit},
                "text": f"{base / 2}-{base * 2}",
            }
        ],
    }


def medication(index: int, label: str, system: str, code: str, status: str = "active") -> dict[str, Any]:
    """One order."""
    return {
        "resourceType": "MedicationRequest",
        "id": f"mr-{index}",
        "status": status,
        "intent": "order",
        "medicationCodeableConcept": {
            "coding": [{"system": system, "code": code, "display": label}],
            "text": label,
        },
        "subject": {"reference": "Patient/clz-p1"},
        "authoredOn": (NOW - timedelta(days=400)).strftime("%Y-%m-%d"),
        "dosageInstruction": [
            {
                "text": "3 tablets at night",
                "timing": {"repeat": {"frequency": 1, "period": 1, "periodUnit": "d"}},
                "doseAndRate": [
                    {
                        "doseQuantity": {
                            "value": 300,
                            "unit": "mg",
                            "system": "http://unitsofmeasure.org",
                            "code": "mg",
                        }
                    }
                ],
            }
        ],
    }


RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"


def searchset(resources: list[dict[str, Any]]) -> dict[str, Any]:
    """A searchset Bundle."""
    return {
        "resourceType": "Bundle",
        "type": "searchset",
        "total": len(resources),
        "entry": [
            {
                "fullUrl": f"https://ehr.example/fhir/{r['resourceType']}/{r['id']}",
                "resource": r,
                "search": {"mode": "match"},
            }
            for r in resources
        ],
    }


def order_sign(observations: int, medications: int = 4, patient: int = 0) -> bytes:
    """Body of an order-sign call that renews clozapine in a patient with so many results."""
    others = [
        "lisinopril 10 MG Oral Tablet",
        "metformin 500 MG Oral Tablet",
        "sertraline 50 MG Oral Tablet",
        "senna 8.6 MG Oral Tablet",
    ]
    orders = [medication(0, "clozapine 100 MG Oral Tablet", RXNORM, "197535")]
    orders += [medication(i, others[i % len(others)], RXNORM, f"9{i:05d}") for i in range(1, medications)]
    draft = medication(99, "clozapine 100 MG Oral Tablet", RXNORM, "197535", "draft")
    body = orjson.dumps(
        {
            "hook": "order-sign",
            "hookInstance": "9a3e7b10-55c4-4d1a-b7a9-6c1f2d3e4a03",
            "context": {
                "userId": "Practitioner/dr-lee",
                "patientId": "clz-p1",
                "draftOrders": {
                    "resourceType": "Bundle",
                    "type": "collection",
                    "entry": [{"resource": draft}],
                },
            },
            "prefetch": {
                "patient": {
                    "resourceType": "Patient",
                    "id": "clz-p1",
                    "gender": "female",
                    "birthDate": "1984-05-02",
                },
                "medications": searchset(orders),
                "counts": searchset([observation(i, patient) for i in range(observations)]),
                **dict.fromkeys(
                    (
                        "statements",
                        "dispenses",
                        "administrations",
                        "labs",
                        "vitals",
                        "conditions",
                        "allergies",
                        "smoking",
                    )
                ),
            },
        }
    )
    return body.replace(b"clz-p1", f"clz-p{patient + 1}".encode())
