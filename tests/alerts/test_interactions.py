"""What an interaction card offers (clinical.md 2.4): a third of the right dose, and never a dose that is no lower."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.alerts.evaluate import evaluate
from service.alerts.policy.check import load_sound
from service.alerts.policy.policy import Policy, PolicyError
from service.alerts.policy.sheet import sheet
from service.alerts.say.finding import ChangeDose, Finding, OrderTest
from tests.alerts.vignette import facts_of, findings
from tests.data import NOW

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
        # In two doses of 50 mg, as it is taken.
        (["clozapine 150 mg x2 since 500 d", "fluvoxamine since 3 d"], "clozapine 150 mg x2", 100),
    ],
)
def test_a_third_of_the_dose_before_the_inhibitor_is_offered(on: list[str], draft: str, mg: float) -> None:
    card = _inhibitor(on=on, draft=[draft])
    assert [o.mg_per_day for o in card.offers if isinstance(o, ChangeDose)] == [mg]
    assert f"{mg:g} mg/day" in card.summary


def test_a_dose_that_the_tablet_cannot_give_is_said_not_offered() -> None:
    card = _inhibitor(
        on=["clozapine 200 mg since 500 d", "fluvoxamine since 3 d"], draft=["clozapine 200 mg"]
    )
    assert "200 mg → 62.5 mg/day" in card.summary
    assert not [o for o in card.offers if isinstance(o, ChangeDose)]
    assert any("The 100 mg tablet of this order cannot give it" in step for step in card.suggested)


def test_the_joint_card_of_two_inhibitors_makes_one_suggestion_for_the_dose() -> None:
    card = _inhibitor(
        on=["clozapine 300 mg since 500 d", "fluvoxamine since 3 d", "ciprofloxacin since 2 d"],
        draft=["clozapine 300 mg"],
    )
    assert [o.mg_per_day for o in card.offers if isinstance(o, ChangeDose)] == [100]
    assert card.summary.startswith("Ciprofloxacin and fluvoxamine with clozapine")
    assert card.subject == "drug:ciprofloxacin+fluvoxamine"


def test_an_inhibitor_on_top_of_one_that_is_settled_cuts_no_second_third() -> None:
    row = {"on": ["clozapine 150 mg since 600 d", "fluvoxamine since 400 d"], "draft": ["ciprofloxacin"]}
    found = findings({**row, "counts": ["ANC 3.2 10*3/uL 2 d ago", "level 450 ng/mL 20 d ago"]})
    card = next(f for f in found if f.code == "interaction-cyp1a2-strong-inhibitor")
    assert "keep 150 mg/day, take a level after 3 days" in card.summary
    assert [type(o).__name__ for o in card.offers if not isinstance(o, OrderTest)] == ["RemoveDraft"]


def test_an_inhibitor_beside_an_inducer_asks_for_a_level_before_it_and_warns_of_toxicity() -> None:
    card = _inhibitor(on=["clozapine 300 mg since 500 d", "phenytoin since 300 d"], draft=["fluvoxamine"])
    assert "they move the level both ways; keep 300 mg/day" in card.summary
    levels = [n for n, step in enumerate(card.suggested) if step.startswith("Take a")]
    assert card.suggested[levels[0]] == "Take a trough level now."
    assert "Watch for sedation, hypotension and seizures." in card.suggested


def test_the_days_of_a_level_after_a_stop_count_from_the_last_dose() -> None:
    on = ["clozapine 300 mg since 500 d", "amiodarone from 400 d to 40 d"]
    found = findings({"hook": "patient-view", "on": on})
    card = next(f for f in found if f.code == "interaction-inhibitor-stopped")
    assert any("again about 90 days after the last dose" in step for step in card.suggested)


def test_a_high_dose_is_named_where_seizures_are_to_be_feared() -> None:
    found = findings({"on": ["clozapine 650 mg since 500 d"], "draft": ["bupropion"]})
    card = next(f for f in found if f.code == "interaction-seizure-threshold")
    assert card.suggested[0].startswith("Clozapine is above 600 mg/day")


def test_a_long_qtc_is_named_on_the_card_that_it_makes_critical() -> None:
    row = {
        "on": ["clozapine 300 mg since 500 d"],
        "draft": ["erythromycin"],
        "counts": ["QTc 510 ms 40 d ago"],
    }
    card = next(f for f in findings(row) if f.code == "interaction-qt")
    assert card.severity == "critical"
    assert any("QTc 510 ms" in line for line in card.why)


def test_no_laxative_is_advised_where_ileus_is_on_the_list() -> None:
    row = {"on": ["clozapine 300 mg since 500 d"], "draft": ["morphine"], "problems": ["paralytic ileus"]}
    card = next(f for f in findings(row) if f.code == "interaction-constipating")
    assert card.suggested[0].startswith("Do not give it, nor a stimulant laxative")
    assert not any(step.startswith("Prescribe") for step in card.suggested)


def test_a_card_that_is_critical_for_its_region_cites_what_forbids_it() -> None:
    row = {"policy": "uk-smpc", "on": ["clozapine 300 mg since 500 d"], "draft": ["carbamazepine"]}
    card = next(f for f in findings(row) if f.code == "interaction-strong-inducer")
    assert "contraindicates it" in card.summary
    assert card.citation.label.startswith("UK summary of product characteristics")


def test_a_stop_of_smoking_is_told_on_the_card_of_the_inhibitor() -> None:
    card = _inhibitor(
        on=["clozapine 300 mg since 600 d", "ciprofloxacin since 2 d"],
        draft=["clozapine 300 mg"],
        smoking=["449868002 40 d ago", "8517006 5 d ago"],
    )
    assert "smoking stopped (2026-11-15)" in card.summary
    assert "smoking-stopped" in card.also


@pytest.mark.parametrize(
    ("drug", "offset"),
    [("ciprofloxacin", "3 days"), ("fluoxetine", "35 days"), ("amiodarone", "90 days"), ("phenytoin", "28 days"), ("erythromycin", "14 days")],
)  # fmt: skip
def test_a_stop_says_for_how_long_the_drug_is_felt(drug: str, offset: str) -> None:
    found = findings(
        {"on": ["clozapine 300 mg since 500 d", f"{drug} from 100 d to 2 d"], "hook": "patient-view"}
    )
    card = next(
        f for f in found if f.code in ("interaction-inhibitor-stopped", "interaction-inducer-stopped")
    )
    assert f"within about {offset}" in card.summary


def test_a_stop_names_the_dose_before_the_drug() -> None:
    on = [
        "clozapine 300 mg from 500 d to 30 d",
        "clozapine 100 mg since 30 d",
        "fluvoxamine from 30 d to 3 d",
    ]
    card = next(
        f for f in findings({"on": on, "hook": "patient-view"}) if f.code == "interaction-inhibitor-stopped"
    )
    assert "Return to 300 mg/day, the dose before it, by level." in card.suggested
    # Without a dose before it nothing is made up.
    found = findings(
        {"on": ["clozapine 100 mg since 30 d", "fluvoxamine from 300 d to 3 d"], "hook": "patient-view"}
    )
    card = next(f for f in found if f.code == "interaction-inhibitor-stopped")
    assert not any("Return to 1" in step for step in card.suggested)


@pytest.mark.parametrize(
    ("on", "draft", "named"),
    [
        (["citalopram since 100 d"], "haloperidol", "Haloperidol with clozapine and citalopram"),
        (["lorazepam since 100 d"], "olanzapine 10 MG Injection", "Olanzapine with clozapine and lorazepam"),
    ],
)
def test_the_card_of_a_pair_names_the_other_drug(on: list[str], draft: str, named: str) -> None:
    found = findings({"on": ["clozapine 300 mg since 500 d", *on], "draft": [draft]})
    assert any(f.summary.startswith(named) for f in found)


def test_a_us_card_does_not_quote_the_uk() -> None:
    for drug in ("lorazepam", "lithium", "azathioprine", "adrenaline", "amlodipine", "warfarin"):
        found = findings(
            {"on": ["clozapine 300 mg since 500 d", f"{drug} since 3 d"], "hook": "patient-view"}
        )
        cards = [f for f in found if f.code.startswith("interaction")]
        assert cards
        for card in cards:
            said = " ".join((*card.policy_says, card.citation.label))
            assert "UK" not in said, said


def test_a_place_in_a_class_is_no_number_that_is_not_confirmed() -> None:
    found = findings({"on": ["clozapine 300 mg since 500 d"], "draft": ["oxybutynin"]})
    card = next(f for f in found if f.code == "interaction-anticholinergic")
    assert card.citation.confirmed
    assert any(line.startswith("Oxybutynin (anticholinergic): by general knowledge") for line in card.why)


def test_a_site_may_leave_pairs_to_its_ehr(tmp_path: Path) -> None:
    row: dict[str, Any] = {"on": ["clozapine 300 mg since 500 d"], "draft": ["oxybutynin"]}
    assert _codes(row, _policy(tmp_path, '["anticholinergic"]')) == set()
    # The site's page says so.
    rows = [row for table in sheet(_policy(tmp_path, '["anticholinergic"]')) for row in table.rows]
    assert [row[:2] for row in rows if row[0] == "left to ehr"] == [("left to ehr", "anticholinergic")]
    # The bowel that is slow already stays with this service.
    slow = {**row, "problems": ["constipation"]}
    assert "interaction-anticholinergic" in _codes(slow, _policy(tmp_path, '["anticholinergic"]'))


@pytest.mark.parametrize("class_id", ["cyp1a2-strong-inhibitor", "cyp1a2-inhibitor", "strong-inducer", "myelosuppressive", "no-class"])  # fmt: skip
def test_but_not_every_pair(class_id: str, tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=class_id):
        _policy(tmp_path, f'["{class_id}"]')


def _policy(folder: Path, left: str) -> Policy:
    path = folder / "site.toml"
    path.write_text(
        'id = "site"\ntitle = "Site"\njurisdiction = "US"\ninherits = "us-label-2025"\nvalid_from = 2020-01-01\n'
        f"[interactions]\nleft_to_ehr = {left}\n"
    )
    return load_sound(path)


def _codes(row: dict[str, Any], policy: Policy) -> set[str]:
    return {f.code for f in evaluate(facts_of(row), policy, NOW) if f.code.startswith("interaction")}


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
    found = findings({"on": ["clozapine 300 mg since 500 d", f"{drug} since 3 d"], "hook": "patient-view"})
    assert any(code in (f.code, *f.also) for f in found)


@pytest.mark.parametrize(
    "drug",
    ["cisplatin", "etoposide", "capecitabine", "mitoxantrone", "vinorelbine", "cabazitaxel", "lomustine", "procarbazine", "trifluridine", "thioguanine"],
)  # fmt: skip
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


@pytest.mark.parametrize(
    ("drug", "says"),
    [
        ("omeprazole", "consider a lower clozapine dose"),
        ("carbamazepine", "lower the clozapine dose"),
        ("fluvoxamine", "go back to the original clozapine dose"),
        ("ethinylestradiol", "consider a higher clozapine dose"),
        ("erythromycin", "consider a higher clozapine dose"),
    ],
)
def test_a_stop_cites_what_is_said_of_the_stop(drug: str, says: str) -> None:
    """The advice for the beginning of a drug is the wrong one at its end."""
    on = ["clozapine 300 mg since 500 d", f"{drug} from 100 d to 3 d"]
    found = findings({"hook": "patient-view", "on": on, "counts": ["ANC 3.2 10*3/uL 2 d ago"]})
    (stop,) = [f for f in found if f.code.endswith("-stopped")]
    assert [line for line in stop.policy_says if says in line]
    assert len(stop.policy_says) == 1


def test_where_a_drug_of_the_class_takes_over_nobody_is_told_to_go_back() -> None:
    on = [
        "clozapine 300 mg from 500 d to 91 d",
        "clozapine 100 mg since 90 d",
        "fluvoxamine from 90 d to 2 d",
    ]
    card = _inhibitor(on=on, draft=["ciprofloxacin"])
    assert "keep 100 mg/day" in card.summary
    assert not any("is stopped" in line for line in card.policy_says)
