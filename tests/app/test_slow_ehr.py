"""A slow or failing FHIR server, a chart of references alone, the default deadline: never an empty answer where the full data give a card (P6)."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.data import PATIENT, anc, call, clozapine, codes, day_ago, on_clozapine, order
from tests.ehr import Ehr

Json = dict[str, Any]
#: Longer than the deadline.
_NEVER = 1.0


@pytest.fixture
def slow(start_service: Any, ehr: Ehr) -> tuple[httpx.Client, Ehr, Json]:
    """A service with its default deadline, the EHR it may read, and what a call carries."""
    server = f"{ehr.base_url}/fhir"
    access = {"fhirServer": server, "fhirAuthorization": {"access_token": ehr.token, "token_type": "Bearer"}}
    ehr.add({"resourceType": "Patient", "id": PATIENT})
    return start_service(fhir_servers=(server,)), ehr, access


def _by_reference(record: Json, product: str) -> Json:
    return {k: v for k, v in record.items() if k != "medicationCodeableConcept"} | {
        "medicationReference": {"reference": f"Medication/{product}"}
    }


_CLOZAPINE = {"resourceType": "Medication", "id": "cloz", "code": {"text": "clozapine 100 mg tablet"}}
_ORDER = _by_reference(on_clozapine(60), "cloz")
_STATEMENT = {
    "resourceType": "MedicationStatement",
    "id": "said",
    "status": "active",
    "subject": {"reference": f"Patient/{PATIENT}"},
    "medicationReference": {"reference": "Medication/cloz"},
    "effectivePeriod": {"start": day_ago(60)},
}
_FLUVOXAMINE = order("fluvoxamine 50 mg oral tablet")
#: name -> (records on file, hook, drafts)
_CHARTS: dict[str, tuple[list[Json], str, list[Json]]] = {
    "order, low count": ([_ORDER, anc(0.4, 1)], "patient-view", []),
    "order, count overdue": ([_ORDER, anc(3.2, 45)], "patient-view", []),
    "statement alone, low count": ([_STATEMENT, anc(0.4, 1)], "patient-view", []),
    "order, fluvoxamine drafted": ([_ORDER, anc(3.2, 3)], "order-sign", [_FLUVOXAMINE]),
    "statement alone, fluvoxamine drafted": ([_STATEMENT, anc(3.2, 3)], "order-sign", [_FLUVOXAMINE]),
}
_TYPES = ("MedicationRequest", "MedicationStatement", "Observation", "Medication")


def _ask(client: httpx.Client, hook: str, drafts: list[Json], access: Json) -> httpx.Response:
    return client.post(f"/cds-services/clozapine-{hook}", json=call(hook, None, *drafts, **access))


@pytest.mark.parametrize("chart", _CHARTS)
@pytest.mark.parametrize("seconds", [0.0, 0.15, 0.25, 0.5])
def test_never_an_empty_answer(slow: Any, chart: str, seconds: float) -> None:
    client, ehr, access = slow
    records, hook, drafts = _CHARTS[chart]
    ehr.add(_CLOZAPINE, *records)
    full = codes(_ask(client, hook, drafts, access).json())
    assert full
    assert full[0][0] != "data-unavailable"
    ehr.delay_seconds = seconds
    # At 150 ms a search and a product fit into the deadline, at 500 ms nothing does, whatever fails besides.
    for fault in ("", *_TYPES) if seconds in (0.0, 0.25) else ("",):
        for kind in ("slow", "failing") if fault else ("",):
            ehr.delays = {fault: _NEVER} if kind == "slow" else {}
            ehr.failing = {fault} if kind == "failing" else set()
            answer = _ask(client, hook, drafts, access)
            # Nothing at all was read: said by the status, or by a card.
            assert answer.status_code == 412 or answer.json()["cards"], (chart, seconds, fault, kind)


@pytest.mark.parametrize("seconds", [0.15])
def test_products_are_fetched_beside_the_searches(slow: Any, seconds: float) -> None:
    """Two requests in a row fit into the deadline, although another search does not."""
    client, ehr, access = slow
    ehr.add(_CLOZAPINE, _ORDER, anc(0.4, 1))
    ehr.delay_seconds = seconds
    ehr.delays = {"Condition": _NEVER, "AllergyIntolerance": _NEVER}
    assert ("anc-severe-neutropenia", "critical") in codes(_ask(client, "patient-view", [], access).json())


def test_products_of_prefetch_are_fetched_at_once(slow: Any) -> None:
    client, ehr, access = slow
    ehr.add(_CLOZAPINE, anc(0.4, 1))
    ehr.delay_seconds = 0.25
    sent = {"medications": {"resourceType": "Bundle", "entry": [{"resource": _ORDER}]}, "patient": None}
    body = call("patient-view", sent, **access)
    found = codes(client.post("/cds-services/clozapine-patient-view", json=body).json())
    assert ("anc-severe-neutropenia", "critical") in found


def test_a_slow_ehr_is_no_card_where_nothing_hints_at_clozapine(slow: Any) -> None:
    client, ehr, access = slow
    ehr.add(_by_reference(order("x", id="mr-1", status="active"), "gone"), anc(3.2, 3))
    for fault in ("", "MedicationStatement", "MedicationDispense"):
        ehr.failing = {fault}
        assert _ask(client, "patient-view", [], access).json() == {"cards": []}
        assert _ask(client, "order-sign", [order("ibuprofen")], access).json() == {"cards": []}


@pytest.mark.parametrize(
    "reference",
    [
        "https://other.example/fhir/Medication/cloz",
        "Medication/../Patient",
        "Medication/a?b",
        "Medication/" + "x" * 65,
    ],
)
def test_only_ids_of_our_server_are_asked_for(slow: Any, reference: str) -> None:
    client, ehr, access = slow
    ehr.add(_CLOZAPINE, anc(0.4, 1), _ORDER | {"medicationReference": {"reference": reference}})
    found = codes(_ask(client, "patient-view", [], access).json())
    assert found == [("data-unavailable", "warning")]
    assert not [a for a in ehr.asked if "/Medication/" in a or ("/Patient/" in a and not a.endswith(PATIENT))]


def test_a_version_is_left_out_of_what_is_asked_for(slow: Any) -> None:
    client, ehr, access = slow
    ehr.add(_CLOZAPINE, anc(0.4, 1), _by_reference(_ORDER, "cloz/_history/3"))
    assert codes(_ask(client, "patient-view", [], access).json())[0][0] == "anc-severe-neutropenia"
    assert "/fhir/Medication/cloz" in ehr.asked


def test_what_a_site_does_not_have_is_not_asked_for_and_stands_in_health(
    start_service: Any, ehr: Ehr
) -> None:
    server = f"{ehr.base_url}/fhir"
    client = start_service(fhir_servers=(server,), not_sent=("statements",))
    ehr.add({"resourceType": "Patient", "id": PATIENT}, anc(3.2, 3))
    ehr.failing = {"MedicationStatement"}
    access = {"fhirServer": server, "fhirAuthorization": {"access_token": ehr.token, "token_type": "Bearer"}}
    assert _ask(client, "order-sign", [_FLUVOXAMINE], access).json() == {"cards": []}
    assert not [a for a in ehr.asked if "MedicationStatement" in a]
    (check,) = client.get("/health").json()["checks"]["not_sent"]
    assert check["status"] == "pass"
    assert "statements" in check["output"]
    # Sent all the same, it is read.
    body = call(
        "order-sign",
        {"statements": {"resourceType": "Bundle", "entry": [{"resource": _STATEMENT}]}},
        _FLUVOXAMINE,
        **access,
    )
    ehr.add(_CLOZAPINE)
    found = codes(client.post("/cds-services/clozapine-order-sign", json=body).json())
    assert ("interaction-cyp1a2-strong-inhibitor", "critical") in found


def test_a_draft_by_reference_still_counts(slow: Any) -> None:
    client, ehr, access = slow
    ehr.add(_CLOZAPINE, anc(0.4, 1))
    draft = _by_reference(clozapine(100), "cloz")
    assert codes(_ask(client, "order-sign", [draft], access).json())[0] == (
        "anc-severe-neutropenia",
        "critical",
    )
