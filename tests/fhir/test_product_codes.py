"""Clozapine products by RxNorm code alone: the strength comes with the code where a source names it (clinical specification 3.4)."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import msgspec
import pytest

from service.alerts.facts.patient import Dose
from service.alerts.knowledge.drug_names import is_long_acting
from service.alerts.knowledge.product_codes import coded
from service.alerts.knowledge.products import codes_of, product_by_code
from service.fhir.medication import MedicationReader
from service.fhir.resources import Medication, MedicationRequest
from tests.data import RXNORM, words


def _mg_per_day(code: str, unit: str, amount: float) -> float | None:
    order: dict[str, Any] = {
        "resourceType": "MedicationRequest",
        "id": "mr-1",
        "status": "active",
        "intent": "order",
        "medicationCodeableConcept": {"coding": [{"system": RXNORM, "code": code}]},
        "subject": {"reference": "Patient/p"},
        "dosageInstruction": [
            {
                "timing": {"repeat": {"frequency": 2, "period": 1, "periodUnit": "d"}},
                "doseAndRate": [{"doseQuantity": {"value": amount, "unit": unit}}],
            }
        ],
    }
    found = MedicationReader(UTC).request(
        msgspec.json.decode(msgspec.json.encode(order), type=MedicationRequest), "medications"
    )
    assert found.drugs == ("clozapine",)
    return found.dose.mg_per_day if found.dose is not None else None


@pytest.mark.parametrize(
    ("code", "unit", "amount", "mg"),
    [
        ("197536", "tablet", 1, 50),
        ("429212", "tablet", 1, 100),
        ("197535", "tablet", 1, 200),
        ("309374", "tablet", 1, 400),
        ("721773", "tablet", 1, 25),
        ("476179", "tablet", 1, 50),
        ("476177", "tablet", 1.5, 300),
        ("1006801", "tablet", 1, 300),
        ("996921", "tablet", 2, 800),
        ("1369825", "mL", 3, 300),
    ],
)
def test_the_strength_of_a_product_code(code: str, unit: str, amount: float, mg: float) -> None:
    assert _mg_per_day(code, unit, amount) == mg


@pytest.mark.parametrize("code", ["104775", "721775", "1369831"])
def test_a_strength_that_no_source_named_is_not_guessed(code: str) -> None:
    assert product_by_code(RXNORM, code) is not None
    assert _mg_per_day(code, "tablet", 1) is None


def test_the_codes_of_the_drug_itself_are_no_products() -> None:
    assert codes_of("clozapine", RXNORM) == ("2626",)
    assert codes_of("clozapine", "http://snomed.info/sct") == ("387568001",)


def test_an_order_in_another_language_is_known_by_its_atc_code() -> None:
    order = {
        "resourceType": "MedicationRequest",
        "id": "mr-1",
        "status": "active",
        "intent": "order",
        "medicationCodeableConcept": {
            "coding": [{"system": "http://www.whocc.no/atc", "code": "N03AF01", "display": "Karbamazepin"}]
        },
        "subject": {"reference": "Patient/p"},
    }
    found = MedicationReader(UTC).request(
        msgspec.json.decode(msgspec.json.encode(order), type=MedicationRequest), "medications"
    )
    assert (found.drugs, found.matched_by) == (("carbamazepine",), "code")


def _drafted(strength: Any, unit: str = "{tbl}", name: str = "clozapine tablet 100 mg") -> Dose:
    product = {
        "resourceType": "Medication",
        "id": "m1",
        "code": {"coding": [{"system": RXNORM, "code": "197535"}], "text": name},
        "ingredient": [{"itemCodeableConcept": {"text": "clozapine"}, "strength": strength}],
    }
    order = {
        "resourceType": "MedicationRequest",
        "id": "d1",
        "status": "draft",
        "intent": "order",
        "medicationReference": {"reference": "Medication/m1"},
        "subject": {"reference": "Patient/p"},
        "dosageInstruction": [{"timing": {"code": {"text": "Daily"}}, "doseAndRate": [{"doseQuantity": {"value": 10, "unit": unit}}]}],
    }  # fmt: skip
    products = {"Medication/m1": msgspec.json.decode(msgspec.json.encode(product), type=Medication)}
    dose = (
        MedicationReader(UTC, products)
        .request(msgspec.json.decode(msgspec.json.encode(order), type=MedicationRequest), "draft", draft=True)
        .dose
    )
    assert dose is not None
    return dose


def test_a_strength_of_mg_in_mg_says_nothing_of_the_tablet() -> None:
    vendor = {"numerator": {"value": 100, "unit": "MG"}, "denominator": {"value": 100, "unit": "MG"}}
    assert _drafted(vendor).mg_per_day == 1000


def test_a_product_whose_code_and_resource_disagree_counts_no_tablets() -> None:
    other = {"numerator": {"value": 25, "unit": "mg"}, "denominator": {"value": 1, "unit": "tablet"}}
    dose = _drafted(other)
    assert dose.mg_per_day is None
    assert "25 mg by the Medication resource, 100 mg by the product code" in words(dose.unreadable)
    assert _drafted(other, unit="mg").mg_per_day == 10


def test_a_product_whose_code_and_name_disagree_counts_no_tablets() -> None:
    assert "100 mg by the product code, 25 mg by the product name" in words(
        _drafted(None, name="clozapine 25 mg tablet").unreadable
    )


@pytest.mark.parametrize(
    ("system", "code", "drugs"),
    [
        (RXNORM, "42355", ("fluvoxamine",)),  # ingredients
        (RXNORM, "2551", ("ciprofloxacin",)),
        (RXNORM, "2002", ("carbamazepine",)),
        (RXNORM, "856792", ("amitriptyline", "chlordiazepoxide")),
        ("http://snomed.info/sct", "96213009", ("fluvoxamine",)),
        ("http://snomed.info/sct", "321945000", ("fluvoxamine",)),
        ("https://dmd.nhs.uk", "321945000", ("fluvoxamine",)),
        ("https://dmd.nhs.uk", "42272411000001105", ("fluvoxamine",)),
        ("https://dmd.nhs.uk", "42270011000001100", ("clozapine",)),
        ("urn:oid:2.16.840.1.113883.6.96", "321574000", ("clozapine",)),
    ],
)
def test_ingredients_and_products_are_known_by_code_alone(
    system: str, code: str, drugs: tuple[str, ...]
) -> None:
    product = product_by_code(system, code)
    assert product is not None
    assert product.drugs == drugs
    # A code of one system is none of another.
    other = "https://dmd.nhs.uk" if system == RXNORM else RXNORM
    assert product_by_code(other, code) is None


def test_a_code_of_a_depot_is_a_depot_and_one_of_tablets_none() -> None:
    assert {meaning.given for meaning in coded().values()} == {"", "injection", "long-acting"}
    depots = [m for m in coded().values() if m.given == "long-acting"]
    assert depots
    assert all(is_long_acting(m.label) for m in depots)
    assert not any(is_long_acting(m.label) for m in coded().values() if m.given != "long-acting")
