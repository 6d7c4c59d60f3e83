"""``POST /fhir/$clozapine-check`` over real HTTP: what a pharmacy system without CDS Hooks sends and gets."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.detectedissue import DetectedIssue
from fhir.resources.R4B.operationoutcome import OperationOutcome
from fhir.resources.R4B.provenance import Provenance
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import Session, select

from service.judge import judge
from service.store.tables import CardShown, HookCall
from tests.data import (
    NOW,
    PATIENT,
    anc,
    baseline_labs,
    bundle,
    call,
    clozapine,
    codes,
    normal_vitals,
    observation,
    on_clozapine,
    order,
    prefetch,
)
from tests.schemas import validate

PATH = "/fhir/$clozapine-check"
FHIR = {"Content-Type": "application/fhir+json"}
WOMAN = {"resourceType": "Patient", "id": PATIENT, "gender": "female", "birthDate": "1984-05-02"}
Json = dict[str, Any]


def record(*resources: Json, kind: str = "collection") -> Json:
    return {"resourceType": "Bundle", "type": kind, "entry": [{"resource": r} for r in resources]}


def parameters(*pairs: tuple[str, Json]) -> Json:
    return {"resourceType": "Parameters", "parameter": [{"name": name} | value for name, value in pairs]}


def ask(client: httpx.Client, body: Json) -> Json:
    response = client.post(PATH, content=json.dumps(body), headers=FHIR)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/fhir+json"
    answer: Json = response.json()
    Bundle.model_validate(answer)
    return answer


def of_type(answer: Json, name: str) -> list[Json]:
    return [e["resource"] for e in answer.get("entry", ()) if e["resource"]["resourceType"] == name]


def found(answer: Json) -> list[tuple[str, str]]:
    return [(i["code"]["coding"][0]["code"], i["severity"]) for i in of_type(answer, "DetectedIssue")]


def said(answer: Json) -> str:
    return json.dumps(of_type(answer, "OperationOutcome"), ensure_ascii=False)


def test_a_severe_neutropenia_is_a_detected_issue_with_everything_a_pharmacist_needs(
    client: httpx.Client,
) -> None:
    answer = ask(client, record(WOMAN, on_clozapine(), anc(0.4, 0.5), clozapine(300)))
    issue = of_type(answer, "DetectedIssue")[0]
    DetectedIssue.model_validate(issue)
    assert answer["type"] == "collection"
    assert issue["status"] == "final"
    assert issue["severity"] == "high"
    assert issue["code"]["coding"][1] == {
        "system": "http://terminology.hl7.org/CodeSystem/v3-ActCode",
        "code": "LAB",
        "display": "Lab Alert",
    }
    assert issue["code"]["coding"][0] == {
        "system": "http://127.0.0.1:8000/fhir/CodeSystem/clozapine-finding",
        "code": "anc-severe-neutropenia",
        "display": "ANC severe neutropenia",
    }
    assert issue["patient"] == {"reference": f"Patient/{PATIENT}"}
    assert issue["identifiedDateTime"] == "2026-11-20T10:00:00Z"
    assert issue["evidence"][0]["detail"] == [{"reference": "Observation/anc-1"}]
    assert issue["implicated"] == [{"reference": "MedicationRequest/draft-1"}]
    assert "ANC 400/µL on 2026-11-19" in issue["detail"]
    assert "\\" not in issue["detail"]
    assert "**" not in issue["detail"]
    assert issue["mitigation"][0]["action"]["text"] == "Stop clozapine now."
    assert issue["reference"].startswith("https://dailymed.nlm.nih.gov/")
    (outcome,) = of_type(answer, "OperationOutcome")
    assert [i["severity"] for i in outcome["issue"]] == ["information"]


def test_one_provenance_names_policy_and_version_and_targets_every_issue(client: httpx.Client) -> None:
    answer = ask(client, record(WOMAN, on_clozapine(), anc(0.4, 0.5), clozapine(300)))
    (provenance,) = of_type(answer, "Provenance")
    Provenance.model_validate(provenance)
    urls = {e["fullUrl"] for e in answer["entry"] if e["resource"]["resourceType"] == "DetectedIssue"}
    assert {t["reference"] for t in provenance["target"]} == urls
    assert provenance["occurredDateTime"] == "2026-11-20T10:00:00Z"
    assert provenance["policy"] == ["http://127.0.0.1:8000/policies/us-label-2025"]
    assert provenance["entity"][0]["what"]["identifier"]["value"] == "us-label-2025"
    assert "version 0" in provenance["agent"][0]["who"]["display"]


def test_the_sums_of_the_provenance_are_those_of_the_ledger(client: httpx.Client) -> None:
    statement = {
        "resourceType": "MedicationStatement", "id": "s1", "status": "active", "subject": {"reference": f"Patient/{PATIENT}"},
        "medicationReference": {"reference": "Medication/gone"},
    }  # fmt: skip
    sodium = observation("2951-2", 140, "mmol/L", id="na")
    own = anc(0.6, 2, id="own") | {"code": {"text": "Neutrophils"}}
    whole = record(
        WOMAN, on_clozapine(), anc(0.4, 0.5), clozapine(300), statement, sodium, own, anc(0.4, 9, id="x", unit="bananas"),
        anc(0.4, 9, id="y", status="entered-in-error"), {"resourceType": "Appointment", "id": "z"},
    )  # fmt: skip
    (provenance,) = of_type(ask(client, whole), "Provenance")
    said = provenance["entity"][1]["what"]["display"]
    given, read, irrelevant, unknown = map(int, re.findall(r"\d+", said))
    assert (given, read, irrelevant, unknown) == (10, 4, 3, 3)
    assert given == read + irrelevant + unknown
    sums = judge(whole, as_of=NOW, hook="medication-verify").ledger.sums()
    assert [given, read, irrelevant, unknown] == [
        sums[k] for k in ("given", "read", "irrelevant", "not understood")
    ]


def test_the_same_findings_as_the_hook(client: httpx.Client) -> None:
    draft, counts = clozapine(300), anc(1.2, 3)
    fluvoxamine = order("fluvoxamine 50 MG Oral Tablet", id="mr-f", status="active", authoredOn="2026-11-15")
    cards = client.post(
        "/cds-services/clozapine-medication-verify",
        json=call(
            "medication-verify",
            prefetch(medications=bundle(on_clozapine(), fluvoxamine), counts=bundle(counts)),
            draft,
        ),
    ).json()
    labs = [e["resource"] for value in (baseline_labs(), normal_vitals()) for e in value["entry"]]
    answer = ask(client, record(WOMAN, on_clozapine(), fluvoxamine, counts, draft, *labs))
    severity = {"critical": "high", "warning": "moderate", "info": "low"}
    assert len(cards["cards"]) >= 2
    assert found(answer) == [(code, severity[indicator]) for code, indicator in codes(cards)]


def stands(answer: Json) -> str:
    """What the answer says as a whole."""
    (outcome,) = of_type(answer, "OperationOutcome")
    OperationOutcome.model_validate(outcome)
    first = outcome["issue"][0]
    assert (first["severity"], first["code"]) == ("information", "informational")
    (coding,) = first["details"]["coding"]
    assert coding["system"] == "http://127.0.0.1:8000/fhir/CodeSystem/clozapine-check-answer"
    return str(coding["code"])


_LISINOPRIL = order("lisinopril 10 MG Oral Tablet", status="active")


@pytest.mark.parametrize(
    ("chart", "unavailable", "says", "words"),
    [
        ((anc(0.4), _LISINOPRIL), (), "not-on-clozapine", "none shows that clozapine is taken or ordered"),
        ((_LISINOPRIL,), ("medications",), "unknown", "could not be told"),
        ((order("Xyzzyprine 10 MG Oral Tablet", status="active"),), (), "unknown", "could not be told"),
        (({"resourceType": "MedicationRequest", "id": "r", "status": 7},), (), "unknown", "could not be told"),
        ((on_clozapine(), anc(3.2, 3), *(e["resource"] for v in (baseline_labs(), normal_vitals()) for e in v["entry"])), (), "on-clozapine", "Clozapine is taken; there is nothing to say."),
        ((clozapine(12.5), anc(3.2, 1)), (), "on-clozapine", "Clozapine is ordered"),
    ],
)  # fmt: skip
def test_nothing_said_has_three_meanings(
    client: httpx.Client, chart: tuple[Json, ...], unavailable: tuple[str, ...], says: str, words: str
) -> None:
    answer = ask(
        client,
        parameters(
            ("bundle", {"resource": record(WOMAN, *chart)}),
            ("event", {"valueCode": "medication-verify"}),
            *(("unavailable", {"valueCode": u}) for u in unavailable),
        ),
    )
    assert stands(answer) == says
    assert words in said(answer)
    (provenance,) = of_type(answer, "Provenance")
    Provenance.model_validate(provenance)
    assert provenance["policy"] == ["http://127.0.0.1:8000/policies/us-label-2025"]
    if not of_type(answer, "DetectedIssue"):
        (outcome,) = of_type(answer, "OperationOutcome")
        assert provenance["target"] == [{"reference": f"urn:uuid:{outcome['id']}"}]


def test_a_missing_count_is_named_as_evidence(client: httpx.Client) -> None:
    (issue,) = of_type(ask(client, record(WOMAN, clozapine())), "DetectedIssue")[:1]
    assert issue["code"]["coding"][0]["code"] == "anc-missing"
    assert issue["evidence"] == [{"code": [{"text": "Missing: a usable ANC"}]}]


def test_what_is_declared_unavailable_is_not_taken_for_absent(client: httpx.Client) -> None:
    body = parameters(
        ("bundle", {"resource": record(WOMAN, on_clozapine())}), ("unavailable", {"valueCode": "counts"})
    )
    assert ("data-unavailable", "moderate") in found(ask(client, body))
    assert ("data-unavailable", "moderate") not in found(ask(client, record(WOMAN, on_clozapine())))


def test_what_the_site_does_not_have_is_not_asked_for(client: httpx.Client, start_service: Any) -> None:
    chart = record(WOMAN, on_clozapine(), anc(), *(e["resource"] for e in normal_vitals()["entry"]))
    body = parameters(("bundle", {"resource": chart}), ("unavailable", {"valueCode": "dispenses"}))
    without = start_service(not_sent=("dispenses",))
    assert ("data-unavailable", "low") in found(ask(client, body))
    assert ("data-unavailable", "low") not in found(ask(without, body))
    # What every answer rests on is missed all the same.
    counts = parameters(("bundle", {"resource": chart}), ("unavailable", {"valueCode": "counts"}))
    assert ("data-unavailable", "moderate") in found(ask(without, counts))


def test_event_decides_which_info_findings_are_told(client: httpx.Client) -> None:
    chart = record(WOMAN, on_clozapine(), anc(3.2, 26))
    assert ("anc-due-soon", "low") in found(ask(client, chart))
    verify = parameters(("resource", {"resource": chart}), ("event", {"valueCode": "medication-verify"}))
    assert ("anc-due-soon", "low") not in found(ask(client, verify))


def test_a_refill_is_told_how_much_the_policy_allows(client: httpx.Client) -> None:
    order, event = ("order", {"valueReference": {"reference": "MedicationRequest/mr-9"}}), "medication-refill"
    chart = ("bundle", {"resource": record(WOMAN, on_clozapine(), anc(3.2, 3))})
    refill = ask(client, parameters(chart, order, ("event", {"valueCode": event})))
    assert ("dispensing", "low") in found(refill)
    [issue] = [i for i in of_type(refill, "DetectedIssue") if i["code"]["coding"][0]["code"] == "dispensing"]
    # The order that is asked about is no evidence of treatment: without a known start the shortest interval holds.
    assert "2026-11-26 (7 days)" in json.dumps(issue)
    verify = parameters(chart, order, ("event", {"valueCode": "medication-verify"}))
    assert "dispensing" not in dict(found(ask(client, verify)))


def test_as_of_moves_the_question(client: httpx.Client) -> None:
    chart = ("bundle", {"resource": record(WOMAN, on_clozapine(), anc(3.2, 3))})
    assert "anc-overdue" not in dict(found(ask(client, parameters(chart))))
    later = ask(client, parameters(chart, ("asOf", {"valueDateTime": "2027-01-10"})))
    assert "anc-overdue" in dict(found(later))
    assert of_type(later, "DetectedIssue")[0]["identifiedDateTime"].startswith("2027-01-10")


@pytest.mark.parametrize(
    "value",
    [{"valueReference": {"reference": "https://ehr.example/fhir/MedicationRequest/signed"}}, None],
    ids=("reference", "resource"),
)
def test_a_signed_order_can_be_asked_about(client: httpx.Client, value: Json | None) -> None:
    signed = clozapine(100, id="signed", status="active", authoredOn="2026-11-20")
    chart = record(WOMAN, anc(3.2), signed) if value else record(WOMAN, anc(3.2))
    asked = ask(client, parameters(("bundle", {"resource": chart}), ("order", value or {"resource": signed})))
    (issue,) = [
        i for i in of_type(asked, "DetectedIssue") if i["code"]["coding"][0]["code"] == "dose-start-too-high"
    ]
    assert {"reference": "MedicationRequest/signed"} in issue["implicated"]


def test_urn_uuid_references_are_followed_and_given_back(client: httpx.Client) -> None:
    person, count = (
        "urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0",
        "urn:uuid:11111111-1cbf-4d64-b04d-cd9187a4c6e0",
    )
    entries = []
    for url, resource in (
        (person, WOMAN | {"id": "other-id"}),
        (count, anc(0.4, 0.5)),
        ("urn:uuid:22222222-1cbf-4d64-b04d-cd9187a4c6e0", on_clozapine()),
    ):
        content = dict(resource)
        if "subject" in content:
            content["subject"] = {"reference": person}
            content.pop("id")
        entries.append({"fullUrl": url, "resource": content})
    answer = ask(client, {"resourceType": "Bundle", "type": "collection", "entry": entries})
    issue = of_type(answer, "DetectedIssue")[0]
    assert issue["code"]["coding"][0]["code"] == "anc-severe-neutropenia"
    assert issue["patient"] == {"reference": person}
    assert issue["evidence"][0]["detail"] == [{"reference": count}]


def test_one_bad_resource_spoils_itself_only_and_is_reported(client: httpx.Client) -> None:
    rotten = {"resourceType": "Observation", "id": "rotten", "code": "Canary-Name"}
    answer = ask(client, record(WOMAN, on_clozapine(), anc(0.4, 0.5), rotten))
    assert found(answer)[0] == ("anc-severe-neutropenia", "high")
    assert ("data-unavailable", "moderate") in found(answer)
    (outcome,) = of_type(answer, "OperationOutcome")
    OperationOutcome.model_validate(outcome)
    (issue,) = [i for i in outcome["issue"] if "code" in i["expression"][0]]
    assert issue["severity"] == "error"
    assert issue["expression"] == ["Bundle.entry[3].resource.code"]
    assert "Observation/rotten" in issue["details"]["text"]
    assert "must be an object" in issue["details"]["text"]
    assert "left out" in issue["details"]["text"]
    assert "Canary-Name" not in json.dumps(answer)


def test_an_invalid_element_is_reported_and_the_rest_of_the_resource_is_used(client: httpx.Client) -> None:
    odd = anc(0.4, 0.5) | {"colour": "red"}
    odd.pop("code")
    odd["code"] = {"coding": [{"system": "http://loinc.org", "code": "751-8"}]}
    answer = ask(client, record(WOMAN, on_clozapine(), odd))
    assert found(answer)[0] == ("anc-severe-neutropenia", "high")
    assert "colour is not an element" in said(answer)
    assert '"warning"' in said(answer)


@pytest.mark.parametrize(
    ("resource", "says"),
    [
        ({"resourceType": "Observation", "id": "o", "code": {"text": "x"}}, "status is required"),
        (
            order("aspirin", status="active") | {"authoredOn": "2026-02-30"},
            "authoredOn must be a date or time",
        ),
        (
            {k: v for k, v in order("x", status="active").items() if k != "medicationCodeableConcept"},
            "one of medicationCodeableConcept, medicationReference is required",
        ),
        ({"resourceType": "Bogus"}, "must name a FHIR R4 resource"),
        ({"id": "nameless"}, "must name a FHIR R4 resource"),
        (order("x", status="active", contained=[{"resourceType": "Bogus"}]), "nested in it"),
    ],
)
def test_faults_name_the_element_and_what_is_expected(
    client: httpx.Client, resource: Json, says: str
) -> None:
    assert says in said(ask(client, record(WOMAN, on_clozapine(), anc(), resource)))


def test_types_the_rules_do_not_use_cost_nothing_and_say_nothing(client: httpx.Client) -> None:
    answer = ask(client, record(WOMAN, {"resourceType": "Organization", "id": "o", "nonsense": 1}))
    assert of_type(answer, "DetectedIssue") == []
    (outcome,) = of_type(answer, "OperationOutcome")
    assert len(outcome["issue"]) == 1
    assert "1 irrelevant" in outcome["issue"][0]["details"]["text"]


def test_a_first_page_alone_and_a_failed_query_are_said(client: httpx.Client) -> None:
    page = record(WOMAN, on_clozapine(), anc(), kind="searchset")
    page["link"] = [{"relation": "next", "url": "https://ehr.example/fhir?page=2"}]
    answer = ask(client, page)
    assert ("data-unavailable", "moderate") in found(answer)
    assert "first page" in said(answer)
    failed = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "exception"}]}
    answer = ask(client, record(WOMAN, on_clozapine(), anc(), failed))
    assert ("data-unavailable", "moderate") in found(answer)
    assert "failed query" in said(answer)
    warned = {"resourceType": "OperationOutcome", "issue": [{"severity": "warning", "code": "informational"}]}
    answer = ask(client, record(WOMAN, on_clozapine(), anc(), warned))
    assert ("data-unavailable", "moderate") not in found(answer)


def test_another_patient_s_results_are_left_out(client: httpx.Client) -> None:
    answer = ask(
        client, record(WOMAN, on_clozapine(), anc(3.0, 2), anc(0.3, 1, id="not-hers", patient="someone"))
    )
    assert "anc-severe-neutropenia" not in dict(found(answer))
    assert "not-hers" not in json.dumps(answer)


def test_hostile_record_text_stays_text(client: httpx.Client) -> None:
    for label in (
        "<script>alert(1)</script> ciprofloxacin",
        "**ciprofloxacin**\n\u202e#",
        "\x00ciprofloxacin\\",
        "ciprofloxacin " + "x" * 9000,
    ):
        cipro = order(label, status="active", authoredOn="2026-11-18")
        answer = ask(client, record(WOMAN, on_clozapine(), anc(), cipro, clozapine(300)))
        assert "interaction-cyp1a2-strong-inhibitor" in dict(found(answer))
        assert "<script>" not in json.dumps(answer)


@pytest.mark.parametrize(
    ("body", "element", "says"),
    [
        (b"", None, "not valid JSON"),
        (b"[]", None, "JSON object"),
        (b"[" * 200_000, None, "nested too deeply"),
        (record(), "Bundle.entry", "names no patient"),
        (record(WOMAN, WOMAN | {"id": "second"}), "Bundle.entry", "holds 2 patients"),
        (record(WOMAN, kind="transaction"), "Bundle.type", "collection or searchset"),
        ({"resourceType": "Bundle", "type": "collection", "entry": {}}, "Bundle.entry", "list"),
        ({"resourceType": "Bundle", "type": "collection", "entry": [7]}, "Bundle.entry[0]", "object"),
        (
            {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": []}]},
            "Bundle.entry[0].resource",
            "resource",
        ),
        (WOMAN, "resourceType", "Bundle or Parameters"),
        ({"resourceType": "Parameters"}, "Parameters.parameter", "list"),
        (parameters(), "Parameters.parameter", "“bundle” is required"),
        (parameters(("bundle", {"resource": WOMAN})), "Parameters.parameter[0].resource", "Bundle"),
        (parameters(("colour", {"valueCode": "x"})), "Parameters.parameter[0].name", "one of bundle"),
        (parameters(("event", {})), "Parameters.parameter[0].value", "one value"),
        (
            parameters(("bundle", {"resource": record(WOMAN)}), ("event", {"valueCode": "tea-time"})),
            "Parameters.parameter",
            "patient-view",
        ),
        (
            parameters(("bundle", {"resource": record(WOMAN)}), ("asOf", {"valueDateTime": "2026-02-30"})),
            "Parameters.parameter",
            "dateTime that exists",
        ),
        (
            parameters(
                ("bundle", {"resource": record(WOMAN)}),
                ("order", {"valueReference": {"reference": "MedicationRequest/nowhere"}}),
            ),
            "Parameters.parameter",
            "not in the Bundle",
        ),
        (
            parameters(("bundle", {"resource": record(WOMAN)}), ("unavailable", {"valueCode": "horoscope"})),
            "Parameters.parameter[1].value",
            "counts",
        ),
    ],
)
def test_a_wrong_envelope_is_refused_with_element_and_way_out(
    client: httpx.Client, body: Any, element: str | None, says: str
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = client.post(PATH, content=content, headers=FHIR)
    assert response.status_code == 400, response.text
    assert response.headers["content-type"] == "application/fhir+json"
    outcome = response.json()
    OperationOutcome.model_validate(outcome)
    assert says in outcome["issue"][0]["details"]["text"]
    assert outcome["issue"][0].get("expression") == ([element] if element else None)


def test_media_types_methods_and_sizes(client: httpx.Client, start_service: Any) -> None:
    body = json.dumps(record(WOMAN))
    assert client.post(PATH, content=body, headers={"Content-Type": "application/json"}).status_code == 200
    refused = client.post(PATH, content="<Bundle/>", headers={"Content-Type": "application/fhir+xml"})
    assert refused.status_code == 415
    assert "application/fhir+json" in refused.json()["issue"][0]["details"]["text"]
    assert client.get(PATH).status_code == 405
    assert client.post("/fhir/%24clozapine-check", content=body, headers=FHIR).status_code == 200
    small = start_service(max_body_bytes=10_000)
    large = small.post(PATH, content=body + " " * 10_000, headers=FHIR)
    assert large.status_code == 413
    assert "10000 bytes" in large.json()["issue"][0]["details"]["text"]


def test_it_is_counted_and_recorded_like_a_hook_call(start_service: Any) -> None:
    client = start_service()
    answer = ask(client, record(WOMAN, on_clozapine(), anc(0.4, 0.5), clozapine(300)))
    client.post(PATH, content=b"x", headers=FHIR)
    text = client.get("/metrics").text
    assert 'clozapine_cds_requests_total{service="clozapine-check",status="200"} 1.0' in text
    assert 'clozapine_cds_requests_total{service="clozapine-check",status="400"} 1.0' in text
    assert 'clozapine_cds_findings_total{code="anc-severe-neutropenia",severity="critical"} 1.0' in text
    client.app.state.recorder.flush(10)
    for _ in range(100):
        with Session(client.app.state.engine) as session:
            calls, shown = session.exec(select(HookCall)).all(), session.exec(select(CardShown)).all()
        if calls:
            break
        time.sleep(0.05)
    (kept,) = calls
    assert (kept.service, kept.hook, kept.policy) == ("clozapine-check", "medication-verify", "us-label-2025")
    assert ["anc-severe-neutropenia", "critical"] in kept.findings
    assert {s.uuid for s in shown} == {i["id"] for i in of_type(answer, "DetectedIssue")}


def test_shadow_mode_shows_nothing(start_service: Any) -> None:
    answer = ask(start_service(shadow=True), record(WOMAN, on_clozapine(), anc(0.4, 0.5)))
    assert of_type(answer, "DetectedIssue") == []
    assert stands(answer) == "not-told"


def test_the_openapi_document_is_true(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    operation = document["paths"][PATH]["post"]
    schemas = {"components": document["components"]}
    chart = record(WOMAN, on_clozapine(), anc(0.4, 0.5), clozapine(300), {"resourceType": "Bogus"})
    for body in (
        chart,
        parameters(("bundle", {"resource": chart}), ("asOf", {"valueDateTime": "2026-11-20"})),
    ):
        validate(body, operation["requestBody"]["content"]["application/fhir+json"]["schema"] | schemas)
        validate(
            ask(client, body),
            operation["responses"]["200"]["content"]["application/fhir+json"]["schema"] | schemas,
        )
    assert PATH in Path(__file__).parents[2].joinpath("docs", "integration.md").read_text()


_SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.sampled_from(
    ["2026-02-30", "9999-12-31", "0001-01-01", "Patient/other", "urn:uuid:x", "#a", "1e400"]
)  # fmt: skip
_ODD = st.recursive(_SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3), max_leaves=4)  # fmt: skip


def _spots(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every path into a JSON value."""
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [spot for key, child in pairs for spot in [(*path, key), *_spots(child, (*path, key))]]


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_sent_the_answer_is_fhir(client: httpx.Client, data: st.DataObject) -> None:
    chart = record(WOMAN, on_clozapine(), anc(0.4, 0.5), clozapine(300))
    body = parameters(
        ("bundle", {"resource": chart}),
        ("asOf", {"valueDateTime": "2026-11-20T10:00:00Z"}),
        ("order", {"valueReference": {"reference": "MedicationRequest/draft-1"}}),
    )
    body = json.loads(json.dumps(body))  # a copy: what is shared between tests stays as it is
    for _ in range(data.draw(st.integers(1, 3))):
        *way, last = data.draw(st.sampled_from(_spots(body)))
        node: Any = body
        for step in way:
            node = node[step]
        node[last] = data.draw(_ODD)
    response = client.post(PATH, content=json.dumps(body), headers=FHIR)
    assert response.status_code in (200, 400), response.text
    model = Bundle if response.status_code == 200 else OperationOutcome
    model.model_validate(response.json())
