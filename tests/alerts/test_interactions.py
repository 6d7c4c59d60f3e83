"""What an interaction card offers (clinical.md 2.4): a third of the right dose, and never a dose that is no lower."""

from __future__ import annotations

from typing import Any

import pytest

from service.alerts.say.finding import ChangeDose, Finding
from tests.alerts.vignette import findings

_TAPERED = ["clozapine 300 mg from 500 d to 60 d", "clozapine 100 mg since 60 d", "fluvoxamine since 60 d"]


def _inhibitor(**row: Any) -> Finding:
    found = findings({"counts": ["ANC 3.2 10*3/uL 2 d ago"], **row})
    return next(f for f in found if f.code == "interaction-cyp1a2-strong-inhibitor")


@pytest.mark.parametrize(
    ("on", "draft", "mg"),
    [
        (["clozapine 300 mg since 500 d", "fluvoxamine since 3 d"], "clozapine 300 mg", 100),
        # A third of what was taken before fluvoxamine, not of what it had been cut to.
        (_TAPERED, "clozapine 150 mg", 100),
        (["clozapine 200 mg since 500 d", "fluvoxamine since 3 d"], "clozapine 200 mg", 62.5),
    ],
)
def test_a_third_of_the_dose_before_the_inhibitor_is_offered(on: list[str], draft: str, mg: float) -> None:
    card = _inhibitor(on=on, draft=[draft])
    assert [o.mg_per_day for o in card.offers if isinstance(o, ChangeDose)] == [mg]
    assert f"{mg:g} mg/day" in card.summary


@pytest.mark.parametrize(
    "on",
    [
        ["fluvoxamine since 10 d"],
        # A restart: a third of the old dose would be far more than the dose to restart with.
        ["clozapine 300 mg from 500 d to 60 d", "fluvoxamine since 10 d"],
        ["clozapine 300 mg from 500 d to 60 d", "fluvoxamine since 70 d"],
    ],
)
def test_no_dose_is_offered_that_is_no_lower(on: list[str]) -> None:
    card = _inhibitor(on=on, draft=["clozapine 12.5 mg"])
    assert not [o for o in card.offers if isinstance(o, ChangeDose)]
    assert "→" not in card.summary


def test_a_stop_without_a_day_says_so() -> None:
    found = findings(
        {
            "on": ["clozapine 300 mg since 500 d", "completed ciprofloxacin since 9 d"],
            "hook": "patient-view",
        }
    )
    card = next(f for f in found if f.code == "interaction-inhibitor-stopped")
    assert any("No record tells the day; it began 2026-11-11." in line for line in card.why)


_MEMBERS = {
    "interaction-myelosuppressive": "cisplatin carboplatin etoposide vincristine gemcitabine capecitabine temozolomide interferon-beta sulfadoxine",
    "interaction-cns-depressant": "nitrazepam triazolam bromazepam butalbital pentobarbital oxymorphone dihydrocodeine doxylamine co-codamol",
    "interaction-constipating": "oxymorphone dihydrocodeine Percocet Vicodin co-dydramol",
    "interaction-anticholinergic": "cyproheptadine doxylamine alimemazine trimeprazine",
    "interaction-hypotensive": "perindopril irbesartan nebivolol labetalol torsemide chlorthalidone indapamide eplerenone alfuzosin",
    "interaction-dopamine-agonist": "Sinemet Madopar co-careldopa co-beneldopa",
}


@pytest.mark.parametrize(("code", "drug"), [(c, d) for c, drugs in _MEMBERS.items() for d in drugs.split()])
def test_a_class_of_the_specification_holds_more_than_its_examples(code: str, drug: str) -> None:
    found = findings({"on": ["clozapine 300 mg since 500 d"], "draft": [drug]})
    assert any(code in (f.code, *f.also) for f in found)


@pytest.mark.parametrize("drug", ["cisplatin", "etoposide", "capecitabine"])
def test_every_cytotoxic_is_critical(drug: str) -> None:
    found = findings({"on": ["clozapine 300 mg since 500 d"], "draft": [drug]})
    assert next(f for f in found if f.code == "interaction-myelosuppressive").severity == "critical"


@pytest.mark.parametrize(
    ("product", "depot"),
    [
        ("Xeplion 100 mg", True),
        ("Invega Hafyera 1092 mg", True),
        ("Invega 6 mg tablet", False),
        ("Zypadhera 300 mg powder", True),
        ("Aristada 441 mg", True),
        ("risperidone 37.5 mg prolonged-release suspension for injection", True),
        ("aripiprazole 400 mg extended-release injectable suspension", True),
        ("haloperidol long acting injection", True),
        ("Depixol 3 mg tablet", False),
        ("paliperidone 6 mg extended-release tablet", False),
        ("quetiapine 300 mg prolonged-release tablet", False),
    ],
)
def test_depots_are_known_by_brand_and_by_form(product: str, depot: bool) -> None:
    found = findings({"on": ["clozapine 300 mg since 500 d"], "draft": [product]})
    assert any("interaction-depot-antipsychotic" in (f.code, *f.also) for f in found) is depot
