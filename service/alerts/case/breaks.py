"""Breaks in taking a drug: time that no record covers, and time that charts, supply or words show under an order that stayed active."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from itertools import pairwise

from msgspec import Struct

from service.alerts.case.charted import Chart
from service.alerts.case.exposure import (
    CARRIED_OUT,
    FOR_HOME,
    ORDER_NOT_GIVEN,
    Span,
    is_live,
    supplies_of,
)
from service.alerts.case.said import is_past
from service.alerts.facts.patient import Medication

#: Of a time that is only a date nobody knows more than that the day was over by then.
_A_DAY = timedelta(days=1)


class Break(Struct, frozen=True, gc=False):
    """Time without the drug inside or before the present course."""

    start: datetime
    end: datetime
    #: Seen from charts, supply or words while an order went on: nobody had to restart it.
    under_order: bool = False
    #: Estimated from supply that ran out.
    estimated: bool = False
    #: The record that shows when it began.
    ref: str = ""

    @property
    def hours(self) -> float:
        """Length in hours."""
        return (self.end - self.start).total_seconds() / 3600


def between(spans: list[Span]) -> list[Break]:
    """Gaps between spans ordered by start."""
    if len(spans) < 2:
        return []
    breaks: list[Break] = []
    covered_until: datetime | None = None
    for span in spans:
        if covered_until is not None and span.start is not None and span.start > covered_until:
            breaks.append(Break(covered_until, span.start))
        covered_until = span.end if covered_until is None else max(covered_until, span.end)
    return breaks


def observed(records: list[Medication], chart: Chart, as_of: datetime, shortest: timedelta) -> list[Break]:
    """Breaks of at least ``shortest`` that have ended, whatever was ordered meanwhile; in no order.

    Each begins with a known dose, supply that ran out or a word, and ends with the next dose, supply or word that the drug is taken.
    """
    # Of administrations there are many, of all else few.
    others = [r for r in records if r.role != "administration"]
    found: list[Break] = []
    if chart.given:
        found += _charted(chart, others, shortest)
    if any(r.role == "dispense" for r in others):
        found += _supplied(chart, others, as_of, shortest)
    words = [r for r in others if r.role == "statement" and r.not_taken]
    if words:
        found += [b for b in _said(words, chart, others, as_of) if b.end - b.start >= shortest]
    return found


def merged(breaks: Iterable[Break]) -> tuple[Break, ...]:
    """Oldest first; of breaks that overlap, two witnesses of one, the longer."""
    kept: list[Break] = []
    for b in sorted(breaks, key=lambda b: b.start):
        if kept and b.start < kept[-1].end:
            if b.end - b.start > kept[-1].end - kept[-1].start:
                kept[-1] = b
        else:
            kept.append(b)
    return tuple(kept)


def _charted(chart: Chart, others: list[Medication], shortest: timedelta) -> Iterator[Break]:
    """Between two charted doses, while nothing says that the chart was left: no order for home, supply or word in between.

    Single doses here and there are no chart that is kept: one is kept when entries led up to the gap or lie in it, and the dose after it is
    smaller than the one before where somebody began anew.
    """
    given = sorted([(r.start, r) for r in chart.given if r.start is not None], key=_at)
    gaps = [
        (before, dose, after, restart)
        for (before, dose), (after, restart) in pairwise(given)
        if after - before >= shortest
    ]
    if not gaps:
        return
    entries = sorted([r.start for r in chart.entries if r.start is not None])
    for before, dose, after, restart in gaps:
        # Of a dose whose hour is not known the day counts to its end.
        taken = before + _A_DAY if dose.start_date_only else before
        if after - taken < shortest:
            continue
        if bisect_left(chart.leaves, after) > bisect_right(chart.leaves, before):
            continue  # on leave, where nobody charts
        index = bisect_left(entries, before)
        led_up = index > 0 and before - entries[index - 1] <= chart.kept
        refused = bisect_left(entries, after) > bisect_right(entries, before)
        smaller = (
            dose.amount_mg is not None
            and restart.amount_mg is not None
            and restart.amount_mg < dose.amount_mg
        )
        if (led_up or refused or smaller) and not _left(others, before, after):
            yield Break(taken, after, under_order=True, ref=dose.ref)


def _at(found: tuple[datetime, Medication]) -> datetime:
    return found[0]


def _left(others: list[Medication], before: datetime, after: datetime) -> bool:
    """The chart may not have been kept between two of its doses: the patient was at home."""
    # What was written on the day of the restart belongs to it.
    restart = after.replace(hour=0, minute=0, second=0, microsecond=0)
    on_ward = any(r.setting == "inpatient" and _covers(r, before, after) for r in others)
    for r in others:
        began = (r.authored or r.start) if r.role == "statement" else r.start
        in_between = began is not None and before < began < restart
        match r.role:
            case "dispense":
                if in_between:
                    return True
            case "statement":
                if in_between and not r.not_taken and not r.stops and r.status in ("active", "intended"):
                    return True
            case "order":
                if r.setting == "inpatient" or r.intent in CARRIED_OUT or r.status in ORDER_NOT_GIVEN:
                    continue
                if on_ward and r.setting in FOR_HOME:
                    continue
                if in_between or (
                    r.setting in FOR_HOME and (_covers(r, before, after) or _is_of_day(r, before))
                ):
                    return True
    return False


def _covers(order: Medication, before: datetime, after: datetime) -> bool:
    return (
        order.role == "order"
        and order.status not in ORDER_NOT_GIVEN
        and order.start is not None
        and order.start <= before
        and (order.end is None or order.end >= after)
    )


def _is_of_day(order: Medication, moment: datetime) -> bool:
    return order.start is not None and order.start.astimezone(moment.tzinfo).date() == moment.date()


def _supplied(
    chart: Chart, others: list[Medication], as_of: datetime, shortest: timedelta
) -> Iterator[Break]:
    """Between the end of a supply and the next supply or charted dose, while nobody says that the drug is taken."""
    supplies = supplies_of(others, as_of)
    if not supplies:
        return
    statements = [r for r in others if r.role == "statement" and not r.not_taken]
    known = {id(r): until for r, until in supplies}
    events = [
        (r.start, r)
        for r in (*others, *chart.given)
        if r.start is not None and r.start <= as_of and r.role in ("dispense", "administration")
    ]
    until: datetime | None = None
    shown_by = ""
    for start, r in sorted(events, key=_at):
        if until is not None and start - until >= shortest and not _said_taken(statements, until, start):
            yield Break(until, start, under_order=True, estimated=True, ref=shown_by)
        lasts = known.get(id(r))
        if lasts is not None:
            if until is None or lasts > until:
                until, shown_by = lasts, r.ref
        elif r.role == "dispense" or (until is not None and start > until):
            # Supply of a length nobody knows, or a dose of a chart: what comes after it is not for this witness to tell.
            until = None


def _said_taken(statements: list[Medication], begin: datetime, end: datetime) -> bool:
    """A statement of the time, or one that holds on, says that the drug is taken."""
    return any(
        begin < (r.authored or r.start or end) < end
        or (is_live(r, end) and (r.start is None or r.start <= begin))
        for r in statements
    )


def _said(
    words: list[Medication], chart: Chart, others: list[Medication], as_of: datetime
) -> Iterator[Break]:
    """From a word that the drug is not taken to the first dose after it, or the first record of a later day that it is taken again."""
    given = [r.start for r in chart.given if r.start is not None]
    taken = [r.start for r in others if r.start is not None and r.start <= as_of and _resumes(r)]
    for word in words:
        if word.start is None or word.of_a_moment:
            continue
        said = max(word.start, word.authored or word.start)
        resumed = [at for at in given if at > word.start] + [at for at in taken if at > said]
        if word.end is not None and is_past(word, as_of):
            resumed.append(word.end)
        if resumed:
            yield Break(word.start, min(resumed), under_order=True, ref=word.ref)


def _resumes(r: Medication) -> bool:
    if r.not_taken or r.stops:
        return False
    match r.role:
        case "order":
            return r.status not in ORDER_NOT_GIVEN and r.intent not in CARRIED_OUT
        case "statement":
            return r.status in ("active", "intended")
    return r.role == "dispense"
