"""Chlorpromazine equivalents of antipsychotics by two methods (``knowledge/equivalents.toml``)."""

from __future__ import annotations

from functools import cache
from typing import Literal

import msgspec
from msgspec import Struct

from service.alerts.knowledge.data_file import load

Form = Literal["oral", "depot"]


class Method(Struct, frozen=True, forbid_unknown_fields=True):
    """How a table of equivalents was made, and who published it."""

    title: str
    by: str
    url: str
    says: str


class Equivalent(Struct, frozen=True, forbid_unknown_fields=True):
    """One row: ``mg`` of the drug every ``every_days`` days equal ``equals`` mg of chlorpromazine a day by mouth."""

    drug: str
    form: Form
    mg: float
    every_days: int
    equals: float
    #: Short name of the method.
    source: str
    #: The ester or form that the source names, where it is more than the drug.
    preparation: str = ""

    def chlorpromazine(self, mg_per_day: float) -> float:
        """mg of chlorpromazine a day that a dose (mg per day on average) equals."""
        return mg_per_day * self.every_days / self.mg * self.equals


class _Table(Struct, forbid_unknown_fields=True):
    equivalent: tuple[Equivalent, ...]
    method: dict[str, Method]
    #: Drug -> why its depot dose as written cannot be converted.
    unclear: dict[str, str]


@cache
def _table() -> _Table:
    """Raises ValueError for a row that cannot be meant: no dose, a method nobody describes, a second row of one method."""
    found = msgspec.convert(load("equivalents.toml"), _Table)
    seen: set[tuple[str, str, str, str]] = set()
    for row in found.equivalent:
        key = (row.drug, row.form, row.source, row.preparation)
        if (
            row.source not in found.method
            or row.mg <= 0
            or row.every_days <= 0
            or row.equals <= 0
            or key in seen
        ):
            raise ValueError(f"equivalents.toml: {row} cannot be meant")
        seen.add(key)
    return found


def all_equivalents() -> tuple[Equivalent, ...]:
    """Every row, in the order of the file."""
    return _table().equivalent


def methods() -> dict[str, Method]:
    """Every method by its short name."""
    return _table().method


def unclear_depots() -> dict[str, str]:
    """Drugs whose depot doses cannot be converted as they are written, and why."""
    return _table().unclear


@cache
def equivalents(drug_id: str, form: Form) -> tuple[Equivalent, ...]:
    """The rows of a drug in one form, one for each method that has it, in the order of their names; a depot whose dose may be meant in two ways has none."""
    if form == "depot" and drug_id in unclear_depots():
        return ()
    found: dict[str, Equivalent] = {}
    for row in all_equivalents():
        if row.drug == drug_id and row.form == form:
            known = found.get(row.source)
            # Of several esters the one that makes less of a dose.
            if known is None or row.chlorpromazine(1) < known.chlorpromazine(1):
                found[row.source] = row
    return tuple(found[source] for source in sorted(found))
