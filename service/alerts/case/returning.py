"""The return to the established dose after a gap: a small dose does not close it (clinical.md 2.2)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from service.alerts.case.breaks import Break
from service.alerts.case.charted_dose import largest, most_in_a_day
from service.alerts.facts.patient import Medication
from service.alerts.policy.judge import tier_for
from service.alerts.policy.parts.breaks import MissedDoseTier


class Return(Struct, frozen=True, gc=False):
    """Clozapine is taken again after a gap, but the dose before it has not been reached."""

    gap: Break
    #: The tier that the gap reached.
    tier: MissedDoseTier
    #: mg per day, the most since the gap.
    reached: float
    #: mg per day before the gap; None = not known.
    established: float | None
    #: First dose since, and the record that shows it.
    since: datetime
    ref: str


def return_of(
    breaks: Sequence[Break],
    given: Sequence[Medication],
    tiers: Sequence[MissedDoseTier],
    tells: timedelta,
    *,
    between_doses: float,
    ordered_mg: float | None,
    ordered_single_mg: float | None,
    not_before: datetime,
) -> Return | None:
    """The return that is under way; None when no gap calls for one, when the dose of before is reached, or when no chart tells the doses.

    Args:
        breaks: breaks that have ended, oldest first.
        given: charted doses.
        tiers: gaps that call for a new titration.
        tells: so much of the chart before a gap tells the dose before it (policy ``record.dose_charted_days``).
        between_doses: hours between two doses of the regimen.
        ordered_mg: mg per day that are ordered: the dose before the gap, where no chart tells it.
        ordered_single_mg: the largest single dose ordered, mg.
        not_before: a return that began before is over, whatever was reached.
    """
    late = [
        (b, tier)
        for b in breaks
        if b.end >= not_before and (tier := tier_for(tiers, b.hours, between_doses)) is not None
    ]
    if not late:
        return None
    # Of several gaps close to each other the dose before the first one is the established one, and only what was reached since the last counts.
    first, last = late[0][0], late[-1][0]
    since = [r for r in given if r.start is not None and r.start >= last.end]
    reached = most_in_a_day(since)
    if reached is None:
        return None
    before = [r for r in given if r.start is not None and first.start - tells <= r.start <= first.start]
    established, single = most_in_a_day(before) or ordered_mg, largest(before) or ordered_single_mg
    if established is not None and reached >= established:
        return None
    if single is not None and (largest(since) or 0.0) >= single:
        return None  # the doses are as they were, if not all of a day yet
    longest, tier = max(late, key=_length)
    begun = min(since, key=lambda r: r.start or last.end)
    return Return(longest, tier, reached, established, begun.start or last.end, begun.ref)


def _length(found: tuple[Break, MissedDoseTier]) -> float:
    return found[0].hours
