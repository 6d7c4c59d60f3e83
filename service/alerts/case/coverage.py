"""Days that dispensed supply covers (clinical.md 2.2, 2.8)."""

from __future__ import annotations

from datetime import timedelta

from msgspec import Struct

from service.alerts.case.exposure import supplies_of
from service.alerts.case.treatment import Treatment
from service.alerts.facts.patient import Medication


class Coverage(Struct, frozen=True):
    """Days that dispensed supply covers, of the last days the policy looks at."""

    days: int
    percent: float
    dispensed: tuple[Medication, ...]


def coverage(case: Treatment) -> Coverage | None:
    """How much of the policy's window dispensed supply covers; None when supply is not recorded for long enough to judge."""
    window = case.policy.supply.adherence_days
    dispensed = [m for m, _ in supplies_of(case.clozapine_records, case.as_of)]
    if not case.on_clozapine or not dispensed:
        return None
    first_day = case.today - timedelta(days=int(window.value))
    assert dispensed[0].start is not None
    if case.snapshot.day(dispensed[0].start) > first_day:
        return None
    covered: set[int] = set()
    carried_until: dict[str, int] = {}
    for m in dispensed:
        assert m.start is not None
        # Supply handed over early is used after the one before it; another strength beside it is part of the same doses.
        begin = (case.snapshot.day(m.start) - first_day).days
        begin = max(begin, carried_until.get(m.label, begin))
        end = carried_until[m.label] = begin + int(m.days_supply or 0)
        covered.update(range(max(begin, 0), min(end, int(window.value))))
    return Coverage(len(covered), 100 * len(covered) / window.value, tuple(dispensed))
