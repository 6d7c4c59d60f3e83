"""What of a record the operation leaves out: named by its entry and why; references that FHIR does not have are not written."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.data import PATIENT, anc, call, clozapine, codes, observation, on_clozapine, order, prefetch
from tests.operation.test_clozapine_check import WOMAN, ask, of_type, parameters, record, said

Json = dict[str, Any]


def places(answer: Json) -> dict[str, str]:
    """FHIRPath -> what is said of it, without the summary."""
    (outcome,) = of_type(answer, "OperationOutcome")
    return {i["expression"][0]: i["details"]["text"] for i in outcome["issue"][1:]}


def test_another_patient_s_count_is_named_by_its_entry_as_a_count(client: httpx.Client) -> None:
    answer = ask(
        client, record(WOMAN, on_clozapine(), anc(3.0, 2), anc(0.3, 1, id="not-hers", patient="someone"))
    )
    assert places(answer) == {
        "Bundle.entry[3].resource": "Observation: left out: it belongs to another patient. It was not checked."
    }
    issues = json.dumps(of_type(answer, "DetectedIssue"))
    assert "Blood counts" in issues
    assert "medication orders" not in issues
    assert "not-hers" not in json.dumps(answer)


@pytest.mark.parametrize(
    ("resource", "says"),
    [
        (anc(0.4, 9, id="x", unit="bananas"), "bananas"),
        ({k: v for k, v in order("y", status="active", id="nameless").items() if k != "medicationCodeableConcept"} | {"medicationReference": {"reference": "Medication/gone"}}, "MedicationRequest/nameless"),
        (anc(0.4, 9, id="text-only") | {"code": {"text": "Neutrophils"}}, "Observation/text-only"),
    ],
)  # fmt: skip
def test_what_nobody_understood_is_named_by_its_entry(
    client: httpx.Client, resource: Json, says: str
) -> None:
    answer = ask(client, record(WOMAN, on_clozapine(), anc(3.2, 3), resource))
    assert says in places(answer)["Bundle.entry[3].resource"]


def test_what_bears_on_no_rule_is_counted(client: httpx.Client) -> None:
    sodium = observation("2951-2", 140, "mmol/L", id="na")
    withdrawn = anc(0.4, 9, id="y", status="entered-in-error")
    answer = ask(client, record(WOMAN, on_clozapine(), anc(3.2, 3), sodium, withdrawn))
    assert places(answer) == {}
    assert "Irrelevant: 1 another-test, 1 no-result." in said(answer)


def test_an_entry_without_a_resource_is_named(client: httpx.Client) -> None:
    chart = record(WOMAN, on_clozapine(), anc(3.2, 3))
    chart["entry"].append({"fullUrl": "https://ehr.example/fhir/Observation/7"})
    assert "holds no resource" in places(ask(client, chart))["Bundle.entry[3]"]


@pytest.mark.parametrize("odd", [{}, {"id": "bad id!"}])
def test_references_are_valid_or_left_out(client: httpx.Client, odd: Json) -> None:
    low = {k: v for k, v in anc(0.4, 0.5).items() if k != "id"} | odd
    answer = ask(client, record(WOMAN, on_clozapine(), low, clozapine(300)))
    issue = of_type(answer, "DetectedIssue")[0]
    assert issue["code"]["coding"][0]["code"] == "anc-severe-neutropenia"
    assert "400/µL" in issue["evidence"][0]["code"][0]["text"]
    assert "detail" not in issue["evidence"][0]
    assert "bad id!" not in json.dumps(of_type(answer, "DetectedIssue"))


def test_a_patient_whose_id_is_none_is_not_referred_to(client: httpx.Client) -> None:
    woman = WOMAN | {"id": "bad id!"}
    low = anc(0.4, 0.5) | {"subject": {"reference": "Patient/bad id!"}}
    answer = ask(client, record(woman, low))
    assert all("patient" not in issue for issue in of_type(answer, "DetectedIssue"))


def test_strict_handling_checks_nothing_that_was_not_all_read(client: httpx.Client) -> None:
    strict = {"Content-Type": "application/fhir+json", "Prefer": "handling=strict"}
    path = "/fhir/$clozapine-check"
    good = record(WOMAN, on_clozapine(), anc(0.4, 0.5))
    answer = client.post(path, content=json.dumps(good), headers=strict)
    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "handling=strict"
    stray = record(WOMAN, on_clozapine(), anc(0.4, 0.5), anc(0.3, 1, id="not-hers", patient="someone"))
    refused = client.post(path, content=json.dumps(stray), headers=strict)
    assert refused.status_code == 400
    (issue,) = refused.json()["issue"]
    assert issue["expression"] == ["Bundle.entry[3].resource"]
    assert "Nothing was checked" in issue["details"]["text"]
    assert ask(client, stray)["resourceType"] == "Bundle"


def _dispense(**more: Any) -> Json:
    return {
        "resourceType": "MedicationDispense", "id": "disp", "status": "preparation", "subject": {"reference": f"Patient/{PATIENT}"},
        "medicationCodeableConcept": {"text": "clozapine 100 MG Oral Tablet"}, "whenPrepared": "2026-11-20T09:00:00Z",
        "quantity": {"value": 84, "unit": "tablet"}, "daysSupply": {"value": 28, "unit": "d", "system": "http://unitsofmeasure.org", "code": "d"},
    } | more  # fmt: skip


def _codes(answer: Json) -> set[str]:
    return {i["code"]["coding"][0]["code"] for i in of_type(answer, "DetectedIssue")}


def test_the_counter_asks_about_a_dispense_and_its_prescription_is_no_evidence_of_treatment(
    client: httpx.Client,
) -> None:
    prescription = clozapine(300, id="rx", status="active", authoredOn="2026-11-19")
    dispense = _dispense(authorizingPrescription=[{"reference": "MedicationRequest/rx"}])
    body = parameters(
        ("bundle", {"resource": record(WOMAN, anc(3.2, 1), prescription, dispense)}),
        ("order", {"valueReference": {"reference": "MedicationDispense/disp"}}),
    )
    answer = ask(client, body)
    assert "dose-start-too-high" in _codes(answer)
    # The same without the dispense in question: the prescription is taken for treatment.
    assert "dose-start-too-high" not in _codes(ask(client, record(WOMAN, anc(3.2, 1), prescription)))


def test_a_dispense_without_its_prescription_is_judged_by_itself(client: httpx.Client) -> None:
    daily = {"text": "1 tablet at night", "timing": {"repeat": {"frequency": 1, "period": 1, "periodUnit": "d"}}, "doseAndRate": [{"doseQuantity": {"value": 300, "unit": "mg"}}]}  # fmt: skip
    dispense = _dispense(dosageInstruction=[daily])
    answer = ask(
        client,
        parameters(("bundle", {"resource": record(WOMAN, anc(3.2, 1))}), ("order", {"resource": dispense})),
    )
    assert "dose-start-too-high" in _codes(answer)
    (issue,) = [
        i for i in of_type(answer, "DetectedIssue") if i["code"]["coding"][0]["code"] == "dose-start-too-high"
    ]
    assert issue["implicated"] == [{"reference": "MedicationDispense/disp"}]


@pytest.mark.parametrize(
    "value",
    [
        {"resource": anc(3.2)},
        {"valueReference": {"reference": f"Patient/{PATIENT}"}},
    ],
)
def test_nothing_else_can_be_asked_about(client: httpx.Client, value: Json) -> None:
    body = parameters(("bundle", {"resource": record(WOMAN, anc(3.2))}), ("order", value))
    refused = client.post("/fhir/$clozapine-check", json=body)
    assert refused.status_code == 400
    assert "MedicationRequest or a MedicationDispense" in refused.json()["issue"][0]["details"]["text"]


@pytest.mark.parametrize("status", ["on-hold", "active", "draft", "planned"])
def test_an_order_in_question_is_judged_as_the_hook_judges_it(client: httpx.Client, status: str) -> None:
    draft = clozapine(300, id="held") | {"status": status}
    cards = client.post(
        "/cds-services/clozapine-medication-verify",
        json=call("medication-verify", prefetch(counts=record(anc(3.2, 1), kind="searchset")), draft),
    ).json()
    body = parameters(
        ("bundle", {"resource": record(WOMAN, anc(3.2, 1), draft)}),
        ("order", {"valueReference": {"reference": "MedicationRequest/held"}}),
    )
    answer = ask(client, body)
    told = {code for code, _ in codes(cards) if code.startswith("dose-")}
    # A hook takes an order on hold for one that stops.
    assert ("dose-start-too-high" in told) == (status != "on-hold")
    assert {code for code in _codes(answer) if code.startswith("dose-")} == told


def test_records_of_a_merged_patient_are_the_patient_s(client: httpx.Client) -> None:
    low = anc(0.4, 0.5, patient="old")
    assert "anc-severe-neutropenia" not in _codes(ask(client, record(WOMAN, on_clozapine(), low)))
    merged = WOMAN | {"link": [{"other": {"reference": "Patient/old"}, "type": "replaces"}]}
    assert "anc-severe-neutropenia" in _codes(ask(client, record(merged, on_clozapine(), low)))
    old = {"resourceType": "Patient", "id": "old", "active": False, "gender": "male", "link": [{"other": {"reference": f"Patient/{PATIENT}"}, "type": "replaced-by"}]}  # fmt: skip
    body = parameters(
        ("bundle", {"resource": record(old, WOMAN, on_clozapine(), low)}), ("patient", {"valueId": PATIENT})
    )
    answer = ask(client, body)
    assert "anc-severe-neutropenia" in _codes(answer)
    assert places(answer) == {}


def test_a_number_of_the_merged_record_is_the_patient_s_too(client: httpx.Client) -> None:
    number = {"system": "https://fhir.nhs.uk/Id/nhs-number", "value": "943 476 5919"}
    by_number = anc(0.4, 0.5) | {"subject": {"identifier": number}}
    stranger = WOMAN | {"identifier": [{"system": number["system"], "value": "1111111111"}]}
    old = {"resourceType": "Patient", "id": "old", "identifier": [number]}
    assert "anc-severe-neutropenia" not in _codes(ask(client, record(stranger, on_clozapine(), by_number)))
    merged = stranger | {"link": [{"other": {"reference": "Patient/old"}, "type": "replaces"}]}
    body = parameters(
        ("bundle", {"resource": record(merged, old, on_clozapine(), by_number)}),
        ("patient", {"valueId": PATIENT}),
    )
    assert "anc-severe-neutropenia" in _codes(ask(client, body))
