"""One table of spellings of code systems, for drugs, allergies, problems and results."""

from __future__ import annotations

from typing import Any

import pytest

from service.alerts.knowledge.code_systems import (
    ATC,
    DMD,
    ICD10,
    LOINC,
    NDC,
    PZN,
    RXNORM,
    SNOMED,
    canonical,
    icd10_edition,
)
from service.alerts.knowledge.conditions import kinds_by_code, kinds_by_text, snomed_codes
from service.alerts.knowledge.products import product_by_code
from service.fhir.loinc import is_loinc
from tests.alerts.vignette import findings

Json = dict[str, Any]


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("http://www.whocc.no/atc", ATC),
        ("https://www.whocc.no/atc/", ATC),
        ("http://whocc.no/atc", ATC),
        ("http://fhir.de/CodeSystem/bfarm/atc", ATC),
        ("http://fhir.de/CodeSystem/dimdi/atc", ATC),
        ("urn:oid:2.16.840.1.113883.6.73", ATC),
        ("2.16.840.1.113883.6.73", ATC),
        ("http://snomed.info/sct", SNOMED),
        ("https://snomed.info/sct/", SNOMED),
        ("http://snomed.info/sct/83821000000107", SNOMED),
        ("http://snomed.info/sct/32506021000036107/version/20260131", SNOMED),
        ("http://snomed.info/sct|http://snomed.info/sct/900000000000207008", SNOMED),
        ("http://snomed.info/sct?fhir_cm=http://nehta.gov.au/amt/v2", SNOMED),
        ("http://nehta.gov.au/amt/v3", SNOMED),
        ("urn:oid:2.16.840.1.113883.6.96", SNOMED),
        ("HTTP://WWW.NLM.NIH.GOV/RESEARCH/UMLS/RXNORM", RXNORM),
        ("urn:oid:2.16.840.1.113883.6.88", RXNORM),
        ("urn:oid:2.16.840.1.113883.6.69", NDC),
        ("http://dmd.nhs.uk", DMD),
        ("http://fhir.de/CodeSystem/ifa/pzn", PZN),
        ("https://loinc.org/", LOINC),
        ("urn:oid:2.16.840.1.113883.6.1", LOINC),
        ("http://hl7.org/fhir/sid/icd-10-cm", ICD10["cm"]),
        ("urn:oid:2.16.840.1.113883.6.90", ICD10["cm"]),
    ],
)
def test_however_a_system_is_written(written: str, name: str) -> None:
    assert canonical(written) == name


@pytest.mark.parametrize(
    "strange", ["", "http://example.org/sct", "http://snomed.info/scta", "urn:oid:1.2.3"]
)
def test_an_unknown_system_stays_what_it_is(strange: str) -> None:
    assert canonical(strange) == strange
    assert icd10_edition(strange) == ""


@pytest.mark.parametrize(
    ("system", "edition"),
    [
        ("http://hl7.org/fhir/sid/icd-10", "who"),
        ("urn:oid:2.16.840.1.113883.6.3", "who"),
        ("http://hl7.org/fhir/sid/icd-10-nl", "who"),
        ("urn:oid:2.16.840.1.113883.6.3.2", "who"),
        ("http://hl7.org/fhir/sid/icd-10-uk", "who"),
        ("http://hl7.org/fhir/sid/icd-10-cm", "cm"),
        ("http://terminology.hl7.org/CodeSystem/icd10", "who"),
        ("http://fhir.de/CodeSystem/bfarm/icd-10-gm", "gm"),
        ("http://fhir.de/CodeSystem/dimdi/icd-10-gm", "gm"),
        ("http://hl7.org/fhir/sid/icd-10-am", "am"),
        ("urn:oid:2.16.840.1.113883.6.135", "am"),
        ("http://hl7.org/fhir/sid/icd-10-pcs", ""),
        ("http://hl7.org/fhir/sid/icd-9-cm", ""),
    ],
)
def test_editions_of_icd_10(system: str, edition: str) -> None:
    assert icd10_edition(system) == edition


def test_a_code_of_dm_d_may_be_sent_as_snomed_ct_and_back() -> None:
    known = product_by_code(SNOMED, "387568001")
    assert known is not None
    assert product_by_code("https://dmd.nhs.uk", "387568001") == known
    assert product_by_code("http://snomed.info/sct/999000011000001104", "387568001") == known
    assert product_by_code("http://example.org", "387568001") is None


