"""What one record says of the time a drug was taken (clinical.md 1.8, 2.2): live, waiting, a span of exposure, supply."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from msgspec import Struct

from service.alerts.facts.patient import Medication

#: How long one administration is taken to cover: until the next day's dose.
ADMINISTRATION_COVERS = timedelta(days=1)
ORDER_NOT_GIVEN = frozenset({"cancelled", "entered-in-error", "draft", "unknown"})
ORDER_LIVE = frozenset({"active", ""})
_WAITING = frozenset({"on-hold", "unknown"})
STATEMENT_LIVE = frozenset({"active", "intended", "unknown", ""})
DISPENSE_GIVEN = frozenset({"completed", "in-progress", "on-hold", "unknown", ""})
#: A dose on hold was not given, and of one that was stopped nobody knows how much.
NOT_ADMINISTERED = frozenset({"not-done", "entered-in-error", "unknown", "on-hold", "stopped"})
#: Orders and statements that are over, with or without a date.
OVER = frozenset({"completed", "stopped", "ended"})
#: Intents of orders that carry out another one.
CARRIED_OUT = frozenset({"filler-order", "instance-order"})
#: Settings of orders for a patient who is not on a ward.
FOR_HOME = frozenset({"outpatient", "community", "discharge"})


class Span(Struct, frozen=True, gc=False):
    """Time during which the patient is taken to have had clozapine, according to one record."""

    start: datetime | None
    end: datetime
    ref: str


def is_live(medication: Medication, as_of: datetime) -> bool:
    """True when a record says that the drug is taken now: active order or statement, unexhausted supply, a dose in the last day."""
    if medication.not_taken or medication.stops:
        return False
    start, end = medication.start, medication.end
    if start is not None and start > as_of:
        return False
    if end is not None:
        # A date-only end means "to the end of that day".
        limit = end + timedelta(days=1) if medication.end_date_only else end
        if limit < as_of:
            return False
    match medication.role:
        case "order":
            return medication.status in ORDER_LIVE
        case "statement":
            return medication.status in STATEMENT_LIVE
        case "dispense":
            if medication.status not in DISPENSE_GIVEN or start is None:
                return False
            return start + timedelta(days=medication.days_supply or 0) >= as_of
        case "administration":
            return (
                medication.status not in NOT_ADMINISTERED
                and start is not None
                and as_of - start <= ADMINISTRATION_COVERS
            )
    return False


def waits(medication: Medication, as_of: datetime) -> bool:
    """True for an order or statement that anybody may go on with: on hold, of a status nobody knows, or to begin later."""
    if medication.role not in ("order", "statement") or medication.not_taken or medication.stops:
        return False
    if medication.end is not None and medication.end < as_of:
        return False
    return medication.status in _WAITING or (
        medication.status in ORDER_LIVE and medication.start is not None and medication.start > as_of
    )


def span_of(medication: Medication, as_of: datetime) -> Span | None:
    """Exposure that one record stands for, cut off at ``as_of``."""
    start, end = medication.start, medication.end
    if medication.not_taken or (start is not None and start > as_of):
        return None
    match medication.role:
        case "administration":
            if start is None or medication.status in NOT_ADMINISTERED:
                return None
            return Span(start, min(start + ADMINISTRATION_COVERS, as_of), medication.ref)
        case "dispense":
            if start is None or medication.status not in DISPENSE_GIVEN:
                return None
            return Span(
                start, min(start + timedelta(days=medication.days_supply or 1), as_of), medication.ref
            )
        case "order":
            if medication.status in ORDER_NOT_GIVEN or (medication.stops and medication.status in ORDER_LIVE):
                return None  # withdrawn before any dose, never signed, or an order not to give it
            if medication.stops and end is None:
                # A stopped order without a date shows that clozapine was given, but not until when.
                return Span(start, start, medication.ref) if start is not None else None
            if end is None and medication.status not in ORDER_LIVE:
                return Span(start, start, medication.ref) if start is not None else None
        case "statement":
            if end is None and medication.status not in STATEMENT_LIVE:
                return Span(start, start, medication.ref) if start is not None else None
        case _:
            return None
    return Span(start, min(end, as_of) if end is not None else as_of, medication.ref)


def was_given(medication: Medication, as_of: datetime) -> bool:
    """True when a record shows that the drug was taken; a cancelled order or one for later does not."""
    return span_of(medication, as_of) is not None


def supplies_of(records: Iterable[Medication], as_of: datetime) -> list[tuple[Medication, datetime]]:
    """(dispense, when it is used up) of all supply handed over, oldest first.

    What is left of the dispense before of the same product is used first: an early refill, the second part of a fill. Only of the one
    before, so that small remainders do not add up to a stock nobody has. What is handed over on one day for two orders is used side by side.
    """
    dispensed = sorted(
        (
            r
            for r in records
            if r.role == "dispense"
            and r.start is not None
            and r.start <= as_of
            and r.status in DISPENSE_GIVEN
            and r.days_supply
            and not r.not_taken
        ),
        key=lambda r: r.start,  # type: ignore[arg-type,return-value]
    )
    found: list[tuple[Medication, datetime]] = []
    before: dict[str, _Handed] = {}
    for r in dispensed:
        assert r.start is not None
        own_end = r.start + timedelta(days=r.days_supply or 0)
        last = before.get(r.label)
        left = max(last.own_end - r.start, timedelta(0)) if last is not None else timedelta(0)
        if last is not None and _is_beside(r, last.record):
            left, own_end = last.left, max(own_end, last.own_end)
        before[r.label] = _Handed(r, own_end, left)
        found.append((r, r.start + timedelta(days=r.days_supply or 0) + left))
    return found


class _Handed(Struct, frozen=True, gc=False):
    """The last supply of a product: when it is used up by itself, and how long what was left before it lasts."""

    record: Medication
    own_end: datetime
    left: timedelta


def _is_beside(r: Medication, other: Medication) -> bool:
    """Handed over on one day, each for an order of its own: one is for the morning, the other for the night."""
    if not r.fills or not other.fills or not set(r.fills).isdisjoint(other.fills):
        return False
    return r.start is not None and other.start is not None and r.start.date() == other.start.date()
