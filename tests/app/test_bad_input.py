"""Bad input: the right status, a sentence that names the field and the way out, or a card that says what could not be read."""

from __future__ import annotations

import json
from typing import Any

import httpx
import orjson
import pytest

from tests.data import anc, bundle, call, clozapine, codes, on_clozapine, order, prefetch

_SIGN = "/cds-services/clozapine-order-sign"
_JSON = {"Content-Type": "application/json"}


def _cards(client: httpx.Client, body: dict[str, Any]) -> list[tuple[str, str]]:
    response = client.post(f"/cds-services/clozapine-{body['hook']}", json=body)
    assert response.status_code == 200, response.text
    return codes(response.json())


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "JSON"),
        (b"hello", "JSON"),
        (b'{"hook": "order-sign",', "JSON"),
        (b"[]", "JSON object"),
        (b'"x"', "JSON object"),
        (b"\xff\xfe\x00", "JSON"),
        (b"[" * 3_000_000, "JSON"),
        (
            b'{"hook":"order-sign","hookInstance":"x","context":'
            + b"[" * 1_500_000
            + b"]" * 1_500_000
            + b"}",
            "nested",
        ),
        (
            b'{"hook":"order-sign","hookInstance":"x","context":'
            + b'{"a":' * 400_000
            + b"1"
            + b"}" * 400_000
            + b"}",
            "nested",
        ),
        (b'{"hook":"order-sign","hookInstance":"x","prefetch":[1]}', "prefetch"),
        (b'{"hook":7,"hookInstance":"x"}', "hook"),
        (
            b'{"hook":"order-sign","hookInstance":"\xff","context":{"userId":"Practitioner/1","patientId":"clz-p1"}}',
            "UTF-8",
        ),
    ],
    ids=(
        "empty",
        "text",
        "truncated",
        "array",
        "string",
        "not utf-8",
        "3 MB of brackets",
        "nested arrays",
        "nested objects",
        "prefetch array",
        "hook number",
        "not utf-8 inside a member",
    ),
)
def test_not_a_request(client: httpx.Client, body: bytes, says: str) -> None:
    response = client.post(_SIGN, content=body, headers=_JSON)
    assert response.status_code == 400
    assert says in response.json()["issue"][0]["details"]["text"]


def test_deeply_nested_prefetch_and_orders_are_answered(client: httpx.Client) -> None:
    deep = b"[" * 200_000 + b"]" * 200_000
    body = (
        b'{"hook":"order-sign","hookInstance":"x","context":{"userId":"Practitioner/1","patientId":"p","draftOrders":{"resourceType":"Bundle",'
        b'"entry":[{"resource":{"resourceType":"MedicationRequest","id":"d","medicationCodeableConcept":{"text":"clozapine"},"dosageInstruction":'
        + deep
        + b'}}]}},"prefetch":{"counts":'
        + deep
        + b',"medications":null}}'
    )
    response = client.post(_SIGN, content=body, headers=_JSON)
    assert response.status_code in (200, 400)
    if response.status_code == 200:
        assert ("data-unavailable", "warning") in codes(response.json())
    assert client.get("/health/live").status_code == 200


def test_too_large_is_413_and_says_the_limit(client: httpx.Client) -> None:
    response = client.post(_SIGN, content=b"x" * 5_000_001, headers=_JSON)
    assert response.status_code == 413
    assert "5000000" in response.json()["issue"][0]["details"]["text"]

    def chunks() -> Any:
        for _ in range(60):
            yield b"x" * 100_000

    assert client.post(_SIGN, content=chunks(), headers=_JSON).status_code == 413


def test_dates_that_do_not_exist(client: httpx.Client) -> None:
    impossible = anc(3.2) | {"effectiveDateTime": "2026-02-30"}
    assert ("anc-unusable", "warning") in _cards(
        client, call("order-sign", prefetch(counts=bundle(impossible)), clozapine())
    )
    odd_order = on_clozapine() | {"authoredOn": "2026-13-01"}
    found = _cards(
        client,
        call("order-sign", prefetch(medications=bundle(odd_order), counts=bundle(anc())), clozapine(300)),
    )
    assert ("data-unavailable", "warning") in found


@pytest.mark.parametrize("unit", ["%", "g/L", "mg/dL", "", "banana", "10*12/L"])
def test_units_that_are_not_counts(client: httpx.Client, unit: str) -> None:
    chart = prefetch(medications=bundle(on_clozapine()), counts=bundle(anc(3.2, 1, unit)))
    assert ("anc-unusable", "warning") in _cards(client, call("order-sign", chart, clozapine(300)))


@pytest.mark.parametrize("value", [-1.0, 1e9, 500.0])
def test_impossible_counts(client: httpx.Client, value: float) -> None:
    chart = prefetch(medications=bundle(on_clozapine()), counts=bundle(anc(value, 1)))
    assert ("anc-unusable", "warning") in _cards(client, call("order-sign", chart, clozapine(300)))


