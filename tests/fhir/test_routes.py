"""Whether a drug reaches the circulation (clinical specification 2.4): the stated route, then the form, then the name; never an indication."""

from __future__ import annotations

import pytest

from service.fhir.routes import is_under_the_tongue, product_reaches, route_reaches
from service.judge import judge
from tests.data import NOW, anc, bundle, call, on_clozapine, order, prefetch


@pytest.mark.parametrize(
    ("name", "reaches"),
    [
        ("Fluconazole 150mg capsules (vaginal thrush)", True),
        ("Fluconazole 150 mg capsule for vaginal candidiasis", True),
        ("ciprofloxacin 500 mg tablets for ear infections", True),
        ("doxycycline 100mg caps eye infection", True),
        ("prednisolone 5 mg tablets (nasal polyps)", True),
        ("ketoconazole tablets + cream", True),
        ("erythromycin 250 mg tablets", True),
        ("dexamethasone 4 mg/mL injection", True),
        ("progesterone 200 mg suppositories", True),
        # a place that is one
        ("ciprofloxacin 0.3 % eye drops for eye infection", False),
        ("dexamethasone (ophthalmic)", False),
        ("CIPROFLOXACIN HCL 0.3 % OP SOLN", False),
        ("hydrocortisone 1% cream", False),
        ("clotrimazole 500 mg vaginal tablet", False),
        ("tiotropium 18 microgram inhalation powder, hard capsules", False),
        ("tiotropium capsules for inhalation", False),
        ("dexamethasone intravitreal injection", False),
        ("erythromycin 2 % gel", False),
        ("diphenhydramine liquid gel capsule", True),
        ("fluticasone nasal spray", False),
        ("Ciprofloxacin 3 mg/ml Augentropfen", False),
        ("ciprofloxacine 0,3 % collyre en solution", False),
        ("ciprofloxacine oogdruppels 3 mg/ml", False),
        ("Ciprofloxacin Ohrentropfen", False),
        ("Erythromycin Creme 2 %", False),
        ("Ciprofloxacin 500 mg Filmtabletten bei Augeninfektion", True),
        ("ciprofloxacine 500 mg comprimé", True),
    ],
)
def test_by_product(name: str, reaches: bool) -> None:
    assert product_reaches(name, ("some-drug",)) is reaches


@pytest.mark.parametrize(
    ("route", "reaches"),
    [
        ("Oral", True),
        ("PO", True),
        ("sublingual Sublingual route", True),
        ("26643006", True),
        ("20053000", True),
        ("Transdermal", True),
        ("rectal", True),
        ("i.m.", True),
        ("zum Einnehmen", True),
        ("Ophthalmic", False),
        ("54485002", False),
        ("Both Eyes", False),
        ("Oral inhalation", False),
        ("nasal", False),
        ("Per vagina", False),
        ("topical", False),
        ("by mouth for ear infection", True),
        ("voie ophtalmique", False),
        ("as directed", None),
        ("", None),
    ],
)
def test_by_route(route: str, reaches: bool | None) -> None:
    assert route_reaches(route, ("some-drug",)) is reaches


@pytest.mark.parametrize(
    ("drug", "name", "route"),
    [
        ("midazolam", "midazolam 5 mg nasal spray", "nasal"),
        ("diazepam", "diazepam 10 mg rectal gel", "46713006"),
        ("fentanyl", "fentanyl nasal spray", "Nasal"),
        ("oxybutynin", "oxybutynin 10 % gel", "topical"),
        ("loxapine", "loxapine 10 mg inhalation powder", "inhalation"),
        ("ethinylestradiol", "etonogestrel/ethinyl estradiol vaginal ring", "vaginal"),
    ],
)
def test_absorbed_where_others_stay(drug: str, name: str, route: str) -> None:
    assert product_reaches(name, (drug,))
    assert route_reaches(route, (drug,))
    assert not product_reaches(name, ("some-drug",))
    assert not route_reaches(route, ("some-drug",))


@pytest.mark.parametrize("name", ["scopolamine transdermal patch", "fentanyl 25 microgram/hour patches"])
def test_a_patch_reaches_the_circulation(name: str) -> None:
    assert product_reaches(name, ("some-drug",))


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("ciprofloxacino 3 mg/ml colirio", "eye"),
        ("ciprofloxacina collirio 0,3 %", "eye"),
        ("ciprofloxacina gocce auricolari", "ear"),
        ("ciprofloxacino gotas óticas", "ear"),
    ],
)
def test_drops_in_spanish_and_italian_stay_where_they_are(name: str, where: str) -> None:
    assert not product_reaches(name, ("some-drug",)), where


@pytest.mark.parametrize(
    ("instruction", "is_so"),
    [
        ("2 drops sublingually at night for drooling", True),
        ("1 drop under the tongue nocte", True),
        ("abends 2 Tropfen unter die Zunge", True),
        ("1 goutte sous la langue le soir", True),
        ("1 drop in each eye at night", False),
        ("for a coated tongue", False),
        ("", False),
    ],
)
def test_an_instruction_says_under_the_tongue(instruction: str, is_so: bool) -> None:
    assert is_under_the_tongue(instruction) is is_so


def _beside_clozapine(**more: object) -> list[tuple[str, str]]:
    sent = prefetch(medications=bundle(on_clozapine()), counts=bundle(anc(3.2, 3)))
    drops = order("atropine 1% ophthalmic solution", **more)
    found = judge(call("order-sign", sent, drops), as_of=NOW).findings
    return [(f.code, f.severity) for f in found if f.code.startswith("interaction")]


def test_eye_drops_that_are_to_be_taken_under_the_tongue_are_systemic() -> None:
    text = "2 drops under the tongue at night"
    anticholinergic = [("interaction-anticholinergic", "warning")]
    assert _beside_clozapine() == []
    assert _beside_clozapine(dosageInstruction=[{"text": "1 drop in both eyes at night"}]) == []
    assert _beside_clozapine(dosageInstruction=[{"text": text}]) == anticholinergic
    assert _beside_clozapine(dosageInstruction=[{"patientInstruction": text}]) == anticholinergic
    # A route that is stated decides.
    assert _beside_clozapine(dosageInstruction=[{"text": text, "route": {"text": "Ophthalmic"}}]) == []
