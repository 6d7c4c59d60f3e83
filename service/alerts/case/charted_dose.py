"""How much clozapine was really given, from the doses of a chart."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from service.alerts.facts.patient import Medication

#: The doses of one day lie closer together than this, and the same dose of two days further apart, though it drifts.
_ONE_DAY = timedelta(hours=22)


def most_in_a_day(given: Sequence[Medication]) -> float | None:
    """The most that was given within a day, mg; None without doses or when the amount of one is not known."""
    doses: list[tuple[datetime, float]] = []
    for r in given:
        if r.start is None or r.amount_mg is None:
            return None
        doses.append((r.start, r.amount_mg))
    if not doses:
        return None
    doses.sort()
    most = total = 0.0
    oldest = 0
    for at, mg in doses:
        total += mg
        while at - doses[oldest][0] >= _ONE_DAY:
            total -= doses[oldest][1]
            oldest += 1
        most = max(most, total)
    return most


def largest(given: Sequence[Medication]) -> float | None:
    """The largest dose given at once, mg; None when none is known."""
    return max((r.amount_mg for r in given if r.amount_mg is not None), default=None)
