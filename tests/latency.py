"""The latency matrix: charts whose products are named by reference alone, a FHIR server that takes its time, and each search slow or failing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx

from tests.data import PATIENT, ago, anc, call, clozapine, day_ago, on_clozapine, order
from tests.ehr import Ehr

Json = dict[str, Any]
#: Longer than the deadline.
NEVER = 1.0
#: What is searched for, and the products.
TYPES = (
    "Patient", "MedicationRequest", "MedicationStatement", "MedicationDispense", "MedicationAdministration", "Observation", "Condition",
    "AllergyIntolerance", "Medication",
)  # fmt: skip
CLOZAPINE = {"resourceType": "Medication", "id": "cloz", "code": {"text": "clozapine 100 mg tablet"}}


def by_reference(record: Json, product: str) -> Json:
    """A record that names its product by reference alone."""
    return {k: v for k, v in record.items() if k != "medicationCodeableConcept"} | {
        "medicationReference": {"reference": f"Medication/{product}"}
    }


def _record(kind: str, **more: Any) -> Json:
    made = {
        "resourceType": kind,
        "id": "said",
        "status": "completed",
        "subject": {"reference": f"Patient/{PATIENT}"},
    }
    return made | {"medicationReference": {"reference": "Medication/cloz"}} | more


ORDER = by_reference(on_clozapine(60), "cloz")
STATEMENT = _record("MedicationStatement", status="active", effectivePeriod={"start": day_ago(60)})
_DISPENSE = _record(
    "MedicationDispense", whenHandedOver=ago(5), daysSupply={"value": 28, "code": "d", "unit": "days"}
)
_DOSE = _record("MedicationAdministration", effectiveDateTime=ago(0, 6))
FLUVOXAMINE = order("fluvoxamine 50 mg oral tablet")
#: name -> (records on file, hook, drafts)
CHARTS: dict[str, tuple[list[Json], str, list[Json]]] = {
    "order, low count": ([ORDER, anc(0.4, 1)], "patient-view", []),
    "order, count overdue": ([ORDER, anc(3.2, 45)], "patient-view", []),
    "statement alone, low count": ([STATEMENT, anc(0.4, 1)], "patient-view", []),
    "order, fluvoxamine drafted": ([ORDER, anc(3.2, 3)], "order-sign", [FLUVOXAMINE]),
    "statement alone, fluvoxamine drafted": ([STATEMENT, anc(3.2, 3)], "order-sign", [FLUVOXAMINE]),
}
#: More of them, for the whole matrix.
MORE_CHARTS = CHARTS | {
    "dispense alone, low count": ([_DISPENSE, anc(0.4, 1)], "patient-view", []),
    "dispense alone, fluvoxamine drafted": ([_DISPENSE, anc(3.2, 3)], "order-sign", [FLUVOXAMINE]),
    "dose alone, low count": ([_DOSE, anc(0.4, 1)], "patient-view", []),
    "order on hold, low count": ([ORDER | {"status": "on-hold"}, anc(0.4, 1)], "patient-view", []),
    "clozapine drafted, low count": ([anc(0.4, 1)], "order-sign", [clozapine(12.5)]),
    "order, low count, discharge": ([ORDER, anc(0.4, 1)], "encounter-discharge", []),
}


def ask(client: httpx.Client, hook: str, drafts: list[Json], access: Json) -> httpx.Response:
    """A call without prefetch."""
    return client.post(f"/cds-services/clozapine-{hook}", json=call(hook, None, *drafts, **access))


def silent(
    client: httpx.Client,
    ehr: Ehr,
    access: Json,
    chart: tuple[list[Json], str, list[Json]],
    seconds: float,
    faults: tuple[str, ...],
) -> Iterator[str]:
    """Which faults beside so slow a server leave a chart without any card: for each type slow, failing, and none at all."""
    _, hook, drafts = chart
    ehr.delay_seconds = seconds
    for fault in ("", *faults):
        for kind in ("slow", "failing") if fault else ("",):
            ehr.delays = {fault: NEVER} if kind == "slow" else {}
            ehr.failing = {fault} if kind == "failing" else set()
            answer = ask(client, hook, drafts, access)
            # Nothing at all was read: said by the status, or by a card.
            if answer.status_code != 412 and not answer.json()["cards"]:
                yield f"{seconds:g} s, {fault} {kind}"
    ehr.delays, ehr.failing, ehr.delay_seconds = {}, set(), 0.0