def test_counts_in_the_future(client: httpx.Client) -> None:
    chart = prefetch(medications=bundle(on_clozapine()), counts=bundle(anc(3.2, -3)))
    assert {c for c, _ in _cards(client, call("order-sign", chart, clozapine(300)))} == {
        "anc-missing",
        "anc-unusable",
    }


def test_values_of_the_wrong_type(client: httpx.Client) -> None:
    for wrong in ("3.2", None, True, [3.2], {"value": 3}):
        odd = anc()
        odd["valueQuantity"]["value"] = wrong
        found = _cards(client, call("order-sign", prefetch(counts=bundle(odd)), clozapine()))
        assert ("anc-missing", "critical") in found
        assert {"anc-unusable", "data-unavailable"} & {c for c, _ in found}


def test_negative_dose(client: httpx.Client) -> None:
    assert ("dose-unreadable", "warning") in _cards(
        client, call("order-sign", prefetch(counts=bundle(anc())), clozapine(-25))
    )


def test_unknown_medication_is_named(client: httpx.Client) -> None:
    chart = prefetch(medications=bundle(on_clozapine()), counts=bundle(anc()))
    response = client.post(_SIGN, json=call("order-sign", chart, order("Dr. Kim's evening mixture"))).json()
    assert codes(response) == [("medication-unrecognized", "info")]
    assert "evening mixture" in response["cards"][0]["summary"]


@pytest.mark.parametrize(
    "change",
    [
        {"medicationCodeableConcept": "clozapine"},
        {"dosageInstruction": "12.5 mg"},
        {"dosageInstruction": [None, 7, "x"]},
        {"dispenseRequest": []},
        {"category": "x"},
        {"contained": [1, None]},
        {
            "medicationCodeableConcept": {"coding": [{"system": None, "code": None}], "text": None},
            "medicationReference": {"reference": "#gone"},
        },
        {"status": 5},
    ],
    ids=str,
)
def test_odd_drafts_never_crash_and_are_never_silently_fine(
    client: httpx.Client, change: dict[str, Any]
) -> None:
    body = call(
        "order-sign",
        prefetch(counts=bundle(anc()), medications=bundle(on_clozapine())),
        {**clozapine(300), **change},
    )
    found = _cards(client, body)
    unreadable = "medicationCodeableConcept" in change or "status" in change or "dosageInstruction" in change
    assert bool(found) or not unreadable


def test_one_bad_resource_never_spoils_a_call(client: httpx.Client) -> None:
    rotten = [
        {"resourceType": "Observation", "id": "bad", "code": 7},
        {"resourceType": "Observation"},
        {"x": 1},
        None,
        "x",
    ]
    counts = bundle(anc(0.4))
    counts["entry"] += [{"resource": r} for r in rotten]
    found = _cards(
        client,
        call("order-sign", prefetch(medications=bundle(on_clozapine()), counts=counts), clozapine(300)),
    )
    assert found[0] == ("anc-severe-neutropenia", "critical")
    assert ("data-unavailable", "warning") in found


def test_a_byte_order_mark_is_no_fault(client: httpx.Client) -> None:
    """Clients on .NET send one."""
    body = orjson.dumps(call("order-sign", prefetch(counts=None), clozapine(12.5)))
    plain, marked = (
        client.post(_SIGN, content=start + body, headers=_JSON) for start in (b"", b"\xef\xbb\xbf")
    )
    assert marked.status_code == 200
    assert codes(marked.json()) == codes(plain.json()) != []


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
@pytest.mark.parametrize(
    "path", ["/cds-services/", "/cds-services/nobody", "/cds-services/clozapine-order-sign/"]
)
def test_an_address_that_does_not_exist_is_404_with_any_method(
    client: httpx.Client, method: str, path: str
) -> None:
    """405 “Use POST” would send its author to an address that is not there either."""
    response = client.request(method, path)
    assert response.status_code == 404
    text = response.json()["issue"][0]["details"]["text"]
    assert "GET /cds-services lists them" in text
    assert "clozapine-order-sign" in text


@pytest.mark.parametrize("path", ["/health", "/policies", "/metrics"])
def test_405_says_what_to_use(client: httpx.Client, path: str) -> None:
    response = client.post(path)
    assert response.status_code == 405
    assert response.json()["issue"][0]["details"]["text"] == "Use GET or HEAD on this address."


def test_a_patient_reference_without_an_id_is_refused(client: httpx.Client) -> None:
    body = call("order-sign", prefetch(counts=None), clozapine(12.5))
    body["context"]["patientId"] = "Patient/"
    response = client.post(_SIGN, json=body)
    assert response.status_code == 400
    assert response.json()["issue"][0]["expression"] == ["context.patientId"]


def _select(selections: list[str], *entries: Any) -> dict[str, Any]:
    body = call("order-select", prefetch())
    body["context"] |= {
        "selections": selections,
        "draftOrders": {"resourceType": "Bundle", "entry": list(entries)},
    }
    return body


def _without_id(resource: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in resource.items() if name != "id"}


