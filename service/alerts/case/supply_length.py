"""How long supply lasts that was handed over without saying for how many days: the amount by the daily dose (clinical.md 2.2)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta, tzinfo

from msgspec.structs import replace

from service.alerts.case.exposure import ORDER_NOT_GIVEN
from service.alerts.facts.patient import Dose, Medication

#: An order may be dated by the day, and is often written when its first supply is handed over.
_SAME_DAY = timedelta(days=1)


#: Days; no life has more, and no calendar can count with them. A technical bound.
LONGEST_SUPPLY = 36_525.0


def lasts(amount_mg: float | None, dose: Dose | None) -> float | None:
    """Days that an amount lasts; None when either is not known, of a titration and of doses as needed: they use less than the dose says."""
    if amount_mg is None or amount_mg <= 0 or dose is None or not dose.mg_per_day:
        return None
    # On days of different doses the mean tells how fast the supply is used.
    a_day = dose.mean_mg_per_day or dose.mg_per_day
    days = amount_mg / a_day
    return None if dose.steps or dose.as_needed or days > LONGEST_SUPPLY else days


def with_lengths(
    records: Iterable[Medication], drafts: Iterable[Medication], zone: tzinfo
) -> tuple[Medication, ...]:
    """The records, dispenses with the days they last where an order or their own instruction tells.

    The dose is that of the order the dispense fills, else of its own instruction, else of the one order that can be meant. What none of
    them tells is not known.

    Args:
        records: every medication record of the patient.
        drafts: the orders of the call: the one a dispense fills may be among them alone (medication-verify).
        zone: the site's time zone; products handed over on one day for one order are used together.
    """
    found = tuple(records)
    unknown = [
        r for r in found if r.role == "dispense" and not r.days_supply and r.amount_mg and r.start is not None
    ]
    if not unknown:
        return found
    orders = {r.ref: r for r in (*drafts, *found) if r.role in ("order", "draft") and r.ref}
    on_record = [r for r in found if r.role == "order" and r.status not in ORDER_NOT_GIVEN]
    # Products of one day for one order, by what they are called: two strengths make one dose.
    together: dict[tuple[tuple[str, ...], date], dict[str, float]] = {}
    filled = {id(r): _filled(r, orders, on_record) for r in unknown}
    for r in unknown:
        if filled[id(r)]:
            of_day = together.setdefault(_key(filled[id(r)], r, zone), {})
            of_day[r.label] = of_day.get(r.label, 0.0) + (r.amount_mg or 0.0)
    return tuple(
        replace(r, days_supply=days)
        if id(r) in filled and (days := _length(r, filled[id(r)], together, zone)) is not None
        else r
        for r in found
    )


_Day = dict[tuple[tuple[str, ...], date], dict[str, float]]


def _length(r: Medication, orders: tuple[Medication, ...], together: _Day, zone: tzinfo) -> float | None:
    if not orders:
        return lasts(r.amount_mg, r.dose)
    doses = {order.dose.mg_per_day if order.dose is not None else None for order in orders}
    if len(doses) != 1:
        return lasts(r.amount_mg, r.dose)
    # Another product of the day is used beside this one; of the same product the second part comes after the first (``supplies_of``).
    of_day = together[_key(orders, r, zone)]
    beside = sum(mg for label, mg in of_day.items() if label != r.label)
    return lasts((r.amount_mg or 0.0) + beside, orders[0].dose) or lasts(r.amount_mg, r.dose)


def _key(orders: tuple[Medication, ...], r: Medication, zone: tzinfo) -> tuple[tuple[str, ...], date]:
    assert r.start is not None
    return tuple(sorted(o.ref for o in orders)), r.start.astimezone(zone).date()


def _filled(
    r: Medication, orders: dict[str, Medication], on_record: list[Medication]
) -> tuple[Medication, ...]:
    """The order that a dispense fills; without a link and an instruction of its own, the order (or orders of one dose) in force then."""
    linked = tuple(orders[ref] for ref in r.fills if ref in orders)
    if linked or r.dose is not None:
        return linked
    assert r.start is not None
    return tuple(o for o in on_record if set(o.drugs) & set(r.drugs) and _was_in_force(o, r.start))


def _was_in_force(order: Medication, at: datetime) -> bool:
    return (order.start is None or order.start <= at + _SAME_DAY) and (
        order.end is None or order.end + _SAME_DAY >= at
    )
