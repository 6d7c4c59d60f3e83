"""How much clozapine a patient takes, as a question about one patient sees it: drafted, ordered, charted, reached."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta

from service.alerts.case.charted import chart_of
from service.alerts.case.charted_dose import largest, most_in_a_day
from service.alerts.case.exposure import (
    ADMINISTRATION_COVERS,
    CARRIED_OUT,
    FOR_HOME,
    is_live,
    was_given,
)
from service.alerts.case.next_dose import Planned, next_dose_of
from service.alerts.case.returning import Restarted, Return, restarted_of, return_of
from service.alerts.case.treatment import Treatment
from service.alerts.facts.lazy import lazy
from service.alerts.facts.patient import Dose, Medication

#: A last dose that somebody saw or stated, not the end of a supply or of an order.
_TO_THE_HOUR = frozenset({"administration", "statement"})


class Doses(Treatment):
    """Doses of clozapine beside its orders and records."""

    @lazy
    def drafted_mg_per_day(self) -> float | None:
        """Daily dose of all clozapine drafts of the call together, mg; None when any is unreadable or there is none."""
        return _summed(self.clozapine_drafts)

    @lazy
    def established_regimen(self) -> Medication | None:
        """The clozapine record that tells the dose the patient was on before this call."""
        dosed = [
            m
            for m in self.clozapine_records
            if m.dose is not None and m.dose.mg_per_day and was_given(m, self.as_of)
        ]
        if not dosed:
            return None
        live = [m for m in dosed if m.role in ("order", "statement") and is_live(m, self.as_of)]
        pool = live or [m for m in dosed if m.role in ("order", "statement")] or dosed
        return max(
            pool, key=lambda m: m.start or m.authored or datetime.min.replace(tzinfo=self.as_of.tzinfo)
        )

    @lazy
    def hours_between_doses(self) -> float:
        """Hours between two doses of the established regimen: 24 h / doses per day; a day where nobody knows."""
        regimen = self.established_regimen
        per_day = regimen.dose.doses_per_day if regimen is not None and regimen.dose is not None else None
        return 24 / per_day if per_day else 24.0

    @lazy
    def next_dose(self) -> Planned:
        """The next planned dose, as far as the last one is known to the hour; else now, or when the draft begins."""
        course = self.course
        to_the_hour = course.last_dose_basis in _TO_THE_HOUR and not course.last_dose_date_only
        if course.last_dose is None or not to_the_hour or course.last_dose_or_earlier:
            return Planned(self._begins, "draft" if self._begins > self.as_of else "now")
        return next_dose_of(
            self.clozapine_drafts,
            self.running_orders,
            self.charted,
            course.last_dose.astimezone(self.snapshot.zone),
            self.as_of,
            self.policy.dose_times,
        )

    @lazy
    def hours_without(self) -> float | None:
        """Hours from the last dose known taken to the next planned one; None when no dose is known."""
        last = self.course.last_dose
        return None if last is None else (self.next_dose.at - last).total_seconds() / 3600

    @lazy
    def running_orders(self) -> tuple[Medication, ...]:
        """Live clozapine orders that together make the daily dose: each treatment once.

        Left out are the order that a live one renews (linked, or the same dose written again later), an order that only carries out
        a live one, and the orders for home while the patient has one for the ward.
        """
        live = [m for m in self.clozapine_records if m.role == "order" and is_live(m, self.as_of)]
        if len(live) < 2:
            return tuple(live)
        refs = {m.ref for m in live}
        live = [m for m in live if m.intent not in CARRIED_OUT or refs.isdisjoint(m.replaces)]
        renewed = {ref for m in live if m.intent not in CARRIED_OUT for ref in m.replaces}
        on_ward = any(m.setting == "inpatient" for m in live)
        written_last: dict[tuple[object, ...], date] = {}
        for m in live:
            if m.start is not None and m.dose is not None:
                day, regimen = self.snapshot.day(m.start), _regimen(m.dose)
                written_last[regimen] = max(day, written_last.get(regimen, day))
        return tuple(
            m
            for m in live
            if m.ref not in renewed
            and not (on_ward and m.setting in FOR_HOME)
            and not self._written_again(m, written_last)
        )

    def _written_again(self, order: Medication, written_last: Mapping[tuple[object, ...], date]) -> bool:
        """The same dose was written again, long enough afterwards to be a renewal."""
        if order.start is None or order.dose is None:
            return False
        apart = (written_last[_regimen(order.dose)] - self.snapshot.day(order.start)).days
        return apart > self.policy.dosing.renewal_after_days.value

    @lazy
    def established_mg_per_day(self) -> float | None:
        """Daily dose the patient was on, mg: of a return after a gap what was reached, else what is ordered, else what was charted last."""
        if self.returning is not None:
            return self.returning.reached
        ordered = self.ordered_mg_per_day
        given = self._given_instead(ordered) if ordered is not None and self.running_orders else None
        return ordered if given is None else given

    def _given_instead(self, ordered: float) -> float | None:
        """What the chart of the last week shows to be given in place of a higher dose that is ordered, mg per day; None when it does not.

        Only a chart that is kept, over days that the orders cover unchanged, and by smaller doses: of doses as ordered some may be refused or
        not charted.
        """
        if not self.charted or any(m.dose is None or m.dose.steps for m in self.running_orders):
            return None
        week = [r for r in self.charted if r.start and self.as_of - r.start <= self.policy.dose_charted]
        days = [r.start for r in week if r.start]
        least = timedelta(days=self.policy.record.dose_charted_least_days.value)
        if not days or self.as_of - max(days) > self.policy.chart_kept or max(days) - min(days) < least:
            return None
        if any(m.start is None or m.start > min(days) for m in self.running_orders):
            return None
        given, single = most_in_a_day(week), largest(week)
        of_order = max((m.dose.largest_single_mg or 0.0 for m in self.running_orders if m.dose), default=0.0)
        return given if given is not None and given < ordered and single and single < of_order else None

    @lazy
    def ordered_mg_per_day(self) -> float | None:
        """Daily dose by running orders together (of a titration today's step), else by the last known regimen or the chart, mg."""
        doses = [self._mg_in_force(m) for m in self.running_orders]
        if doses and None not in doses:
            return sum(d for d in doses if d is not None)
        regimen = self.established_regimen
        if regimen is None or (not is_live(regimen, self.as_of) and self._charted_since(regimen)):
            return self._charted_mg_per_day
        return self._mg_in_force(regimen)

    def _charted_since(self, regimen: Medication) -> bool:
        """Doses were charted after a regimen that is over, so they tell more than it does."""
        last, over = max((r.start for r in self.charted if r.start), default=None), regimen.end
        return last is not None and over is not None and last > over + ADMINISTRATION_COVERS

    @lazy
    def charted(self) -> tuple[Medication, ...]:
        """Charted doses of clozapine that were given."""
        return chart_of(self.clozapine_records, self.as_of, self.policy.chart_kept).given

    @lazy
    def _charted_mg_per_day(self) -> float | None:
        """The most given within a day of the last two that were charted, mg."""
        last = max((r.start for r in self.charted if r.start), default=None)
        if last is None:
            return None
        latest = timedelta(days=self.policy.record.last_charted_days.value)
        return most_in_a_day([r for r in self.charted if r.start and last - r.start < latest])

    @lazy
    def returning(self) -> Return | None:
        """Clozapine is taken again after a gap that calls for a new titration, and the dose before it has not been reached."""
        course = self.course
        breaks = course.breaks if course.restarted_after is None else (course.restarted_after, *course.breaks)
        if not breaks or not (self.charted or self.restarted is not None):
            return None
        return return_of(
            breaks,
            self.charted,
            self.policy.retitrated_gaps,
            self.policy.dose_charted,
            between_doses=self.hours_between_doses,
            ordered=self._ordered_before,
            restarted=self.restarted,
            not_before=self.as_of - timedelta(days=self.policy.dosing.early_days.value),
        )

    def _ordered_before(self, at: datetime) -> tuple[float | None, float | None]:
        """(mg per day, largest single dose) of the orders that were in force at a time, else of those of today."""
        regimen = [m for m in self._regimen_before(at) if m.dose is not None]
        if not regimen:
            regimen = [m for m in self.running_orders if m.dose is not None]
        singles = [m.dose.largest_single_mg for m in regimen if m.dose is not None]
        return (
            self.mg_per_day_before(at) or self.ordered_mg_per_day,
            max((mg for mg in singles if mg is not None), default=None),
        )

    @lazy
    def restarted(self) -> Restarted | None:
        """A restart dose ordered beside the older order, which nobody ended."""
        return self._restarted([m for m in self._going_on if m.intent not in CARRIED_OUT])

    @lazy
    def restarted_by_draft(self) -> Restarted | None:
        """The same, drafted in this call."""
        return self._restarted(list(self.clozapine_drafts)) if len(self.clozapine_drafts) == 1 else None

    def _restarted(self, orders: list[Medication]) -> Restarted | None:
        dosing = self.policy.dosing
        return restarted_of(
            orders,
            self._going_on,
            self.as_of,
            single=dosing.restart_single.value,
            first_day=dosing.first_day_maximum.value,
            rise=dosing.early_rise_maximum.value,
            within=timedelta(days=dosing.early_days.value),
        )

    @lazy
    def _going_on(self) -> tuple[Medication, ...]:
        """Clozapine orders that run on and that no order of this call ends or replaces."""
        ended = {ref for d in self.drafts for ref in (d.ref, *d.replaces)}
        return tuple(
            [
                m
                for m in self.clozapine_records
                if m.role == "order" and is_live(m, self.as_of) and m.ref not in ended
            ]
        )

    def _mg_in_force(self, order: Medication, at: datetime | None = None) -> float | None:
        """Daily dose of an order at a time (else when the last dose was taken), mg: of a titration that day's step, not the highest to come."""
        dose = order.dose
        began = order.start or order.authored
        if dose is None or not dose.steps or began is None:
            return dose.mg_per_day if dose is not None else None
        last = at or self.course.last_dose or self.as_of
        moment = min(last, order.end or self.as_of, self.as_of)
        day = (self.snapshot.day(moment) - self.snapshot.day(began)).days
        reached = [s for s in dose.steps if s.first_day <= day] or dose.steps[:1]
        return max(reached, key=lambda s: s.first_day).mg_per_day

    def mg_per_day_before(self, at: datetime) -> float | None:
        """Daily dose of clozapine just before a time, mg; None when no readable record tells."""
        if at not in self._mg_before:
            doses = [self._mg_in_force(m, at - timedelta(seconds=1)) for m in self._regimen_before(at)]
            read = [d for d in doses if d is not None]
            self._mg_before[at] = sum(read) if read and len(read) == len(doses) else None
        return self._mg_before[at]

    @lazy
    def _mg_before(self) -> dict[datetime, float | None]:
        """Doses before a time, as far as a rule has asked."""
        return {}

    def _regimen_before(self, at: datetime) -> list[Medication]:
        """The records that tell the dose just before a time.

        Of several regimens the one that began last counts (its orders of one day together), so that a higher dose of years
        ago, or an order nobody closed, does not.
        """
        for given in self._given_by_role:
            first = end = bisect_left(given, at, key=_first)
            if not end:
                continue
            last = self.snapshot.day(given[end - 1][0])
            while first and self.snapshot.day(given[first - 1][0]) == last:
                first -= 1
            return [m for _, m in given[first:end]]
        return []

    @lazy
    def _given_by_role(self) -> tuple[list[tuple[datetime, Medication]], ...]:
        """Records with a dose that was given, in the order in which they began: orders, statements, all."""
        given = [
            (began, m)
            for m in self.clozapine_records
            if m.dose is not None
            and (began := m.start or m.authored) is not None
            and was_given(m, self.as_of)
        ]
        given.sort(key=_first)
        return (
            [g for g in given if g[1].role == "order"],
            [g for g in given if g[1].role == "statement"],
            given,
        )

    @lazy
    def current_mg_per_day(self) -> float | None:
        """Daily dose that applies after this call: the drafts', else the established one."""
        return self.drafted_mg_per_day if self.clozapine_drafts else self.established_mg_per_day


def _first(given: tuple[datetime, Medication]) -> datetime:
    return given[0]


def _regimen(dose: Dose) -> tuple[object, ...]:
    """What two orders of the same dose have in common, however they are worded."""
    return dose.mg_per_day, dose.doses_per_day, dose.bedtime, dose.steps


def _summed(orders: Iterable[Medication]) -> float | None:
    """Doses together in mg per day; None without orders or when one is unreadable."""
    total = 0.0
    some = False
    for order in orders:
        if order.dose is None or order.dose.mg_per_day is None:
            return None
        some = True
        total += order.dose.mg_per_day
    return total if some else None
