"""Prefetch and FHIR access (checklist P1–P6)."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

from tests.data import anc, bundle, call, clozapine, codes, on_clozapine, order, prefetch
from tests.ehr import Ehr

_SIGN = "/cds-services/clozapine-order-sign"


@pytest.fixture
def connected(start_service: Any, ehr: Ehr) -> tuple[httpx.Client, Ehr, dict[str, Any]]:
    """A service that may read the EHR, the EHR, and what a call must carry."""
    server = f"{ehr.base_url}/fhir"
    access = {
        "fhirServer": server,
        "fhirAuthorization": {
            "access_token": ehr.token,
            "token_type": "Bearer",
            "expires_in": 60,
            "scope": "patient/*.rs",
            "subject": "x",
        },
    }
    ehr.add({"resourceType": "Patient", "id": "clz-p1"}, on_clozapine())
    return start_service(fhir_servers=(server,), fhir_deadline_ms=2000), ehr, access


def _asked(ehr: Ehr, type_name: str) -> list[str]:
    return [a for a in ehr.asked if a.startswith(f"/fhir/{type_name}")]


def test_P1_only_what_is_missing_is_fetched(connected: Any) -> None:
    client, ehr, access = connected
    ehr.add(anc(0.4))
    sent = prefetch(medications=bundle(on_clozapine()))
    del sent["counts"]
    answer = client.post(_SIGN, json=call("order-sign", sent, clozapine(300), **access)).json()
    assert codes(answer)[0] == ("anc-severe-neutropenia", "critical")
    assert len(ehr.asked) == 1
    assert "751-8" in ehr.asked[0]
    assert ehr.authorizations == [f"Bearer {ehr.token}"]


def test_P1_the_product_an_order_refers_to_is_fetched(connected: Any) -> None:
    """Everything is in prefetch but the Medication of the draft: unread, it could be anything."""
    client, ehr, access = connected
    draft = clozapine(12.5)
    concept = draft.pop("medicationCodeableConcept")
    draft["medicationReference"] = {"reference": "Medication/m-1"}
    ehr.add({"resourceType": "Medication", "id": "m-1", "code": concept})
    answer = client.post(_SIGN, json=call("order-sign", prefetch(), draft, **access)).json()
    assert ("anc-missing", "critical") in codes(answer)
    assert ("data-unavailable", "warning") not in codes(answer)


def test_P1_prefetch_and_fetching_give_the_same_cards(connected: Any) -> None:
    client, ehr, access = connected
    ehr.add(anc(1.2))
    fetched = client.post(_SIGN, json=call("order-sign", None, clozapine(300), **access)).json()
    sent = dict.fromkeys(prefetch()) | {
        "medications": bundle(on_clozapine()),
        "counts": bundle(anc(1.2)),
        "patient": {"resourceType": "Patient", "id": "clz-p1"},
    }
    assert codes(fetched) == codes(client.post(_SIGN, json=call("order-sign", sent, clozapine(300))).json())


def test_P2_null_is_not_fetched_except_counts(connected: Any) -> None:
    client, ehr, access = connected
    ehr.add(anc(0.8))
    answer = client.post(
        _SIGN,
        json=call(
            "order-sign", prefetch(medications=bundle(on_clozapine()), counts=None), clozapine(300), **access
        ),
    ).json()
    assert codes(answer)[0] == ("anc-moderate-neutropenia", "critical")
    assert len(ehr.asked) == len(_asked(ehr, "Observation")) == 1


def test_P2_null_without_access_means_no_data(client: httpx.Client) -> None:
    answer = client.post(_SIGN, json=call("order-sign", prefetch(counts=None), clozapine())).json()
    assert codes(answer) == [("anc-missing", "critical")]


def test_P2_empty_bundle_equals_null(client: httpx.Client) -> None:
    answer = client.post(
        _SIGN,
        json=call(
            "order-sign", prefetch(counts={"resourceType": "Bundle", "type": "searchset"}), clozapine()
        ),
    ).json()
    assert codes(answer) == [("anc-missing", "critical")]


_OUTCOME = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "timeout"}]}


def test_P3_operation_outcome_is_unavailable_and_not_repeated(connected: Any) -> None:
    client, ehr, access = connected
    ehr.add(anc(0.4))
    answer = client.post(
        _SIGN,
        json=call(
            "order-sign",
            prefetch(medications=bundle(on_clozapine()), counts=_OUTCOME),
            clozapine(300),
            **access,
        ),
    ).json()
    assert codes(answer) == [("data-unavailable", "warning")]
    assert "blood counts" in answer["cards"][0]["summary"]
    assert ehr.asked == []


def test_P3_operation_outcome_inside_a_bundle_makes_it_incomplete(client: httpx.Client) -> None:
    partial = bundle(anc(3.0))
    partial["entry"].append({"resource": _OUTCOME, "search": {"mode": "outcome"}})
    answer = client.post(
        _SIGN,
        json=call("order-sign", prefetch(medications=bundle(on_clozapine()), counts=partial), clozapine(300)),
    ).json()
    assert ("data-unavailable", "warning") in codes(answer)


def test_P4_remaining_pages_are_fetched(connected: Any) -> None:
    client, ehr, access = connected
    ehr.page_size = 2
    ehr.add(*(anc(3.0, 20 + i, id=f"anc-{i}") for i in range(5)), anc(0.4, 40, id="old-low"))
    sent = prefetch(medications=bundle(on_clozapine()))
    del sent["counts"]
    answer = client.post(_SIGN, json=call("order-sign", sent, clozapine(300), **access)).json()
    assert len(_asked(ehr, "Observation")) == 3
    assert ("rechallenge-caution", "critical") in codes(answer)  # the low count stood on the last page


def test_P4_first_page_only_is_said_to_be_incomplete(client: httpx.Client) -> None:
    page = bundle(anc(3.0)) | {
        "link": [{"relation": "next", "url": "https://ehr.example/fhir/Observation?page=2"}]
    }
    answer = client.post(
        _SIGN,
        json=call("order-sign", prefetch(medications=bundle(on_clozapine()), counts=page), clozapine(300)),
    ).json()
    assert codes(answer) == [("data-unavailable", "warning")]
    assert "first page" in answer["cards"][0]["detail"]


def test_P4_a_next_link_to_another_server_is_not_followed(connected: Any) -> None:
    client, ehr, access = connected
    ehr.add(anc(3.0))
    ehr.next_link = "http://127.0.0.1:9/fhir/Observation?page=2"
    sent = prefetch(medications=bundle(on_clozapine()))
    del sent["counts"]
    answer = client.post(_SIGN, json=call("order-sign", sent, clozapine(300), **access)).json()
    assert ("data-unavailable", "warning") in codes(answer)
    assert "another server" in answer["cards"][-1]["detail"]


def test_P5_nothing_readable_is_412_naming_the_keys(start_service: Any) -> None:
    response = start_service(errors="status").post(_SIGN, json=call("order-sign", None, clozapine()))
    assert response.status_code == 412
    issue = response.json()["issue"][0]
    # One expression for each key, so that a client can read them.
    assert issue["expression"][:2] == ["prefetch.counts", "prefetch.medications"]
    assert "counts" in issue["details"]["text"]


def test_P5_nothing_readable_of_clozapine_is_said_by_a_card(client: httpx.Client) -> None:
    """412 would be shown to nobody."""
    response = client.post(_SIGN, json=call("order-sign", None, clozapine()))
    assert response.status_code == 200
    assert codes(response.json()) == [("data-unavailable", "warning")]
    card = response.json()["cards"][0]
    assert card["summary"].startswith("Clozapine was not checked: no data of this patient could be read.")
    # A chart of which nothing is known, clozapine neither, is no news for a clinician.
    assert (
        client.post("/cds-services/clozapine-patient-view", json=call("patient-view", None)).status_code
        == 412
    )


def test_P5_a_visit_without_orders_and_counts_is_never_an_empty_answer(client: httpx.Client) -> None:
    """Neither a card on every chart while an EHR is slow, nor an answer that says that there is nothing to say."""
    view = "/cds-services/clozapine-patient-view"

    def ask(sent: dict[str, Any]) -> httpx.Response:
        return client.post(view, json=call("patient-view", sent))

    failed = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "timeout"}]}
    rest = prefetch(medications=failed, counts=failed)
    refused = ask(rest)
    assert refused.status_code == 412
    assert refused.json()["issue"][0]["expression"] == ["prefetch.counts", "prefetch.medications"]
    assert ask({"patient": None, "conditions": None}).status_code == 412
    # Either of them is enough to answer; what hints at clozapine is worth a card.
    assert ask(rest | {"counts": bundle(anc())}).json() == {"cards": []}
    assert ask(rest | {"medications": None}).json() == {"cards": []}
    assert codes(ask(rest | {"counts": bundle(anc(0.4))}).json()) == [("data-unavailable", "warning")]
    for problem in ("schizophrenia", "agranulocytosis after clozapine"):
        listed = {
            "resourceType": "Condition",
            "id": "c",
            "code": {"text": problem},
            "subject": {"reference": "Patient/clz-p1"},
        }
        assert codes(ask(rest | {"conditions": bundle(listed)}).json()) == [("data-unavailable", "warning")]
    # An order of another drug is answered at once.
    order_of_another = call("order-sign", rest, order("ibuprofen 400 MG Oral Tablet"))
    assert client.post(_SIGN, json=order_of_another).json() == {"cards": []}


@pytest.mark.parametrize(
    ("days", "said"),
    [
        (7, [("anc-standing-order", "info")]),
        (30, []),
        (90, [("anc-standing-order", "warning")]),
    ],
)
def test_a_standing_order_is_read_where_it_is_sent_and_the_rest_is_fetched(
    connected: Any, days: int, said: list[tuple[str, str]]
) -> None:
    """No key asks for ServiceRequests (docs/integration.md): one that comes with ``labs`` is judged by counts of the server."""
    client, ehr, access = connected
    standing = {
        "resourceType": "ServiceRequest",
        "id": "standing-1",
        "status": "active",
        "intent": "order",
        "code": {"coding": [{"system": "http://loinc.org", "code": "57021-8"}]},
        "subject": {"reference": "Patient/clz-p1"},
        "occurrenceTiming": {"repeat": {"frequency": 1, "period": days, "periodUnit": "d"}},
    }
    ehr.add(*(anc(3.2, float(day), id=f"anc-{day}") for day in range(3, 500, 28)))
    sent = prefetch()
    sent["labs"]["entry"].append({"resource": standing})
    del sent["counts"], sent["medications"]
    answer = client.post(
        "/cds-services/clozapine-patient-view", json=call("patient-view", sent, **access)
    ).json()
    assert [c for c in codes(answer) if c[0] == "anc-standing-order"] == said
    assert _asked(ehr, "Observation")
    assert not _asked(ehr, "ServiceRequest")


def test_P5_foreign_servers_are_never_called(start_service: Any, ehr: Ehr) -> None:
    closed = start_service(errors="status")
    access = {
        "fhirServer": f"{ehr.base_url}/fhir",
        "fhirAuthorization": {"access_token": ehr.token, "token_type": "Bearer"},
    }
    assert closed.post(_SIGN, json=call("order-sign", None, clozapine(), **access)).status_code == 412
    told = start_service().post(_SIGN, json=call("order-sign", None, clozapine(), **access))
    assert codes(told.json()) == [("data-unavailable", "warning")]
    assert ehr.asked == []


def test_P6_fetching_keeps_the_deadline(start_service: Any, ehr: Ehr) -> None:
    server = f"{ehr.base_url}/fhir"
    slow = start_service(fhir_servers=(server,), fhir_deadline_ms=150)
    ehr.delay_seconds = 3
    access = {"fhirServer": server, "fhirAuthorization": {"access_token": ehr.token, "token_type": "Bearer"}}
    sent = prefetch(medications=bundle(on_clozapine()))
    del sent["counts"]
    started = time.monotonic()
    answer = slow.post(_SIGN, json=call("order-sign", sent, clozapine(300), **access)).json()
    assert time.monotonic() - started < 2
    assert codes(answer) == [("data-unavailable", "warning")]
    assert "in time" in answer["cards"][0]["detail"]


def test_P6_queries_run_side_by_side(connected: Any) -> None:
    client, ehr, access = connected
    ehr.delay_seconds = 0.3
    ehr.add(anc(0.4))
    started = time.monotonic()
    answer = client.post(_SIGN, json=call("order-sign", None, clozapine(300), **access)).json()
    assert codes(answer)[0] == ("anc-severe-neutropenia", "critical")
    assert len(ehr.asked) >= 11
    assert time.monotonic() - started < 11 * 0.3 / 2


@pytest.mark.parametrize("fault", ["status", "redirect", "token"])
def test_P6_faults_of_the_server_end_in_an_answer(connected: Any, fault: str) -> None:
    client, ehr, access = connected
    ehr.status = 500 if fault == "status" else 200
    ehr.redirect_to = "http://127.0.0.1:9/stolen" if fault == "redirect" else ""
    if fault == "token":
        access["fhirAuthorization"]["access_token"] = "expired"
    sent = prefetch(medications=bundle(on_clozapine()))
    del sent["counts"]
    answer = client.post(_SIGN, json=call("order-sign", sent, clozapine(300), **access))
    assert answer.status_code == 200
    assert codes(answer.json()) == [("data-unavailable", "warning")]
