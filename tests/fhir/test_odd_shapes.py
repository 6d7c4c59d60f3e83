"""Shapes that clients send and that once looked like nothing: each is read for what it is, or named, and its border draws no card."""

from __future__ import annotations

from typing import Any

import pytest

from service.alerts.facts.reason import Reason
from service.alerts.knowledge.code_systems import PZN, RXNORM, canonical
from service.alerts.knowledge.codes import kinds_by_loinc
from service.fhir.units import agreed_conversion
from service.judge import judge, read_dose
from tests.data import (
    LOINC,
    NOW,
    PATIENT,
    Json,
    ago,
    anc,
    bundle,
    call,
    clozapine,
    dosage,
    observation,
    on_clozapine,
    order,
    prefetch,
)
from tests.fhir.asking import cards, signed, visit

_LOW = bundle(anc(0.4, 1))
_NO_CONCEPT = {k: v for k, v in on_clozapine().items() if k != "medicationCodeableConcept"}
_MODIFIED = {"modifierExtension": [{"url": "http://example.org/negated", "valueBoolean": True}]}


def test_a_sound_visit_says_nothing() -> None:
    assert visit() == {}


# -- products ------------------------------------------------------------------------------------------------------


def _coded(system: str, code: str) -> Json:
    made = order("", id="x1", status="active", authoredOn="2026-11-19")
    return made | {"medicationCodeableConcept": {"coding": [{"system": system, "code": code}]}}


@pytest.mark.parametrize(
    ("system", "code", "shown"),
    [
        (RXNORM, "999999999", "RxNorm 999999999"),
        ("https://dmd.nhs.uk", "999999999", "dm+d 999999999"),
        ("http://www.whocc.no/atc", "V99ZZ99", "ATC V99ZZ99"),
        ("http://snomed.info/sct", "9999999999", "SNOMED CT 9999999999"),
        ("http://hl7.org/fhir/sid/ndc", "00000-0000-00", "NDC 00000-0000-00"),
        ("https://fhir.de/CodeSystem/ifa/pzn/", "01234567", "PZN 01234567"),
        ("urn:oid:1.2.276.0.76.4.6", " 01234567", "PZN 01234567"),
    ],
)
def test_a_code_that_nothing_explains_is_named(system: str, code: str, shown: str) -> None:
    unknown = _coded(system, code)
    assert shown in visit(medications=bundle(on_clozapine(), unknown))["medication-unrecognized"][1]
    assert shown in signed(unknown | {"status": "draft"})["medication-unrecognized"][1]


@pytest.mark.parametrize("code", [" N06AB08 ", "n06ab08"])
def test_a_padded_code_is_read(code: str) -> None:
    found = signed(_coded("http://www.whocc.no/atc", code) | {"status": "draft"})
    assert found["interaction-cyp1a2-strong-inhibitor"][0] == "critical"
    # A code without words is shown as the drug that it stands for, never as nothing.
    level = visit(medications=bundle(on_clozapine(), _coded("http://www.whocc.no/atc", code)))[
        "level-suggested"
    ]
    assert level[1].endswith("fluvoxamine.")


def test_a_harmless_drug_by_its_code_alone_says_nothing() -> None:
    assert visit(medications=bundle(on_clozapine(), _coded("http://www.whocc.no/atc", "C10AA05"))) == {}


@pytest.mark.parametrize(
    "name", ["Nemea 100 mg comprimidos", "Clopin eco 25", "クロザリル錠25mg", "Clopine 200 mg", "LEPONEX®"]
)
def test_brands_of_clozapine_are_read_and_hint_at_it(name: str) -> None:
    assert "anc-severe-neutropenia" in visit(
        medications=bundle(order(name, id="x1", status="active")), counts=_LOW
    )
    # Also in a record that nobody can read.
    broken = order(name, id="x1", status="active") | {"status": 7}
    assert (
        "it names clozapine"
        in judge(call("patient-view", prefetch(medications=bundle(broken))), as_of=NOW)
        .read_problems[0]
        .reason
    )


def test_no_letter_is_a_code_system() -> None:
    assert canonical(PZN) == canonical("HTTP://fhir.de/CodeSystem/ifa/pzn") == PZN
    assert canonical("f") == "f"


# -- results -------------------------------------------------------------------------------------------------------


def _result(code: str, **more: Any) -> Json:
    return observation(code, None, None, 1, id="x1", **more)


