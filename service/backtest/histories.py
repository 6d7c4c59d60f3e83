"""What became of orders, statements and problems: the record holds their last state, the replay needs the earlier one.

An order that was stopped later was active before. FHIR R4 keeps no date of the stop, so it is taken from the first of: the stated
end, the next order of the same drug, the last update of the resource; without any, from the supply that was ordered.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta, tzinfo

import msgspec
from msgspec import Struct

from service.alerts.facts.patient import Medication, Problem
from service.alerts.facts.reason import NO_REASON
from service.backtest.known import Extra, end_moment, last_updated
from service.fhir.times import Moment, read_moment

_ENDED = frozenset({"stopped", "cancelled", "completed", "ended", "on-hold"})
_OVER = frozenset({"resolved", "inactive", "remission"})


class MedicationHistory(Struct, frozen=True):
    """A medication record and what it looked like before it ended."""

    now: Medication
    #: Seen from this moment on (POSIX seconds).
    known: float
    #: State before ``ended``; None when it never was different.
    before: Medication | None = None
    ended: float = 0.0
    #: Reference of the order that took its place.
    replaced_by: str = ""

    def at(self, moment: float) -> Medication | None:
        """The record at a moment; None before it was known."""
        if moment < self.known:
            return None
        return self.before if self.before is not None and moment <= self.ended else self.now


class ProblemHistory(Struct, frozen=True):
    """A problem and its state before it was over."""

    now: Problem
    known: float
    before: Problem | None = None
    over: float = 0.0

    def at(self, moment: float) -> Problem | None:
        """The problem at a moment; None before it was recorded."""
        if moment < self.known:
            return None
        return self.before if self.before is not None and moment < self.over else self.now


def seconds(at: datetime | None) -> float:
    """POSIX seconds; minus infinity for what has no date and is always seen."""
    try:
        return at.timestamp() if at is not None else float("-inf")
    except (OverflowError, ValueError):
        # The year 1 stands for "unknown" in some systems, and has no POSIX time in every zone.
        return float("-inf")


def histories(
    records: Iterable[Medication],
    known: dict[str, datetime | None],
    extras: dict[str, Extra],
    zone: tzinfo,
) -> list[MedicationHistory]:
    """Every medication record with its earlier state.

    Args:
        records: as they stand in the export.
        known: reference -> moment from which a record may be seen.
        extras: reference -> further dates of orders.
        zone: the site's time zone.
    """
    records = list(records)
    written = {r.ref: at for r in records if r.role == "order" and (at := known.get(r.ref, r.start))}
    found = []
    for record in records:
        since = known.get(record.ref, record.start)
        if record.status not in _ENDED or record.role not in ("order", "statement") or since is None:
            found.append(MedicationHistory(record, seconds(since)))
            continue
        ended, successor = _end(record, since, records, written, extras.get(record.ref), zone)
        if ended is None:
            found.append(MedicationHistory(record, seconds(since)))
            continue
        before = msgspec.structs.replace(
            record, status="active", stops=False, stop_reason="", stop_reason_unread=NO_REASON
        )
        if record.role == "statement":
            # The end of a statement is written down when it has come; the end of an order may be part of the order.
            before = msgspec.structs.replace(before, end=None, end_date_only=False)
        # From then on the record shows it over; its last change in the export may have come much later.
        over = msgspec.structs.replace(record, updated=ended) if record.end is None else record
        found.append(MedicationHistory(over, seconds(since), before, ended.timestamp(), successor))
    return found


def _end(
    record: Medication,
    since: datetime,
    records: list[Medication],
    written: dict[str, datetime],
    extra: Extra | None,
    zone: tzinfo,
) -> tuple[datetime | None, str]:
    """When a record ended, and the order that replaced it."""
    stated = end_moment(Moment(record.end, record.end_date_only)) if record.end is not None else None
    if record.role == "statement":
        return stated, ""
    later = [
        (written[r.ref], r.ref)
        for r in records
        if r.ref in written
        and r.ref != record.ref
        and written[r.ref] > since
        and (set(r.drugs) & set(record.drugs) or record.ref in r.replaces)
    ]
    successor = min(later, default=None)
    updated = last_updated(extra, zone) if extra is not None else None
    candidates = [
        at for at in (stated, successor[0] if successor else None, updated) if at is not None and at > since
    ]
    if not candidates:
        if record.days_supply is None:
            return None, ""
        return since + timedelta(days=record.days_supply), ""
    ended = min(candidates)
    return ended, successor[1] if successor is not None and successor[0] == ended else ""


def problem_history(
    problem: Problem, since: datetime | None, extra: Extra | None, zone: tzinfo
) -> ProblemHistory:
    """A problem; one that is over was active until its abatement, when the record dates that."""
    if problem.clinical_status in _OVER and extra is not None:
        over = read_moment(extra.abatementDateTime, zone)
        if over is not None:
            before = msgspec.structs.replace(problem, clinical_status="active")
            return ProblemHistory(problem, seconds(since), before, over.at.timestamp())
    return ProblemHistory(problem, seconds(since))
