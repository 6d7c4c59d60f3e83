"""The course of clozapine treatment, reconstructed from orders, dispenses, administrations and statements (clinical.md 1.8, 2.2, 3.6).

No single record tells when a patient started or took the last dose, so the records are laid over each other as spans
of exposure; a break as long as the policy's restart limit ends a course.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Literal

from msgspec import Struct

from service.alerts.facts import Medication

Basis = Literal["administration", "statement", "stop", "supply", ""]

#: How long one administration is taken to cover: until the next day's dose.
_ADMINISTRATION_COVERS = timedelta(days=1)
_ORDER_NOT_GIVEN = frozenset({"cancelled", "entered-in-error", "draft", "unknown"})
#: Intents of orders that carry out another one.
CARRIED_OUT = frozenset({"filler-order", "instance-order"})
#: Settings of orders for a patient who is not on a ward.
FOR_HOME = frozenset({"outpatient", "community", "discharge"})
_ORDER_LIVE = frozenset({"active", ""})
_WAITING = frozenset({"on-hold", "unknown"})
_STATEMENT_LIVE = frozenset({"active", "intended", "unknown", ""})
_DISPENSE_GIVEN = frozenset({"completed", "in-progress", "on-hold", "unknown", ""})
_NOT_ADMINISTERED = frozenset({"not-done", "entered-in-error", "unknown"})


class Span(Struct, frozen=True):
    """Time during which the patient is taken to have had clozapine, according to one record."""

    start: datetime | None
    end: datetime
    ref: str


class Break(Struct, frozen=True):
    """Time without clozapine inside or before the present course."""

    start: datetime
    end: datetime

    @property
    def hours(self) -> float:
        """Length in hours."""
        return (self.end - self.start).total_seconds() / 3600


class Course(Struct, frozen=True):
    """The present (or last) course. ``start`` None: no record tells when it began."""

    start: datetime | None = None
    #: Last dose known or estimated to be taken; None when nothing tells.
    last_dose: datetime | None = None
    last_dose_date_only: bool = False
    last_dose_basis: Basis = ""
    last_dose_ref: str = ""
    #: The last dose is that of a stay that has ended, and an order for home runs on: nobody charts what is taken there.
    last_dose_doubtful: bool = False
    #: A record covers today: an order or statement that is active, supply that lasts, a dose in the last day.
    active: bool = False
    #: The last known dose lies beyond the restart limit, whatever is still ordered.
    lapsed: bool = False
    #: The treatment ended at this time (stopped order, statement's end) and nothing has followed.
    stopped_at: datetime | None = None
    stop_reason: str = ""
    #: End of the last exposure of any kind (never after ``as_of``); None = no exposure on record.
    last_exposure: datetime | None = None
    #: Breaks inside the course shorter than the restart limit, oldest first.
    breaks: tuple[Break, ...] = ()
    #: A break as long as the restart limit lies just before this course.
    restarted_after: Break | None = None
    #: When dispensed supply runs out; None without dispenses.
    supply_until: datetime | None = None
    supply_ref: str = ""
    refs: tuple[str, ...] = ()
    #: First record of clozapine of all (any course).
    first_ever: datetime | None = None

    @property
    def start_known(self) -> bool:
        """False when no record tells when the course began."""
        return self.start is not None


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
            return medication.status in _ORDER_LIVE
        case "statement":
            return medication.status in _STATEMENT_LIVE
        case "dispense":
            if medication.status not in _DISPENSE_GIVEN or start is None:
                return False
            return start + timedelta(days=medication.days_supply or 0) >= as_of
        case "administration":
            return (
                medication.status not in _NOT_ADMINISTERED
                and start is not None
                and as_of - start <= _ADMINISTRATION_COVERS
            )
    return False


def waits(medication: Medication, as_of: datetime) -> bool:
    """True for an order or statement that anybody may go on with: on hold, of a status nobody knows, or to begin later."""
    if medication.role not in ("order", "statement") or medication.not_taken or medication.stops:
        return False
    if medication.end is not None and medication.end < as_of:
        return False
    return medication.status in _WAITING or (
        medication.status in _ORDER_LIVE and medication.start is not None and medication.start > as_of
    )


def span_of(medication: Medication, as_of: datetime) -> Span | None:
    """Exposure that one record stands for, cut off at ``as_of``."""
    start, end = medication.start, medication.end
    if medication.not_taken or (start is not None and start > as_of):
        return None
    match medication.role:
        case "administration":
            if start is None or medication.status in _NOT_ADMINISTERED:
                return None
            return Span(start, min(start + _ADMINISTRATION_COVERS, as_of), medication.ref)
        case "dispense":
            if start is None or medication.status not in _DISPENSE_GIVEN:
                return None
            return Span(
                start, min(start + timedelta(days=medication.days_supply or 1), as_of), medication.ref
            )
        case "order":
            if medication.status in _ORDER_NOT_GIVEN or (
                medication.stops and medication.status in _ORDER_LIVE
            ):
                return None  # withdrawn before any dose, never signed, or an order not to give it
            if medication.stops and end is None:
                # A stopped order without a date shows that clozapine was given, but not until when.
                return Span(start, start, medication.ref) if start is not None else None
            if end is None and medication.status not in _ORDER_LIVE:
                return Span(start, start, medication.ref) if start is not None else None
        case "statement":
            if end is None and medication.status not in _STATEMENT_LIVE:
                return Span(start, start, medication.ref) if start is not None else None
        case _:
            return None
    return Span(start, min(end, as_of) if end is not None else as_of, medication.ref)


def was_given(medication: Medication, as_of: datetime) -> bool:
    """True when a record shows that the drug was taken; a cancelled order or one for later does not."""
    return span_of(medication, as_of) is not None


def _breaks(spans: list[Span]) -> tuple[Break, ...]:
    """Gaps between spans ordered by start."""
    if len(spans) < 2:
        return ()
    breaks: list[Break] = []
    covered_until: datetime | None = None
    for span in spans:
        if covered_until is not None and span.start is not None and span.start > covered_until:
            breaks.append(Break(covered_until, span.start))
        covered_until = span.end if covered_until is None else max(covered_until, span.end)
    return tuple(breaks)


_LastDose = tuple[datetime | None, bool, Basis, str, datetime | None, str]
_NOTHING_TELLS: _LastDose = (None, False, "", "", None, "")


def _last_dose(records: list[Medication], as_of: datetime) -> _LastDose:
    """(last dose, date only, basis, ref, supply runs out, ref of the supply)."""
    for r in records:
        if r.role != "order" or r.end is not None:
            break
    else:
        return _NOTHING_TELLS  # orders alone, none of them ended: the most usual record
    given = [
        r
        for r in records
        if r.role == "administration"
        and r.start is not None
        and r.start <= as_of
        and r.status not in _NOT_ADMINISTERED
        and not r.not_taken
    ]
    charted = [r for r in records if r.role == "administration" and r.start is not None and r.start <= as_of]
    supplies = [
        r
        for r in records
        if r.role == "dispense"
        and r.start is not None
        and r.start <= as_of
        and r.status in _DISPENSE_GIVEN
        and r.days_supply
    ]
    last_supply = max(supplies, key=lambda r: r.start + timedelta(days=r.days_supply or 0), default=None)  # type: ignore[operator]
    supply_until = (
        last_supply.start + timedelta(days=last_supply.days_supply or 0)
        if last_supply is not None and last_supply.start is not None
        else None
    )
    supply_ref = last_supply.ref if last_supply is not None else ""
    last_given = max(given, key=lambda r: r.start, default=None)  # type: ignore[arg-type,return-value]
    last_charted = max((r.start for r in charted if r.start is not None), default=None)
    taking = [r for r in records if r.role == "statement" and is_live(r, as_of)]

    # A chart kept after the last supply was handed over is the better witness: it records what was given and what was not.
    # An order or a supply that began after the last chart entry means that the chart is no longer kept (discharge); not so an
    # order for the ward, or one that carries out another: the chart of the ward goes on.
    on_ward = any(r.role == "order" and r.setting == "inpatient" and is_live(r, as_of) for r in records)
    superseded = [last_supply.start] if last_supply is not None and last_supply.start is not None else []
    superseded += [
        r.start
        for r in records
        if r.role in ("order", "statement")
        and r.start is not None
        and is_live(r, as_of)
        and r.setting != "inpatient"
        and not (on_ward and r.setting in FOR_HOME)
        and r.intent not in CARRIED_OUT
    ]
    # An order for home of the day of the last charted dose, written before or after it: the patient went home with it.
    home = (last_charted is not None and not on_ward) and any(
        r.setting in FOR_HOME
        and r.start is not None
        and r.start.astimezone(as_of.tzinfo).date() == last_charted.astimezone(as_of.tzinfo).date()
        for r in records
        if r.role == "order" and is_live(r, as_of)
    )
    if last_charted is not None and not home and all(began <= last_charted for began in superseded):
        if last_given is not None:
            return (
                last_given.start,
                last_given.start_date_only,
                "administration",
                last_given.ref,
                supply_until,
                supply_ref,
            )
    elif supply_until is not None and not taking:
        if supply_until < as_of:
            return supply_until, True, "supply", supply_ref, supply_until, supply_ref
        return None, False, "", "", supply_until, supply_ref
    ended = [
        r
        for r in records
        if r.role in ("order", "statement")
        and r.end is not None
        and r.end <= as_of
        and r.status not in _ORDER_NOT_GIVEN
    ]
    not_taken = [
        r
        for r in records
        if r.role == "statement" and r.not_taken and r.start is not None and r.start <= as_of
    ]
    live = any(is_live(r, as_of) and r.role in ("order", "statement") for r in records)
    if not_taken and not taking:
        witness = max(not_taken, key=lambda r: r.start)  # type: ignore[arg-type,return-value]
        return witness.start, witness.start_date_only, "statement", witness.ref, supply_until, supply_ref
    if ended and not live:
        witness = max(ended, key=lambda r: r.end)  # type: ignore[arg-type,return-value]
        basis: Basis = "stop" if witness.role == "order" else "statement"
        return witness.end, witness.end_date_only, basis, witness.ref, supply_until, supply_ref
    return None, False, "", "", supply_until, supply_ref


def _stay_is_over(records: list[Medication], as_of: datetime, last_dose: datetime) -> bool:
    """The order under which the last dose was charted was one for the ward and has ended, while an order for home runs on."""
    orders = [r for r in records if r.role == "order"]
    live = {r.setting for r in orders if is_live(r, as_of)}
    if "inpatient" in live or live.isdisjoint(FOR_HOME):
        return False
    return any(
        r.setting == "inpatient"
        and r.status not in _ORDER_NOT_GIVEN
        and r.start is not None
        and r.start <= last_dose
        and (r.end is None or r.end >= last_dose - _ADMINISTRATION_COVERS)
        for r in orders
    )


def course_of(
    records: Iterable[Medication],
    as_of: datetime,
    restart_after_days: float,
    *,
    limit_counts: bool = True,
) -> Course:
    """Lay the clozapine records over each other.

    Args:
        records: every record of clozapine but the drafts of this call.
        as_of: the moment of the question (timezone-aware).
        restart_after_days: break in days from which a new course begins (policy ``interruption.new_course``).
        limit_counts: a break of exactly that length begins one, too (comparator ``>=``).
    """
    records = [r for r in records if r.status != "entered-in-error"]
    spans = [span for r in records if (span := span_of(r, as_of)) is not None]
    last_dose, date_only, basis, dose_ref, supply_until, supply_ref = _last_dose(records, as_of)
    limit = timedelta(days=restart_after_days)

    def ends_course(gap: timedelta) -> bool:
        return gap >= limit if limit_counts else gap > limit

    doubtful = (
        basis == "administration" and last_dose is not None and _stay_is_over(records, as_of, last_dose)
    )
    if doubtful and last_dose is not None and ends_course(as_of - last_dose):
        # No ward leaves a patient without an order for so long: the order for home is what tells.
        last_dose, date_only, basis, dose_ref, doubtful = None, False, "", "", False
    if not spans:
        return Course(
            last_dose=last_dose,
            last_dose_date_only=date_only,
            last_dose_basis=basis,
            last_dose_ref=dose_ref,
            supply_until=supply_until,
            supply_ref=supply_ref,
        )
    open_left = [s for s in spans if s.start is None]
    dated = sorted((s for s in spans if s.start is not None), key=lambda s: (s.start, s.end))

    # Known doses cut exposure that is only presumed: an order left active after the last charted dose proves nothing.
    exposure_end = max(s.end for s in spans)
    if last_dose is not None:
        exposure_end = min(exposure_end, last_dose)
    breaks = _breaks(dated)
    long_breaks = [b for b in breaks if ends_course(b.end - b.start)]
    restarted = long_breaks[-1] if long_breaks else None
    start: datetime | None
    if restarted is not None:
        start = restarted.end
    else:
        start = None if open_left or not dated else dated[0].start
    known_refs = {r.ref for r in records}
    if start is not None and restarted is None:
        first = next((r for r in records if r.start == start), None)
        # A renewal whose predecessor is not in the record began earlier than what we see.
        if (
            first is not None
            and first.role == "order"
            and first.replaces
            and not known_refs & set(first.replaces)
        ):
            start = None
    # An active order keeps the patient on clozapine even when the last charted dose is long ago: the chart may be one of an
    # earlier stay, and a patient whose order anybody can go on giving needs counts watched.
    active = any(is_live(r, as_of) for r in records)
    lapsed = last_dose is not None and ends_course(as_of - last_dose)
    stop = max(
        (r for r in records if r.end is not None and r.end <= as_of and r.role in ("order", "statement")),
        key=lambda r: r.end,  # type: ignore[arg-type,return-value]
        default=None,
    )
    stopped_at = None if active else (last_dose or (stop.end if stop is not None else exposure_end))
    return Course(
        start=start,
        last_dose=last_dose,
        last_dose_date_only=date_only,
        last_dose_basis=basis,
        last_dose_ref=dose_ref,
        last_dose_doubtful=doubtful,
        active=active,
        lapsed=lapsed,
        stopped_at=stopped_at,
        stop_reason=next((r.stop_reason for r in records if r.stop_reason), ""),
        last_exposure=exposure_end,
        breaks=tuple(
            b for b in breaks if not ends_course(b.end - b.start) and (start is None or b.start >= start)
        ),
        restarted_after=restarted,
        supply_until=supply_until,
        supply_ref=supply_ref,
        refs=tuple(dict.fromkeys(r.ref for r in records)),
        first_ever=dated[0].start if dated else None,
    )
