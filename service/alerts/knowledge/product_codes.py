"""Which drug a product code without words stands for, beyond the codes of ``products.toml`` (``knowledge/product_codes.toml``).

The file is large and asked for only where a code is not known by the small one, so that it is read at the first such code.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import msgspec
from msgspec import Struct

from service.alerts.knowledge.code_systems import DMD, RXNORM, SNOMED
from service.alerts.knowledge.data_file import load

_SYSTEMS = {"rxnorm": RXNORM, "snomed": SNOMED}
#: Code system -> the one under which its codes are listed: those of dm+d are SNOMED CT ids.
_LISTED_AS = {RXNORM: RXNORM, SNOMED: SNOMED, DMD: SNOMED}


class _Row(Struct, forbid_unknown_fields=True):
    """Codes, parted by blanks, of products of the same drugs that are given in the same way."""

    system: Literal["rxnorm", "snomed"]
    drugs: tuple[str, ...]
    codes: str
    given: Literal["", "injection", "long-acting"] = msgspec.field(default="", name="is")


class _Harmless(Struct, forbid_unknown_fields=True):
    rxnorm: str
    snomed: str


class _Codes(Struct, forbid_unknown_fields=True):
    product: tuple[_Row, ...]
    harmless: _Harmless


class Coded(Struct, frozen=True):
    """What a code stands for: drugs, and how the product is given (empty: in no way that matters)."""

    drugs: tuple[str, ...]
    given: str = ""

    @property
    def label(self) -> str:
        """A name for people, from which the way it is given is read as from a product's own name."""
        names = " + ".join(drug.replace("-", " ") for drug in self.drugs)
        return f"{names} {_GIVEN[self.given]}".rstrip()


_GIVEN = {"": "", "injection": "injection", "long-acting": "long-acting injection"}


@cache
def _data() -> _Codes:
    return msgspec.convert(load("product_codes.toml"), _Codes)


@cache
def coded() -> dict[tuple[str, str], Coded]:
    """(system, code) -> what it stands for."""
    found: dict[tuple[str, str], Coded] = {}
    for row in _data().product:
        meaning = Coded(row.drugs, row.given)
        found |= dict.fromkeys(((_SYSTEMS[row.system], code) for code in row.codes.split()), meaning)
    return found


def meaning_of(system: str, code: str) -> Coded | None:
    """What a code of a system, by its name here, stands for; None where it is not listed."""
    listed = _LISTED_AS.get(system)
    return coded().get((listed, code)) if listed is not None else None


def is_harmless(system: str, code: str) -> bool:
    """True for the code of a product without a drug that interacts with clozapine, or of one that stays where it is put."""
    listed = _LISTED_AS.get(system)
    return listed is not None and (listed, code) in harmless()


@cache
def harmless() -> frozenset[tuple[str, str]]:
    """(system, code) of products without a drug that interacts with clozapine, and of those that stay where they are put."""
    data = _data().harmless
    listed = ((RXNORM, data.rxnorm), (SNOMED, data.snomed))
    return frozenset((system, code) for system, codes in listed for code in codes.split())
