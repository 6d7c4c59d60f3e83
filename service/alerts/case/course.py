"""The course of clozapine treatment, reconstructed from orders, dispenses, administrations and statements (clinical.md 1.8, 2.2, 3.6).

No single record tells when a patient started or took the last dose, so the records are laid over each other as spans
of exposure; a break as long as the policy's restart limit ends a course.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from msgspec import Struct

from service.alerts.case.breaks import Break, between, merged, observed
from service.alerts.case.charted import NO_CHART, chart_of, doubt_of
from service.alerts.case.ending import NO_RENEWALS, Ending, Renewing, endings_of
from service.alerts.case.exposure import (
    FOR_HOME,
    ORDER_LIVE,
    Span,
    is_live,
    span_of,
)
from service.alerts.case.last_dose import last_dose_of, says_nothing
from service.alerts.case.regular_counts import Counting
from service.alerts.case.supplied import stock_of
from service.alerts.case.witness import NOTHING_TELLS, Basis, Doubt, LastDose
from service.alerts.facts.patient import Medication
from service.alerts.facts.reason import Reason
from service.alerts.facts.record_text import NOTHING, RecordText
from service.alerts.policy.judge import begins_anew
from service.alerts.policy.parts.breaks import Interruption


class Course(Struct, frozen=True, gc=False):
    """The present (or last) course. ``start`` None: no record tells when it began."""

    start: datetime | None = None
    #: Last dose known or estimated to be taken; None when nothing tells.
    last_dose: datetime | None = None
    last_dose_date_only: bool = False
    last_dose_basis: Basis = ""
    last_dose_ref: str = ""
    #: It is only said that the drug is not taken: the last dose was then or earlier, nobody knows how much (``last_dose`` None: undated).
    last_dose_or_earlier: bool = False
    #: Why the last charted dose may not be the last one taken: nobody charts what is taken at home.
    last_dose_doubt: Doubt = ""
    #: A record covers today: an order or statement that is active, supply that lasts, a dose in the last day, an order just carried out.
    active: bool = False
    #: The last known dose lies beyond the restart limit, whatever is still ordered.
    lapsed: bool = False
    #: The treatment ended at this time (stopped order, statement's end) and nothing has followed.
    stopped_at: datetime | None = None
    stop_reason: RecordText | Reason = NOTHING
    #: What ended last names no end: ``stopped_at`` and ``last_exposure`` are then the latest one that the evidence allows.
    ending: Ending | None = None
    #: End of the last exposure of any kind (never after ``as_of``); None = no exposure on record.
    last_exposure: datetime | None = None
    #: Breaks inside the course shorter than the restart limit, oldest first.
    breaks: tuple[Break, ...] = ()
    #: A break as long as the restart limit lies just before this course.
    restarted_after: Break | None = None
    #: Time on treatment before that break, other breaks as long as the restart limit left out; None: not known.
    treated_before: timedelta | None = None
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


def course_of(
    records: Iterable[Medication],
    as_of: datetime,
    interruption: Interruption,
    *,
    shortest_break: timedelta,
    chart_kept: timedelta,
    counting: Counting | None = None,
    renewing: Renewing = NO_RENEWALS,
) -> Course:
    """Lay the clozapine records over each other.

    Args:
        records: every record of clozapine but the drafts of this call.
        as_of: the moment of the question (timezone-aware).
        interruption: what the policy says of breaks, above all from which length on a new course begins.
        shortest_break: shorter breaks under an order that stayed active are of no interest (policy ``shortest_break``).
        chart_kept: how young the newest entry of a chart is that is still kept (policy ``record.chart_kept_days``).
        counting: blood counts, which tell how long an order that ended without a date may have run on.
        renewing: how orders follow each other, for those that ended without a date.
    """
    records = [r for r in records if r.status != "entered-in-error"]
    for r in records:
        if not _runs_on(r, as_of):
            break
    else:
        return _running(records, as_of) if records else Course()
    endings = endings_of(records, as_of, counting, renewing)
    spans = [span for r in records if id(r) not in endings and (span := span_of(r, as_of)) is not None]
    quiet = says_nothing(records)
    stock = None if quiet else stock_of(records, as_of)
    chart = NO_CHART if quiet else chart_of(records, as_of, chart_kept)
    last = NOTHING_TELLS if quiet else last_dose_of(records, chart, stock, as_of)

    def ends_course(last: datetime, first: datetime) -> bool:
        # The limit counts calendar days, in the site's time zone.
        days = first.astimezone(as_of.tzinfo).date() - last.astimezone(as_of.tzinfo).date()
        return begins_anew(interruption, days.days)

    doubt = doubt_of(chart, records, stock, last, as_of)
    if doubt and last.at is not None and ends_course(last.at, as_of):
        # No ward leaves a patient without an order for so long: the order for home is what tells.
        last, doubt = NOTHING_TELLS, ""
    supply_until = stock.until if stock is not None else None
    supply_ref = stock.ref if stock is not None else ""
    # An active order keeps the patient on clozapine even when the last charted dose is long ago: the chart may be one of an
    # earlier stay, and a patient whose order anybody can go on giving needs counts watched.
    active = any(is_live(r, as_of) for r in records) or (supply_until is not None and supply_until >= as_of)
    # Of several that may have run on till the same time the one that began last tells.
    ended = (
        max(endings.values(), key=lambda e: (e.latest, e.between, _begun(e)))
        if endings and not active
        else None
    )
    newest = max(endings.values(), key=_begun) if ended is not None else None
    if newest is not None and (last.at is None or _begun_after(newest, last.at, last.basis, records)):
        # What is known of the time before it does not tell the last dose under an order that ended without a date.
        last = _last_under(newest, as_of, renewing)
    # Known doses cut exposure that is only presumed: an order left active after the last charted dose proves nothing.
    presumed = [Span(e.start, e.latest, e.ref) for e in endings.values()]
    known = spans if ended is not None else [*spans, *presumed]
    exposure_end = max((s.end for s in known), default=None)
    if exposure_end is not None and last.at is not None:
        exposure_end = min(exposure_end, last.at)
    if ended is not None and exposure_end is not None and ended.latest <= exposure_end:
        ended = None
    if ended is not None:
        exposure_end = ended.latest
        active = ended.between
    spans += presumed
    if exposure_end is None:
        return Course(
            last_dose=last.at,
            last_dose_date_only=last.date_only,
            last_dose_basis=last.basis,
            last_dose_ref=last.ref,
            last_dose_or_earlier=last.or_earlier,
            supply_until=supply_until,
            supply_ref=supply_ref,
        )
    open_left = [s for s in spans if s.start is None]
    dated = sorted((s for s in spans if s.start is not None), key=lambda s: (s.start, s.end))
    seen = [] if quiet else observed(records, chart, as_of, shortest_break)
    breaks = merged([*between(dated), *seen])
    long_breaks = [b for b in breaks if ends_course(b.start, b.end)]
    restarted = long_breaks[-1] if long_breaks else None
    start: datetime | None
    if restarted is not None:
        start = restarted.end
    else:
        start = None if open_left or not dated else dated[0].start
    if start is not None and restarted is None and _renews_unseen(records, start):
        start = None
    lapsed = last.at is not None and ends_course(last.at, as_of)
    stop = max(
        (r for r in records if r.end is not None and r.end <= as_of and r.role in ("order", "statement")),
        key=lambda r: r.end,  # type: ignore[arg-type,return-value]
        default=None,
    )
    stopped_at = (
        None if active else exposure_end if ended else last.at or (stop.end if stop else exposure_end)
    )
    return Course(
        start=start,
        last_dose=last.at,
        last_dose_date_only=last.date_only,
        last_dose_basis=last.basis,
        last_dose_ref=last.ref,
        last_dose_or_earlier=last.or_earlier,
        last_dose_doubt=doubt,
        active=active,
        lapsed=lapsed,
        stopped_at=stopped_at,
        stop_reason=next((r.stopped_because for r in records if r.stopped_because), NOTHING),
        ending=ended,
        last_exposure=exposure_end,
        breaks=tuple(
            b for b in breaks if not ends_course(b.start, b.end) and (start is None or b.start >= start)
        ),
        restarted_after=restarted,
        treated_before=_treated(long_breaks, dated[0].start)
        if long_breaks and dated and not open_left
        else None,
        supply_until=supply_until,
        supply_ref=supply_ref,
        refs=tuple(dict.fromkeys(r.ref for r in records)),
        first_ever=dated[0].start if dated else None,
    )


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
        stop_reason=next((r.stopped_because for r in records if r.stopped_because), NOTHING),
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


def _treated(long_breaks: list[Break], first: datetime | None) -> timedelta | None:
    """Time from the first record to the last of the breaks, without the breaks before it."""
    if first is None:
        return None
    off = sum((b.end - b.start for b in long_breaks[:-1]), timedelta())
    return long_breaks[-1].start - first - off


def _last_under(ending: Ending, as_of: datetime, renewing: Renewing) -> LastDose:
    """The last dose under an order that ended without a date: by its last change, else at the time when its renewal was due, while that is near."""
    if ending.over_by is not None:
        return LastDose(ending.over_by, basis="update", ref=ending.ref)
    if ending.carried_out and ending.due is not None and as_of <= ending.due + renewing.in_time:
        return LastDose(min(ending.due, as_of), basis="rhythm", ref=ending.ref)
    return NOTHING_TELLS


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
