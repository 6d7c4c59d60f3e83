"""Where a patient stands today: what lists show of the facts, worked out by the clinical core."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

from msgspec import Struct

from service.alerts.case.case import Case
from service.alerts.rules.post_stop import post_stop_due


class Standing(Struct, frozen=True):
    """On clozapine (``on``), ``stopped`` or ``dead``, since when, the last count and when the next is due."""

    state: str
    course_start: date | None
    stopped_at: date | None
    last_anc: float | None
    last_anc_at: datetime | None
    interval_days: int | None
    next_due: date | None


def standing_of(case: Case) -> Standing:
    """The standing of a patient at the moment of the case.

    Without any count the first was due when treatment began; where nobody knows when that was, today.
    """
    course, newest = case.course, case.anc.newest
    dead = case.snapshot.deceased
    on = case.on_clozapine and not dead
    interval = case.interval.days if on else None
    due: date | None = None
    if interval is not None:
        due = (
            _first_due(case)
            if newest is None
            else case.today - timedelta(days=case.answered_days(newest) - interval)
        )
    elif not dead:
        due = post_stop_due(case)
    return Standing(
        state="dead" if dead else "on" if on else "stopped",
        course_start=case.snapshot.day(course.start) if course.start is not None else None,
        stopped_at=case.snapshot.day(course.stopped_at) if course.stopped_at is not None and not on else None,
        last_anc=newest.value if newest is not None else None,
        last_anc_at=newest.at if newest is not None else None,
        interval_days=interval,
        next_due=due,
    )


def _first_due(case: Case) -> date:
    began = case.course.start or case.course.first_ever
    return min(case.snapshot.day(began), case.today) if began is not None else case.today


def columns_of(standing: Standing) -> dict[str, Any]:
    """The columns of a patient's row that say it."""
    return {
        "state": standing.state,
        "course_start": standing.course_start,
        "stopped_at": standing.stopped_at,
        "last_anc": standing.last_anc,
        "last_anc_at": standing.last_anc_at.astimezone(UTC) if standing.last_anc_at is not None else None,
        "interval_days": standing.interval_days,
        "next_due": standing.next_due,
    }
