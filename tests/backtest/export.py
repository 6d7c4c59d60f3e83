"""Synthetic FHIR Bulk Data exports for tests: small, dated, written as NDJSON, plain or gzip."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, date, tzinfo
from pathlib import Path
from typing import Any

from service.alerts.policy.policy import policy_by_id
from service.backtest.replay import Protocol
from service.backtest.run import OPTIONAL_TYPES, Options, backtest
from service.backtest.tally import Tally
from tests.data import LOINC, RXNORM, dosage
from tests.sites import site_of

Json = dict[str, Any]
LABEL = "us-label-2025"
CLOZAPINE = {"coding": [{"system": RXNORM, "code": "197535", "display": "clozapine 100 MG Oral Tablet"}]}
CIPROFLOXACIN = {"text": "ciprofloxacin 500 MG Oral Tablet"}


def patient(id: str = "p1", **more: Any) -> Json:
    return {"resourceType": "Patient", "id": id, "gender": "female", "birthDate": "1984-05-02"} | more


def order(
    id: str, written: str, drug: Json = CLOZAPINE, *, mg: float = 300, who: str = "p1", **more: Any
) -> Json:
    return {
        "resourceType": "MedicationRequest",
        "id": id,
        "status": "active",
        "intent": "order",
        "medicationCodeableConcept": drug,
        "subject": {"reference": f"Patient/{who}"},
        "authoredOn": written,
        "dosageInstruction": dosage(mg),
    } | more


def anc(id: str, value: float, taken: str, *, who: str = "p1", **more: Any) -> Json:
    """ANC in 10^3/µL."""
    return {
        "resourceType": "Observation",
        "id": id,
        "status": "final",
        "code": {"coding": [{"system": LOINC, "code": "751-8"}]},
        "subject": {"reference": f"Patient/{who}"},
        "effectiveDateTime": taken,
        "valueQuantity": {"value": value, "unit": "10*3/uL"},
    } | more


def write(
    directory: Path, resources: Iterable[Json], *, files_per_type: int = 1, zipped: bool = False
) -> Path:
    """Write an export as Bulk Data servers name its files."""
    directory.mkdir(parents=True, exist_ok=True)
    by_type: dict[str, list[Json]] = defaultdict(list)
    for resource in resources:
        by_type[resource["resourceType"]].append(resource)
    for type_name, listed in by_type.items():
        for part in range(files_per_type):
            content = "".join(json.dumps(r) + "\n" for r in listed[part::files_per_type]).encode()
            path = directory / f"{type_name}.{part:03d}.ndjson"
            if zipped:
                path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(content))
            else:
                path.write_bytes(content)
    return directory


def run(directory: Path, *, zone: tzinfo = UTC, codes: dict[str, str] | None = None, **options: Any) -> Tally:
    """A backtest under the US label; types that are not in the export are kept by nobody."""
    policy = policy_by_id(LABEL)
    defaults: dict[str, Any] = {
        "protocols": (Protocol(policy.id, policy),),
        "site": site_of("ward", zone, codes=codes or {}),
        "none_of": frozenset(OPTIONAL_TYPES),
    }
    return backtest(Options(directory=directory, **(defaults | options))).tally


def alerts(tally: Tally, label: str = LABEL) -> dict[tuple[str, str], int]:
    """(code, severity) -> number of alerts."""
    return {(code, severity): n for (policy, code, severity), n in tally.alerts.items() if policy == label}


def day(text: str) -> date:
    return date.fromisoformat(text)
