"""The return to the established dose after a gap: a small dose does not close it (clinical.md 2.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    #: No chart tells the doses since, only what was ordered.
    by_order: bool = False


class Restarted(Struct, frozen=True, gc=False):
    """A restart dose is ordered beside an older, larger order that nobody ended: which of them is taken the record does not say."""

    order: Medication
    #: mg per day of it.
    mg: float
    since: datetime
    #: The order that goes on.
    older: Medication
    older_mg: float


def restarted_of(
    orders: Sequence[Medication],
    live: Sequence[Medication],
    as_of: datetime,
    *,
    single: float,
    first_day: float,
    rise: float,
    within: timedelta,
) -> Restarted | None:
    """A restart dose among orders, beside a larger one that began before it; None when there is none, or it plainly is an addition.

    Args:
        orders: those that may be the restart: drafts, or orders that run on.
        live: orders that run on and that no order of the call ends.
        as_of: the moment of the question.
        single: the largest single dose of a restart, mg.
        first_day: the most on its first day, mg.
        rise: the largest early rise, mg per day: an older order of no more than that above a first day is itself a titration.
        within: a restart that was ordered earlier is over.
    """
    for order in orders:
        dose, since = order.dose, (order.start or as_of) if order.role == "draft" else order.start
        if dose is None or not dose.mg_per_day or since is None or as_of - since > within:
            continue
        if (dose.largest_single_mg or 0.0) > single or dose.mg_per_day > first_day or dose.steps:
            continue
        for older in live:
            mg = older.dose.mg_per_day if older.dose is not None else None
            if (
                older is order
                or older.ref in (order.ref, *order.replaces)
                or older.start is None
                or mg is None
            ):
                continue
            if mg > first_day + rise and older.start < since and not _apart(order, older):
                return Restarted(order, dose.mg_per_day, since, older, mg)
    return None


def _apart(one: Medication, other: Medication) -> bool:
    """Both name their times of the day, and no common one: one is taken beside the other."""
    assert one.dose is not None
    assert other.dose is not None
    times, others = set(one.dose.times), set(other.dose.times)
    return bool(times) and bool(others) and times.isdisjoint(others)


def return_of(
    breaks: Sequence[Break],
    given: Sequence[Medication],
    tiers: Sequence[MissedDoseTier],
    tells: timedelta,
    *,
    between_doses: float,
    ordered: Callable[[datetime], tuple[float | None, float | None]],
    restarted: Restarted | None,
    not_before: datetime,
) -> Return | None:
    """The return that is under way; None when no gap calls for one, when the dose of before is reached, or when no chart tells the doses.

    Args:
        breaks: breaks that have ended, oldest first.
        given: charted doses.
        tiers: gaps that call for a new titration.
        tells: so much of the chart before a gap tells the dose before it (policy ``record.dose_charted_days``).
        between_doses: hours between two doses of the regimen.
        ordered: (mg per day, largest single dose) that were ordered at a time: the dose before the gap, where no chart tells it.
        restarted: a restart dose ordered beside the older order: the dose since the gap, where no chart tells it.
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
    longest, tier = max(late, key=_length)
    if reached is None:
        # The order of the restart may be written on the day on which the gap ends, of which no hour is known.
        if (
            since
            or restarted is None
            or restarted.since.date() < last.end.astimezone(restarted.since.tzinfo).date()
        ):
            return None
        return Return(
            longest, tier, restarted.mg, restarted.older_mg, restarted.since, restarted.order.ref, True
        )
    before = [r for r in given if r.start is not None and first.start - tells <= r.start <= first.start]
    ordered_mg, ordered_single = ordered(first.start)
    established, single = most_in_a_day(before) or ordered_mg, largest(before) or ordered_single
    if established is not None and reached >= established:
        return None
    if single is not None and (largest(since) or 0.0) >= single:
        return None  # the doses are as they were, if not all of a day yet
    begun = min(since, key=lambda r: r.start or last.end)
    return Return(longest, tier, reached, established, begun.start or last.end, begun.ref)


def _length(found: tuple[Break, MissedDoseTier]) -> float:
    return found[0].hours
