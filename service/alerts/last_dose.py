"""The last dose taken, weighed from three witnesses: the chart, the supply and what is said (clinical.md 2.2)."""

from __future__ import annotations

from datetime import datetime

from service.alerts.charted import Chart, charted_last_dose, is_kept
from service.alerts.exposure import is_live
from service.alerts.facts import Medication
from service.alerts.said import ends, is_later, said_last_doses, said_undated
from service.alerts.supplied import Stock, supplied_last_dose
from service.alerts.witness import NOTHING_TELLS, LastDose


def last_dose_of(records: list[Medication], chart: Chart, stock: Stock | None, as_of: datetime) -> LastDose:
    """The last dose, by the witness that knows it best.

    A chart that is kept comes first, then what is said of the time after the supply was handed over, then the supply.

    Args:
        records: every record of the drug.
        chart: its charted doses (``charted.chart_of``).
        stock: the supply that lasts longest (``supplied.stock_of``).
        as_of: the moment of the question.
    """
    live = [r for r in records if r.role in ("order", "statement") and is_live(r, as_of)]
    kept = is_kept(chart, live, stock.handed_over if stock is not None else None, as_of)
    if kept and (charted := charted_last_dose(chart, as_of)).at is not None:
        return charted
    said = said_last_doses(records, live, as_of)
    if stock is not None and not kept and not any(_still_says(r, stock) for r in live):
        # What is said of the time after the supply was handed over counts for more than tablets that may lie at home.
        said = [word for word in said if is_later(word, stock.handed_over)]
        if not said:
            return supplied_last_dose(stock, as_of)
    if not said and not live:
        said = ends(records, as_of)
    if not said and stock is None and not chart.given:
        return said_undated(records, live)
    return max(said, key=_when, default=NOTHING_TELLS)


def _still_says(r: Medication, stock: Stock) -> bool:
    """A statement that the drug is taken, made since the supply ran out; one of before, or of no date, knew nothing of that."""
    said = r.authored or r.start
    return r.role == "statement" and said is not None and said >= stock.until


def says_nothing(records: list[Medication]) -> bool:
    """Orders alone, none of them ended, the most usual record: no witness is to be heard."""
    return all(r.role == "order" and r.end is None for r in records)


def _when(dose: LastDose) -> datetime:
    assert dose.at is not None
    return dose.at
