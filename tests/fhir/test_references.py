"""One reading of references: what they point to, and that another server's resource is never ours."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from service.fhir.gather import gather
from service.fhir.references import Home, base_of, is_id, read_reference
from tests.data import bundle, on_clozapine, words

_EHR = "ehr.example/fhir"


@pytest.mark.parametrize(
    ("text", "form", "kind", "identifier", "plain"),
    [
        ("Patient/p1", "relative", "Patient", "p1", "Patient/p1"),
        (" Patient/p1 ", "relative", "Patient", "p1", "Patient/p1"),
        ("/Patient/p1", "relative", "Patient", "p1", "Patient/p1"),
        ("Patient/p1/_history/3", "relative", "Patient", "p1", "Patient/p1"),
        ("https://EHR.example:443/fhir/Patient/p1", "absolute", "Patient", "p1", f"{_EHR}/Patient/p1"),
        ("http://ehr.example/fhir/Patient/p1/_history/3", "absolute", "Patient", "p1", f"{_EHR}/Patient/p1"),
        ("urn:uuid:0C31-AB", "urn", "", "0C31-AB", "urn:uuid:0c31-ab"),
        ("urn:oid:1.2.3", "urn", "", "1.2.3", "urn:oid:1.2.3"),
        ("#m", "contained", "", "m", "#m"),
        ("Patient?identifier=x|1", "", "", "", "Patient?identifier=x|1"),
        ("p1", "", "", "", "p1"),
        ("a/b/Patient/p1", "", "", "", "a/b/Patient/p1"),
        ("https://ehr.example/fhir", "absolute", "", "", "https://ehr.example/fhir"),
        ("", "", "", "", ""),
        (None, "", "", "", ""),
        ("https://[/Patient/1", "absolute", "", "", "https://[/Patient/1"),
    ],
)
def test_forms(text: str | None, form: str, kind: str, identifier: str, plain: str) -> None:
    target = read_reference(text)
    assert (target.form, target.type, target.id, target.text) == (form, kind, identifier, plain)


@pytest.mark.parametrize("text", ["..", ".", "a/b", "a?b", "", "x" * 65, "ä", "a b", "a_b"])
def test_no_id(text: str) -> None:
    assert not is_id(text)


def test_a_server_is_known_by_host_and_path() -> None:
    assert base_of("https://Ehr.Example:443/fhir/") == base_of("http://ehr.example/fhir") == _EHR
    assert base_of("https://ehr.example/other") != _EHR
    assert base_of("https://ehr.example:8443/fhir") != _EHR
    assert base_of("urn:uuid:1") == base_of("ehr.example/fhir") == ""


def test_what_is_ours() -> None:
    home = Home(frozenset({_EHR}))
    for text in ("Medication/7", "Medication/7/_history/2", "https://ehr.example/fhir/Medication/7"):
        assert home.key(text) == "Medication/7"
    assert home.key("https://other.example/fhir/Medication/7") == "other.example/fhir/Medication/7"


def test_a_product_of_another_server_never_stands_in() -> None:
    home = Home(frozenset({_EHR}), frozenset({_EHR, "other.example/fhir"}))
    foreign = "https://other.example/fhir/Medication/7"
    table = dict.fromkeys(home.keys_of("Medication", "7", foreign), "foreign")
    assert home.find(table, "Medication/7") is None
    assert home.find(table, "https://ehr.example/fhir/Medication/7") is None
    assert home.find(table, foreign) == "foreign"
    assert (
        home.find(table, "Medication/7", holder="https://other.example/fhir/MedicationRequest/1") == "foreign"
    )
    table |= dict.fromkeys(home.keys_of("Medication", "7", None), "ours")
    assert home.find(table, "Medication/7") == "ours"
    assert (
        home.find(table, "Medication/7", holder="https://other.example/fhir/MedicationRequest/1") == "foreign"
    )


def test_where_nobody_says_the_one_server_of_all_entries_is_ours() -> None:
    assert Home(frozenset(), frozenset({_EHR})).key("https://ehr.example/fhir/Medication/7") == "Medication/7"
    unknown = Home(frozenset(), frozenset({_EHR, "other.example/fhir"}))
    assert unknown.key("https://ehr.example/fhir/Medication/7") == f"{_EHR}/Medication/7"


def test_an_inner_address_behind_a_proxy_is_no_other_server() -> None:
    home = Home(frozenset({_EHR}), frozenset({"10.0.0.5:8080/fhir"}))
    holder = "http://10.0.0.5:8080/fhir/MedicationRequest/1"
    assert home.elsewhere(holder) == ""
    table = dict.fromkeys(home.keys_of("Medication", "7", "http://10.0.0.5:8080/fhir/Medication/7"), "inner")
    assert home.find(table, "Medication/7", holder=holder) == "inner"


def test_a_product_on_which_the_service_fails_costs_its_record() -> None:
    class Odd:
        base_url = "https://ehr.example/fhir"

        async def get(self, query: str) -> bytes:
            if query.startswith("Medication/"):
                raise RuntimeError("nobody expected this")
            return orjson.dumps(bundle(nameless))

    nameless = {k: v for k, v in on_clozapine().items() if k != "medicationCodeableConcept"}
    nameless["medicationReference"] = {"reference": "Medication/m-1"}
    found = asyncio.run(gather({}, {"medications": "MedicationRequest?x"}, Odd(), 1.0))  # type: ignore[arg-type]
    assert found.state("medications") == "complete"
    assert "failed on it (RuntimeError)" in words(found.failed["Medication/m-1"])
    assert "nobody expected" not in str(found.failed)
