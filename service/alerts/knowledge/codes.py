"""Result kinds, their codes and units (``knowledge/codes.toml``)."""

from __future__ import annotations

from functools import cache
from typing import Literal

import msgspec
from msgspec import Struct

from service.alerts.knowledge.data_file import load

LOINC = "http://loinc.org"


class Kind(Struct, frozen=True):
    """One kind of result. ``unit`` is canonical; ``dimension`` names the unit spellings that convert to it."""

    title: str
    unit: str
    dimension: str
    loinc: tuple[str, ...]
    plausible_max: float | None = None
    plausible_min: float = 0.0
    confirmed: bool = True
    id: str = ""


class CodedKind(Struct, frozen=True):
    """An Observation whose answer is a code: LOINC codes of the question, answer code -> value, or texts that say it.

    ``words`` (lower case, without accents): a whole answer in words -> value, for answers without a known code. ``snomed``: codes
    of the question in SNOMED CT; there an answer may stand in the place of the question, too.
    """

    loinc: tuple[str, ...] = ()
    snomed: tuple[str, ...] = ()
    answers: dict[str, str] = {}
    words: dict[str, str] = {}
    text: tuple[str, ...] = ()
    #: Words that, anywhere in an answer, deny the ``text`` or leave it open.
    without: tuple[str, ...] = ()


class Linear(Struct, frozen=True):
    """``canonical = value × factor + offset``."""

    factor: float
    offset: float = 0.0


#: Sources that are asked for results.
ResultSource = Literal["counts", "labs", "vitals"]
#: Where a result of a kind that cannot be read is said: at any order, at an order of clozapine, at visits only.
Said = Literal["any-order", "clozapine", "visits"]


class _Codes(Struct):
    kind: dict[str, Kind]
    sources: dict[ResultSource, tuple[str, ...]]
    judged: dict[str, Said]
    posture: dict[str, str]
    coded: dict[str, CodedKind]
    orders: dict[str, tuple[str, ...]]
    units: dict[str, dict[str, float]]
    offset_units: dict[str, dict[str, Linear]]


@cache
def _codes() -> _Codes:
    return msgspec.convert(load("codes.toml"), _Codes)


@cache
def kinds() -> dict[str, Kind]:
    """Every kind by id."""
    return {key: msgspec.structs.replace(kind, id=key) for key, kind in _codes().kind.items()}


def kinds_from(source: ResultSource) -> tuple[str, ...]:
    """Kinds that a source is asked for, in the order of its query."""
    return _codes().sources[source]


@cache
def source_of(kind: str) -> ResultSource:
    """The source that results of a kind belong to."""
    return next((source for source, known in _codes().sources.items() if kind in known), "labs")


@cache
def judged(*said: Said) -> tuple[str, ...]:
    """Kinds that a rule judges, in the order in which a card names them; of those that are said there only, if places are given."""
    return tuple(key for key, where in _codes().judged.items() if not said or where in said)


@cache
def kinds_by_loinc() -> dict[str, Kind]:
    """LOINC code -> kind."""
    return {code: kind for kind in kinds().values() for code in kind.loinc}


def posture(code: str) -> str:
    """``standing``, ``sitting`` or ``lying`` for a code that says it (LOINC, SNOMED CT); else empty."""
    return _codes().posture.get(code, "")


@cache
def coded_by_loinc() -> dict[str, tuple[str, CodedKind]]:
    """LOINC code -> (id, coded kind)."""
    return {code: (key, kind) for key, kind in _codes().coded.items() for code in kind.loinc}


@cache
def coded_by_snomed() -> dict[str, tuple[str, CodedKind]]:
    """SNOMED CT code of a question, or of an answer in its place -> (id, coded kind)."""
    asked = {key: kind for key, kind in _codes().coded.items() if kind.snomed}
    return {
        code: (key, kind)
        for key, kind in asked.items()
        for code in (*kind.snomed, *(c for c in kind.answers if c.isdigit()))
    }


@cache
def coded_kinds() -> dict[str, CodedKind]:
    """Every coded kind by id."""
    return _codes().coded


@cache
def tests_by_code() -> dict[str, tuple[str, ...]]:
    """LOINC code of an order -> ids of ``tests.toml``."""
    return _codes().orders


def title(kind_id: str) -> str:
    """What clinicians call a kind."""
    kind = kinds().get(kind_id)
    return kind.title if kind is not None else kind_id


@cache
def dimensions() -> tuple[str, ...]:
    """Every dimension that has unit spellings."""
    return tuple(_codes().units | _codes().offset_units)


@cache
def conversions(dimension: str) -> dict[str, Linear]:
    """Unit spelling (normalised, see ``service.fhir.units``) -> conversion to the canonical unit of the dimension."""
    found = {unit: Linear(float(factor)) for unit, factor in _codes().units.get(dimension, {}).items()}
    return found | _codes().offset_units.get(dimension, {})
