"""Every row of the reference table of interactions (``tests/reference-interactions.csv``) draws a card, or is left to the pharmacist with a reason."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from service.alerts.knowledge.classes import alerting_classes_of
from service.alerts.knowledge.drug_names import drugs_by_name
from service.alerts.knowledge.drugs import drugs
from service.alerts.knowledge.no_card import is_known_without_card

_FILE = Path(__file__).parents[1] / "reference-interactions.csv"
#: Not ordered, so that no order can draw a card: tobacco, diet, alcohol.
_NO_ORDER = {"78", "93", "207"}


def _rows() -> list[dict[str, str]]:
    with _FILE.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("row", _rows(), ids=lambda r: f"{r['row']} {r['drug']}")
def test_a_row_of_the_reference_is_known(row: dict[str, str]) -> None:
    found = drugs_by_name(row["drug"])
    told = any(alerting_classes_of(d) for d in found)
    watched = is_known_without_card(row["drug"]) or any(drugs()[d].no_card for d in found)
    assert told or watched or row["row"] in _NO_ORDER
    if row["grade"].startswith(("AVOID", "CONTRAINDICATED", "ADJUST")) and row["row"] not in _NO_ORDER:
        assert told, "what is to be avoided is not left to the pharmacist"


def test_the_table_is_whole() -> None:
    assert len(_rows()) >= 290
