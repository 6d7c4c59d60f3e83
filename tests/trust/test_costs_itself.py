"""One bad thing costs itself: a link, an id, a source, a suggestion, a card – and nothing beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from service.alerts.say.finding import Finding
from tests.data import PATIENT, anc, bundle, call, clozapine, codes, on_clozapine, order, prefetch
from tests.ehr import Ehr
from tests.texts import Place, calls, element, put

_SIGN = "/cds-services/clozapine-order-sign"
_CHECK = "/fhir/$clozapine-check"
#: Parts of addresses that no client can ask for.
_ODD = {
    "an open bracket": "http://[",
    "half an address of IPv6": "http://[::1/fhir",
    "controls": "Observation?\x01\x7f=\x1b",
    "line breaks": "Observation?a\r\nHost: evil.example\r\n",
    "64 k characters": "Observation?" + "x" * 64_000,
    "a port that is none": "http://127.0.0.1:99999999/fhir/Observation",
    "signs alone": "://?#[]@!$&'()*+,;=%%%",
}
_JSON = {"Content-Type": "application/json"}
_LOW = bundle(anc(0.4, 1))


def _reading(ehr: Ehr, body: dict[str, Any]) -> dict[str, Any]:
    """The call with access to the EHR's server."""
    access = {
        "access_token": ehr.token, "token_type": "Bearer", "expires_in": 60, "scope": "x", "subject": "x",
    }  # fmt: skip
    return body | {"fhirServer": f"{ehr.base_url}/fhir", "fhirAuthorization": access}


def _signed(client: httpx.Client, ehr: Ehr, body: dict[str, Any]) -> httpx.Response:
    token = ehr.signer.token("north", _SIGN)
    return client.post(_SIGN, json=_reading(ehr, body), headers={"Authorization": f"Bearer {token}"})


def _found(answer: httpx.Response) -> set[str]:
    assert answer.status_code == 200, answer.text
    return {code for code, _ in codes(answer.json())}


# -- links and ids ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("link", _ODD.values(), ids=_ODD)
def test_a_link_to_the_next_page_that_is_no_address_costs_its_source(
    trusting: httpx.Client, ehr: Ehr, link: str
) -> None:
    page = _LOW | {"link": [{"relation": "next", "url": link}]}
    body = call("order-sign", prefetch(medications=bundle(on_clozapine()), counts=page), clozapine(300))
    assert _found(_signed(trusting, ehr, body)) >= {"anc-severe-neutropenia", "data-unavailable"}
    assert not [asked for asked in ehr.asked if "evil" in asked]


@pytest.mark.parametrize("link", _ODD.values(), ids=_ODD)
def test_a_link_that_the_server_sends_costs_its_source(trusting: httpx.Client, ehr: Ehr, link: str) -> None:
    ehr.add(anc(0.4, 1))
    ehr.next_link = link
    body = call("order-sign", prefetch(medications=bundle(on_clozapine())), clozapine(300))
    del body["prefetch"]["counts"]
    assert _found(_signed(trusting, ehr, body)) >= {"anc-severe-neutropenia", "data-unavailable"}


@pytest.mark.parametrize(
    "reference",
    ["Medication/\x01", "Medication/\r\n", "Medication/" + "x" * 64_000, "http://[/Medication/1", "Medication/é[", "//Medication/:"],
)  # fmt: skip
def test_a_product_of_an_odd_id_costs_its_record(trusting: httpx.Client, ehr: Ehr, reference: str) -> None:
    odd = order("x", id="odd", status="active", authoredOn="2026-10-01")
    del odd["medicationCodeableConcept"]
    odd["medicationReference"] = {"reference": reference}
    sent = prefetch(medications=bundle(on_clozapine(), odd), counts=_LOW)
    found = _found(_signed(trusting, ehr, call("order-sign", sent, clozapine(300))))
    assert "anc-severe-neutropenia" in found


