"""Notes of statements and dispenses of clozapine that may say that it is stopped, or that its dose is another one – and those that do not."""

from __future__ import annotations

from typing import Any

import pytest

from tests.data import PATIENT, Json, ago, anc, bundle, clozapine, day_ago, on_clozapine, order
from tests.fhir.asking import visit

_SUBJECT = {"reference": f"Patient/{PATIENT}"}


def _statement(text: str, id: str = "st", days: int = 5, **more: Any) -> Json:
    return {
        "resourceType": "MedicationStatement",
        "id": id,
        "status": "active",
        "medicationCodeableConcept": {"text": "clozapine 100 MG Oral Tablet"},
        "subject": _SUBJECT,
        "dateAsserted": day_ago(days),
        "effectivePeriod": {"start": day_ago(400)},
        "note": [{"text": text}],
    } | more


def _dispense(text: str, id: str = "di", days: int = 5, **more: Any) -> Json:
    return {
        "resourceType": "MedicationDispense",
        "id": id,
        "status": "completed",
        "medicationCodeableConcept": {"text": "clozapine 100 MG Oral Tablet"},
        "subject": _SUBJECT,
        "whenHandedOver": ago(days),
        "daysSupply": {"value": 28, "unit": "d"},
        "note": [{"text": text}],
    } | more


def _is_named(**sources: Any) -> bool:
    return "data-unavailable" in visit(**sources)


@pytest.mark.parametrize(
    "text",
    [
        "STOP clozapine", "patient stopped taking it last week", "not taking it", "no longer takes it", "refuses since Monday", "missed three doses",
        "nimmt es nicht", "ne prend plus", "neemt het niet", "non prende il farmaco", "no toma", "dose reduced to 250 mg", "increase slowly", "450 mg at night",
        "discontinued by psychiatrist", "abgesetzt",
    ],
)  # fmt: skip
def test_a_note_that_may_change_the_dose_is_named(text: str) -> None:
    assert _is_named(statements=bundle(_statement(text)))
    assert _is_named(dispenses=bundle(_dispense(text)))
    # Also where nothing but the statement tells of clozapine, and in what the patient is told.
    assert _is_named(medications=None, statements=bundle(_statement(text)))
    told = _statement("") | {"dosage": [{"text": "300 mg nocte", "patientInstruction": text}]}
    assert _is_named(statements=bundle(told))


@pytest.mark.parametrize(
    "text",
    [
        "with breakfast", "handed over to the carer", "300 mg nocte", "three 100 mg tablets", "not taking any other medicine", "stop smoking advice given",
        "hold if ANC below 1500", "collected weekly", "missed appointment on Monday", "refuted allergy", "", "increase to 300 mg",
    ],
)  # fmt: skip
def test_a_harmless_note_is_not(text: str) -> None:
    assert not _is_named(statements=bundle(_statement(text)))
    assert not _is_named(dispenses=bundle(_dispense(text)))


@pytest.mark.parametrize("made", [_statement, _dispense])
def test_only_the_newest_record_of_its_kind_tells_of_today(made: Any) -> None:
    kind = "statements" if made is _statement else "dispenses"
    old, new = made("STOP clozapine", "old", 40), made("collected", "new", 5)
    assert not _is_named(**{kind: bundle(old, new)})
    assert not _is_named(**{kind: bundle(new, old)})
    assert _is_named(**{kind: bundle(made("collected", "old", 40), made("STOP clozapine", "new", 5))})


@pytest.mark.parametrize("made", [_statement, _dispense])
def test_an_order_made_since_then_has_answered_it(made: Any) -> None:
    kind = "statements" if made is _statement else "dispenses"
    since = clozapine(300, id="mr-10", status="active", authoredOn=day_ago(2))
    assert not _is_named(medications=bundle(on_clozapine(), since), **{kind: bundle(made("dose reduced"))})
    # An order that is over answers nothing.
    over = since | {"status": "completed"}
    assert _is_named(medications=bundle(on_clozapine(), over), **{kind: bundle(made("dose reduced"))})


def test_records_that_are_over_or_of_other_drugs_are_not_looked_at() -> None:
    assert not _is_named(dispenses=bundle(_dispense("STOP", status="cancelled")))
    other = {"medicationCodeableConcept": {"text": "atorvastatin"}}
    assert not _is_named(statements=bundle(_statement("STOP") | other))
    assert not _is_named(
        medications=bundle(on_clozapine(), order("atorvastatin", id="a", status="active")),
        dispenses=bundle(_dispense("STOP") | other),
    )


@pytest.mark.parametrize("note", [None, [], [{}], "stop", {"text": 7}, [None]])
def test_a_note_of_another_shape_costs_itself(note: Any) -> None:
    found = visit(
        counts=bundle(anc(0.4, 1)),
        statements=bundle(_statement("") | {"note": note}),
        dispenses=bundle(_dispense("") | {"note": note}),
    )
    assert "anc-severe-neutropenia" in found
