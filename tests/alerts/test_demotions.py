"""The table of demotions is true of the data, and the aims of quiet are kept."""

from __future__ import annotations

import pytest

from service.alerts.case.beside import base_severity
from service.alerts.knowledge.classes import classes
from service.alerts.knowledge.demotions import Demotion, demotions
from service.alerts.knowledge.drugs import drugs
from tests.alerts.vignette import findings
from tools.noise import noise, orders


@pytest.mark.parametrize("demotion", demotions(), ids=lambda d: f"{d.class_id} {' '.join(d.drugs[:3])}")
def test_a_demotion_is_true_of_the_data(demotion: Demotion) -> None:
    group = classes()[demotion.class_id]
    assert demotion.drugs or demotion.situation
    # What no source grades so is never given out as confirmed.
    assert demotion.basis != "service" or not demotion.confirmed
    for drug_id in demotion.drugs:
        assert base_severity(group, drug_id) == demotion.new
        if demotion.visits_only:
            assert demotion.class_id in drugs()[drug_id].visits_only
    if demotion.stop:
        assert group.stopped
        return
    if not demotion.drugs and demotion.visits_only:
        assert group.visits_only
    if not demotion.drugs and not demotion.visits_only:
        assert group.severity["long_standing"] == demotion.new


def test_every_drug_that_is_quieter_than_its_class_is_in_the_table() -> None:
    told = {(drug_id, d.class_id) for d in demotions() for drug_id in d.drugs}
    loud = {"warning", "critical"}
    quieter = {
        (drug_id, group.id)
        for group in classes().values()
        if group.finding and group.severity["default"] in loud
        for drug_id, severity in group.severity_of.items()
        if severity == "info"
    }
    # What has been information since it was taken in was never demoted.
    assert {
        pair for pair in quieter - told if pair[0] in {"lorazepam", "sertraline", "haloperidol", "captopril"}
    } == set()
    assert {(d, c) for d, c in told if (d, c) not in quieter} <= {
        (d, c) for d, c in told if classes()[c].severity["default"] == "info"
    }


def test_the_aims_of_quiet_are_kept() -> None:
    assert len(orders()) == 286
    found = {n.kind: n for n in noise("us-label-2025")}
    top, ward = found["most-prescribed"], found["ward"]
    assert top.plain["warning"] <= 12
    assert top.plain["critical"] <= 2
    assert top.plain["info"] <= 15
    assert top.weighted["info"] <= 15
    of_both = sum(n.plain["info"] * sum(o.kind == n.kind for o in orders()) for n in (top, ward)) / len(
        orders()
    )
    assert of_both <= 15
    assert ward.weighted["warning"] <= 15
    assert ward.weighted["critical"] <= 2


@pytest.mark.parametrize(
    "drugs_of_ward",
    [
        "sertraline lorazepam senna metformin atorvastatin",
        "haloperidol procyclidine senna omeprazole paracetamol",
        "lithium valproate macrogol levothyroxine propranolol",
        "risperidone clonazepam docusate amlodipine ramipril",
        "amisulpride escitalopram senna hyoscine metformin",
        "venlafaxine zopiclone bisacodyl warfarin furosemide",
        "fluoxetine quetiapine macrogol simvastatin lisinopril",
        "aripiprazole diazepam lactulose metformin bisoprolol",
        "mirtazapine promethazine senna insulin omeprazole",
        "citalopram tamsulosin macrogol aspirin atorvastatin",
        "duloxetine pregabalin senna salbutamol omeprazole",
        "lamotrigine glycopyrronium docusate metoprolol levothyroxine",
        "olanzapine lorazepam senna simvastatin metformin",
        "paroxetine oxybutynin macrogol amlodipine hydrochlorothiazide",
        "fluvoxamine atenolol senna metformin pantoprazole",
        "clomipramine lorazepam lactulose bisoprolol atorvastatin",
        "trazodone gabapentin macrogol losartan metformin",
        "topiramate pirenzepine senna semaglutide propranolol",
        "valproate amitriptyline docusate codeine omeprazole",
        "chlorpromazine trihexyphenidyl senna digoxin spironolactone",
    ],
)
def test_a_usual_ward_patient_is_left_in_peace(drugs_of_ward: str) -> None:
    on = ["clozapine 300 mg since 500 d", *(f"{drug} since 400 d" for drug in drugs_of_ward.split())]
    row = {
        "on": on,
        "counts": [
            "ANC 3.2 10*3/uL every 28 d from 400 d to 12 d",
            "QTc 420 ms 50 d ago",
            "level 420 ng/mL 50 d ago",
        ],
    }
    renewal = [
        f for f in findings({**row, "draft": ["clozapine 300 mg"]}) if f.code.startswith("interaction")
    ]
    visit = [f for f in findings({**row, "hook": "patient-view"}) if f.code.startswith("interaction")]
    assert len([f for f in renewal if f.severity != "info"]) <= 1
    assert 1 <= len(visit) <= 3