@pytest.mark.parametrize(
    "patient", ["\x01", "x" * 64_000, "a/../../b", "a?b=c&_revinclude=*", "http://[", "<b>é</b>", "\u202e"]
)
def test_an_odd_patient_id_is_refused_by_name(trusting: httpx.Client, ehr: Ehr, patient: str) -> None:
    """What is no id of FHIR is the integrator's to mend, and would reach an address: the field is named, its content is not repeated."""
    body = call("order-sign", prefetch(medications=bundle(on_clozapine()), counts=_LOW), clozapine(300))
    body["context"]["patientId"] = patient
    answer = _signed(trusting, ehr, body)
    assert answer.status_code == 400, answer.text
    assert "context.patientId" in answer.text
    assert patient not in answer.json()["issue"][0]["details"]["text"]


def test_ids_of_any_shape_cost_no_record(client: httpx.Client) -> None:
    for odd in ("\x01\x02", "x" * 64_000, "[a](http://evil.example)", "a\nb", "../.."):
        sent = prefetch(medications=bundle(on_clozapine(id=odd)), counts=bundle(anc(0.4, 1, id=odd)))
        found = _found(client.post(_SIGN, json=call("order-sign", sent, clozapine(300, id=odd))))
        assert "anc-severe-neutropenia" in found


def test_a_selection_that_is_no_reference_puts_every_draft_in_question(client: httpx.Client) -> None:
    for odd in ("<script>alert(1)</script>", "a\nb/c", "http://[", "x" * 64_000):
        body = call("order-select", prefetch(medications=bundle(on_clozapine()), counts=_LOW), clozapine(300))
        body["context"]["selections"] = [odd]
        assert "anc-severe-neutropenia" in _found(
            client.post("/cds-services/clozapine-order-select", json=body)
        )


def _numbers(node: Any, here: Place = ()) -> Iterator[Place]:
    if isinstance(node, dict | list):
        for step, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _numbers(value, (*here, step))
    elif isinstance(node, int | float) and not isinstance(node, bool):
        yield here


def test_a_number_of_any_size_fails_no_check(client: httpx.Client) -> None:
    seen: set[str] = set()
    for name, body in calls().items():
        for place in _numbers(body):
            what = f"{name[:4]} {element(body, place)}"
            if what in seen or "prefetch" not in place or "search" in place:
                continue
            seen.add(what)
            for value in (10**400, 1e300, 10**12, 1e-300, -1):
                changed: Any = put(body, place, "")
                node = changed
                for step in place[:-1]:
                    node = node[step]
                node[place[-1]] = value
                answer = client.post(
                    f"/cds-services/clozapine-{body['hook']}", content=json.dumps(changed), headers=_JSON
                )
                assert answer.status_code == 200, what
                assert "failed on this patient" not in answer.text, f"{what} {value:.0e}"
    assert len(seen) > 100


def test_numbers_and_nesting_cost_their_record(client: httpx.Client) -> None:
    huge, deep = "9" * 5000, "[" * 300 + "]" * 300
    for place in (
        '"valueQuantity": {"value": HUGE, "unit": "10*3/uL"}', '"valueQuantity": {"value": NaN}', '"valueQuantity": {"value": 1e999, "unit": "10*3/uL"}',
        '"extension": DEEP', '"contained": DEEP', '"referenceRange": DEEP', '"referenceRange": [{"high": {"value": HUGE}}]',
    ):  # fmt: skip
        body = json.dumps(
            call("order-sign", prefetch(medications=bundle(on_clozapine()), counts=bundle(anc(0.4, 1), anc(3.2, 9, id="ODD"))), clozapine(300))
        )  # fmt: skip
        odd = place.replace("HUGE", huge).replace("DEEP", deep)
        text = body.replace('"id": "ODD"', f'"id": "odd", {odd}')
        answer = client.post(_SIGN, content=text, headers=_JSON)
        if "NaN" in odd:
            assert answer.status_code == 400
        else:
            assert "anc-severe-neutropenia" in _found(answer), place[:40]


def test_a_drug_whose_name_is_too_long_to_be_read_is_never_silent(client: httpx.Client) -> None:
    long = order("a compound of many things, " * 40 + "clozapine", status="active", authoredOn="2026-10-01")
    visit = call("patient-view", prefetch(medications=bundle(long), counts=_LOW))
    answer = client.post("/cds-services/clozapine-patient-view", json=visit)
    assert "data-unavailable" in _found(answer)
    assert "a name of its medication is longer than 500 characters" in answer.text
    signed = client.post(_SIGN, json=call("order-sign", prefetch(counts=_LOW), long | {"status": "draft"}))
    assert "data-unavailable" in _found(signed)


