"""Which band, phase or tier holds is asked of the policy at one place, by the rules and by the comparison of policies."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from msgspec.structs import replace

import service.alerts
from service.alerts.evaluate import evaluate
from service.alerts.policy.judge import band_for, begins_anew, gap_of, phase_for, tier_for
from service.alerts.policy.policy import policy_by_id
from tests.alerts.vignette import facts_of
from tests.data import NOW

_ALERTS = Path(service.alerts.__path__[0])
#: Who reads these decides by them.
_DECIDING = {"plus_dosing_interval", "needs_no_neutropenia", "holds", "comparator"}


@pytest.mark.parametrize(
    "path",
    [*(_ALERTS / "case").glob("*.py"), *(_ALERTS / "rules").glob("*.py"), _ALERTS / "policy" / "diff.py"],
    ids=lambda p: p.stem,
)
def test_nobody_else_decides(path: Path) -> None:
    read = [
        node.attr
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in _DECIDING
    ]
    # A statement in force holds; which sentence stands with a phase, and how a limit is written, is no question of these.
    allowed = {
        "record.py": ["holds"],
        "stated.py": ["holds"],
        "diff.py": ["plus_dosing_interval", "comparator"],
        "starting_counts.py": ["comparator"],
        "supply.py": ["comparator"],
        "neutropenia_free.py": ["needs_no_neutropenia"],
    }
    assert not [name for name in read if name not in allowed.get(path.name, [])]


@pytest.mark.parametrize(
    ("hours", "between", "tier"),
    [
        (47.9, 24.0, "one day missed"), (35.9, 24.0, None), (36.0, 24.0, "one day missed"), (48.0, 24.0, "two days missed"), (35.9, 12.0, None), (36.0, 12.0, "one day missed"),
        (71.9, 24.0, "two days missed"), (72.0, 24.0, "more than two days missed"),
    ],
)  # fmt: skip
def test_a_gap_reaches_a_tier(hours: float, between: float, tier: str | None) -> None:
    found = tier_for(policy_by_id("us-label-2025").missed_dose, hours, between)
    assert (found.name if found else None) == tier


def test_a_tier_begins_after_the_interval_between_doses_where_it_says_so() -> None:
    one_day, two_days, _ = policy_by_id("us-label-2025").missed_dose
    assert (gap_of(replace(one_day, plus_dosing_interval=True), 12), gap_of(two_days, 12)) == (48, 48)


@pytest.mark.parametrize(
    ("day", "neutropenic", "label"),
    [(125, False, "weekly"), (126, False, "every 4 weeks"), (364, False, "every 12 weeks"), (364, True, "every 4 weeks"), (728, False, "once a year"), (9000, True, "every 4 weeks")],
)  # fmt: skip
def test_the_phase_of_a_day(day: int, neutropenic: bool, label: str) -> None:
    asked: list[int] = []

    def had_one() -> bool:
        asked.append(day)
        return neutropenic

    assert phase_for(policy_by_id("eu-smpc-2025").schedule, day, had_one).label == label
    assert len(asked) == (1 if day >= 364 else 0)


@pytest.mark.parametrize(
    ("policy_id", "count", "band"),
    [("us-label-2025", 1499.9, "mild"), ("us-label-2025", 1500, "normal"), ("ca-2020", 2000, "green")],
)
def test_the_band_of_a_count(policy_id: str, count: float, band: str) -> None:
    found = band_for(policy_by_id(policy_id).bands_of("general", "anc"), count)
    assert found is not None
    assert found.name == band


def test_a_count_that_no_band_holds_is_judged_by_none() -> None:
    assert band_for((), 1000) is None


@pytest.mark.parametrize(("days", "anew"), [(29, False), (30, True)])
def test_a_break_begins_a_new_course(days: int, anew: bool) -> None:
    assert begins_anew(policy_by_id("us-label-2025").interruption, days) is anew


@pytest.mark.parametrize(("gap", "said"), [(60, False), (76, True)])
def test_a_return_after_a_gap_asks_for_the_tier_of_the_regimen(gap: int, said: bool) -> None:
    """A protocol whose tiers begin with the dosing interval: 48 h and a day for a dose once daily, also once clozapine is taken again."""
    policy = policy_by_id("eu-classic")
    tier = replace(policy.missed_dose[0], plus_dosing_interval=True)
    ours = replace(policy, missed_dose=(tier,))
    row = {
        "on": ["inpatient clozapine 300 mg since 60 d"],
        "given": [f"every 24 h from {gap + 200} h to {gap + 8} h 300 mg", "8 h 12.5 mg"],
        "hook": "patient-view",
        "counts": ["ANC 3000 /uL 1 d ago", "WBC 6000 /uL 1 d ago"],
    }
    found = {f.code for f in evaluate(facts_of(row), ours, NOW)}
    assert ("missed-dose-retitrate" in found) is said
