"""No card for an order without a drug yet; what is critical is said all the same, and an order nobody can read is none without a drug."""

from __future__ import annotations

from typing import Any

import pytest

from service.judge import judge
from tests.data import NOW, PATIENT, anc, bundle, call, on_clozapine, order, prefetch

Json = dict[str, Any]
_BLANK: Json = {
    "resourceType": "MedicationRequest",
    "id": "blank",
    "status": "draft",
    "intent": "order",
    "subject": {"reference": f"Patient/{PATIENT}"},
}
_ABSENT = {
    "extension": [
        {
            "url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason",
            "valueCode": "unknown",
        }
    ]
}


def _found(
    *drafts: Json, hook: str = "order-select", counts: tuple[Json, ...] = (), **more: Any
) -> list[str]:
    sources = {"medications": bundle(on_clozapine(600)), "counts": bundle(*counts)} | more
    given = judge(call(hook, prefetch(**sources), *drafts), as_of=NOW).findings
    return [f"{f.code} {f.severity}" for f in given]


@pytest.mark.parametrize("hook", ["order-select", "order-sign"])
@pytest.mark.parametrize(
    "blank",
    [
        _BLANK,
        _BLANK | {"medicationCodeableConcept": {}},
        _BLANK | {"medicationCodeableConcept": {"coding": []}},
        _BLANK | {"medicationCodeableConcept": _ABSENT},
        _BLANK | {"medicationReference": {}},
        _BLANK | {"dosageInstruction": [{"text": "one at night"}]},
    ],
    ids=str,
)
def test_no_card_while_no_drug_is_chosen(hook: str, blank: Json) -> None:
    for counts in ((), (anc(3.2, 200),), (anc(1.2, 1),), (anc(3.2, 3, unit="bananas"),)):
        assert _found(blank, hook=hook, counts=counts) == []
        assert _found(blank, blank | {"id": "other"}, hook=hook, counts=counts) == []
        assert _found(hook="patient-view", counts=counts)  # there is something to say


def test_what_is_critical_is_said_all_the_same() -> None:
    assert _found(_BLANK, counts=(anc(0.4, 1),)) == ["anc-severe-neutropenia critical"]


@pytest.mark.parametrize(
    "more",
    [
        order("fluvoxamine 50 mg oral tablet"),
        _BLANK | {"medicationReference": {"reference": "Medication/gone"}},
        _BLANK | {"medicationCodeableConcept": {"coding": [{"system": "urn:own", "code": "7"}]}},
        _BLANK | {"medicationCodeableConcept": "clozapine"},
        {"resourceType": "MedicationOrder", "id": "old", "medicationCodeableConcept": {"text": "clozapine"}},
        {
            "resourceType": "ServiceRequest", "id": "cbc", "status": "draft", "intent": "order", "subject": _BLANK["subject"],
            "code": {"text": "CBC with differential"},
        },
    ],
    ids=lambda more: str(more.get("medicationCodeableConcept") or more.get("medicationReference") or more["id"]),
)  # fmt: skip
def test_an_order_beside_it_or_one_that_cannot_be_read_is_one(more: Json) -> None:
    found = _found(_BLANK, more | {"id": "more"}, counts=(anc(3.2, 200),))
    assert "anc-overdue critical" in found


def test_only_while_it_is_written() -> None:
    """A pharmacist verifies no blank order: there something is wrong with it."""
    assert _found(_BLANK, hook="medication-verify", counts=(anc(1.2, 1),))


def test_an_unrelated_order_that_cannot_be_read_is_not_unrelated() -> None:
    counts = (anc(3.2, 200),)
    unread = _BLANK | {"medicationReference": {"reference": "Medication/gone"}}
    assert "anc-overdue critical" in _found(unread, counts=counts)
    named = _BLANK | {"medicationReference": {"reference": "Medication/gone", "display": "influenza vaccine"}}
    assert "anc-overdue info" in _found(named, counts=counts)


def test_it_is_irrelevant_in_the_ledger() -> None:
    asked = call("order-select", prefetch(medications=bundle(on_clozapine(600))), _BLANK)
    ledger = judge(asked, as_of=NOW).ledger
    assert ledger.is_balanced
    assert [(e.fate, e.kind) for e in ledger.entries if e.source == "draftOrders"] == [
        ("irrelevant", "blank")
    ]
