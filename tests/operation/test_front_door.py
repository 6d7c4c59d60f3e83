"""What a FHIR client asks before it asks anything: metadata, definitions, media types, versions, compression, kinds of Bundle."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import httpx
import pytest
from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.capabilitystatement import CapabilityStatement
from fhir.resources.R4B.codesystem import CodeSystem
from fhir.resources.R4B.operationdefinition import OperationDefinition
from fhir.resources.R4B.operationoutcome import OperationOutcome
from fhir.resources.R4B.structuredefinition import StructureDefinition
from fhir.resources.R4B.valueset import ValueSet

from service.alerts.knowledge.catalogue import every_reason
from service.alerts.say.finding_codes import finding_codes
from service.operation.act_codes import act_codes
from tests.data import PATIENT, anc, call, clozapine, on_clozapine, prefetch
from tests.operation.test_clozapine_check import FHIR, PATH, WOMAN, ask, found, parameters, record

Json = dict[str, Any]
BASE = "http://127.0.0.1:8000"
CHART = record(WOMAN, on_clozapine(), anc(0.4, 0.5))
LEVELS = (PATH, "/fhir/Patient/$clozapine-check", f"/fhir/Patient/{PATIENT}/$clozapine-check")
MEDIA = "application/fhir+json"


def said(response: httpx.Response) -> str:
    assert response.headers["content-type"] == MEDIA
    OperationOutcome.model_validate(response.json())
    text = str(response.json()["issue"][0]["details"]["text"])
    assert "/cds-services" not in text
    return text


def test_the_capability_statement_names_the_operation_at_every_level(client: httpx.Client) -> None:
    response = client.get("/fhir/metadata")
    assert response.headers["content-type"] == MEDIA
    statement = response.json()
    CapabilityStatement.model_validate(statement)
    assert statement["fhirVersion"] == "4.0.1"
    assert statement["implementation"]["url"] == f"{BASE}/fhir"
    (rest,) = statement["rest"]
    (operation,) = rest["operation"]
    (patient,) = [r for r in rest["resource"] if r["type"] == "Patient"]
    assert patient["operation"] == [operation]
    definition = client.get(operation["definition"].removeprefix(BASE)).json()
    OperationDefinition.model_validate(definition)
    assert definition["url"] == operation["definition"]
    assert (definition["system"], definition["type"], definition["instance"]) == (True, True, True)


def test_every_canonical_address_is_answered(client: httpx.Client) -> None:
    models = {
        "CodeSystem": CodeSystem,
        "OperationDefinition": OperationDefinition,
        "StructureDefinition": StructureDefinition,
        "ValueSet": ValueSet,
    }
    named: set[str] = set()
    for type_name, model in models.items():
        bundle = client.get(f"/fhir/{type_name}").json()
        Bundle.model_validate(bundle)
        assert bundle["total"] == len(bundle["entry"]) > 0
        for entry in bundle["entry"]:
            url = entry["resource"]["url"]
            at_home = client.get(url.removeprefix(BASE))
            assert at_home.status_code == 200, url
            assert at_home.json() == entry["resource"]
            model.model_validate(at_home.json())
            named |= {text for text in _strings(at_home.json()) if text.startswith(f"{BASE}/fhir/")}
            (only,) = client.get(f"/fhir/{type_name}", params={"url": url}).json()["entry"]
            assert only["resource"]["url"] == url
    for url in named:
        assert client.get(url.removeprefix(BASE)).status_code == 200, url
    assert client.get("/fhir/CodeSystem", params={"url": "https://elsewhere.example"}).json()["total"] == 0


def _strings(node: Any) -> set[str]:
    if isinstance(node, str):
        return {node}
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return {text for child in children for text in _strings(child)}


def test_cards_notices_and_answers_name_systems_that_hold_their_codes(client: httpx.Client) -> None:
    issue = next(
        e["resource"] for e in ask(client, CHART)["entry"] if e["resource"]["resourceType"] == "DetectedIssue"
    )
    coding = issue["code"]["coding"][0]
    system = client.get(coding["system"].removeprefix(BASE)).json()
    concepts = {c["code"]: c for c in system["concept"]}
    assert set(concepts) == set(finding_codes())
    assert concepts[coding["code"]]["display"] == coding["display"]
    card = client.post(
        "/cds-services/clozapine-order-sign",
        json=call("order-sign", prefetch(counts=record(anc(1.2, 0.5), kind="searchset")), clozapine(300)),
    ).json()["cards"][0]
    assert card["source"]["topic"]["system"] == coding["system"]
    own = [r for r in card["overrideReasons"] if r["system"].startswith(BASE)]
    reasons = client.get(own[0]["system"].removeprefix(BASE)).json()
    assert {c["code"] for c in reasons["concept"]} == {r.code for r in every_reason() if not r.system}
    assert {r["code"] for r in own} <= {c["code"] for c in reasons["concept"]}


def test_a_finding_system_of_the_site_s_own_is_the_address_of_the_code_system(start_service: Any) -> None:
    own = "https://cds.hospital.example/findings"
    client = start_service(finding_system=own)
    assert client.get("/fhir/CodeSystem/clozapine-finding").json()["url"] == own
    assert client.get("/fhir/CodeSystem", params={"url": own}).json()["total"] == 1


def test_every_finding_is_of_one_standard_kind() -> None:
    assert set(act_codes()) == set(finding_codes())


@pytest.mark.parametrize("path", [p.replace("$", s) for p in LEVELS for s in ("$", "%24")])
def test_system_type_and_instance_level_give_the_same_answer(client: httpx.Client, path: str) -> None:
    response = client.post(path, content=json.dumps(CHART), headers=FHIR)
    assert response.status_code == 200, response.text
    assert found(response.json()) == found(ask(client, CHART))
    assert response.headers["content-type"] == MEDIA


def test_the_patient_of_the_address_is_meant(client: httpx.Client) -> None:
    two = record(WOMAN, WOMAN | {"id": "second"}, on_clozapine(), anc(0.4, 0.5))
    assert client.post(PATH, content=json.dumps(two), headers=FHIR).status_code == 400
    answer = client.post(LEVELS[2], content=json.dumps(two), headers=FHIR)
    assert ("anc-severe-neutropenia", "high") in found(answer.json())
    other = parameters(("bundle", {"resource": two}), ("patient", {"valueId": "second"}))
    refused = client.post(LEVELS[2], content=json.dumps(other), headers=FHIR)
    assert refused.status_code == 400
    assert "another patient than the address" in said(refused)
    odd = client.post("/fhir/Patient/bad id!/$clozapine-check", content=json.dumps(two), headers=FHIR)
    assert odd.status_code == 400


@pytest.mark.parametrize(
    ("accept", "query", "status"),
    [
        ("", "", 200),
        ("*/*", "", 200),
        ("application/json", "", 200),
        ("application/json+fhir", "", 200),
        ("application/fhir+xml;q=1.0, application/fhir+json;q=1.0, application/xml+fhir;q=0.9", "", 200),
        ("application/fhir+json; fhirVersion=4.0", "", 200),
        ("application/fhir+xml", "?_format=json", 200),
        ("", "?_format=application/fhir+json", 200),
        ("", "?_format=application/fhir%2Bjson", 200),
        ("application/fhir+xml", "", 406),
        ("text/html", "", 406),
        ("application/fhir+json;q=0", "", 406),
        ("application/fhir+json; fhirVersion=5.0", "", 406),
        ("application/fhir+json", "?_format=xml", 406),
        ("", "?_format=application/fhir%2Bxml", 406),
    ],
)
@pytest.mark.parametrize("path", ["/fhir/metadata", PATH])
def test_json_of_r4_is_all_that_is_spoken(
    client: httpx.Client, path: str, accept: str, query: str, status: int
) -> None:
    headers = FHIR | {"Accept": accept}
    url = f"{path}{query}"
    got = (
        client.get(url, headers=headers)
        if path != PATH
        else client.post(url, content=json.dumps(CHART), headers=headers)
    )
    assert got.status_code == status, got.text
    if status == 406:
        text = said(got)
        assert "R4" in text if "5.0" in accept else MEDIA in text


@pytest.mark.parametrize(
    ("content", "status", "says"),
    [
        ("application/fhir+json; charset=utf-8; fhirVersion=4.0", 200, ""),
        ("application/json+fhir", 200, ""),
        ("text/json", 200, ""),
        ("application/fhir+json; fhirVersion=5.0", 415, "R4"),
        ("application/fhir+json; fhirVersion=3.0", 415, "R4"),
        ("application/fhir+xml", 415, "XML is not read"),
        ("text/plain", 415, MEDIA),
        ("application/fhir+json; charset=utf-16", 415, "UTF-8"),
    ],
)
def test_bodies_of_another_kind_are_refused(
    client: httpx.Client, content: str, status: int, says: str
) -> None:
    got = client.post(PATH, content=json.dumps(CHART), headers={"Content-Type": content})
    assert got.status_code == status, got.text
    if status != 200:
        assert says in said(got)


def test_the_older_media_types_are_read_by_the_hooks_too(client: httpx.Client) -> None:
    body = json.dumps(call("patient-view", prefetch()))
    for kind in ("application/json+fhir", "text/json"):
        got = client.post(
            "/cds-services/clozapine-patient-view", content=body, headers={"Content-Type": kind}
        )
        assert got.status_code == 200


def test_gzip_both_ways(client: httpx.Client) -> None:
    packed = gzip.compress(json.dumps(CHART).encode())
    headers = FHIR | {"Content-Encoding": "gzip", "Accept-Encoding": "gzip"}
    got = client.post(PATH, content=packed, headers=headers)
    assert got.status_code == 200, got.text
    assert got.headers["content-encoding"] == "gzip"
    assert "accept-encoding" in got.headers["vary"].lower()
    assert ("anc-severe-neutropenia", "high") in found(got.json())
    plain = client.post(PATH, content=packed, headers=headers | {"Accept-Encoding": "gzip;q=0"})
    assert "content-encoding" not in plain.headers
    assert (
        "content-encoding"
        not in client.get("/fhir/metadata", headers={"Accept-Encoding": "identity"}).headers
    )


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (gzip.compress(b" " * 60_000), 413, "10000 bytes"),
        (gzip.compress(b"{}")[:-4], 400, "one whole gzip stream"),
        (gzip.compress(b"{}") + b"more", 400, "one whole gzip stream"),
        (b"{}", 400, "one whole gzip stream"),
        (zlib.compress(b"{}"), 400, "one whole gzip stream"),
    ],
    ids=["too large", "cut short", "more after it", "not packed", "another format"],
)
def test_gzip_is_bounded_and_whole(start_service: Any, body: bytes, status: int, says: str) -> None:
    client = start_service(max_body_bytes=10_000)
    got = client.post(PATH, content=body, headers=FHIR | {"Content-Encoding": "gzip"})
    assert got.status_code == status, got.text
    assert says in said(got)


def test_a_stream_that_holds_nothing_ends(start_service: Any) -> None:
    """Empty deflate blocks: many bytes that make none."""
    client = start_service(max_body_bytes=10_000)

    def endless() -> Any:
        yield gzip.compress(b"")[:10]
        for _ in range(40):
            yield b"\x00\x00\x00\xff\xff" * 100

    got = client.post(PATH, content=endless(), headers=FHIR | {"Content-Encoding": "gzip"})
    assert got.status_code == 413


def test_other_encodings_are_refused(client: httpx.Client) -> None:
    got = client.post(PATH, content=json.dumps(CHART), headers=FHIR | {"Content-Encoding": "br"})
    assert got.status_code == 415
    assert "gzip" in said(got)


@pytest.mark.parametrize(
    "kind", ["batch", "transaction", "history", "batch-response", "transaction-response"]
)
def test_bundles_that_are_no_record_get_a_sentence(client: httpx.Client, kind: str) -> None:
    got = client.post(PATH, content=json.dumps(CHART | {"type": kind}), headers=FHIR)
    assert got.status_code == 400
    assert kind.partition("-")[0] in said(got)
    assert "collection" in said(got)


@pytest.mark.parametrize(
    ("method", "path", "status", "says"),
    [
        ("POST", "/fhir", 400, "no batch and no transaction"),
        ("POST", "/fhir/", 400, "no batch and no transaction"),
        ("GET", "/fhir/_history", 400, "no history"),
        ("GET", "/fhir/Patient/1/_history", 400, "no history"),
        ("GET", "/fhir/Patient/1", 404, "/fhir/metadata"),
        ("GET", "/fhir/CodeSystem/none", 404, "no such CodeSystem"),
        ("GET", PATH, 405, "POST"),
        ("PUT", "/fhir/metadata", 405, "GET"),
        ("DELETE", "/fhir/Observation/1", 404, "/fhir/metadata"),
    ],
)
def test_all_else_gets_a_sentence_in_fhir(
    client: httpx.Client, method: str, path: str, status: int, says: str
) -> None:
    got = client.request(method, path)
    assert got.status_code == status, got.text
    assert says in said(got)


def test_return_minimal_does_not_hide_findings(client: httpx.Client) -> None:
    got = client.post(PATH, content=json.dumps(CHART), headers=FHIR | {"Prefer": "return=minimal"})
    assert "preference-applied" not in got.headers
    assert ("anc-severe-neutropenia", "high") in found(got.json())
    told = client.post(PATH, content=json.dumps(CHART), headers=FHIR | {"Prefer": "return=representation"})
    assert told.headers["preference-applied"] == "return=representation"


def _document(*sections: Json, **composition: Any) -> Json:
    """A transfer letter: everything by ``urn:uuid``, as documents are made."""
    ids = {n: f"urn:uuid:00000000-0000-4000-8000-00000000000{n}" for n in range(6)}
    subject = {"reference": ids[1]}
    head = {
        "resourceType": "Composition", "status": "final", "type": {"text": "Discharge medicines"}, "subject": subject, "date": "2026-11-20",
        "author": [{"display": "Ward 3"}], "title": "Discharge medicines", "section": list(sections),
    } | composition  # fmt: skip
    resources = [
        head,
        {k: v for k, v in WOMAN.items() if k != "id"},
        on_clozapine(),
        anc(0.4, 0.5),
        WOMAN | {"id": "mother"},
    ]
    entries = []
    for n, resource in enumerate(resources):
        content = {k: v for k, v in resource.items() if k != "id"} | (
            {"subject": subject} if "subject" in resource else {}
        )
        entries.append({"fullUrl": ids[n], "resource": content})
    return {"resourceType": "Bundle", "type": "document", "entry": entries}


def test_a_document_is_read_and_its_composition_says_whose_it_is(client: httpx.Client) -> None:
    answer = ask(client, _document())
    assert ("anc-severe-neutropenia", "high") in found(answer)


def test_a_section_that_is_empty_because_nobody_knows_is_not_taken_for_none(client: httpx.Client) -> None:
    unknown = {"code": {"coding": [{"system": "http://loinc.org", "code": "48765-2"}]}, "emptyReason": {"coding": [{"code": "unavailable"}]}}  # fmt: skip
    none = unknown | {"emptyReason": {"coding": [{"code": "nilknown"}]}}
    told = {code for code, _ in found(ask(client, _document({"title": "All", "section": [unknown]})))}
    assert "data-unavailable" in told
    assert "data-unavailable" not in {code for code, _ in found(ask(client, _document(none)))}


def test_a_section_in_words_alone_is_not_taken_for_none(client: httpx.Client) -> None:
    words = {"code": {"coding": [{"system": "http://loinc.org", "code": "48765-2"}]}, "text": {"status": "additional", "div": "<div xmlns=\"http://www.w3.org/1999/xhtml\">Penicillin</div>"}}  # fmt: skip
    assert "data-unavailable" in dict(found(ask(client, _document(words))))


def test_a_withdrawn_document_is_refused(client: httpx.Client) -> None:
    got = client.post(PATH, content=json.dumps(_document(status="entered-in-error")), headers=FHIR)
    assert got.status_code == 400
    assert "withdrew" in said(got)


def test_a_message_asks_about_its_focus(client: httpx.Client) -> None:
    prescription = clozapine(300, id="rx", status="active", authoredOn="2026-11-20")
    head = {
        "resourceType": "MessageHeader", "id": "m", "eventUri": "urn:x", "source": {"endpoint": "https://ehr.example"},
        "focus": [{"reference": "MedicationRequest/rx"}],
    }  # fmt: skip
    message = record(head, WOMAN, prescription, anc(3.2, 1), kind="message")
    assert "dose-start-too-high" in dict(found(ask(client, message)))
    assert "dose-start-too-high" not in dict(found(ask(client, record(WOMAN, prescription, anc(3.2, 1)))))
