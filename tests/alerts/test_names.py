"""Names of drugs in Europe, and brands by country: what each means, what it means elsewhere, and which drugs are called harmless."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.alerts.knowledge.brands import COUNTRIES, agreed, by_name, countries
from service.alerts.knowledge.code_systems import ATC, RXNORM
from service.alerts.knowledge.drug_names import drugs_by_name
from service.alerts.knowledge.drugs import drug_ids
from service.alerts.knowledge.no_card import is_code_without_card, is_known_without_card, without_card
from service.alerts.knowledge.products import atc
from service.fhir.medication import MedicationReader
from service.fhir.resources import CodeableConcept, Coding
from service.site.settings import Settings
from tests.data import NOW

Json = dict[str, Any]
_NAMED = {
    line
    for line in (Path(__file__).parent / "named_as_interacting.txt").read_text().splitlines()
    if line and not line.startswith("#")
}


@pytest.mark.parametrize(
    ("name", "drug"),
    [
        ("Carbamazepin", "carbamazepine"),
        ("Fluvoxamina 50 mg", "fluvoxamine"),
        ("ciprofloxacine", "ciprofloxacin"),
        ("Valproinsäure 500", "valproate"),
        ("acide valproïque", "valproate"),
        ("ácido valproico", "valproate"),
        ("valproïnezuur", "valproate"),
        ("Johanniskraut-Dragees", "st-johns-wort"),
        ("millepertuis", "st-johns-wort"),
        ("Hierba de San Juan", "st-johns-wort"),
        ("Lithiumcarbonat", "lithium"),
        ("carbonato de litio", "lithium"),
        ("morfina", "morphine"),
        ("sulfate ferreux", "iron"),
        ("Koffein", "caffeine"),
        ("hydrochloorthiazide", "hydrochlorothiazide"),
        ("fenitoína", "phenytoin"),
        ("claritromicina", "clarithromycin"),
    ],
)
def test_generic_names_in_european_languages(name: str, drug: str) -> None:
    assert drug in drugs_by_name(name)


@pytest.mark.parametrize(
    ("name", "drugs"),
    [
        ("FLOXYFRAL 50 mg, comprimé pelliculé", ("fluvoxamine",)),
        ("Dumirox 100 mg compresse", ("fluvoxamine",)),
        ("Fevarin", ("fluvoxamine",)),
        ("Ciflox 500", ("ciprofloxacin",)),
        ("Rifadine 300 mg", ("rifampicin",)),
        ("Depakin 500 mg", ("valproate",)),
        ("Temesta 1 mg", ("lorazepam",)),
        ("Rivotril", ()),
        ("Exforge HCT", ("amlodipine", "hydrochlorothiazide", "valsartan")),
        ("Nozinan", ("levomepromazine",)),
        ("Frisium 10", ("clobazam",)),
        ("Carbolith 300 mg", ("lithium",)),
        ("Blopresid", ("candesartan", "hydrochlorothiazide")),
    ],
)
def test_brands_of_a_public_list(name: str, drugs: tuple[str, ...]) -> None:
    found = drugs_by_name(name)
    assert set(found) == set(drugs) or (not drugs and not set(found) - set(drug_ids()))


@pytest.mark.parametrize(
    "words",
    [
        "take daily", "target dose", "EpiPen 0.3 mg", "pediatric drops", "select", "allergy", "sleep aid", "stool softener", "tablet, return to pharmacy", "Paracetamolo 500 mg", "twice a day", "acetylsalicylic acid",
        "chlorhydrate", "bromhydrate", "fungus cream", "minerals", "zinc",
    ],
)  # fmt: skip
def test_everyday_words_and_salts_are_no_brands(words: str) -> None:
    assert drugs_by_name(words) == ()


def test_a_brand_that_means_two_drugs_is_decided_by_the_country() -> None:
    assert drugs_by_name("Flomax 0.4 mg") == ()
    assert drugs_by_name("Flomax 0.4 mg", "US") == ("tamsulosin",)
    assert drugs_by_name("Flomax 0.4 mg", "IT") == ()
    assert drugs_by_name("Norpramin", "ES") == ("omeprazole",)
    assert drugs_by_name("Norpramin", "US") == ()
    # A longer name is a name of its own.
    assert drugs_by_name("Triatec-30", "CA") == ("codeine",)
    assert drugs_by_name("Triatec 5 mg") == ("ramipril",)
    # Any other name means the same everywhere.
    assert drugs_by_name("Floxyfral", "US") == drugs_by_name("Floxyfral") == ("fluvoxamine",)


@pytest.mark.parametrize(("country", "drugs"), [("", ()), ("US", ("tamsulosin",)), ("IT", ())])
def test_the_sites_country_reaches_the_reader(country: str, drugs: tuple[str, ...]) -> None:
    concept = CodeableConcept(text="Flomax 0.4 mg capsules")
    found = MedicationReader(NOW.tzinfo, country=country).identify(concept, None, None)  # type: ignore[arg-type]
    assert found.drugs == drugs
    assert (found.matched_by == "none") is not bool(drugs)


def test_the_country_is_a_setting() -> None:
    assert Settings(country="IT").site().maps.country == "IT"
    assert Settings().site().maps.country == ""
    with pytest.raises(ValueError, match="country"):
        Settings(country="Italy")


def test_brands_lead_to_drugs_and_say_their_source() -> None:
    assert set(countries()) <= set(COUNTRIES)
    for country in countries().values():
        assert country.source
        assert country.title
    for name, meanings in by_name().items():
        assert set(meanings) <= {*COUNTRIES, ""}
        for drugs in meanings.values():
            assert set(drugs) <= set(drug_ids()), name
        if agreed(meanings) is not None:
            assert set(drugs_by_name(name)) >= set(agreed(meanings) or ()), name
        # No brand of an interacting drug is the name of a harmless one.
        assert not is_known_without_card(name), name


def test_no_drug_that_is_named_as_interacting_is_called_harmless() -> None:
    assert len(_NAMED) > 400
    (harmless,) = [group for group in without_card() if group.id == "none"]
    assert [n for n in harmless.names if n in _NAMED] == []
    assert [n for n in _NAMED if is_known_without_card(n) and n in harmless.names] == []


def test_no_code_of_an_interacting_drug_is_called_harmless() -> None:
    codes = {code for group in without_card() for code in group.atc}
    assert len(codes) > 300
    assert codes.isdisjoint(atc())
    rxnorm = [code for group in without_card() for code in group.rxnorm]
    assert len(rxnorm) == len(set(rxnorm))


@pytest.mark.parametrize(
    ("system", "code", "known"),
    [
        (ATC, "C10AA05", True),
        ("http://fhir.de/CodeSystem/bfarm/atc", "N02BE01", True),
        (RXNORM, "83367", True),
        (ATC, "N05AH02", False),
        (ATC, "N06AB08", False),
        ("http://example.org", "C10AA05", False),
    ],
)
def test_a_harmless_drug_is_known_by_its_code_whatever_it_is_called(
    system: str, code: str, known: bool
) -> None:
    assert is_code_without_card(system, code) is known
    concept = CodeableConcept(coding=[Coding(system=system, code=code, display="Präparat der Hausapotheke")])
    found = MedicationReader(NOW.tzinfo).identify(concept, None, None)  # type: ignore[arg-type]
    assert (found.matched_by != "none") is (known or bool(found.drugs))
