"""What an interaction card offers (clinical.md 2.4): a third of the right dose, and never a dose that is no lower."""

from __future__ import annotations

from typing import Any

import pytest

from service.alerts.finding import ChangeDose, Finding
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
