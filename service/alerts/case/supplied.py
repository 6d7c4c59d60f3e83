"""Supply as a witness of the last dose: when what was handed over runs out."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct

from service.alerts.case.exposure import supplies_of
from service.alerts.case.witness import NOTHING_TELLS, LastDose
from service.alerts.facts.patient import Medication


class Stock(Struct, frozen=True, gc=False):
    """The supply that lasts longest."""

    handed_over: datetime
    until: datetime
    ref: str


def stock_of(records: Iterable[Medication], as_of: datetime) -> Stock | None:
    """The supply that lasts longest of all handed over up to a moment; None when no supply of known length is on record."""
    record, until = max(supplies_of(records, as_of), key=lambda supply: supply[1], default=(None, None))
    if record is None or record.start is None or until is None:
        return None
    return Stock(record.start, until, record.ref)


def supplied_last_dose(stock: Stock, as_of: datetime) -> LastDose:
    """Supply that ran out dates the last dose; supply that lasts tells nothing."""
    return LastDose(stock.until, True, "supply", stock.ref) if stock.until < as_of else NOTHING_TELLS
