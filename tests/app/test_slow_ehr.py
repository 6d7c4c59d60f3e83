"""A slow or failing FHIR server, a chart of references alone, the default deadline: never an empty answer where the full data give a card (P6)."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.data import PATIENT, anc, call, clozapine, codes, order
from tests.ehr import Ehr
from tests.latency import CHARTS, CLOZAPINE, FLUVOXAMINE, ORDER, STATEMENT, TYPES, ask, by_reference, silent

Json = dict[str, Any]
#: The deadline of the unhurried service: so long that what is to fit in fits in on a machine that has much else to do.
_UNHURRIED_SECONDS = 4.0


def _asking(start_service: Any, ehr: Ehr, **settings: Any) -> tuple[httpx.Client, Ehr, Json]:
    """A service, the EHR it may read, and what a call carries."""
    server = f"{ehr.base_url}/fhir"
    access = {"fhirServer": server, "fhirAuthorization": {"access_token": ehr.token, "token_type": "Bearer"}}
    ehr.add({"resourceType": "Patient", "id": PATIENT})
    return start_service(fhir_servers=(server,), **settings), ehr, access


@pytest.fixture
def slow(start_service: Any, ehr: Ehr) -> tuple[httpx.Client, Ehr, Json]:
    """With the default deadline: what is asked of it holds whether an answer comes in time or not."""
    return _asking(start_service, ehr)


@pytest.fixture
def unhurried(start_service: Any, ehr: Ehr) -> tuple[httpx.Client, Ehr, Json]:
    """With a deadline of seconds: what is asked of it needs an answer in time."""
    return _asking(start_service, ehr, fhir_deadline_ms=int(_UNHURRIED_SECONDS * 1000))


#: Seconds that each request takes. The deadline is 0.4: two requests in a row fit into it, one, or none.
_DELAYS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)


def _faults(chart: str, seconds: float) -> tuple[str, ...]:
    """Two of the types, turned on with chart and delay: over all charts each type fails at each delay, over all delays in each chart.

    The whole product of them takes minutes: ``make test-hapi``.
    """
    turn = 2 * (list(CHARTS).index(chart) + _DELAYS.index(seconds))
    return tuple(TYPES[(turn + n) % len(TYPES)] for n in range(2))


def test_the_sample_leaves_no_pair_out() -> None:
    for seconds in _DELAYS:
        assert {t for chart in CHARTS for t in _faults(chart, seconds)} == set(TYPES)
    for chart in CHARTS:
        assert {t for seconds in _DELAYS for t in _faults(chart, seconds)} == set(TYPES)


@pytest.mark.parametrize("chart", CHARTS)
def test_the_full_data_give_a_card(unhurried: Any, chart: str) -> None:
    client, ehr, access = unhurried
    records, hook, drafts = CHARTS[chart]
    ehr.add(CLOZAPINE, *records)
    full = codes(ask(client, hook, drafts, access).json())
    assert full
    assert full[0][0] != "data-unavailable"


@pytest.mark.parametrize("chart", CHARTS)
@pytest.mark.parametrize("seconds", _DELAYS)
def test_never_an_empty_answer(slow: Any, chart: str, seconds: float) -> None:
    client, ehr, access = slow
    ehr.add(CLOZAPINE, *CHARTS[chart][0])
    assert list(silent(client, ehr, access, CHARTS[chart], seconds, _faults(chart, seconds))) == []


def test_products_are_fetched_beside_the_searches(unhurried: Any) -> None:
    """Two requests in a row fit into the deadline, although another search does not; three would not."""
    client, ehr, access = unhurried
    ehr.add(CLOZAPINE, ORDER, anc(0.4, 1))
    ehr.delay_seconds = 0.36 * _UNHURRIED_SECONDS
    ehr.delays = {"Condition": 1.5 * _UNHURRIED_SECONDS, "AllergyIntolerance": 1.5 * _UNHURRIED_SECONDS}
    assert ("anc-severe-neutropenia", "critical") in codes(ask(client, "patient-view", [], access).json())


def test_products_of_prefetch_are_fetched_at_once(unhurried: Any) -> None:
    """One request fits into the deadline, two in a row would not."""
    client, ehr, access = unhurried
    ehr.add(CLOZAPINE, anc(0.4, 1))
    ehr.delay_seconds = 0.6 * _UNHURRIED_SECONDS
    sent = {"medications": {"resourceType": "Bundle", "entry": [{"resource": ORDER}]}, "patient": None}
    body = call("patient-view", sent, **access)
    found = codes(client.post("/cds-services/clozapine-patient-view", json=body).json())
    assert ("anc-severe-neutropenia", "critical") in found


def test_a_slow_ehr_is_no_card_where_nothing_hints_at_clozapine(unhurried: Any) -> None:
    client, ehr, access = unhurried
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


def test_a_version_is_left_out_of_what_is_asked_for(unhurried: Any) -> None:
    client, ehr, access = unhurried
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


def test_a_draft_by_reference_still_counts(unhurried: Any) -> None:
    client, ehr, access = unhurried
    ehr.add(CLOZAPINE, anc(0.4, 1))
    draft = by_reference(clozapine(100), "cloz")
    assert codes(ask(client, "order-sign", [draft], access).json())[0] == (
        "anc-severe-neutropenia",
        "critical",
    )
