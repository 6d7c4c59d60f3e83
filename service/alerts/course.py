"""The course of clozapine treatment, reconstructed from orders, dispenses, administrations and statements (clinical.md 1.8, 2.2, 3.6).

No single record tells when a patient started or took the last dose, so the records are laid over each other as spans
of exposure; a break as long as the policy's restart limit ends a course.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Literal

from msgspec import Struct

from service.alerts.ending import Counting, Ending, endings_of
from service.alerts.exposure import (
    ADMINISTRATION_COVERS,
    NOT_ADMINISTERED,
    ORDER_LIVE,
    ORDER_NOT_GIVEN,
    Span,
    is_live,
    span_of,
    supplies_of,
)
from service.alerts.facts import Medication

Basis = Literal["administration", "withheld", "statement", "stop", "supply", "update", ""]

#: A chart with an entry this young is still kept.
_CHART_IS_KEPT = timedelta(days=2)
#: Intents of orders that carry out another one.
CARRIED_OUT = frozenset({"filler-order", "instance-order"})
#: Settings of orders for a patient who is not on a ward.
FOR_HOME = frozenset({"outpatient", "community", "discharge"})
_STATEMENT_STOPPED = frozenset({"stopped", "on-hold"})


class Break(Struct, frozen=True, gc=False):
    """Time without clozapine inside or before the present course."""

    start: datetime
    end: datetime

    @property
    def hours(self) -> float:
        """Length in hours."""
        return (self.end - self.start).total_seconds() / 3600


class Course(Struct, frozen=True, gc=False):
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
    #: What ended last names no end: ``stopped_at`` and ``last_exposure`` are then the latest one that the evidence allows.
    ending: Ending | None = None
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
        and r.status not in NOT_ADMINISTERED
        and not r.not_taken
    ]
    charted = [r for r in records if r.role == "administration" and r.start is not None and r.start <= as_of]
    last_supply, supply_until = max(
        supplies_of(records, as_of), key=lambda supply: supply[1], default=(None, None)
    )
    supply_ref = last_supply.ref if last_supply is not None else ""
    last_given = max(given, key=lambda r: r.start, default=None)  # type: ignore[arg-type,return-value]
    last_charted = max((r.start for r in charted if r.start is not None), default=None)
    live = [r for r in records if r.role in ("order", "statement") and is_live(r, as_of)]
    taking = [r for r in live if r.role == "statement"]
    ordered = [r for r in live if r.role == "order"]

    # A chart kept after the last supply was handed over is the better witness: it records what was given and what was not.
    # An order or a supply that began after the last chart entry means that the chart is no longer kept (discharge); not so an
    # order for the ward, or one that carries out another: the chart of the ward goes on.
    on_ward = any(r.setting == "inpatient" for r in ordered)
    superseded = [last_supply.start] if last_supply is not None and last_supply.start is not None else []
    superseded += [
        r.start
        for r in live
        if r.start is not None
        and r.setting != "inpatient"
        and not (on_ward and r.setting in FOR_HOME)
        and r.intent not in CARRIED_OUT
    ]
    # An order for home of the day of the last charted dose, written before or after it: the patient went home with it.
    home = (last_charted is not None and not on_ward) and any(
        r.setting in FOR_HOME
        and r.start is not None
        and r.start.astimezone(as_of.tzinfo).date() == last_charted.astimezone(as_of.tzinfo).date()
        for r in ordered
    )
    charted_no_more = last_charted is None or home or any(began > last_charted for began in superseded)
    if not charted_no_more:
        if last_given is not None:
            return (
                last_given.start,
                last_given.start_date_only,
                "administration",
                last_given.ref,
                supply_until,
                supply_ref,
            )
        first = min(charted, key=lambda r: r.start, default=None)  # type: ignore[arg-type,return-value]
        if first is not None and last_charted is not None and as_of - last_charted <= _CHART_IS_KEPT:
            # Withheld from the first entry on: the last dose was before it.
            return first.start, True, "withheld", first.ref, supply_until, supply_ref
    stated = _stated(records, as_of, live)
    if last_supply is not None and supply_until is not None and not taking and charted_no_more:
        # What is said of the time after the supply was handed over counts for more than tablets that may lie at home.
        stated = [w for w in stated if w[0] > (last_supply.start or w[0])]
        if not stated and supply_until < as_of:
            return supply_until, True, "supply", supply_ref, supply_until, supply_ref
        if not stated:
            return None, False, "", "", supply_until, supply_ref
    if not stated and not live:
        stated = [
            _end_of(r)
            for r in records
            if r.role in ("order", "statement")
            and r.end is not None
            and r.end <= as_of
            and r.status not in ORDER_NOT_GIVEN
        ]
    if stated:
        at, date_only, basis, ref = max(stated, key=lambda w: w[0])
        return at, date_only, basis, ref, supply_until, supply_ref
    return None, False, "", "", supply_until, supply_ref


def _end_of(record: Medication) -> tuple[datetime, bool, Basis, str]:
    assert record.end is not None
    basis: Basis = "stop" if record.role == "order" else "statement"
    return record.end, record.end_date_only, basis, record.ref


def _stated(
    records: list[Medication], as_of: datetime, live: list[Medication]
) -> list[tuple[datetime, bool, Basis, str]]:
    """(when, date only, basis, ref) of what says outright that the drug is not taken and that no later order or statement overtakes.

    A statement that it is not taken, or was stopped or put on hold on a day, whatever is still ordered; and an order that was stopped on a
    day when no other is live.
    """

    def holds(r: Medication, at: datetime) -> bool:
        said = max(at, r.authored or at) if r.role == "statement" else at
        for other in live:
            since = (other.authored or other.start) if other.role == "statement" else other.start
            if other.role == "statement" and (since is None or since >= said):
                return False
            if since is not None and since > said:
                return False
        return at <= as_of

    found: list[tuple[datetime, bool, Basis, str]] = []
    for r in records:
        if r.role == "statement" and r.not_taken:
            if r.start is not None and holds(r, r.start):
                found.append((r.start, r.start_date_only, "statement", r.ref))
        elif r.end is not None and holds(r, r.end):
            stopped = r.stops and not live and r.status not in ORDER_NOT_GIVEN
            if (r.role == "statement" and r.status in _STATEMENT_STOPPED) or (r.role == "order" and stopped):
                found.append(_end_of(r))
    return found


def _stay_is_over(records: list[Medication], as_of: datetime, last_dose: datetime) -> bool:
    """The order under which the last dose was charted was one for the ward and has ended, while an order for home runs on."""
    orders = [r for r in records if r.role == "order"]
    live = {r.setting for r in orders if is_live(r, as_of)}
    if "inpatient" in live or live.isdisjoint(FOR_HOME):
        return False
    return any(
        r.setting == "inpatient"
        and r.status not in ORDER_NOT_GIVEN
        and r.start is not None
        and r.start <= last_dose
        and (r.end is None or r.end >= last_dose - ADMINISTRATION_COVERS)
        for r in orders
    )


def course_of(
    records: Iterable[Medication],
    as_of: datetime,
    restart_after_days: float,
    *,
    limit_counts: bool = True,
    counting: Counting | None = None,
) -> Course:
    """Lay the clozapine records over each other.

    Args:
        records: every record of clozapine but the drafts of this call.
        as_of: the moment of the question (timezone-aware).
        restart_after_days: break in days from which a new course begins (policy ``interruption.new_course``).
        limit_counts: a break of exactly that length begins one, too (comparator ``>=``).
        counting: blood counts, which tell how long an order that ended without a date may have run on.
    """
    records = [r for r in records if r.status != "entered-in-error"]
    for r in records:
        if not _runs_on(r, as_of):
            break
    else:
        return _running(records, as_of) if records else Course()
    return _laid_over(records, as_of, timedelta(days=restart_after_days), limit_counts, counting)


def _runs_on(r: Medication, as_of: datetime) -> bool:
    """An active order that has begun and names no end."""
    return (
        r.role == "order"
        and r.status in ORDER_LIVE
        and r.end is None
        and (r.start is None or r.start <= as_of)
        and not r.stops
        and not r.not_taken
    )


def _running(records: list[Medication], as_of: datetime) -> Course:
    """The course of orders that all run on, the most usual record: without an end there are no breaks, and nothing tells the last dose."""
    first: datetime | None = None
    known = True
    for r in records:
        if r.start is None:
            known = False
        elif first is None or r.start < first:
            first = r.start
    return Course(
        start=first if known and first is not None and not _renews_unseen(records, first) else None,
        active=True,
        stop_reason=next((r.stop_reason for r in records if r.stop_reason), ""),
        last_exposure=as_of,
        refs=tuple(dict.fromkeys([r.ref for r in records])),
        first_ever=first,
    )


def _renews_unseen(records: list[Medication], start: datetime) -> bool:
    """The record that begins the course renews one that is not there: treatment began earlier than what we see."""
    first = next((r for r in records if r.start == start), None)
    if first is None or first.role != "order" or not first.replaces:
        return False
    return not {r.ref for r in records} & set(first.replaces)


def _laid_over(
    records: list[Medication],
    as_of: datetime,
    limit: timedelta,
    limit_counts: bool,
    counting: Counting | None = None,
) -> Course:
    """The course of any records."""
    endings = endings_of(records, as_of, counting)
    spans = [span for r in records if id(r) not in endings and (span := span_of(r, as_of)) is not None]
    last_dose, date_only, basis, dose_ref, supply_until, supply_ref = _last_dose(records, as_of)

    def ends_course(gap: timedelta) -> bool:
        return gap >= limit if limit_counts else gap > limit

    doubtful = (
        basis == "administration" and last_dose is not None and _stay_is_over(records, as_of, last_dose)
    )
    if doubtful and last_dose is not None and ends_course(as_of - last_dose):
        # No ward leaves a patient without an order for so long: the order for home is what tells.
        last_dose, date_only, basis, dose_ref, doubtful = None, False, "", "", False
    # An active order keeps the patient on clozapine even when the last charted dose is long ago: the chart may be one of an
    # earlier stay, and a patient whose order anybody can go on giving needs counts watched.
    active = any(is_live(r, as_of) for r in records) or (supply_until is not None and supply_until >= as_of)
    ended = max(endings.values(), key=lambda e: e.latest) if endings and not active else None
    newest = max(endings.values(), key=_begun) if ended is not None else None
    if newest is not None and (last_dose is None or _begun_after(newest, last_dose, basis, records)):
        # What is known of the time before it does not tell the last dose under an order that ended without a date.
        last_dose, date_only = newest.over_by, False
        basis, dose_ref = ("update", newest.ref) if last_dose is not None else ("", "")
    # Known doses cut exposure that is only presumed: an order left active after the last charted dose proves nothing.
    presumed = [Span(e.start, e.latest, e.ref) for e in endings.values()]
    known = spans if ended is not None else [*spans, *presumed]
    exposure_end = max((s.end for s in known), default=None)
    if exposure_end is not None and last_dose is not None:
        exposure_end = min(exposure_end, last_dose)
    if ended is not None and exposure_end is not None and ended.latest <= exposure_end:
        ended = None
    if ended is not None:
        exposure_end = ended.latest
    spans += presumed
    if exposure_end is None:
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
    breaks = _breaks(dated)
    long_breaks = [b for b in breaks if ends_course(b.end - b.start)]
    restarted = long_breaks[-1] if long_breaks else None
    start: datetime | None
    if restarted is not None:
        start = restarted.end
    else:
        start = None if open_left or not dated else dated[0].start
    if start is not None and restarted is None and _renews_unseen(records, start):
        start = None
    lapsed = last_dose is not None and ends_course(as_of - last_dose)
    stop = max(
        (r for r in records if r.end is not None and r.end <= as_of and r.role in ("order", "statement")),
        key=lambda r: r.end,  # type: ignore[arg-type,return-value]
        default=None,
    )
    stopped_at = (
        None if active else exposure_end if ended else last_dose or (stop.end if stop else exposure_end)
    )
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
        ending=ended,
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


def _begun(ending: Ending) -> float:
    return ending.start.timestamp() if ending.start is not None else float("-inf")


def _begun_after(ending: Ending, last_dose: datetime, basis: Basis, records: list[Medication]) -> bool:
    """A record began after the last dose known; one for home also on the day of the last charted dose: the patient went home with it."""
    if ending.start is None or ending.start > last_dose:
        return ending.start is not None
    if basis != "administration":
        return False
    home = any(r.ref == ending.ref and r.setting in FOR_HOME for r in records)
    return home and ending.start.date() == last_dose.astimezone(ending.start.tzinfo).date()
