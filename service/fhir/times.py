"""FHIR dates and times: partial dates, zones, and dates that do not exist."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import NamedTuple


class Moment(NamedTuple):
    """A point in time, or a day when ``date_only`` (``at`` is then the start of the day in the site's zone).

    ``until``: of a month, a year or another stretch of time, where it ends (exclusive); ``at`` is where it begins.
    """

    at: datetime
    date_only: bool
    until: datetime | None = None


#: Years that stand for "unknown" and "for ever" in some systems; no calendar arithmetic survives them.
NO_YEARS = (1, 9999)
_NO_DATE = tuple(f"{year:04d}" for year in NO_YEARS)


def is_for_ever(text: object) -> bool:
    """An end that says that there is none (9999-12-31)."""
    return isinstance(text, str) and text.startswith("9999")


def read_moment(text: object, zone: tzinfo) -> Moment | None:
    """A FHIR date, dateTime or instant; None when it is absent or does not exist (2026-02-30).

    The year 1 and the year 9999 are no dates either: they are what some systems write for one they do not have.
    ``2026`` and ``2026-03`` are the whole year and the whole month, from their first day. A time without a zone is taken in the site's zone.
    """
    if not isinstance(text, str):
        return None
    return _day(text, zone) if len(text) <= 10 else _instant(text, zone)


def _instant(text: str, zone: tzinfo) -> Moment | None:
    if text.startswith(_NO_DATE):
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return Moment(at if at.tzinfo is not None else at.replace(tzinfo=zone), False)


@lru_cache(maxsize=4096)
def _day(text: str, zone: tzinfo) -> Moment | None:
    """A date alone. Orders carry few different ones, so they are remembered."""
    if text.startswith(_NO_DATE):
        return None
    try:
        if len(text) == 10:
            return Moment(datetime.fromisoformat(text).replace(tzinfo=zone), True)
        if len(text) == 7:
            first = datetime.fromisoformat(text + "-01").replace(tzinfo=zone)
            return Moment(first, True, (first + timedelta(days=31)).replace(day=1))
        if len(text) == 4 and text.isdigit():
            first = datetime(int(text), 1, 1, tzinfo=zone)
            return Moment(first, True, first.replace(year=first.year + 1))
    except ValueError:
        return None
    return None


def is_of_a_year(moment: Moment) -> bool:
    """Whether a date names a year alone."""
    return moment.until is not None and moment.until - moment.at > timedelta(days=31)


def last_day(end: Moment | None) -> Moment | None:
    """The end of a period: one that names only a month or a year is the last day of it, the latest that the record allows."""
    if end is None or end.until is None:
        return end
    return Moment(end.until - timedelta(days=1), True)


def read_stretch(start: object, end: object, zone: tzinfo) -> Moment | None:
    """A Period as the time of a result: its end where it is shorter than a day, else a stretch of time in which the result lies."""
    first, last = read_moment(start, zone), read_moment(end, zone)
    if first is None or last is None:
        return last or first
    over = last.until or (last.at + timedelta(days=1) if last.date_only else last.at)
    if over - first.at <= timedelta(days=1):
        return last
    return Moment(first.at, True, over)


def read_date(text: object) -> date | None:
    """A FHIR date as a calendar day; partial dates count from their first day."""
    moment = read_moment(text, UTC)
    return moment.at.date() if moment is not None else None
