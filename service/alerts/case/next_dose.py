"""The next planned dose: a gap runs from the last dose taken to it, not to the moment of the question (clinical.md 2.2)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Literal

from msgspec import Struct

from service.alerts.facts.patient import Medication
from service.alerts.policy.parts.doses import DoseTimes

#: What names the time of the next dose: a draft, an order that runs on, the times of the chart; ``now``: nothing does.
PlannedBy = Literal["draft", "order", "chart", "now"]
#: After so long the same time of the day comes again.
_A_DAY = timedelta(days=1)
#: No two times of the day lie further apart; a dose that comes later than this belongs to the next day.
_HALF_A_DAY = timedelta(hours=12)
#: Doses charted so long before tell a usual time: the same day of last week and the days since. The service's own.
_LAST_WEEK = timedelta(days=8)
#: Parts of the day of FHIR's EventTiming, without what follows the dot.
_PARTS = {
    "MORN": "morning", "WAKE": "morning", "ACM": "morning", "CM": "morning", "PCM": "morning", "NOON": "noon", "ACD": "noon", "CD": "noon",
    "PCD": "noon", "AFT": "afternoon", "EVE": "evening", "ACV": "evening", "CV": "evening", "PCV": "evening", "NIGHT": "bedtime",
    "HS": "bedtime",
}  # fmt: skip


class Planned(Struct, frozen=True, gc=False):
    """The next dose."""

    at: datetime
    by: PlannedBy


def next_dose_of(
    drafts: Sequence[Medication],
    orders: Sequence[Medication],
    given: Sequence[Medication],
    last: datetime,
    as_of: datetime,
    hours: DoseTimes,
) -> Planned:
    """The next planned dose: the draft's first time, else the usual time of the established regimen, else now.

    Args:
        drafts: clozapine orders of the call.
        orders: clozapine orders that run on.
        given: charted doses.
        last: the last dose known taken.
        as_of: the moment of the question, in the site's time zone.
        hours: at which hour of the day parts of the day are, and how late a dose may be given.
    """
    late = timedelta(hours=hours.late.value)

    def after(draft: Medication | None) -> Planned:
        begins = first_day(draft, as_of) if draft is not None else as_of
        if orders and begins > as_of:
            draft, begins = None, as_of  # until then the order that runs on is taken
        if draft is not None and (at := _named(draft, last, begins, late, hours)) is not None:
            return Planned(at, "draft")
        named = [at for o in orders if (at := _named(o, last, begins, late, hours)) is not None]
        if named and len(named) == len(orders):
            return Planned(min(named), "order")
        usual = _usual(given, last, timedelta(hours=hours.usual_within.value))
        if usual:
            # A dose of a time that only the chart tells may be given until the next one is nearer.
            return Planned(_first(usual, begins, _HALF_A_DAY / len(usual)), "chart")
        return Planned(begins, "draft" if begins > as_of else "now")

    return min(map(after, drafts or (None,)), key=lambda planned: planned.at)


def first_day(draft: Medication, as_of: datetime) -> datetime:
    """When a draft begins: now, or on a day or at a time to come."""
    start = draft.start
    return as_of if start is None else max(start.astimezone(as_of.tzinfo), as_of)


def _named(
    order: Medication, last: datetime, begins: datetime, late: timedelta, hours: DoseTimes
) -> datetime | None:
    """The first time that an order names; None when it names none."""
    if order.dose is None or not order.dose.times:
        return None
    clocks: list[timedelta] = []
    for written in order.dose.times:
        part = _PARTS.get(written.split(".")[0])
        if part is not None:
            clock, near = timedelta(hours=getattr(hours, part).value), late
        elif (read := _clock(written)) is not None:
            clock, near = read, timedelta(hours=hours.usual_within.value)
        else:
            return None
        # About the hour of the last dose it is that hour: a dose ten minutes late leaves no shorter gap.
        own = _since_midnight(last.astimezone(begins.tzinfo))
        clocks.append(own if _apart(own, clock) <= near else clock)
    return _first(clocks, begins, late)


def _clock(written: str) -> timedelta | None:
    hour, _, minute = written.partition(":")
    if not (hour.isdigit() and minute[:2].isdigit()):
        return None
    return timedelta(hours=int(hour), minutes=int(minute[:2]))


def _first(clocks: Iterable[timedelta], begins: datetime, late: timedelta) -> datetime:
    """The first of some times of the day; at once while one of them is not longer past than ``late``."""
    midnight = begins.replace(hour=0, minute=0, second=0, microsecond=0)
    times = [midnight + day * _A_DAY + clock for clock in clocks for day in (-1, 0, 1)]
    return max(begins, min(at for at in times if at > begins - late))


def _usual(given: Sequence[Medication], last: datetime, within: timedelta) -> list[timedelta]:
    """The times of the day at which doses were charted up to the last one, each on two days at least."""
    charted = sorted(r.start for r in given if r.start is not None and not r.start_date_only)
    lately = [at for at in charted if last - _A_DAY < at <= last]
    # Slightly early on the next day is the same dose again.
    first_half = [at for at in lately if last - at < _A_DAY - within]
    clocks = [_since_midnight(at.astimezone(last.tzinfo)) for at in first_half]
    for at, clock in zip(first_half, clocks, strict=True):
        if not any(
            abs(at - other) > _HALF_A_DAY
            and _apart(_since_midnight(other.astimezone(last.tzinfo)), clock) <= within
            for other in charted
            if at - other < _LAST_WEEK
        ):
            return []
    return clocks


def _since_midnight(at: datetime) -> timedelta:
    return timedelta(hours=at.hour, minutes=at.minute)


def _apart(one: timedelta, other: timedelta) -> timedelta:
    """How far two times of the day lie apart, over midnight where that is nearer."""
    apart = abs(one - other)
    return min(apart, _A_DAY - apart)
