"""Conditions and allergies as systems send them (clinical.md 2.7): without a status, ended, of one encounter, without an id."""

from __future__ import annotations

from typing import Any

import pytest

from tests.alerts.vignette import findings
from tests.data import ago, day_ago

Json = dict[str, Any]
_SUBJECT = {"reference": "Patient/clz-p1"}


def _condition(text: str, **more: Any) -> Json:
    return {"resourceType": "Condition", "id": text, "code": {"text": text}, "subject": _SUBJECT} | more


def _allergy(**more: Any) -> Json:
    return {"resourceType": "AllergyIntolerance", "id": "a1", "patient": _SUBJECT} | more


def _found(*resources: Json, source: str = "conditions", counted: bool = False) -> dict[str, Any]:
    row: Json = {
        "hook": "patient-view",
        "on": ["clozapine 300 mg since 500 d"],
        "resources": {source: list(resources)},
    }
    if counted:  # none is due, so that only news are told
        row["counts"] = ["ANC 3.2 10*3/uL 1 d ago"]
    return {f.code: f for f in findings(row)}


def _status(code: str) -> Json:
    return {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": code}]}


_ENCOUNTER = {"category": [{"coding": [{"code": "encounter-diagnosis"}]}]}


@pytest.mark.parametrize(
    ("more", "goes_on"),
    [
        ({}, True),
        ({"abatementDateTime": day_ago(5)}, False),
        ({"abatementDateTime": day_ago(-5)}, True),
        ({"abatementPeriod": {"start": day_ago(9), "end": day_ago(5)}}, False),
        ({"abatementString": "last spring"}, False),
        ({"abatementAge": {"value": 30, "unit": "a"}}, False),
        # A status decides where there is one.
        ({"clinicalStatus": _status("active"), "abatementDateTime": day_ago(5)}, True),
        ({"clinicalStatus": {"text": "Resolved"}}, False),
        ({"clinicalStatus": {"coding": [{"system": "urn:own", "code": "7"}, *_status("resolved")["coding"]]}}, False),
        ({"clinicalStatus": _status("recurrence")}, True),
        ({"verificationStatus": {"text": "Refuted"}}, False),
        ({"verificationStatus": {"text": "Entered-in-error"}}, False),
    ],
)  # fmt: skip
def test_what_is_over_or_untrue_does_not_count(more: Json, goes_on: bool) -> None:
    assert ("contraindication-condition" in _found(_condition("jaundice", **more))) is goes_on


@pytest.mark.parametrize(("days", "goes_on"), [(30, True), (31, False)])
def test_an_encounter_diagnosis_of_what_passes_is_soon_history(days: int, goes_on: bool) -> None:
    found = _found(_condition("paralytic ileus", recordedDate=day_ago(days), **_ENCOUNTER))
    assert ("gi-hypomotility" in found) is goes_on


@pytest.mark.parametrize(
    ("text", "more"),
    [
        ("paralytic ileus", {"recordedDate": day_ago(31)}),
        ("paralytic ileus", {"recordedDate": day_ago(31), "clinicalStatus": _status("active"), **_ENCOUNTER}),
        ("paralytic ileus", _ENCOUNTER),
        ("jaundice", {"recordedDate": day_ago(400), **_ENCOUNTER}),
    ],
)
def test_nothing_else_grows_old_without_a_status(text: str, more: Json) -> None:
    assert {"gi-hypomotility", "contraindication-condition"} & set(_found(_condition(text, **more)))


@pytest.mark.parametrize(("days", "goes_on"), [(280, True), (281, False)])
def test_a_pregnancy_without_a_status_ends(days: int, goes_on: bool) -> None:
    assert ("pregnancy" in _found(_condition("pregnancy", onsetDateTime=day_ago(days)))) is goes_on


def test_a_pregnancy_left_active_is_said_to_be_old() -> None:
    old = _condition("pregnancy", onsetDateTime=day_ago(281), clinicalStatus=_status("active"))
    assert any("find out whether it is over" in line for line in _found(old)["pregnancy"].why)
    new = _condition("pregnancy", onsetDateTime=day_ago(280), clinicalStatus=_status("active"))
    assert not any("find out" in line for line in _found(new)["pregnancy"].why)


def test_conditions_without_an_id_do_not_replace_each_other() -> None:
    first, second = _condition("jaundice"), _condition("narrow-angle glaucoma")
    del first["id"], second["id"]
    assert {"contraindication-condition", "angle-closure"} <= set(_found(first, second))


@pytest.mark.parametrize(
    ("allergy", "counts"),
    [
        (_allergy(code={"text": "clozapine"}), True),
        (_allergy(code={"text": "antipsychotics"}, reaction=[{"substance": {"text": "Clozaril"}}]), True),
        (_allergy(reaction=[{"substance": {"coding": [{"display": "clozapine"}]}}]), True),
        (_allergy(code={"text": "clozapine"}, criticality="low", type="intolerance"), True),
        (_allergy(code={"text": "penicillin"}, reaction=[{"manifestation": [{"text": "rash"}]}]), False),
        (_allergy(code={"text": "No known allergy to clozapine"}), False),
        (_allergy(code={"text": "Not allergic to clozapine"}), False),
        (_allergy(code={"text": "clozapine"}, clinicalStatus={"text": "Inactive"}), False),
        (_allergy(code={"text": "clozapine"}, verificationStatus={"text": "Refuted"}), False),
        (_allergy(code={"text": "clozapine"}, reaction="rash"), True),
    ],
)
def test_an_allergy_to_clozapine_however_it_is_recorded(allergy: Json, counts: bool) -> None:
    assert ("hypersensitivity" in _found(allergy, source="allergies")) is counts


def test_the_reaction_is_on_the_card_and_escaped() -> None:
    allergy = _allergy(
        code={"text": "clozapine"},
        reaction=[{"description": "<b>collapse</b>", "manifestation": [{"coding": [{"display": "Rash"}]}]}],
    )
    card = _found(allergy, source="allergies")["hypersensitivity"]
    assert "Rash" in card.why[0]
    assert "collapse" in card.why[0]
    assert "<b>" not in card.why[0]


def test_a_negative_test_is_named_beside_a_pregnancy_on_the_list() -> None:
    row = {
        "hook": "patient-view",
        "on": ["clozapine 300 mg since 500 d"],
        "problems": ["pregnancy"],
        "pregnancy_tests": ["negative 2 d ago"],
    }
    card = next(f for f in findings(row) if f.code == "pregnancy")
    assert f"Pregnancy test negative on {ago(2)[:10]}." in card.why


@pytest.mark.parametrize(
    ("text", "relaxes"),
    [
        ("benign ethnic neutropenia", True),
        ("chronic benign ethnic neutropenia", True),
        ("benign ethnic neutropenia, unlikely to be drug-induced", True),
        ("suspected benign ethnic neutropenia", False),
        ("Possible benign ethnic neutropenia", False),
        ("?benign ethnic neutropenia", False),
        ("benign ethnic neutropenia?", False),
        ("benign ethnic neutropenia (suspected)", False),
        ("no evidence of benign ethnic neutropenia", False),
        ("family history: benign ethnic neutropenia", False),
    ],
)
def test_a_suspicion_in_words_relaxes_no_threshold(text: str, relaxes: bool) -> None:
    row = {
        "hook": "patient-view",
        "on": ["clozapine 300 mg since 500 d"],
        "counts": ["ANC 1.2 10*3/uL 1 d ago"],
        "resources": {"conditions": [_condition(text)]},
    }
    assert ("anc-mild-neutropenia" not in {f.code for f in findings(row)}) is relaxes


def test_a_suspected_problem_is_called_so() -> None:
    card = _found(_condition("suspected acute hepatitis"))["contraindication-condition"]
    assert "provisional, not confirmed" in card.summary


@pytest.mark.parametrize(("written", "told"), [(14, True), (15, False)])
def test_what_began_in_a_year_is_no_newer_than_its_entry(written: int, told: bool) -> None:
    """Of the year 2026 alone anything may be the first day; the entry was there 14 days ago, so it had begun."""
    listed = _condition("Pregnancy", onsetDateTime="2026", recordedDate=day_ago(written))
    assert ("pregnancy" in _found(listed, counted=True)) is told


def test_what_began_in_this_year_and_has_no_entry_date_may_be_new() -> None:
    assert "pregnancy" in _found(_condition("Pregnancy", onsetDateTime="2026"), counted=True)