@pytest.mark.parametrize(
    ("more", "shown"),
    [
        ({"valueInteger": 400}, "400"),
        ({"valueRange": {"low": {"value": 0.3, "unit": "10*9/L"}, "high": {"value": 0.5}}}, "0.3 10*9/L–0.5"),
        (
            {"valueRatio": {"numerator": {"value": 400}, "denominator": {"value": 1, "unit": "uL"}}},
            "400 / 1 uL",
        ),
        ({"valueBoolean": True}, "yes"),
        ({"valueSampledData": {"data": "1 2"}}, "a series of values"),
        ({"interpretation": [{"coding": [{"code": "LL"}]}]}, "flagged LL"),
        ({"dataAbsentReason": {"text": "clotted"}}, "it has no value (clotted)"),
        ({"valueQuantity": {"value": 0.4, "unit": "10*9/L"}, "status": "unknown"}, "its status is not known"),
        ({"valueQuantity": {"value": 0.4, "unit": "10*9/L"}, **_MODIFIED}, "modifierExtension"),
    ],
)
def test_a_count_in_another_form_is_shown(more: Json, shown: str) -> None:
    severity, summary = visit(counts=bundle(anc(), _result("751-8", **more)))["anc-unusable"]
    assert severity == "warning"
    assert shown in summary
    inside = {k: v for k, v in more.items() if k not in ("status", "modifierExtension")}
    if len(inside) == len(more):  # the same in a panel
        panel = _result(
            "57021-8", component=[{"code": {"coding": [{"system": LOINC, "code": "751-8"}]}, **inside}]
        )
        assert shown in visit(counts=bundle(anc(), panel))["anc-unusable"][1]


@pytest.mark.parametrize("code", ["1988-5", "6896-5", "8636-3"])
@pytest.mark.parametrize("more", [{"valueInteger": 900}, {"interpretation": [{"coding": [{"code": "HH"}]}]}])
def test_a_result_without_a_quantity_is_no_result_without_a_value(code: str, more: Json) -> None:
    found = visit(medications=bundle(on_clozapine(20)), labs=bundle(_result(code, **more)))
    assert found["data-unavailable"][1].startswith("Not judged")
    nothing = visit(
        medications=bundle(on_clozapine(20)), labs=bundle(_result(code, dataAbsentReason={"text": "x"}))
    )
    assert "data-unavailable" not in nothing


def test_a_troponin_that_only_its_flag_says_is_critical_warns() -> None:
    flagged = _result("67151-1", interpretation=[{"coding": [{"code": "HH"}]}])
    assert (
        visit(medications=bundle(on_clozapine(20)), labs=bundle(flagged))["myocarditis-suspected"][0]
        == "warning"
    )
    normal = _result("67151-1", interpretation=[{"coding": [{"code": "N"}]}])
    assert "myocarditis-suspected" not in visit(medications=bundle(on_clozapine(20)), labs=bundle(normal))


def test_a_padded_code_of_a_count_is_read() -> None:
    low = anc(0.4, 1, id="x1") | {"code": {"coding": [{"system": LOINC, "code": "751-8 "}]}}
    assert visit(counts=bundle(anc(), low))["anc-severe-neutropenia"][0] == "critical"


@pytest.mark.parametrize(("kind", "unit", "value", "right"), [
    ("2823-3", "mEq/L", 3.1, 3.1), ("2601-3", "mEq/L", 1.5, 0.75), ("2601-3", "mg/dL", 2.0, 0.823), ("2601-3", "mmol/L", 0.8, 0.8),
])  # fmt: skip
def test_equivalents_are_moles_of_charges(kind: str, unit: str, value: float, right: float) -> None:
    conversion = agreed_conversion(kinds_by_loinc()[kind].dimension, "", unit)
    assert not isinstance(conversion, Reason)
    assert round(value * conversion.factor, 3) == right


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"valueInteger": 0}, "smoking-unclear"),
        ({"valueQuantity": {"value": 0, "unit": "cigarettes/day"}}, "smoking-unclear"),
        ({"valueBoolean": False}, "smoking-unclear"),
        ({"valueCodeableConcept": {"coding": [{"code": "8517006"}]}, "status": "unknown"}, "smoking-unclear"),
        ({"valueCodeableConcept": {"coding": [{"code": "8517006 "}]}}, "smoking-stopped"),
        ({"dataAbsentReason": {"text": "declined"}}, ""),
    ],
)
def test_an_answer_in_another_form_is_not_no_answer(answer: Json, said: str) -> None:
    smoked = observation(
        "72166-2", None, None, 200, id="s1", valueCodeableConcept={"coding": [{"code": "77176002"}]}
    )
    found = visit(smoking=bundle(smoked, observation("72166-2", None, None, 2, id="s2", **answer)))
    assert [code for code in found if code.startswith("smoking")] == ([said] if said else [])