@pytest.mark.parametrize(
    "selection",
    [
        "MedicationRequest/draft-1",
        "draft-1",
        "https://ehr.example/fhir/MedicationRequest/draft-1",
        "MedicationRequest/draft-1/_history/3",
    ],
)
def test_a_selection_names_its_draft_in_any_form(client: httpx.Client, selection: str) -> None:
    found = _cards(client, _select([selection], {"resource": clozapine()}, {"resource": order("ibuprofen")}))
    assert found == [("anc-missing", "critical")]


def test_a_draft_without_an_id_is_known_by_its_full_url(client: httpx.Client) -> None:
    entry = {"fullUrl": "urn:uuid:0f3a", "resource": _without_id(clozapine())}
    other = {"fullUrl": "urn:uuid:77aa", "resource": _without_id(order("ibuprofen"))}
    assert _cards(client, _select(["urn:uuid:0f3a"], entry, other)) == [("anc-missing", "critical")]
    assert _cards(client, _select(["urn:uuid:77aa"], entry, other)) == []


def test_a_product_without_an_id_is_known_by_its_full_url(client: httpx.Client) -> None:
    draft = clozapine()
    product = {"resourceType": "Medication", "code": draft.pop("medicationCodeableConcept")}
    draft["medicationReference"] = {"reference": "urn:uuid:5b1c"}
    body = _select([], {"resource": draft}, {"fullUrl": "urn:uuid:5b1c", "resource": product}) | {
        "hook": "order-sign"
    }
    assert ("anc-missing", "critical") in _cards(client, body)


def test_a_selected_order_that_was_not_sent_is_said_and_no_draft_passes_unseen(client: httpx.Client) -> None:
    body = _select(["MedicationRequest/elsewhere"], {"resource": clozapine()})
    assert _cards(client, body) == [("anc-missing", "critical"), ("data-unavailable", "warning")]
    assert _cards(client, _select(["MedicationRequest/elsewhere"])) == [("data-unavailable", "warning")]
    # What is no medication is none of this service's business.
    assert _cards(client, _select(["NutritionOrder/elsewhere"], {"resource": clozapine()})) == []


@pytest.mark.parametrize(
    "medication",
    [
        {"medicationReference": {"reference": "Medication/m-9"}},
        {"medicationCodeableConcept": {"coding": [{"system": "urn:oid:1.2.3", "code": "4711"}]}},
    ],
    ids=("reference", "local code"),
)
def test_an_order_whose_drug_cannot_be_known_is_never_silent(
    client: httpx.Client, medication: dict[str, Any]
) -> None:
    nameless = {n: v for n, v in order("x").items() if n != "medicationCodeableConcept"}
    assert _cards(client, call("order-sign", prefetch(), nameless | medication)) == [
        ("data-unavailable", "warning")
    ]
    # Before a drug is chosen there is nothing to know (R5b).
    assert _cards(client, call("order-sign", prefetch(), nameless)) == []


@pytest.mark.parametrize(("odd", "also"), [(None, []), ("x", [("data-unavailable", "warning")])])
def test_an_entry_that_is_none_costs_only_itself(
    client: httpx.Client, odd: Any, also: list[tuple[str, str]]
) -> None:
    body = _select([], odd, {"resource": clozapine()}) | {"hook": "order-sign"}
    assert _cards(client, body) == [("anc-missing", "critical"), *also]
    counts = {"resourceType": "Bundle", "entry": [odd, {"resource": anc(0.4)}]}
    found = _cards(client, call("order-sign", prefetch(counts=counts), clozapine()))
    assert ("anc-severe-neutropenia", "critical") in found
    assert set(also) <= set(found)


@pytest.mark.parametrize("digits", [300, 400, 4000])
@pytest.mark.parametrize("status", ["final", "cancelled"])
def test_numbers_of_hundreds_of_digits(client: httpx.Client, digits: int, status: str) -> None:
    """JSON allows them, and no calculation survives them: shown where they count, ignored where they do not."""
    huge = int("1" + "0" * digits)
    count = anc() | {"status": status, "valueQuantity": {"value": huge, "unit": "10*3/uL"}}
    body = call(
        "order-sign", prefetch(medications=bundle(on_clozapine()), counts=bundle(count)), clozapine(300)
    )
    found = _cards_of_text(client, json.dumps(body))
    assert ("anc-unusable" in found) == (status == "final")
    assert "anc-missing" in found


@pytest.mark.parametrize("digits", [300, 400, 4000])
def test_a_dose_of_hundreds_of_digits(client: httpx.Client, digits: int) -> None:
    draft = clozapine(300)
    draft["dosageInstruction"] = [
        {
            "timing": {"repeat": {"frequency": 1, "period": 1, "periodUnit": "d"}},
            "doseAndRate": [{"doseQuantity": {"value": int("1" + "0" * digits), "unit": "mg", "code": "mg"}}],
        }
    ]
    body = call("order-sign", prefetch(medications=bundle(on_clozapine()), counts=bundle(anc())), draft)
    assert "dose-unreadable" in _cards_of_text(client, json.dumps(body))


def _cards_of_text(client: httpx.Client, body: str) -> set[str]:
    response = client.post(_SIGN, content=body, headers=_JSON)
    assert response.status_code == 200, response.text
    return {code for code, _ in codes(response.json())}
