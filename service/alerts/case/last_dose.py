"""The last dose taken, weighed from three witnesses: the chart, the supply and what is said (clinical.md 2.2)."""

from __future__ import annotations

from datetime import datetime

from service.alerts.case.charted import Chart, charted_last_dose, is_kept, is_left_for_home
from service.alerts.case.exposure import is_live
from service.alerts.case.said import ends, is_later, said_at, said_last_doses, said_undated
from service.alerts.case.supplied import Stock, supplied_last_dose
from service.alerts.case.witness import NOTHING_TELLS, LastDose
from service.alerts.facts.patient import Medication


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
    kept = is_kept(
        chart, live, stock.handed_over if stock is not None else None, as_of
    ) and not is_left_for_home(chart, records, live, stock, as_of)
    if kept and (charted := charted_last_dose(chart, as_of)).at is not None:
        return charted
    said = said_last_doses(records, live, as_of)
    if stock is not None and not kept:
        # What is said of the time after the supply was handed over counts for more than tablets that may lie at home; what was said before
        # it, that the drug is taken or not, knows nothing of them.
        said = [word for word in said if is_later(word, stock.handed_over)]
        if not said and not any(r.role == "statement" and _may_be_of(r, stock.handed_over) for r in live):
            return supplied_last_dose(stock, as_of)
    if not said and not live:
        said = ends(records, as_of)
    if not said and stock is None and not chart.given:
        return said_undated(records, live)
    return max(said, key=_when, default=NOTHING_TELLS)


def _may_be_of(statement: Medication, since: datetime) -> bool:
    """The statement was made then or later, or nobody knows when."""
    at = said_at(statement)
    return at is None or at >= since


def says_nothing(records: list[Medication]) -> bool:
    """Orders alone, none of them ended, the most usual record: no witness is to be heard."""
    return all(r.role == "order" and r.end is None for r in records)


def _when(dose: LastDose) -> datetime:
    assert dose.at is not None
    return dose.at
