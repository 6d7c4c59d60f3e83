"""How much of a patient the registry keeps between calls, shown by what is said of the patient."""

from __future__ import annotations

import pytest

from service.alerts.case.remembered import facts_to_keep
from service.alerts.evaluate import evaluate
from service.alerts.policy.policy import policy_by_id
from tests.alerts.vignette import facts_of
from tests.data import NOW


@pytest.mark.parametrize(("later", "overdue"), [(59, True), (60, False)])
def test_the_sixty_newest_counts_are_kept(later: int, overdue: bool) -> None:
    """The EU counts every 12 weeks in the second year, but every 4 weeks after a neutropenia; the last count is 29 days old."""
    counts = [f"ANC 3000 /uL {29 + 7 * i} d ago" for i in range(later)]
    neutropenia = f"ANC 1200 /uL {29 + 7 * later} d ago"
    row = {
        "hook": "patient-view",
        "on": ["clozapine 300 mg since 500 d"],
        "counts": [*counts, neutropenia],
    }
    kept = facts_to_keep(facts_of(row))
    assert len(kept.measurements["anc"]) == 60
    found = evaluate(kept, policy_by_id("eu-smpc-2025"), NOW)
    assert ("anc-overdue" in {f.code for f in found}) is overdue