# -- what this service itself fails on --------------------------------------------------------------------------


def _explode(*_: Any, **__: Any) -> Any:
    raise ZeroDivisionError("canary")


_CALL = call("order-sign", prefetch(medications=bundle(on_clozapine()), counts=_LOW), clozapine(300))
_FAULTS = "clozapine_cds_rule_faults_total"


def test_a_card_that_cannot_be_written_is_replaced_by_one_as_severe(
    start_service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import service.alerts.say.cards as cards

    write = cards.card_of

    def failing(finding: Finding, *more: Any) -> Any:
        return _explode() if finding.code == "anc-severe-neutropenia" else write(finding, *more)

    client = start_service()
    before = codes(client.post(_SIGN, json=_CALL).json())
    monkeypatch.setattr(cards, "card_of", failing)
    answer = client.post(_SIGN, json=_CALL)
    assert answer.status_code == 200
    assert codes(answer.json()) == [
        ("data-unavailable" if code == "anc-severe-neutropenia" else code, severity)
        for code, severity in before
    ]
    lost = answer.json()["cards"][0]
    assert "ANC severe neutropenia" in lost["summary"]
    assert "canary" not in answer.text
    assert (
        f'{_FAULTS}{{exception="ZeroDivisionError",rule="card anc-severe-neutropenia"}} 1.0'
        in client.get("/metrics").text
    )


def test_a_card_that_cannot_be_put_into_the_protocol_is_replaced(
    start_service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import service.hooks.render as render

    make = render.Card

    def failing(**members: Any) -> Any:
        return _explode() if members["source"].topic.code == "anc-severe-neutropenia" else make(**members)

    monkeypatch.setattr(render, "Card", failing)
    client = start_service()
    answer = client.post(_SIGN, json=_CALL)
    assert codes(answer.json())[0] == ("data-unavailable", "critical")
    assert "ANC severe neutropenia" in answer.json()["cards"][0]["summary"]


@pytest.mark.parametrize(
    ("what", "rule"), [("_action", "suggestion RemoveDraft"), ("_policy_link", "link policy")]
)
def test_a_suggestion_or_a_link_that_cannot_be_built_leaves_the_card(
    start_service: Any, monkeypatch: pytest.MonkeyPatch, what: str, rule: str
) -> None:
    import service.hooks.render as render

    client = start_service()
    whole = client.post(_SIGN, json=_CALL).json()
    monkeypatch.setattr(render, what, _explode)
    answer = client.post(_SIGN, json=_CALL).json()
    assert codes(answer) == codes(whole)
    member = "suggestions" if what == "_action" else "links"
    assert any(member in card for card in whole["cards"])
    assert not any(member in card for card in answer["cards"])
    assert all("selectionBehavior" not in card or "suggestions" in card for card in answer["cards"])
    assert f'rule="{rule}"' in client.get("/metrics").text


def test_a_source_that_cannot_be_read_costs_itself(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    import service.fhir.snapshot as snapshot

    believed = snapshot.of_patient

    def failing(resources: Any, patient: str, source: str, problems: Any) -> Any:
        return _explode() if source == "labs" else believed(resources, patient, source, problems)

    monkeypatch.setattr(snapshot, "of_patient", failing)
    answer = client.post(_SIGN, json=_CALL)
    assert {"anc-severe-neutropenia", "data-unavailable"} <= _found(answer)
    card = next(c for c in answer.json()["cards"] if c["source"]["topic"]["code"] == "data-unavailable")
    assert (
        "Other laboratory results – not read: this service failed on it (ZeroDivisionError)" in card["detail"]
    )


def test_a_fetch_that_fails_in_an_unforeseen_way_costs_its_source(
    trusting: httpx.Client, ehr: Ehr, monkeypatch: pytest.MonkeyPatch
) -> None:
    import service.fhir.gather as gather

    fetch = gather._fetch

    async def failing(server: Any, task: Any, data: Any) -> None:
        if task.source == "conditions":
            _explode()
        await fetch(server, task, data)

    monkeypatch.setattr(gather, "_fetch", failing)
    body = call("order-sign", prefetch(medications=bundle(on_clozapine()), counts=_LOW), clozapine(300))
    del body["prefetch"]["conditions"]
    answer = _signed(trusting, ehr, body)
    assert {"anc-severe-neutropenia", "data-unavailable"} <= _found(answer)
    assert "Problem list – not read" in answer.text


def test_a_registry_that_fails_in_an_unforeseen_way_costs_what_is_remembered(
    start_service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import service.hooks.recalled as history

    client = start_service(enrol=True)
    body = call("order-sign", prefetch(medications=bundle(on_clozapine()), counts=_LOW), clozapine(300))
    del body["prefetch"]["labs"]
    monkeypatch.setattr(history, "facts_of", _explode)
    answer = client.post(_SIGN, json=body)
    assert "anc-severe-neutropenia" in _found(answer)
    assert "registry could not be read" in answer.text


# -- the FHIR operation -----------------------------------------------------------------------------------------


def _check(client: httpx.Client, body: Any) -> dict[str, str]:
    answer = client.post(_CHECK, content=json.dumps(body), headers={"Content-Type": "application/fhir+json"})
    assert answer.status_code == 200, answer.text
    resources = [entry["resource"] for entry in answer.json().get("entry", [])]
    return {
        r["code"]["coding"][0]["code"]: r["severity"]
        for r in resources
        if r["resourceType"] == "DetectedIssue"
    }


def _record(*resources: Any) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": r} for r in resources]}


_WOMAN = {"resourceType": "Patient", "id": PATIENT, "gender": "female", "birthDate": "1984-05-02"}


def test_the_operation_answers_whatever_stands_in_ids_and_texts(client: httpx.Client) -> None:
    for odd in (
        "a\x1cb",
        "\x85\u2028x",
        "\x00",
        "x" * 64_000,
        "<b>[x](http://evil.example)</b>\n# y",
        "\u202e",
    ):
        drug = order(f"ciprofloxacin {odd}", id=odd, status="active", authoredOn="2026-11-18")
        count = anc(0.4, 1, f"furlongs{odd}", id=odd)
        record = _record(_WOMAN, on_clozapine(id=odd), anc(0.4, 2, id=f"1{odd}"), count, drug, clozapine(300))
        assert _check(client, record)["anc-severe-neutropenia"] == "high"
        named = json.loads(
            json.dumps(record)
            .replace(json.dumps(PATIENT), json.dumps(odd))
            .replace(f'"Patient/{PATIENT}"', json.dumps(f"Patient/{odd}"))
        )
        if "/" not in odd:
            assert _check(client, named)["anc-severe-neutropenia"] == "high"


def test_the_operation_leaves_out_what_is_nested_too_deeply(client: httpx.Client) -> None:
    deep: Any = "x"
    for _ in range(600):
        deep = [deep]
    record = _record(_WOMAN, on_clozapine(), anc(0.4, 1), anc(3, 9, id="deep", note=deep), clozapine(300))
    found = _check(client, record)
    assert found["anc-severe-neutropenia"] == "high"
    assert "data-unavailable" in found
    draft = _check(client, _record(_WOMAN, on_clozapine(), anc(0.4, 1), clozapine(300, note=deep)))
    assert draft["anc-severe-neutropenia"] == "high"
    assert "data-unavailable" in draft


def test_a_finding_that_cannot_be_told_in_fhir_is_replaced_by_one_as_severe(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    import service.operation.detected as detected

    detail = detected._detail

    def failing(finding: Finding) -> str:
        return (
            "" if finding.code == "anc-severe-neutropenia" else detail(finding)
        )  # FHIR allows no empty string

    record = _record(_WOMAN, on_clozapine(), anc(0.4, 1), clozapine(300))
    before = _check(client, record)
    monkeypatch.setattr(detected, "_detail", failing)
    after = _check(client, record)
    assert after.pop("data-unavailable") == before.pop("anc-severe-neutropenia") == "high"
    assert after == before
