"""What integration engines send."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from tests.data import NOW

Json = dict[str, Any]


def count(
    patient: str, value: float, id: str = "new", *, days: float = 0, version: str = "1", **more: Any
) -> Json:
    """An ANC of a patient, in 10*3/uL, so many days before NOW."""
    at: datetime = NOW - timedelta(days=days)
    return {
        "resourceType": "Observation",
        "id": id,
        "meta": {"versionId": version},
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "751-8"}]},
        "subject": {"reference": f"Patient/{patient}"},
        "effectiveDateTime": at.isoformat(),
        "valueQuantity": {
            "value": value,
            "unit": "10*3/uL",
            "system": "http://unitsofmeasure.org",
            "code": "10*3/uL",
        },
    } | more


def bundle(*resources: Json, type: str = "collection", **more: Any) -> Json:
    """A Bundle of them; in a transaction each is to be created."""
    entries: list[Json] = [{"resource": r} for r in resources]
    if type in ("transaction", "batch"):
        entries = [e | {"request": {"method": "POST", "url": e["resource"]["resourceType"]}} for e in entries]
    return {"resourceType": "Bundle", "type": type, "entry": entries} | more
