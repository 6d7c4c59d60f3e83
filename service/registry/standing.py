"""Where a patient stands today: what lists show of the facts, worked out by the clinical core."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from msgspec import Struct

from service.alerts.case.case import Case


class Standing(Struct, frozen=True):
    """On clozapine or not, since when, the last count and when the next is due."""

    state: str
    course_start: date | None
    stopped_at: date | None
    last_anc: float | None
    last_anc_at: datetime | None
    interval_days: int | None
    next_due: date | None


def standing_of(case: Case) -> Standing:
    """The standing of a patient at the moment of the case; a patient without any count is due today."""
    course, newest = case.course, case.anc.newest
    on = case.on_clozapine
    interval = case.interval.days if on else None
    due: date | None = None
    if interval is not None:
        due = (
            case.today
            if newest is None
            else case.today - timedelta(days=case.answered_days(newest) - interval)
        )
    return Standing(
        state="on" if on else "stopped",
        course_start=case.snapshot.day(course.start) if course.start is not None else None,
        stopped_at=case.snapshot.day(course.stopped_at) if course.stopped_at is not None and not on else None,
        last_anc=newest.value if newest is not None else None,
        last_anc_at=newest.at if newest is not None else None,
        interval_days=interval,
        next_due=due,
    )
