"""A slow or failing FHIR server, a chart of references alone, the default deadline: never an empty answer where the full data give a card (P6)."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.data import PATIENT, anc, call, clozapine, codes, order
from tests.ehr import Ehr
from tests.latency import CHARTS, CLOZAPINE, FLUVOXAMINE, NEVER, ORDER, STATEMENT, ask, by_reference, silent

Json = dict[str, Any]


@pytest.fixture
def slow(start_service: Any, ehr: Ehr) -> tuple[httpx.Client, Ehr, Json]:
    """A service with its default deadline, the EHR it may read, and what a call carries."""
    server = f"{ehr.base_url}/fhir"
    access = {"fhirServer": server, "fhirAuthorization": {"access_token": ehr.token, "token_type": "Bearer"}}
    ehr.add({"resourceType": "Patient", "id": PATIENT})
    return start_service(fhir_servers=(server,)), ehr, access


_TYPES = ("MedicationRequest", "MedicationStatement", "Observation", "Medication")


@pytest.mark.parametrize("chart", CHARTS)
@pytest.mark.parametrize("seconds", [0.0, 0.15, 0.25, 0.5])
def test_never_an_empty_answer(slow: Any, chart: str, seconds: float) -> None:
    client, ehr, access = slow
    records, hook, drafts = CHARTS[chart]
    ehr.add(CLOZAPINE, *records)
    full = codes(ask(client, hook, drafts, access).json())
    assert full
    assert full[0][0] != "data-unavailable"
    # At 150 ms a search and a product fit into the deadline, at 500 ms nothing does, whatever fails besides. All of it: make test-hapi.
    faults = _TYPES if seconds in (0.0, 0.25) else ()
    assert list(silent(client, ehr, access, CHARTS[chart], seconds, faults)) == []


@pytest.mark.parametrize("seconds", [0.15])
def test_products_are_fetched_beside_the_searches(slow: Any, seconds: float) -> None:
    """Two requests in a row fit into the deadline, although another search does not."""
    client, ehr, access = slow
    ehr.add(CLOZAPINE, ORDER, anc(0.4, 1))
    ehr.delay_seconds = seconds
    ehr.delays = {"Condition": NEVER, "AllergyIntolerance": NEVER}
    assert ("anc-severe-neutropenia", "critical") in codes(ask(client, "patient-view", [], access).json())


def test_products_of_prefetch_are_fetched_at_once(slow: Any) -> None:
    client, ehr, access = slow
    ehr.add(CLOZAPINE, anc(0.4, 1))
    ehr.delay_seconds = 0.25
    sent = {"medications": {"resourceType": "Bundle", "entry": [{"resource": ORDER}]}, "patient": None}
    body = call("patient-view", sent, **access)
    found = codes(client.post("/cds-services/clozapine-patient-view", json=body).json())
    assert ("anc-severe-neutropenia", "critical") in found


def test_a_slow_ehr_is_no_card_where_nothing_hints_at_clozapine(slow: Any) -> None:
    client, ehr, access = slow
    ehr.add(by_reference(order("x", id="mr-1", status="active"), "gone"), anc(3.2, 3))
    for fault in ("", "MedicationStatement", "MedicationDispense"):
        ehr.failing = {fault}
        assert ask(client, "patient-view", [], access).json() == {"cards": []}
        assert ask(client, "order-sign", [order("ibuprofen")], access).json() == {"cards": []}


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
    ehr.add(CLOZAPINE, anc(0.4, 1), ORDER | {"medicationReference": {"reference": reference}})
    found = codes(ask(client, "patient-view", [], access).json())
    assert found == [("data-unavailable", "warning")]
    assert not [a for a in ehr.asked if "/Medication/" in a or ("/Patient/" in a and not a.endswith(PATIENT))]


def test_a_version_is_left_out_of_what_is_asked_for(slow: Any) -> None:
    client, ehr, access = slow
    ehr.add(CLOZAPINE, anc(0.4, 1), by_reference(ORDER, "cloz/_history/3"))
    assert codes(ask(client, "patient-view", [], access).json())[0][0] == "anc-severe-neutropenia"
    assert "/fhir/Medication/cloz" in ehr.asked


def test_what_a_site_does_not_have_is_not_asked_for_and_stands_in_health(
    start_service: Any, ehr: Ehr
) -> None:
    server = f"{ehr.base_url}/fhir"
    client = start_service(fhir_servers=(server,), not_sent=("statements",))
    ehr.add({"resourceType": "Patient", "id": PATIENT}, anc(3.2, 3))
    ehr.failing = {"MedicationStatement"}
    access = {"fhirServer": server, "fhirAuthorization": {"access_token": ehr.token, "token_type": "Bearer"}}
    assert ask(client, "order-sign", [FLUVOXAMINE], access).json() == {"cards": []}
    assert not [a for a in ehr.asked if "MedicationStatement" in a]
    (check,) = client.get("/health").json()["checks"]["not_sent"]
    assert check["status"] == "pass"
    assert "statements" in check["output"]
    # Sent all the same, it is read.
    body = call(
        "order-sign",
        {"statements": {"resourceType": "Bundle", "entry": [{"resource": STATEMENT}]}},
        FLUVOXAMINE,
        **access,
    )
    ehr.add(CLOZAPINE)
    found = codes(client.post("/cds-services/clozapine-order-sign", json=body).json())
    assert ("interaction-cyp1a2-strong-inhibitor", "critical") in found


def test_a_draft_by_reference_still_counts(slow: Any) -> None:
    client, ehr, access = slow
    ehr.add(CLOZAPINE, anc(0.4, 1))
    draft = by_reference(clozapine(100), "cloz")
    assert codes(ask(client, "order-sign", [draft], access).json())[0] == (
        "anc-severe-neutropenia",
        "critical",
    )
