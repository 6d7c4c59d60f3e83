"""The chart as a witness of the last dose: what was given on a ward, what was withheld, and until when the chart was kept."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from msgspec import Struct

from service.alerts.exposure import CARRIED_OUT, FOR_HOME, NOT_ADMINISTERED
from service.alerts.facts import Medication
from service.alerts.witness import NOTHING_TELLS, LastDose

#: A chart with an entry this young is still kept.
IS_KEPT = timedelta(days=2)


class Chart(Struct, frozen=True, gc=False):
    """The entries of a chart up to a moment, in the order of the record."""

    entries: tuple[Medication, ...]
    #: Those of doses that were given.
    given: tuple[Medication, ...]

    @property
    def last_entry(self) -> datetime | None:
        """Time of the newest entry, given or not."""
        return max((r.start for r in self.entries if r.start is not None), default=None)


NO_CHART = Chart((), ())


def was_charted_as_given(record: Medication) -> bool:
    """An administration that took place."""
    return record.role == "administration" and record.status not in NOT_ADMINISTERED and not record.not_taken


def chart_of(records: Iterable[Medication], as_of: datetime) -> Chart:
    """The chart among the records of one drug."""
    entries = tuple(
        r for r in records if r.role == "administration" and r.start is not None and r.start <= as_of
    )
    return Chart(entries, tuple(r for r in entries if was_charted_as_given(r)))


def is_kept(chart: Chart, live: list[Medication], supplied_at: datetime | None, as_of: datetime) -> bool:
    """A chart kept after the last supply was handed over is the better witness: it records what was given and what was not.

    An order or a supply that began after the last entry means that the chart is no longer kept (discharge); not so an order for the ward,
    or one that carries out another: the chart of the ward goes on.

    Args:
        chart: the entries up to ``as_of``.
        live: orders and statements that hold at ``as_of``.
        supplied_at: when supply was handed over last.
        as_of: the moment of the question.
    """
    last_entry = chart.last_entry
    if last_entry is None:
        return False
    ordered = [r for r in live if r.role == "order"]
    on_ward = any(r.setting == "inpatient" for r in ordered)
    superseded = [supplied_at] if supplied_at is not None else []
    superseded += [
        r.start
        for r in live
        if r.start is not None
        and r.setting != "inpatient"
        and not (on_ward and r.setting in FOR_HOME)
        and r.intent not in CARRIED_OUT
    ]
    if any(began > last_entry for began in superseded):
        return False
    # An order for home of the day of the last charted dose, written before or after it: the patient went home with it.
    day = last_entry.astimezone(as_of.tzinfo).date()
    return on_ward or not any(
        r.setting in FOR_HOME and r.start is not None and r.start.astimezone(as_of.tzinfo).date() == day
        for r in ordered
    )


def charted_last_dose(chart: Chart, as_of: datetime) -> LastDose:
    """The last dose by a chart that is kept; withheld from the first entry on, it was before that."""
    last_given = max(chart.given, key=_begun, default=None)
    if last_given is not None:
        return LastDose(last_given.start, last_given.start_date_only, "administration", last_given.ref)
    last_entry = chart.last_entry
    if last_entry is None or as_of - last_entry > IS_KEPT:
        return NOTHING_TELLS
    first = min(chart.entries, key=_begun)
    return LastDose(first.start, True, "withheld", first.ref)


def _begun(record: Medication) -> datetime:
    assert record.start is not None
    return record.start
