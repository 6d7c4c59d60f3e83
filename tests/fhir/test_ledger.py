"""The ledger: whatever is sent ends in exactly one of read, irrelevant and not understood, and the sums match."""

from __future__ import annotations

import ast
import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest

from service.alerts.facts.ledger import Entry, Ledger
from service.alerts.knowledge.not_understood import not_understood_kinds
from service.judge import JudgeError, judge
from tests.data import (
    NOW,
    PATIENT,
    RXNORM,
    anc,
    baseline_labs,
    bundle,
    call,
    clozapine,
    normal_vitals,
    observation,
    on_clozapine,
    prefetch,
)  # fmt: skip

Json = dict[str, Any]
_EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*/request.json"))


def _ledger(*resources: Json, source: str = "labs") -> Ledger:
    asked = call("patient-view", prefetch(**{source: bundle(*resources)}))
    return judge(asked, as_of=NOW).ledger


def _of(ledger: Ledger, ref: str, element: str = "") -> Entry:
    (entry,) = [e for e in ledger.entries if e.ref == ref and e.element == element]
    return entry


def _resource(type_name: str, **more: Any) -> Json:
    return {
        "resourceType": type_name,
        "id": "x1",
        "subject": {"reference": f"Patient/{PATIENT}"},
    } | more


_SCT = "http://snomed.info/sct"


def _concept(system: str | None = None, code: str | None = None, text: str | None = None) -> Json:
    concept: Json = {}
    if code is not None:
        concept["coding"] = [{"code": code} | ({"system": system} if system else {})]
    if text is not None:
        concept["text"] = text
    return concept


@pytest.mark.parametrize(
    ("resource", "source", "fate", "kind"),
    [
        (anc(3.2, id="x1"), "counts", "read", ""),
        (observation("2951-2", 140, "mmol/L", id="x1"), "labs", "irrelevant", "another-test"),
        (anc(3.2, id="x1", status="entered-in-error"), "counts", "irrelevant", "no-result"),
        (anc(3.2, id="x1", status="cancelled"), "counts", "irrelevant", "no-result"),
        (anc(3.2, id="x1", unit="bananas"), "counts", "not understood", "result"),
        (anc(None, id="x1"), "counts", "not understood", "result"),
        (anc(3.2, id="x1", effectiveDateTime="2026-13-45"), "counts", "not understood", "result"),
        (anc(3.2, id="x1") | {"code": _concept("urn:own", "N1", "Neutr. abs.")}, "counts", "not understood", "test"),
        (anc(3.2, id="x1") | {"code": _concept(None, "N1")}, "counts", "not understood", "test"),
        (anc(3.2, id="x1") | {"code": {}}, "counts", "not understood", "test"),
        (anc(3.2, id="x1") | {"code": "751-8"}, "counts", "not understood", "form"),
        (on_clozapine(id="x1"), "medications", "read", ""),
        (on_clozapine(id="x1") | {"status": "entered-in-error"}, "medications", "irrelevant", "not-in-force"),
        (_resource("MedicationStatement", status="active", medicationCodeableConcept=_concept(text="paracetamol")), "statements", "irrelevant", "no-interaction"),
        (_resource("MedicationStatement", status="active", medicationCodeableConcept=_concept(text="blue tablets")), "statements", "not understood", "name"),
        (_resource("MedicationStatement", status="active", medicationReference={"reference": "Medication/7"}), "statements", "not understood", "product"),
        (_resource("MedicationStatement", status="active", medicationCodeableConcept=_concept("urn:own", "7")), "statements", "not understood", "product"),
        (_resource("Condition", code=_concept(_SCT, "42343007", "heart failure")), "conditions", "irrelevant", "another-problem"),
        (_resource("Condition", code=_concept(text="myocarditis")), "conditions", "read", ""),
        (_resource("Condition"), "conditions", "not understood", "problem"),
        (_resource("Condition", code=_concept("urn:own", "7")), "conditions", "not understood", "problem"),
        (_resource("AllergyIntolerance", code=_concept(text="clozapine")), "allergies", "read", ""),
        (_resource("AllergyIntolerance", code=_concept(text="penicillin")), "allergies", "irrelevant", "another-allergy"),
        (_resource("AllergyIntolerance", code=_concept("urn:own", "7")), "allergies", "not understood", "allergy"),
        (_resource("ServiceRequest", status="active", code=_concept(text="chest X-ray")), "medications", "irrelevant", "another-order"),
        (_resource("ServiceRequest", status="revoked", code=_concept(text="chest X-ray")), "medications", "irrelevant", "not-in-force"),
        (_resource("Appointment"), "labs", "irrelevant", "another-type"),
        (_resource("MedicationOrder"), "medications", "not understood", "type"),
        (_resource("Zebra"), "labs", "not understood", "type"),
        (anc(0.4, id="x1", patient="somebody-else"), "counts", "not understood", "subject"),
    ],
)  # fmt: skip
def test_every_resource_has_one_fate(resource: Json, source: str, fate: str, kind: str) -> None:
    ledger = _ledger(resource, anc(3.0, 5, id="beside"), source=source)
    assert ledger.is_balanced
    assert ledger.given == sum(not e.element for e in ledger.entries)
    of_it = [
        e for e in ledger.entries
        if e.source == source and e.ref not in (f"Patient/{PATIENT}", "Observation/beside") and not e.element
    ]  # fmt: skip
    assert [(e.fate, e.kind) for e in of_it] == [(fate, kind)]
    assert fate == "read" or of_it[0].why
    if kind == "subject":
        assert "somebody-else" not in repr(ledger)  # nobody else's id is repeated


