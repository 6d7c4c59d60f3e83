"""Gaps over whole courses: regular charts and supplies say nothing under any policy, and a gap with a small dose after it is always said."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from service.alerts.case.supply_length import with_lengths
from service.alerts.evaluate import evaluate
from service.alerts.facts.patient import Dose, Medication, PatientSnapshot
from service.alerts.policy.policy import policy_by_id, policy_ids
from tests.data import NOW

_COMPLETE = dict.fromkeys(("medications", "statements", "dispenses", "administrations", "counts"), "complete")
_ABOUT = ("missed-dose", "interruption", "dose-titration", "dose-start", "supply-gap")


def _order(mg: float, times: int, role: str = "order", days: int = 700) -> Medication:
    return Medication(
        ref="MedicationRequest/1" if role == "order" else "MedicationRequest/draft",
        role=role,  # type: ignore[arg-type]
        drugs=("clozapine",),
        label="clozapine",
        status="active" if role == "order" else "draft",
        start=NOW - timedelta(days=days) if role == "order" else None,
        dose=Dose(mg, first_mg_per_day=mg, largest_single_mg=mg / times, doses_per_day=times),
    )


def _dose(index: int, at: datetime, mg: float, status: str = "completed") -> Medication:
    return Medication(
        ref=f"MedicationAdministration/{index}",
        role="administration",
        drugs=("clozapine",),
        label="clozapine",
        status=status,
        start=at,
        amount_mg=mg,
        not_taken=status == "not-done",
    )


def _said(records: list[Medication], policy_id: str, draft: Medication | None) -> list[str]:
    facts = PatientSnapshot(
        patient_id="p",
        hook="order-sign" if draft else "patient-view",
        zone=NOW.tzinfo,  # type: ignore[arg-type]
        medications=tuple(records),
        drafts=(draft,) if draft else (),
        sources=_COMPLETE,  # type: ignore[arg-type]
    )
    found = evaluate(facts, policy_by_id(policy_id), NOW)
    return [f"{f.code} {f.severity}" for f in found if f.code.startswith(_ABOUT)]


@st.composite
def _regular_charts(draw: st.DrawFn) -> tuple[int, list[Medication]]:
    """One to three doses a day of 300 mg, an hour early or late, now and then one refused or not charted, but never two in a row."""
    times = draw(st.integers(1, 3))
    days = draw(st.integers(3, 40))
    step = 24 / times
    records, missed_last = [], True
    for i in range(days * times):
        at = NOW - timedelta(hours=3 + (days * times - 1 - i) * step + draw(st.floats(-1, 1)))
        # Once-daily doses are all there: one missed is a gap of two days.
        fate = draw(st.integers(0, 9)) if times > 1 and not missed_last and i < days * times - 1 else 9
        missed_last = fate < 2
        if fate > 0:
            records.append(_dose(i, at, 300 / times, "not-done" if fate == 1 else "completed"))
    return times, records


@pytest.mark.parametrize("policy_id", policy_ids())
@settings(max_examples=30, deadline=None)
@given(chart=_regular_charts(), ordering=st.booleans())
def test_a_regular_chart_says_nothing(
    policy_id: str, chart: tuple[int, list[Medication]], ordering: bool
) -> None:
    times, records = chart
    draft = _order(300, times, "draft") if ordering else None
    assert _said([_order(300, times), *records], policy_id, draft) == []


@pytest.mark.parametrize("policy_id", policy_ids())
@settings(max_examples=30, deadline=None)
@given(late=st.lists(st.integers(-3, 1), min_size=2, max_size=12), ordering=st.booleans())
def test_regular_supply_says_nothing(policy_id: str, late: list[int], ordering: bool) -> None:
    """Fills of 28 days, each up to three days early or one late; the last one 10 days ago."""
    records, at = [], NOW - timedelta(days=10)
    for i, days in enumerate(late):
        records.append(
            Medication(
                ref=f"MedicationDispense/{i}",
                role="dispense",
                drugs=("clozapine",),
                label="clozapine 100 mg tablet",
                status="completed",
                start=at,
                days_supply=28,
            )
        )
        at -= timedelta(days=28 + days)
    draft = _order(300, 2, "draft") if ordering else None
    assert _said([_order(300, 2), *records], policy_id, draft) == []


@pytest.mark.parametrize("policy_id", policy_ids())
@settings(max_examples=30, deadline=None)
@given(chart=_regular_charts(), gap=st.integers(80, 600), mg=st.sampled_from([6.25, 12.5, 25.0]))
def test_a_small_dose_after_a_gap_never_allows_the_full_one(
    policy_id: str, chart: tuple[int, list[Medication]], gap: int, mg: float
) -> None:
    times, records = chart
    earlier = [replace(r, start=r.start - timedelta(hours=gap)) for r in records if r.start is not None]
    test_dose = _dose(999, NOW - timedelta(hours=5), mg)
    said = _said([_order(300, times), *earlier, test_dose], policy_id, _order(300, times, "draft"))
    assert "missed-dose-retitrate critical" in said


@pytest.mark.parametrize("stated", [None, 0.0])
def test_supply_for_no_days_is_supply_of_no_stated_length(stated: float | None) -> None:
    dispense = Medication(
        ref="MedicationDispense/1",
        role="dispense",
        drugs=("clozapine",),
        label="clozapine 100 mg tablet",
        status="completed",
        start=NOW - timedelta(days=40),
        days_supply=stated,
        amount_mg=8400,
    )
    found = with_lengths([_order(300, 2), dispense], (), NOW.tzinfo)  # type: ignore[arg-type]
    assert [r.days_supply for r in found if r.role == "dispense"] == [28]
