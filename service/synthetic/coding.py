"""How EHRs write things (``coding.toml``), and the habits one invented patient's EHR has of them."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from itertools import chain
from random import Random
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

T = TypeVar("T")
Json = dict[str, Any]
LOINC = "http://loinc.org"
UCUM = "http://unitsofmeasure.org"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
ATC = "http://www.whocc.no/atc"


class Unit(Struct, frozen=True, forbid_unknown_fields=True):
    """A spelling of a unit; ``factor`` and ``offset`` lead to it from the kind's first unit."""

    unit: str
    code: str = ""
    factor: float = 1
    offset: float = 0


class ResultCoding(Struct, frozen=True, forbid_unknown_fields=True):
    """How one kind of result is written."""

    text: str
    loinc: tuple[str, ...]
    digits: int
    units: tuple[Unit, ...]
    category: str = "laboratory"
    limit: float | None = None


class Counts(Struct, frozen=True, forbid_unknown_fields=True):
    """How laboratories report blood counts."""

    ways: tuple[str, ...]
    panel: str
    panel_text: str
    segs: tuple[float, ...]
    bands: tuple[float, ...]
    usual: tuple[float, float]
    change: float
    texts: tuple[str, ...]


class Repeated(Struct, frozen=True, forbid_unknown_fields=True):
    """A visit every so many days after a day of the course."""

    day: int
    every: int


class Visit(Struct, frozen=True, forbid_unknown_fields=True):
    """What is measured at a visit while nothing is wrong."""

    days: tuple[int, ...]
    repeated: tuple[Repeated, ...]
    kept_days: int
    blood_pressure: str
    normal: dict[str, tuple[float, float]]
    later: dict[str, Any]

    def days_until(self, course_day: int) -> list[int]:
        """Days of the course on which the patient is seen, before ``course_day``."""
        again = (range(r.day + r.every, course_day, r.every) for r in self.repeated)
        return sorted({*(d for d in self.days if d < course_day), *chain.from_iterable(again)})


class ProblemCoding(Struct, frozen=True, forbid_unknown_fields=True):
    """How a problem is written."""

    text: str
    icd10: str
    snomed: str = ""


class Product(Struct, frozen=True, forbid_unknown_fields=True):
    """A tablet."""

    mg: float
    display: str
    rxnorm: str = ""


class DrugCoding(Struct, frozen=True, forbid_unknown_fields=True):
    """How a drug is written."""

    atc: str
    products: tuple[Product, ...]
    always_coded: bool = False

    def product_for(self, mg: float) -> Product:
        """The largest tablet that makes up the dose in whole or half tablets; else the smallest."""
        return next((p for p in self.products if (2 * mg / p.mg).is_integer()), self.products[-1])


class Coding(Struct, frozen=True):
    """All of ``coding.toml``."""

    names: dict[str, list[str]]
    times: dict[str, list[int]]
    counts: Counts
    result: dict[str, ResultCoding]
    visit: Visit
    smoking: dict[str, Any]
    problem: dict[str, ProblemCoding]
    drug: dict[str, DrugCoding]


@cache
def coding() -> Coding:
    """The shipped ``coding.toml``."""
    text = (files("service.synthetic") / "coding.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), Coding)


class Habits:
    """One EHR's ways: drawn once from the seed, then kept, as a real EHR keeps its own."""

    def __init__(self, random: Random) -> None:
        known = coding()
        self.offset_hours: int = random.choice(known.times["offsets"])
        self.milliseconds: bool = random.random() < 0.3
        self.counts: str = random.choice(known.counts.ways)
        self.count_text: str = random.choice(known.counts.texts)
        self.segs: float = random.choice(known.counts.segs)
        self.bands: float = random.choice(known.counts.bands)
        self.medication: str = random.choice(("code", "atc", "text", "resource"))
        self.dose: str = random.choice(("mg", "tablets", "text"))
        self.problems: str = random.choice(("icd10", "snomed", "text"))
        # In a fixed order: the same seed gives the same habits.
        self._loinc = {what: random.choice(result.loinc) for what, result in known.result.items()}
        self._unit = {what: random.choice(result.units) for what, result in known.result.items()}

    def code(self, what: str) -> Json:
        """The code of a kind of result."""
        return {
            "coding": [{"system": LOINC, "code": self._loinc[what]}],
            "text": coding().result[what].text,
        }

    def quantity(self, what: str, value: float) -> Json:
        """A value, given in the kind's first unit, as this EHR sends it."""
        result, unit = coding().result[what], self._unit[what]
        digits = result.digits + (2 if unit.factor < 1 else 0)
        number = round(value * unit.factor + unit.offset, digits)
        made: Json = {"value": int(number) if number == int(number) else number, "unit": unit.unit}
        return made | ({"system": UCUM, "code": unit.code} if unit.code else {})
