"""Strength of a product: mg in one tablet or one mL, from its name or its Medication resource; never from a percentage."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Callable
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

from msgspec import Struct

from service.alerts.facts.reason import NO_REASON, Reason, because
from service.fhir.numbers import finite

MASS_MG = {
    "mg": 1.0,
    "milligram": 1.0,
    "milligrams": 1.0,
    "milligram(s)": 1.0,
    "mgs": 1.0,
    "g": 1000.0,
    "gram": 1000.0,
    "grams": 1000.0,
    "ug": 0.001,
    "mcg": 0.001,
    "microgram": 0.001,
    "micrograms": 0.001,
}
VOLUME_ML = {"ml": 1.0, "milliliter": 1.0, "milliliters": 1.0, "millilitre": 1.0, "l": 1000.0, "cl": 10.0}

_IN_NAME = re.compile(
    r"(?<![\w.])(?<!\d,)(\d+(?:[.,]\d{1,2}(?!\d)|\.\d+)?)\s*(mg|mcg|micrograms?|g|µg|ug)\b"
    r"(?:\s*(?:/|\bper\b|\bin\b)\s*(\d+(?:\.\d+)?)?\s*(ml)\b)?",
    re.IGNORECASE,
)


class Strength(Struct, frozen=True):
    """mg of the drug in one countable unit (tablet, capsule) and in one mL; None where it is not known."""

    mg_per_unit: float | None = None
    mg_per_ml: float | None = None
    #: Where it was read, for the card.
    read_from: Reason = NO_REASON
    #: What two places say that do not agree (“100 mg by the product code, 25 mg by the product name”); then neither counts tablets.
    conflict: Reason = NO_REASON


BY_CODE = because("strength.product-code")
BY_NAME = because("strength.product-name")
BY_RESOURCE = because("strength.medication-resource")


def mass_mg(unit: str) -> float | None:
    """mg in one of a mass unit; None for anything else."""
    return MASS_MG.get(unit.strip().lower().replace("µ", "u").replace("μ", "u"))


@cache
def _counted() -> tuple[frozenset[str], frozenset[tuple[str, str]]]:
    """(names, codes) of what doses are counted in."""
    table = tomllib.loads((files("service.fhir") / "dose_units.toml").read_text(encoding="utf-8"))
    return frozenset(table["names"]), frozenset(
        (row["system"], c) for row in table["code"] for c in row["codes"]
    )


@lru_cache(maxsize=512)
def unit_name(unit: str) -> str:
    """A unit's name for comparison: lower case, without accents, braces, plural marks and the full stop of an abbreviation."""
    plain = (
        unit.strip()
        .lower()
        .strip("{}[]")
        .replace("(s)", "")
        .replace("(en)", "")
        .replace("(n)", "")
        .rstrip(".")
        .replace(" ", "_")
    )
    return "".join(c for c in unicodedata.normalize("NFKD", plain) if not unicodedata.combining(c))


def is_counted(quantity: dict[str, Any]) -> bool:
    """The unit of a Quantity is one that is counted: a tablet, a capsule, a piece."""
    names, codes = _counted()
    code = str(quantity.get("code") or "")
    if code and (str(quantity.get("system") or ""), code) in codes:
        return True
    return any(
        name in names or name.startswith(("tablet", "capsule"))
        for name in map(unit_name, (code, str(quantity.get("unit") or "")))
        if name
    )


def agreed(strengths: tuple[Strength, ...]) -> Strength:
    """The strength that several places state, the first that does; where two differ, the conflict."""
    stated = [s for s in strengths if s != Strength()]
    if not stated:
        return Strength()
    first = stated[0]
    for other in stated[1:]:
        for a, b, id in (
            (first.mg_per_unit, other.mg_per_unit, "strength.conflict"),
            (first.mg_per_ml, other.mg_per_ml, "strength.conflict-per-ml"),
        ):
            if a is not None and b is not None and abs(a - b) > 0.001 * a:
                return Strength(conflict=because(id, a=a, first=first.read_from, b=b, other=other.read_from))
    return first


@lru_cache(maxsize=2048)
def strength_in_name(name: str) -> Strength:
    """Strength stated in a product name with one ingredient (``clozapine 100 MG Oral Tablet``, ``50 mg/mL``)."""
    found = _IN_NAME.findall(name.replace("_", " "))
    if len(found) != 1:
        return Strength()
    number, unit, per, volume = found[0]
    mg = float(number.replace(",", ".")) * (mass_mg(unit) or 0.0)
    if not mg:
        return Strength()
    if volume:
        return Strength(mg_per_ml=mg / float(per or 1), read_from=BY_NAME)
    return Strength(mg_per_unit=mg, read_from=BY_NAME)


def _volume_ml(unit: str) -> float | None:
    return VOLUME_ML.get(unit.strip().lower())


def _agreed_unit(quantity: dict[str, Any], size_of: Callable[[str], float | None]) -> float | None:
    """The size of a Quantity's unit; None where it has none, or is coded as one (mg) and written as another (g)."""
    sizes = {size_of(str(quantity.get(key))) for key in ("code", "unit") if quantity.get(key)} - {None}
    return sizes.pop() if len(sizes) == 1 else None


def strength_of_ratio(ratio: Any) -> Strength:
    """Strength of a Medication.ingredient.strength (Ratio): of a tablet or of a mL; of 100 mg in 100 mg it says nothing."""
    if not isinstance(ratio, dict):
        return Strength()
    numerator, denominator = ratio.get("numerator"), ratio.get("denominator")
    if not isinstance(numerator, dict) or (value := finite(numerator.get("value"))) is None or value <= 0:
        return Strength()
    mass = _agreed_unit(numerator, mass_mg)
    if mass is None:
        return Strength()
    mg = value * mass
    per = denominator if isinstance(denominator, dict) else {}
    amount = finite(per.get("value", 1))
    if amount is None or amount <= 0:
        return Strength()
    volume = _agreed_unit(per, _volume_ml)
    counted = is_counted(per)
    if volume is not None and not counted:
        return Strength(mg_per_ml=mg / (amount * volume), read_from=BY_RESOURCE)
    # Coded as a volume and written as a tablet it is of neither.
    if (per.get("code") or per.get("unit")) and (volume is not None or not counted):
        return Strength()
    return Strength(mg_per_unit=mg / amount, read_from=BY_RESOURCE)