@pytest.mark.parametrize(
    "system", [None, "", "LOINC", "http://www.loinc.org/", "urn:oid:2.16.840.1.113883.6.1"]
)
def test_loinc_in_results(system: str | None) -> None:
    assert is_loinc(system)
    assert not is_loinc("http://example.org/loinc")


@pytest.mark.parametrize(
    ("system", "code", "kind"),
    [
        ("http://snomed.info/sct/83821000000107", "93143009", "bone-marrow-disorder"),
        ("urn:oid:2.16.840.1.113883.6.96", "52448006", "dementia-psychosis"),
        (SNOMED, "392291006", "angle-closure"),
        (SNOMED, "433234005", "prostatic-hypertrophy"),
        (SNOMED, "267064002", "prostatic-hypertrophy"),
        (SNOMED, "111975006", "qt-prolongation"),
        (SNOMED, "44054006", "diabetes"),
        (SNOMED, "433146000", "severe-renal-impairment"),
        (SNOMED, "59927004", "severe-hepatic-impairment"),
        (SNOMED, "58214004", "schizophrenia"),
        (SNOMED, "233604007", "infection"),
        (SNOMED, "50711007", ""),
        (SNOMED, "430976005", "prostatic-hypertrophy"),
        (ICD10["who"], "C92.0", "bone-marrow-disorder"),
        (ICD10["cm"], "C91.00", "bone-marrow-disorder"),
        (ICD10["cm"], "C91.01", ""),
        (ICD10["gm"], "C95.9", "bone-marrow-disorder"),
        (ICD10["am"], "B16.9", "active-liver-disease"),
        (ICD10["cm"], "N39.0", "infection"),
        (ICD10["who"], "E12.9", "diabetes"),
        (ICD10["cm"], "K70.41", "severe-hepatic-impairment"),
        ("http://example.org/local", "52448006", ""),
    ],
)
def test_problems_by_code(system: str, code: str, kind: str) -> None:
    found = kinds_by_code(system, code)
    assert kind in found if kind else not found


def test_a_code_says_what_the_tables_say_once() -> None:
    assert len(snomed_codes()) > 2000
    for code, kinds in snomed_codes().items():
        assert code.isdigit()
        assert len(set(kinds)) == len(kinds)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Leukämie", "bone-marrow-disorder"),
        ("Leucémie aiguë myéloïde", "bone-marrow-disorder"),
        ("Panzytopenie unter Clozapin", "bone-marrow-disorder"),
        ("Demenz vom Alzheimer-Typ", "dementia-psychosis"),
        ("Démence à corps de Lewy", "dementia-psychosis"),
        ("Glaucoma de ángulo cerrado", "angle-closure"),
        ("Engwinkelglaukom rechts", "angle-closure"),
        ("Ipertrofia prostatica benigna", "prostatic-hypertrophy"),
        ("Prostaathyperplasie", "prostatic-hypertrophy"),
        ("QT-Zeit-Verlängerung", "qt-prolongation"),
        ("Síndrome de QT largo", "qt-prolongation"),
        ("Schwangerschaft 12. SSW", "pregnancy"),
        ("Embarazo", "pregnancy"),
        ("Borstvoeding", "breastfeeding"),
        ("Neumonía", "infection"),
        ("Harnwegsinfekt", "infection"),
        ("Zucchero alto", ""),
        ("Kein Anhalt für Leukämie", ""),
        ("Impfung gegen Pneumonie", ""),
        ("Familienanamnese Demenz", ""),
        ("Leukemia in remission", ""),
        ("Diabète insipide", ""),
        ("Kinderwunsch, noch keine Schwangerschaft", ""),
        ("Needs influenza immunization", ""),
        ("Patient needs pneumonia vaccine", ""),
    ],
)
def test_problems_in_words_of_other_languages_and_their_border(text: str, kind: str) -> None:
    found = kinds_by_text(text)
    assert kind in found if kind else not found


def test_a_code_without_words_in_the_record() -> None:
    subject = {"reference": "Patient/clz-p1"}
    code = {"coding": [{"system": "http://snomed.info/sct/900000000000207008", "code": "93143009"}]}
    row: Json = {
        "draft": ["clozapine 12.5 mg"],
        "counts": ["ANC 3.0 10*3/uL 1 d ago"],
        "policy": "eu-smpc-2025",
        "resources": {
            "conditions": [{"resourceType": "Condition", "id": "c", "subject": subject, "code": code}]
        },
    }
    assert "contraindication-condition" in [f.code for f in findings(row)]
    # Family history is not the patient's, whatever the code says.
    code["text"] = "Family history of leukemia"  # type: ignore[assignment]
    assert "contraindication-condition" not in [f.code for f in findings(row)]
