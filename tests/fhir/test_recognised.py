"""Which medications are recognised: a code that nothing explains identifies nothing, whatever its system."""

from __future__ import annotations

from datetime import UTC

import pytest

from service.alerts.knowledge.classes import classes
from service.alerts.knowledge.drug_names import drugs_by_name
from service.alerts.knowledge.drugs import drug_ids
from service.alerts.knowledge.no_card import is_known_without_card, without_card
from service.fhir.medication import MedicationReader
from service.fhir.resources import CodeableConcept, Coding

_RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
_DMD = "https://dmd.nhs.uk"
_SNOMED = "http://snomed.info/sct"
_NDC = "http://hl7.org/fhir/sid/ndc"
_ATC = "http://www.whocc.no/atc"


@pytest.mark.parametrize(
    ("system", "code", "display", "matched", "drugs"),
    [
        (_DMD, "1", "Neo-Testazole 5mg tablets", "none", ()),
        (_RXNORM, "999999999", "Testazapin 100 MG Oral Tablet", "none", ()),
        (_SNOMED, "1", "Testazapin", "none", ()),
        (_NDC, "1-1-1", "Testazapin", "none", ()),
        (_ATC, "Z99ZZ99", "testazapine", "none", ()),
        (_RXNORM, "999999999", "atorvastatin 40 MG Oral Tablet", "name", ()),
        (_DMD, "1", "Paracetamol 500mg tablets", "name", ()),
        (_DMD, "1", "Ciproxin 500mg tablets (Bayer Plc)", "name", ("ciprofloxacin",)),
        (_RXNORM, "197535", "", "code", ("clozapine",)),
        (_ATC, "N05AH02", "anything", "code", ("clozapine",)),
        ("urn:oid:1.2.3", "CLZ", "クロザリル錠100mg", "name", ("clozapine",)),
        ("urn:oid:1.2.3", "CLZ", "Азалептин 100 мг", "name", ("clozapine",)),
        ("urn:oid:1.2.3", "CLZ", "Clopin eco Tabl 100 mg", "name", ("clozapine",)),
        ("urn:oid:1.2.3", "X", "Clopixol 25 mg", "name", ("zuclopenthixol",)),
    ],
)
def test_a_code_nobody_explains_identifies_nothing(
    system: str, code: str, display: str, matched: str, drugs: tuple[str, ...]
) -> None:
    concept = CodeableConcept(coding=[Coding(system=system, code=code, display=display or None)])
    found = MedicationReader(UTC).identify(concept, None, None)
    assert found.matched_by == matched
    assert found.drugs == drugs


def test_no_drug_that_draws_no_card_is_one_that_does() -> None:
    names = [name for group in without_card() for name in group.names]
    assert len(names) > 180
    assert len(names) == len({n.lower() for n in names})
    assert [n for n in names if drugs_by_name(n)] == []
    assert not set(names) & set(drug_ids())
    assert all(group.reason and group.source for group in without_card())


@pytest.mark.parametrize("text", ["paracetamolat", "Insulinoma kit", "nicotinamide 500 mg"])
def test_a_known_name_is_a_whole_word(text: str) -> None:
    assert not is_known_without_card(text)


@pytest.mark.parametrize(
    "text",
    [
        "Pantoprazol 40 mg", "Atorvastatina", "atorvastatine", "Lévothyroxine sodique", "Levothyroxin", "Metformina", "Amoxicilina", "ibuprofeno 600 mg",
        "Paracetamolo", "Paracetamolum", "Colecalciferolo", "Prednisolon", "Naltrexon", "Simvastatina", "Insuline glargine",
    ],
)  # fmt: skip
def test_drugs_without_a_card_are_known_in_other_languages(text: str) -> None:
    assert is_known_without_card(text)
    assert drugs_by_name(text) == ()


@pytest.mark.parametrize(
    "text",
    ["DOLIPRANE 1000 mg, comprimé", "Dafalgan 500 mg", "LEVOTHYROX 75 microgrammes, comprimé sécable", "Uvedose", "Ventoline", "Vitamin D3 1000 I.E.", "vitamina D", "Ranitidin 150 mg", "ranitidina", "zinc gluconate 50 mg", "Omega-3 1000 mg capsule"],
)  # fmt: skip
def test_french_brands_and_food_supplements_draw_no_card(text: str) -> None:
    assert is_known_without_card(text)
    assert drugs_by_name(text) == ()


def test_a_brand_with_something_more_is_known_by_that() -> None:
    assert drugs_by_name("DAFALGAN CODEINE, comprimé pelliculé") == ("codeine",)


@pytest.mark.parametrize(
    "text", ["Carbamazepina", "Fluvoxamin", "Ciprofloxacine", "Testazapina", "Zincum", "Omega"]
)
def test_what_draws_a_card_or_is_not_known_is_none_of_them(text: str) -> None:
    assert not is_known_without_card(text)


def test_every_drug_of_a_class_is_recognised_by_its_name() -> None:
    for group in classes().values():
        for drug in group.drugs:
            assert drug in drugs_by_name(drug.replace("-", " ")) or drug in drugs_by_name(drug)
