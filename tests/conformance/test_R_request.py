"""Requests (checklist R1–R6, R5a, R5b)."""

from __future__ import annotations

import copy
import logging
from typing import Any

import httpx
import pytest

from tests.data import PATIENT, anc, bundle, call, clozapine, codes, on_clozapine, order, prefetch

_SIGN = "/cds-services/clozapine-order-sign"


def _sound(hook: str) -> dict[str, Any]:
    return call(hook, prefetch(medications=bundle(on_clozapine()), counts=bundle(anc(0.4))), clozapine(300))


def _refused(client: httpx.Client, body: dict[str, Any], names: str, path: str = _SIGN) -> str:
    response = client.post(path, json=body)
    assert response.status_code == 400, response.text
    issue = response.json()["issue"][0]
    assert names in issue["details"]["text"]
    return str(issue.get("expression", [""])[0])


@pytest.mark.parametrize("member", ["hook", "hookInstance", "context"])
def test_R1_required_members(client: httpx.Client, member: str) -> None:
    body = _sound("order-sign")
    del body[member]
    assert _refused(client, body, member) == member
    body[member] = None
    assert _refused(client, body, member) == member


def test_R1_another_hook_is_refused(client: httpx.Client) -> None:
    assert _refused(client, _sound("patient-view"), "order-sign") == "hook"


_TOKEN = {
    "access_token": "tok-canary",
    "token_type": "Bearer",
    "expires_in": 60,
    "scope": "patient/*.rs",
    "subject": "clozapine-cds",
}


def test_R2_fhir_server_is_required_with_authorization(client: httpx.Client) -> None:
    body = _sound("order-sign") | {"fhirAuthorization": _TOKEN}
    assert _refused(client, body, "fhirServer") == "fhirServer"
    body["fhirServer"] = "https://ehr.example/fhir"
    assert client.post(_SIGN, json=body).status_code == 200


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"access_token": None}, "access_token"),
        ({"token_type": "MAC"}, "token_type"),
        ({"patient": "somebody-else"}, "fhirAuthorization.patient"),
    ],
)
def test_R3_authorization_is_checked(client: httpx.Client, change: dict[str, Any], names: str) -> None:
    body = _sound("order-sign") | {
        "fhirServer": "https://ehr.example/fhir",
        "fhirAuthorization": _TOKEN | change,
    }
    assert names in _refused(client, body, names)