# -- Bundles -------------------------------------------------------------------------------------------------------


def test_the_answers_to_a_batch_are_read() -> None:
    batch = {
        "resourceType": "Bundle",
        "type": "batch-response",
        "entry": [{"resource": _LOW, "response": {"status": "200 OK"}}],
    }
    assert visit(counts=batch)["anc-severe-neutropenia"][0] == "critical"
    refused = {
        "resourceType": "Bundle",
        "type": "batch-response",
        "entry": [{"response": {"status": "403 Forbidden"}}],
    }
    assert visit(counts=refused)["data-unavailable"][0] == "warning"
    history = {
        "resourceType": "Bundle",
        "type": "history",
        "entry": [{"resource": anc(), "response": {"status": "201"}}],
    }
    assert visit(counts=history) == {}


@pytest.mark.parametrize(
    ("medications", "said"),
    [
        ({"resourceType": "Bundle", "type": "searchset", "total": 4}, True),
        (bundle(on_clozapine()) | {"total": 12}, True),
        ({"resourceType": "Patient", "id": PATIENT}, True),
        ({"resourceType": "Bundle", "type": "searchset", "total": 0}, False),
        (on_clozapine(), False),
    ],
)
def test_less_than_was_announced_is_not_all(medications: Json, said: bool) -> None:
    found = visit(medications=medications, counts=_LOW)
    assert ("data-unavailable" in found) == said


@pytest.mark.parametrize(
    ("status", "counts"), [("final", True), ("entered-in-error", False), ("cancelled", False)]
)
def test_what_a_withdrawn_report_contains_is_withdrawn(status: str, counts: bool) -> None:
    inside = {k: v for k, v in anc(0.4, id="o").items() if k != "effectiveDateTime"}
    report = {
        "resourceType": "DiagnosticReport", "id": "d", "status": status, "subject": {"reference": f"Patient/{PATIENT}"},
        "effectiveDateTime": ago(1), "result": [{"reference": "#o"}], "contained": [inside],
    }  # fmt: skip
    assert ("anc-severe-neutropenia" in visit(counts=bundle(anc(), report))) == counts


# -- other releases of FHIR, modifiers -----------------------------------------------------------------------------


def test_the_drug_of_an_r5_record_is_read() -> None:
    product = {"resourceType": "Medication", "id": "p1", "code": {"text": "Clozapine 100 mg"}}
    for named in ({"concept": {"text": "Clozapine 100 mg"}}, {"reference": {"reference": "Medication/p1"}}):
        found = visit(medications=bundle(_NO_CONCEPT | {"medication": named}, product), counts=_LOW)
        assert found["anc-severe-neutropenia"][0] == "critical"
    draft = {k: v for k, v in clozapine(950).items() if k != "medicationCodeableConcept"}
    assert "dose-exceeds-max" in signed(
        draft | {"medication": {"concept": {"text": "clozapine 100 MG Oral Tablet"}}}
    )


def test_a_patient_in_the_place_of_the_subject_is_somebody() -> None:
    stated = {
        "resourceType": "MedicationStatement",
        "id": "s",
        "status": "active",
        "medicationCodeableConcept": {"text": "Leponex"},
    }
    for patient, believed in ((PATIENT, True), ("somebody-else", False)):
        sent = stated | {"patient": {"reference": f"Patient/{patient}"}}
        found = visit(medications=bundle(), statements=bundle(sent), counts=_LOW)
        assert ("anc-severe-neutropenia" in found) == believed
        assert ("data-unavailable" in found) != believed


def test_the_substance_of_an_older_allergy_is_read() -> None:
    allergy = {
        "resourceType": "AllergyIntolerance",
        "id": "a",
        "patient": {"reference": f"Patient/{PATIENT}"},
    }
    asked = prefetch(counts=bundle(anc()), allergies=bundle(allergy | {"substance": {"text": "clozapine"}}))
    assert "hypersensitivity" in cards(call("order-sign", asked, clozapine(12.5)))


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (on_clozapine(), True),
        (order("fluvoxamine", id="x1", status="active", authoredOn="2026-01-01"), True),
        (order("atorvastatin", id="x1", status="active", authoredOn="2026-01-01"), False),
    ],
)
def test_a_modified_record_is_read_and_said(record: Json, said: bool) -> None:
    sent = [record | _MODIFIED, *([] if record["id"] == "mr-9" else [on_clozapine()])]
    found = visit(medications=bundle(*sent), counts=_LOW)
    assert "anc-severe-neutropenia" in found
    assert ("data-unavailable" in found) == said
    assert "data-unavailable" not in visit(
        medications=bundle(record | {"modifierExtension": []}, on_clozapine())
    )