def test_an_outcome_is_read_for_what_it_says() -> None:
    outcome = {"resourceType": "OperationOutcome", "issue": [{"severity": "warning", "code": "suppressed"}]}
    ledger = _ledger(outcome, anc(3.0, id="beside"), source="counts")
    assert ledger.is_balanced
    assert ledger.given == len(ledger.entries)
    assert _of(ledger, "OperationOutcome").fate == "read"


def test_a_source_that_is_one_failed_query_is_accounted_for() -> None:
    outcome = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "exception"}]}
    asked = call("patient-view", prefetch(counts=outcome, medications=bundle(on_clozapine())))
    ledger = judge(asked, as_of=NOW).ledger
    assert ledger.is_balanced
    assert _of(ledger, "OperationOutcome").fate == "read"


def test_an_element_that_cannot_be_read_is_named_beside_the_resource() -> None:
    unreadable = on_clozapine(id="x1") | {"dosageInstruction": [{"text": "as discussed with the team"}]}
    ledger = _ledger(unreadable, source="medications")
    assert _of(ledger, "MedicationRequest/x1").fate == "read"
    dose = _of(ledger, "MedicationRequest/x1", "dosage")
    assert (dose.fate, dose.kind) == ("not understood", "dose")
    assert dose.why
    assert ledger.elements == {"dose": 1}
    assert ledger.is_balanced


def test_results_inside_a_report_are_given_too() -> None:
    inside = [{"resourceType": "Observation", "id": "a"} | {k: v for k, v in anc(3.2).items() if k != "id"}]
    report = _resource("DiagnosticReport", contained=inside, status="final")
    ledger = _ledger(report, source="counts")
    assert ledger.is_balanced
    assert ledger.given == len(ledger.entries)
    assert ledger.read == ledger.given


def test_drafts_are_given_once() -> None:
    asked = call(
        "order-sign", prefetch(medications=bundle(on_clozapine()), counts=bundle(anc())), clozapine(300)
    )
    ledger = judge(asked, as_of=NOW).ledger
    assert ledger.is_balanced
    assert [e.fate for e in ledger.entries if e.source == "draftOrders"] == ["read"]


def test_a_draft_of_another_form_is_not_understood() -> None:
    odd = _resource("RequestGroup", status="draft", intent="order")
    ledger = judge(call("order-sign", prefetch(counts=bundle(anc())), clozapine(300), odd), as_of=NOW).ledger
    assert ledger.is_balanced
    assert _of(ledger, "RequestGroup/x1").fate == "not understood"


