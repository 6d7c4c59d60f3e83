"""Records that tell less than they seem to: intended, not taken since some month, a charted dose in words (clinical.md 2.2)."""

from __future__ import annotations

from typing import Any

import pytest

from service.judge import judge
from tests.data import NOW, PATIENT, ago, anc, bundle, call, clozapine, day_ago, on_clozapine, order, prefetch

Json = dict[str, Any]
_CLOZAPINE = {
    "subject": {"reference": f"Patient/{PATIENT}"},
    "medicationCodeableConcept": {"text": "clozapine 100 mg tablet"},
}


def _statement(status: str, **more: Any) -> Json:
    return {"resourceType": "MedicationStatement", "id": "st", "status": status} | _CLOZAPINE | more


def _found(
    sent: dict[str, list[Json]], *drafts: Json, hook: str = "order-sign", counts: list[Json] | None = None
) -> dict[str, Any]:
    given = {key: bundle(*records) for key, records in sent.items()}
    given["counts"] = bundle(*(counts or [anc(3.2, 3)]))
    found = judge(call(hook, prefetch(**given), *drafts), as_of=NOW).findings
    return {f.code: f for f in found}


@pytest.mark.parametrize(
    "when", [{}, {"dateAsserted": day_ago(2)}, {"effectivePeriod": {"start": day_ago(30)}}], ids=str
)
def test_what_is_intended_was_never_taken(when: Json) -> None:
    """It may be taken at some time: watched like a treatment, but the first dose is one."""
    intended = {"statements": [_statement("intended", **when)]}
    assert _found(intended, clozapine(300))["dose-start-too-high"].severity == "critical"
    assert "dose-start-too-high" not in _found(intended, clozapine(12.5))
    low = _found(intended, hook="patient-view", counts=[anc(0.4, 1)])
    assert low["anc-severe-neutropenia"].severity == "critical"
    beside = _found(intended, order("fluvoxamine 50 mg tablet"))
    assert beside["interaction-cyp1a2-strong-inhibitor"].severity == "critical"


@pytest.mark.parametrize("taken", ["active", "order"])
def test_beside_a_record_that_it_is_taken_an_intention_changes_nothing(taken: str) -> None:
    sent: dict[str, list[Json]] = {"statements": [_statement("intended")]}
    if taken == "order":
        sent["medications"] = [on_clozapine()]
    else:
        sent["statements"].append(
            _statement("active", effectivePeriod={"start": day_ago(300)}) | {"id": "s2"}
        )
    assert "dose-start-too-high" not in _found(sent, clozapine(300))


@pytest.mark.parametrize("element", ["effectiveDateTime", "dateAsserted", "effectivePeriod"])
@pytest.mark.parametrize(
    ("since", "severity", "says"),
    [
        ("2026-11", "warning", "since when is not known"),  # the month is not over: today, perhaps
        ("2026", "warning", "since when is not known"),
        ("2026-10", "critical", "≥ 20 days"),  # since 31 October at the latest
        ("2025", "critical", "≥ 324 days"),
        ("2026-11-18", "critical", "2 days"),
    ],
)
def test_not_taken_since_some_month_is_at_the_latest_its_last_day(
    element: str, since: str, severity: str, says: str
) -> None:
    value: Any = {"start": since} if element == "effectivePeriod" else since
    sent = {"medications": [on_clozapine(800)], "statements": [_statement("not-taken", **{element: value})]}
    found = _found(sent, clozapine(300))["missed-dose-retitrate"]
    assert found.severity == severity
    assert says in found.summary


def _charted(dosage: Json) -> list[Json]:
    return [
        {
            "resourceType": "MedicationAdministration", "id": f"a{hours}", "status": "completed", "effectiveDateTime": ago(0, hours),
            "dosage": dosage,
        }
        | _CLOZAPINE
        for hours in range(6, 340, 24)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "established"),
    [
        ("25 mg", 25),
        ("25 mg PO", 25),
        ("25 mg at 22:00", 25),
        ("1 tablet", 100),
        ("150 mg twice daily", 150),  # one dose of it was given
        ("300 mg", None),
        ("3 tablets", None),
        # Not read: taken as ordered, and nothing is ordered.
        ("as ordered", None),
        ("25 mg or 300 mg", None),
    ],
)
def test_a_dose_that_is_charted_in_words_counts(text: str, established: int | None) -> None:
    found = _found({"administrations": _charted({"text": text})}, clozapine(300))
    if established is None:
        assert "dose-titration-too-fast" not in found
    else:
        assert f"{established} mg to 300 mg/day" in found["dose-titration-too-fast"].summary


def test_a_quantity_goes_before_the_words() -> None:
    dosage = {"text": "25 mg", "dose": {"value": 300, "unit": "mg"}}
    assert "dose-titration-too-fast" not in _found({"administrations": _charted(dosage)}, clozapine(300))