@pytest.mark.parametrize(
    "system", ["http://hl7.org/fhir/sid/icd-9-cm", "http://id.who.int/icd/release/11/mms"]
)
def test_a_problem_in_a_classification_that_no_table_holds_is_named(system: str) -> None:
    problem = {
        "resourceType": "Condition",
        "id": "c",
        "subject": {"reference": f"Patient/{PATIENT}"},
        "code": {"coding": [{"system": system, "code": "288.03"}]},
    }
    assert "data-unavailable" in visit(conditions=bundle(problem))
    problem["code"]["coding"][0]["display"] = "Bunion"
    assert visit(conditions=bundle(problem)) == {}


# -- dates that name no day ------------------------------------------------------------------------------------------


def _until(end: str, **more: Any) -> Json:
    lines = dosage(300)
    lines[0]["timing"]["repeat"]["boundsPeriod"] = {"start": "2026-01-05", "end": end}
    return on_clozapine(300) | {"dosageInstruction": lines} | more


@pytest.mark.parametrize(
    ("end", "words"),
    [("2026", "stop clozapine now"), ("2026-11", "stop clozapine now"), ("2026-10", "do not give")],
)
def test_an_order_that_ends_in_a_month_or_a_year_ends_with_it(end: str, words: str) -> None:
    assert words in visit(medications=bundle(_until(end)), counts=_LOW)["anc-severe-neutropenia"][1]


def test_after_an_order_that_ended_in_some_month_the_gap_is_the_shortest() -> None:
    drafted = cards(
        call(
            "order-sign",
            prefetch(medications=bundle(_until("2026-10")), counts=bundle(anc())),
            clozapine(300),
        )
    )
    assert "≥ 20 days" in drafted["missed-dose-retitrate"][1]
    over = bundle(_until("2026-11", status="completed"))
    drafted = cards(call("order-sign", prefetch(medications=over, counts=bundle(anc())), clozapine(300)))
    assert "not known" in drafted["missed-dose-retitrate"][1]


def _of(type_name: str, **more: Any) -> Json:
    return {
        "resourceType": type_name,
        "id": "x1",
        "subject": {"reference": f"Patient/{PATIENT}"},
        "medicationCodeableConcept": {"text": "clozapine 100 mg tablets"},
    } | more


@pytest.mark.parametrize(
    ("source", "record"),
    [
        ("dispenses", _of("MedicationDispense", status="completed")),
        ("dispenses", _of("MedicationDispense", status="completed", whenHandedOver="2026")),
        ("administrations", _of("MedicationAdministration", status="completed")),
        ("administrations", _of("MedicationAdministration", status="completed", effectiveDateTime="2026-11")),
        ("statements", _of("MedicationStatement", status="completed", effectivePeriod={"start": "2025", "end": "2026"})),
        ("medications", {"resourceType": "CarePlan", "id": "c", "status": "active", "activity": [{"detail": {"productCodeableConcept": {"text": "Clozapine"}}}]}),
        ("medications", {"resourceType": "List", "id": "c", "status": "current", "entry": [{"item": {"display": "Clozapine 100 mg"}}]}),
    ],
)  # fmt: skip
def test_clozapine_of_no_day_is_said_where_a_count_is_low_alone(source: str, record: Json) -> None:
    sent: Json = {"medications": bundle(), source: bundle(record)}
    assert "Is clozapine taken?" in visit(**sent, counts=_LOW)["data-unavailable"][1]
    assert visit(**sent) == {}
    # Beside an order that says so, it is no news.
    known = {source: bundle(record, on_clozapine())} if source == "medications" else {source: bundle(record)}
    assert "data-unavailable" not in visit(**known, counts=_LOW)


# -- doses ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("advice", "mg"),
    [
        ("increase by 100 mg every 3 days", None),
        ("titrate as per schedule", None),
        ("wöchentlich um 50 mg steigern", None),
        ("take with food", 100),
        ("1 hour before milk", 100),
        ("may cause drowsiness", 100),
    ],
)
def test_what_an_instruction_adds_to_the_dose_is_read(advice: str, mg: float | None) -> None:
    line = {"text": "100 mg at night", "additionalInstruction": [{"coding": [{"display": advice}]}]}
    assert read_dose([line], "clozapine 100 MG Oral Tablet").mg_per_day == mg