@pytest.mark.parametrize("path", _EXAMPLES, ids=lambda p: p.parent.name)
def test_the_sums_of_every_example_match(path: Path) -> None:
    body = json.loads(path.read_text())
    hook = "patient-view" if body.get("resourceType") == "Bundle" else None
    ledger = judge(body, as_of=NOW, hook=hook).ledger
    assert ledger.is_balanced
    assert ledger.given == sum(not e.element for e in ledger.entries)


_ODD: tuple[Any, ...] = (
    None, 7, -1, "", " ", "x" * 700, [], {}, [None], [{}], {"reference": "Patient/other"}, {"value": "1"}, "2026-13-01", True, "entered-in-error",
    {"coding": [{"system": RXNORM, "code": "2626"}]}, {"coding": [{"code": 7}]}, {"text": "clozapine"},
)  # fmt: skip


def _spoilt(resource: Json, chance: random.Random) -> Json:
    """A resource in which one or two elements were replaced, wherever they stand."""
    made = copy.deepcopy(resource)
    for _ in range(chance.randint(0, 2)):
        places: list[tuple[Any, Any]] = []
        stack: list[Any] = [made]
        while stack:
            here = stack.pop()
            for key, value in here.items() if isinstance(here, dict) else enumerate(here):
                places.append((here, key))
                if isinstance(value, dict | list):
                    stack.append(value)
        where, key = chance.choice(places)
        where[key] = copy.deepcopy(chance.choice(_ODD))
    return made


@pytest.mark.parametrize("seed", range(150))
def test_the_sums_match_whatever_is_sent(seed: int) -> None:
    chance = random.Random(seed)
    sound = [
        anc(3.2, id="a"), anc(0.4, id="b"), on_clozapine(id="c"), observation("2951-2", 140, "mmol/L", id="d"),
        _resource("MedicationStatement", id="e", status="active", medicationReference={"reference": "Medication/7"}),
        _resource("Condition", id="f", code=_concept(text="myocarditis")),
        _resource("AllergyIntolerance", id="g", code=_concept(text="penicillin")),
        _resource("Appointment", id="h"), _resource("Zebra", id="i"),
        {"resourceType": "OperationOutcome", "issue": [{"severity": "error"}]},
        _resource("DiagnosticReport", id="j", contained=[anc(2.0, id="k"), {"resourceType": "Specimen"}]),
        *(e["resource"] for e in baseline_labs()["entry"][:3]), *(e["resource"] for e in normal_vitals()["entry"][:3]),
    ]  # fmt: skip
    keys = ("medications", "statements", "counts", "labs", "vitals", "conditions", "allergies")
    sent: Json = {
        key: bundle(*[_spoilt(r, chance) for r in chance.sample(sound, chance.randint(0, 8))]) for key in keys
    }
    if chance.random() < 0.3:
        sent[chance.choice(keys)] = copy.deepcopy(chance.choice(_ODD))
    drafts = [_spoilt(clozapine(300), chance)] * chance.randint(0, 1)
    asked = call(
        chance.choice(["patient-view", "order-sign"]) if drafts else "patient-view", prefetch(**sent), *drafts
    )
    try:
        ledger = judge(asked, as_of=NOW).ledger
    except JudgeError:
        return
    assert ledger.is_balanced, ledger.sums()
    assert ledger.given == sum(not e.element for e in ledger.entries)


def test_every_kind_stands_in_the_table_and_every_kind_of_the_table_is_used() -> None:
    """``docs/limits.md`` is made from the table: none is left out, none is there for nothing."""
    source = Path(__file__).parents[2] / "service" / "fhir"
    used: set[str] = set()
    for file in source.glob("*.py"):
        for call_ in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(call_, ast.Call):
                continue
            name = call_.func.attr if isinstance(call_.func, ast.Attribute) else getattr(call_.func, "id", "")
            place = {"not_understood": 2, "element": 3, "Entry": 3}.get(name)
            if place is None or len(call_.args) <= place:
                continue
            if name == "Entry" and getattr(call_.args[2], "value", "") != "not understood":
                continue
            kind = call_.args[place]
            words = [kind.body, kind.orelse] if isinstance(kind, ast.IfExp) else [kind]
            used |= {w.value for w in words if isinstance(w, ast.Constant) and isinstance(w.value, str)}
    assert used == set(not_understood_kinds())