def test_R3_token_is_never_logged(
    client: httpx.Client, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    body = _sound("order-sign") | {"fhirServer": "https://ehr.example/fhir", "fhirAuthorization": _TOKEN}
    with caplog.at_level(logging.DEBUG):
        assert client.post(_SIGN, json=body).status_code == 200
    printed = capfd.readouterr()
    assert "tok-canary" not in caplog.text + printed.out + printed.err + client.get("/metrics").text


_REQUIRED = {
    "patient-view": ("userId", "patientId"),
    "order-select": ("userId", "patientId", "selections", "draftOrders"),
    "order-sign": ("userId", "patientId", "draftOrders"),
    "medication-verify": ("userId", "patientId", "medication"),
    "medication-refill": ("patientId", "medications"),
    "encounter-start": ("userId", "patientId", "encounterId"),
    "encounter-discharge": ("userId", "patientId", "encounterId"),
}


@pytest.mark.parametrize(("hook", "member"), [(h, m) for h, members in _REQUIRED.items() for m in members])
def test_R4_context_members_are_required(client: httpx.Client, hook: str, member: str) -> None:
    body = _sound(hook)
    path = f"/cds-services/clozapine-{hook}"
    assert client.post(path, json=body).status_code == 200
    del body["context"][member]
    assert _refused(client, body, member, path) == f"context.{member}"


@pytest.mark.parametrize(
    ("hook", "member", "wrong"),
    [
        ("order-sign", "draftOrders", {"resourceType": "Patient"}),
        ("order-sign", "draftOrders", [1]),
        ("order-sign", "draftOrders", "Bundle"),
        ("order-select", "selections", "MedicationRequest/1"),
        ("medication-refill", "medications", {"resourceType": "MedicationRequest"}),
        ("medication-verify", "medication", {"resourceType": "Bundle"}),
        ("patient-view", "patientId", 7),
        ("patient-view", "patientId", " "),
    ],
)
def test_R4_context_types_are_checked(client: httpx.Client, hook: str, member: str, wrong: Any) -> None:
    body = _sound(hook)
    body["context"][member] = wrong
    assert _refused(client, body, member, f"/cds-services/clozapine-{hook}") == f"context.{member}"


def test_R4_encounter_is_optional_where_it_is(client: httpx.Client) -> None:
    for hook in ("patient-view", "order-select", "order-sign", "medication-verify"):
        body = _sound(hook)
        del body["context"]["encounterId"]
        assert (
            codes(client.post(f"/cds-services/clozapine-{hook}", json=body).json())[0][0]
            == "anc-severe-neutropenia"
        )


def test_R4_medication_verify_reads_both_spellings(client: httpx.Client) -> None:
    body = _sound("medication-verify")
    path = "/cds-services/clozapine-medication-verify"
    expected = codes(client.post(path, json=body).json())
    other = copy.deepcopy(body)
    other["context"]["order"] = {"resource": other["context"].pop("medication")}
    assert codes(client.post(path, json=other).json()) == expected
    assert expected[0] == ("anc-severe-neutropenia", "critical")


def test_R4_resigned_orders_may_have_other_statuses(client: httpx.Client) -> None:
    body = call("order-sign", prefetch(), clozapine(status="active"))
    assert ("anc-missing", "critical") in codes(client.post(_SIGN, json=body).json())


def test_R5_guidance_concerns_the_selected_orders(client: httpx.Client) -> None:
    chart = prefetch(medications=bundle(on_clozapine()), counts=bundle(anc()))
    both = (
        order("fluvoxamine 50 MG Oral Tablet", "903884", id="d-1"),
        order("amoxicillin 500 MG Oral Capsule", id="d-2"),
    )
    body = call("order-select", chart, *both)
    path = "/cds-services/clozapine-order-select"
    body["context"]["selections"] = ["MedicationRequest/d-1"]
    assert codes(client.post(path, json=body).json())[0][0] == "interaction-cyp1a2-strong-inhibitor"
    body["context"]["selections"] = ["MedicationRequest/d-2"]
    assert "interaction-cyp1a2-strong-inhibitor" not in {
        c for c, _ in codes(client.post(path, json=body).json())
    }


def test_R5a_a_drafted_count_is_not_offered_again(client: httpx.Client) -> None:
    cbc = {
        "resourceType": "ServiceRequest", "id": "cbc", "status": "draft", "intent": "order", "subject": {"reference": f"Patient/{PATIENT}"},
        "code": {"coding": [{"system": "http://loinc.org", "code": "57021-8"}]},
    }  # fmt: skip
    without = client.post(_SIGN, json=call("order-sign", prefetch(), clozapine())).json()["cards"][0]
    with_cbc = client.post(_SIGN, json=call("order-sign", prefetch(), clozapine(), cbc)).json()["cards"][0]
    assert any(s["label"] == "Order CBC with differential" for s in without["suggestions"])
    assert not any(s["label"] == "Order CBC with differential" for s in with_cbc["suggestions"])
    assert "already drafted" in with_cbc["detail"]


def test_R5b_drafts_are_read_leniently(client: httpx.Client) -> None:
    draft = clozapine(300)
    draft["category"] = {"coding": [{"code": "outpatient"}]}  # an object where an array belongs
    draft["dosageInstruction"] = [
        {
            "timing": {"repeat": {"frequency": 1, "period": 1, "periodUnit": "d"}},
            "doseAndRate": {"doseQuantity": {"value": 3, "code": "{pill}"}},
        }
    ]
    body = call("order-sign", prefetch(counts=bundle(anc())), draft)
    del body["context"]["draftOrders"]["type"]
    answer = client.post(_SIGN, json=body).json()
    assert ("dose-start-too-high", "critical") in codes(answer)
    assert "300 mg" in answer["cards"][0]["summary"]


def test_R5b_before_a_drug_is_chosen_there_is_nothing_to_say(client: httpx.Client) -> None:
    draft = {
        "resourceType": "MedicationRequest",
        "id": "request-123",
        "status": "draft",
        "subject": {"reference": f"Patient/{PATIENT}"},
    }
    body = call("order-select", None, draft)
    assert client.post("/cds-services/clozapine-order-select", json=body).json() == {"cards": []}


def test_R5b_contained_medication_with_own_codes(client: httpx.Client) -> None:
    draft = clozapine(12.5)
    del draft["medicationCodeableConcept"]
    draft["contained"] = [
        {
            "resourceType": "Medication",
            "id": "m",
            "code": {"coding": [{"system": "urn:oid:1.2.3", "code": "5"}], "text": "cloZAPine 25 mg tablet"},
        }
    ]
    draft["medicationReference"] = {"reference": "#m"}
    assert ("anc-missing", "critical") in codes(
        client.post(_SIGN, json=call("order-sign", prefetch(), draft)).json()
    )


def test_R6_another_patient_s_resources_are_left_out_and_reported(client: httpx.Client) -> None:
    foreign = anc(0.2, 1, id="foreign-anc", patient="somebody-else")
    body = call(
        "order-sign",
        prefetch(medications=bundle(on_clozapine()), counts=bundle(anc(3.0, 5), foreign)),
        clozapine(300),
    )
    answer = client.post(_SIGN, json=body).json()
    assert codes(answer) == [("data-unavailable", "warning")]
    assert "another patient" in answer["cards"][0]["detail"]
    assert "foreign-anc" not in str(answer)
    assert "somebody-else" not in str(answer)


def test_R6_another_patient_s_order_is_reported(client: httpx.Client) -> None:
    body = call("order-sign", prefetch(counts=bundle(anc())), clozapine(patient="somebody-else"))
    answer = client.post(_SIGN, json=body).json()
    assert codes(answer) == [("data-unavailable", "warning")]


@pytest.mark.parametrize(
    "name", ["hookInstance", "context.userId", "context.patientId", "context.encounterId"]
)
def test_R1_identifiers_hold_no_nul(client: httpx.Client, name: str) -> None:
    """No database keeps one, so that the call could not be recorded."""
    body = copy.deepcopy(_sound("order-sign"))
    place = body["context"] if name.startswith("context.") else body
    place[name.removeprefix("context.")] = "a\0b"
    assert _refused(client, body, name) == name


def test_R5_a_selected_drug_is_checked_against_clozapine_drafted_before(client: httpx.Client) -> None:
    """Clozapine is background here, and still what the new order would be taken with."""
    body = call(
        "order-select",
        prefetch(counts=bundle(anc())),
        clozapine(id="d-1"),
        order("fluvoxamine 50 MG Oral Tablet", id="d-2"),
    )
    body["context"]["selections"] = ["MedicationRequest/d-2"]
    answer = client.post("/cds-services/clozapine-order-select", json=body).json()
    assert codes(answer) == [("interaction-cyp1a2-strong-inhibitor", "critical")]
    assert "clozapine is being ordered" in answer["cards"][0]["detail"]
    body["context"]["draftOrders"]["entry"][1]["resource"] = order("ibuprofen", id="d-2")
    assert client.post("/cds-services/clozapine-order-select", json=body).json() == {"cards": []}


@pytest.mark.parametrize(
    "wrong",
    [
        "https://ehr.example/fhir/Patient/clz-p1",
        "Patient/clz-p1/_history/2",
        "a/b",
        "p?x=1",
        "../x",
        "x" * 65,
        "a b",
    ],
)
def test_R4_the_patient_id_is_an_id(client: httpx.Client, wrong: str) -> None:
    body = _sound("patient-view")
    body["context"]["patientId"] = wrong
    assert _refused(client, body, "patientId", "/cds-services/clozapine-patient-view") == "context.patientId"
