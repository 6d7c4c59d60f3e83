"""The chart as a witness of the last dose: what was given on a ward, what was withheld, and until when the chart was kept."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from msgspec import Struct

from service.alerts.case.exposure import (
    ADMINISTRATION_COVERS,
    CARRIED_OUT,
    FOR_HOME,
    NOT_ADMINISTERED,
    ORDER_NOT_GIVEN,
    is_live,
)
from service.alerts.case.supplied import Stock
from service.alerts.case.witness import NOTHING_TELLS, Doubt, LastDose
from service.alerts.facts.patient import Medication


class Chart(Struct, frozen=True, gc=False):
    """The entries of a chart up to a moment, in the order of the record."""

    entries: tuple[Medication, ...]
    #: Those of doses that were given.
    given: tuple[Medication, ...]
    #: When the patient was charted as being on leave, oldest first.
    leaves: tuple[datetime, ...] = ()
    #: With an entry this young it is still kept (policy ``record.chart_kept_days``).
    kept: timedelta = timedelta(0)

    @property
    def last_entry(self) -> datetime | None:
        """Time of the newest entry, given or not."""
        return max((r.start for r in self.entries if r.start is not None), default=None)

    @property
    def ends_with_a_dose(self) -> bool:
        """The newest entry is that of a dose that was given."""
        last = self.last_entry
        return last is not None and any(r.start == last for r in self.given)

    @property
    def is_led_up(self) -> bool:
        """Entries led up to the newest one: a single dose in an emergency department or a clinic is no chart that is kept."""
        times = sorted(r.start for r in self.entries if r.start is not None)
        return len(times) > 1 and times[-1] - times[-2] <= self.kept


NO_CHART = Chart((), ())


def was_charted_as_given(record: Medication) -> bool:
    """An administration that took place."""
    return record.role == "administration" and record.status not in NOT_ADMINISTERED and not record.not_taken


def chart_of(records: Iterable[Medication], as_of: datetime, kept: timedelta) -> Chart:
    """The chart among the records of one drug; what it says of days on leave is no entry, nobody sees what is taken there.

    Args:
        records: every record of the drug.
        as_of: the moment of the question.
        kept: how young the newest entry of a chart is that is still kept (policy ``record.chart_kept_days``).
    """
    charted = [r for r in records if r.role == "administration" and r.start is not None and r.start <= as_of]
    entries = tuple(r for r in charted if not r.on_leave)
    leaves = tuple(sorted(r.start for r in charted if r.on_leave and r.start is not None))
    return Chart(entries, tuple(r for r in entries if was_charted_as_given(r)), leaves, kept)


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
    # A dose that was not given just now was charted on a ward: an order that only changes another one sends nobody home from there.
    withheld_lately = not chart.ends_with_a_dose and as_of - last_entry <= chart.kept
    superseded = [supplied_at] if supplied_at is not None else []
    superseded += [
        r.start
        for r in live
        if r.start is not None
        and r.setting != "inpatient"
        and not (on_ward and r.setting in FOR_HOME)
        and r.intent not in CARRIED_OUT
        and not (withheld_lately and r.replaces and not r.setting)
    ]
    if any(began > last_entry for began in superseded):
        return False
    # An order for home of the day of the last charted dose, written before or after it: the patient went home with it.
    day = last_entry.astimezone(as_of.tzinfo).date()
    return on_ward or not any(
        r.setting in FOR_HOME and r.start is not None and r.start.astimezone(as_of.tzinfo).date() == day
        for r in ordered
    )


def is_left_for_home(
    chart: Chart, records: Iterable[Medication], live: list[Medication], stock: Stock | None, as_of: datetime
) -> bool:
    """The chart ends with a dose that was given, and has no newer entry because the patient is at home, with tablets or an order for there.

    Of a stay that is known to be over while supply lasts; and of a single dose, charted in an emergency department or a clinic, of a
    patient who has supply, or an order for home and none for a ward. Never while an order for the ward runs.
    """
    last_entry = chart.last_entry
    if last_entry is None or as_of - last_entry <= chart.kept or not chart.ends_with_a_dose:
        return False
    if any(r.setting == "inpatient" for r in live):
        return False
    lasts = stock is not None and stock.until >= as_of
    orders = [r for r in records if r.role == "order"]
    if not chart.is_led_up:
        at_home = any(r.setting in FOR_HOME for r in live if r.role == "order")
        return lasts or (at_home and not any(r.setting == "inpatient" for r in orders))
    return lasts and any(r.role == "order" for r in live) and _was_of_a_stay(orders, last_entry)


def _was_of_a_stay(orders: Iterable[Medication], dose: datetime) -> bool:
    """A dose was charted under an order for the ward."""
    return any(
        r.setting == "inpatient"
        and r.status not in ORDER_NOT_GIVEN
        and r.start is not None
        and r.start <= dose
        and (r.end is None or r.end >= dose - ADMINISTRATION_COVERS)
        for r in orders
    )


def _stay_is_over(records: Iterable[Medication], as_of: datetime, last_dose: datetime) -> bool:
    """The order under which the last dose was charted was one for the ward and has ended, while an order for home runs on."""
    orders = [r for r in records if r.role == "order"]
    live = {r.setting for r in orders if is_live(r, as_of)}
    if "inpatient" in live or live.isdisjoint(FOR_HOME):
        return False
    return _was_of_a_stay(orders, last_dose)


def doubt_of(
    chart: Chart, records: list[Medication], stock: Stock | None, last: LastDose, as_of: datetime
) -> Doubt:
    """Why the last charted dose may not be the last one taken; none where the chart goes on to say that doses were not given."""
    if last.basis != "administration" or last.at is None:
        return ""
    if _stay_is_over(records, as_of, last.at):
        return "home"
    if not chart.ends_with_a_dose:
        return ""
    if chart.leaves and chart.leaves[-1] > last.at:
        return "leave"
    on_ward = any(r.role == "order" and r.setting == "inpatient" and is_live(r, as_of) for r in records)
    is_old = as_of - last.at > chart.kept
    return "supply" if is_old and not on_ward and stock is not None and stock.until >= as_of else ""


def charted_last_dose(chart: Chart, as_of: datetime) -> LastDose:
    """The last dose by a chart that is kept; withheld from the first entry on, it was before that."""
    last_given = max(chart.given, key=_begun, default=None)
    if last_given is not None:
        return LastDose(last_given.start, last_given.start_date_only, "administration", last_given.ref)
    last_entry = chart.last_entry
    if last_entry is None or as_of - last_entry > chart.kept:
        return NOTHING_TELLS
    first = min(chart.entries, key=_begun)
    return LastDose(first.start, True, "withheld", first.ref)


def _begun(record: Medication) -> datetime:
    assert record.start is not None
    return record.start
