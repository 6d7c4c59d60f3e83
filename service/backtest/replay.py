"""One partition: every patient, every moment that is asked about, every policy."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Literal

from msgspec import Struct

from service.alerts.facts.patient import CLOZAPINE, PatientSnapshot
from service.alerts.policy.history import in_force
from service.alerts.policy.policy import Policy
from service.backtest.chart import Chart, Order, Reading
from service.backtest.known import NOON
from service.backtest.partition import patients_in
from service.backtest.relevance import Products
from service.backtest.tally import Tally
from service.options.weighed import Weighed

At = Literal["order", "day"]


class Protocol(Struct, frozen=True):
    """What is compared: one policy, or with ``chain`` the one of several that was in force on the day."""

    label: str
    policy: Policy
    chain: tuple[Policy, ...] = ()

    def on(self, day: date) -> Policy | None:
        """The policy that applies on a day; None when none of the chain was in force."""
        if not self.chain:
            return self.policy
        return in_force(self.chain, day)


class Plan(Struct, frozen=True):
    """What is evaluated, and how."""

    protocols: tuple[Protocol, ...]
    reading: Reading
    products: Path
    at: At = "order"
    first: date | None = None
    last: date | None = None

    def covers(self, day: date) -> bool:
        """True when a day lies in the period."""
        return (self.first is None or day >= self.first) and (self.last is None or day <= self.last)


class Moment(Struct, frozen=True):
    """One question to the rules."""

    at: datetime
    hook: str
    orders: tuple[Order, ...] = ()


def replay(path: Path, plan: Plan) -> Tally:
    """Count what the rules would have said for the patients of one partition."""
    tally = Tally()
    products = Products(plan.products)
    try:
        for patient_id, lines in patients_in(path):
            try:
                chart = Chart(patient_id, lines, products, plan.reading, tally.faults)
                if chart.has_clozapine:
                    _replay_patient(chart, plan, tally)
            except Exception as fault:
                # One strange record must not cost the run of a night; it is named, not passed over.
                where = lines[0][0]
                tally.faults.add(
                    where, f"the record of this patient could not be replayed ({type(fault).__name__})"
                )
    finally:
        products.close()
    return tally


def _replay_patient(chart: Chart, plan: Plan, tally: Tally) -> None:
    before = tally.evaluations
    tally.patients += 1
    tally.undated_orders += chart.undated_orders
    tally.results += chart.results
    tally.slow_results += chart.slow_results
    for moment in _moments(chart, plan):
        snapshot = chart.at(moment.at, moment.hook, moment.orders)
        _ask(snapshot, moment, plan, tally)
    tally.evaluated_patients += tally.evaluations > before


def _moments(chart: Chart, plan: Plan) -> Iterator[Moment]:
    zone = plan.reading.site.zone
    if plan.at == "day":
        yield from _days(chart, plan)
        return
    for written, orders in groupby(chart.orders, key=lambda o: o.written):
        if plan.covers(written.astimezone(zone).date()):
            yield Moment(written, "order-sign", tuple(orders))


def _days(chart: Chart, plan: Plan) -> Iterator[Moment]:
    """Noon of every day from the first record of clozapine to the end of the period, or of the record."""
    zone = plan.reading.site.zone
    first, end = chart.first_clozapine, chart.last_entry
    if first is None or end is None:
        return
    day = first.astimezone(zone).date()
    last = plan.last or end.astimezone(zone).date()
    if chart.deceased is not None:
        last = min(last, chart.deceased.astimezone(zone).date())
    if plan.first is not None:
        day = max(day, plan.first)
    while day <= last:
        yield Moment(datetime(day.year, day.month, day.day, tzinfo=zone) + NOON, "patient-view")
        day += timedelta(days=1)


def _ask(snapshot: PatientSnapshot, moment: Moment, plan: Plan, tally: Tally) -> None:
    day = snapshot.day(moment.at)
    month = f"{day:%Y-%m}"
    count = len(moment.orders) or 1
    for protocol in plan.protocols:
        policy = protocol.on(day)
        asked = Weighed(
            snapshot,
            plan.reading.site,
            moment.at,
            policy=policy or protocol.policy,
            on_fault=lambda rule, _: tally.rule_faults.update([rule]),
        )
        # An order of clozapine always is the service's business; any other order, and a day, only while it is taken.
        if not (any(CLOZAPINE in o.draft.drugs for o in moment.orders) or asked.on_clozapine):
            continue
        if policy is None:
            tally.not_in_force[protocol.label] += count
            continue
        tally.evaluations += 1
        tally.add(protocol.label, month, count, asked.shown)
