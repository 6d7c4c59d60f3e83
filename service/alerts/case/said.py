"""Words as a witness of the last dose: “not taken”, “stopped”, the end of an order."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from service.alerts.case.exposure import ORDER_NOT_GIVEN
from service.alerts.case.witness import NOTHING_TELLS, LastDose
from service.alerts.facts.patient import Medication

#: An end that is only a date lasts to the end of that day.
_A_DAY = timedelta(days=1)
_STATEMENT_STOPPED = frozenset({"stopped", "on-hold"})


def said_last_doses(records: Iterable[Medication], live: list[Medication], as_of: datetime) -> list[LastDose]:
    """What says outright that the drug is not taken and that no later order or statement overtakes.

    A statement that it is not taken, or was stopped or put on hold on a day, whatever is still ordered; and an order that was stopped on a
    day when no other is live.

    Args:
        records: every record of the drug.
        live: orders and statements that hold at ``as_of``.
        as_of: the moment of the question.
    """
    found: list[LastDose] = []
    for r in records:
        if r.role == "statement" and r.not_taken:
            if r.start is not None and _holds(r, r.start, live, as_of) and not (live and is_past(r, as_of)):
                said = r.authored or r.start
                since, vague = _latest_start(r, as_of)
                found.append(
                    LastDose(since, r.start_date_only, "statement", r.ref, r.of_a_moment or vague, said)
                )
        elif _is_stopped_without_end(r):
            if r.authored is not None and _holds(r, r.authored, live, as_of):
                found.append(LastDose(r.authored, False, "statement", r.ref, True, r.authored))
        elif r.end is not None and _holds(r, r.end, live, as_of):
            stopped = r.stops and not live and r.status not in ORDER_NOT_GIVEN
            if (r.role == "statement" and r.status in _STATEMENT_STOPPED) or (r.role == "order" and stopped):
                found.append(_end_of(r))
    return found


def said_undated(records: Iterable[Medication], live: list[Medication]) -> LastDose:
    """“Not taken” or “stopped” of no date at all, against orders that hold and no statement that it is taken: since when is not known."""
    if any(r.role == "statement" for r in live):
        return NOTHING_TELLS
    for r in records:
        if r.role != "statement" or r.start is not None or r.authored is not None:
            continue
        if (r.not_taken and r.end is None) or _is_stopped_without_end(r):
            return LastDose(None, False, "statement", r.ref, True)
    return NOTHING_TELLS


def is_past(statement: Medication, as_of: datetime) -> bool:
    """“Not taken” of a time that was over when it was said, or that was to end later and has: it tells of a break, not of today."""
    end, said = statement.end, statement.authored
    if end is None:
        return False
    return end + _A_DAY <= (as_of if said is None or end > said + _A_DAY else said)


def _latest_start(r: Medication, as_of: datetime) -> tuple[datetime | None, bool]:
    """Since when the drug is not taken at the latest, and whether it may be longer: of a month or a year that is its last day, or today."""
    if r.start is None or r.start_until is None:
        return r.start, False
    return min(r.start_until - _A_DAY, as_of), True


def said_at(statement: Medication) -> datetime | None:
    """When a statement was made, as far as a date says so."""
    return statement.authored or statement.start


def is_later(word: LastDose, handed_over: datetime) -> bool:
    """What was said after a supply was handed over, or on the day of a hand-over whose hour is not known; the stop of an order after it."""
    if word.said is not None:
        return word.said >= handed_over
    return word.at is not None and word.at > handed_over


def _is_stopped_without_end(r: Medication) -> bool:
    return r.role == "statement" and r.status in _STATEMENT_STOPPED and r.end is None


def ends(records: Iterable[Medication], as_of: datetime) -> list[LastDose]:
    """Ends of orders and statements, for want of better: nothing is live and nobody says outright that the drug is not taken."""
    return [
        _end_of(r)
        for r in records
        if r.role in ("order", "statement")
        and r.end is not None
        and r.end <= as_of
        and r.status not in ORDER_NOT_GIVEN
    ]


def _end_of(record: Medication) -> LastDose:
    if record.role == "order":
        return LastDose(record.end, record.end_date_only, "stop", record.ref)
    said = max(record.end, record.authored or record.end) if record.end is not None else None
    return LastDose(record.end, record.end_date_only, "statement", record.ref, False, said)


def _holds(record: Medication, at: datetime, live: list[Medication], as_of: datetime) -> bool:
    """No order or statement of a later day says that the drug is taken; one without a date is not later."""
    said = max(at, record.authored or at) if record.role == "statement" else at
    for other in live:
        if other.role == "statement":
            since = said_at(other)
            if since is not None and since >= said:
                return False
        elif other.start is not None and other.start > said:
            return False
    return at <= as_of
