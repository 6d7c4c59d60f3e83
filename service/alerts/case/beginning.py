"""Beginnings of which the record names only a month or a year."""

from __future__ import annotations

from datetime import datetime, timedelta

#: From the first moment that is no longer meant to the last day that is.
_DAY = timedelta(days=1)


def latest_beginning(start: datetime, until: datetime | None, as_of: datetime) -> datetime:
    """When something began at the latest: of a month or a year (before ``until``) its last day, today at most."""
    return start if until is None else max(start, min(until - _DAY, as_of))
