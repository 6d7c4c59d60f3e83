"""Strength of a product: mg in one tablet or one mL, from its name or its Medication resource; never from a percentage."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from msgspec import Struct

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
    read_from: str = ""


def mass_mg(unit: str) -> float | None:
    """mg in one of a mass unit; None for anything else."""
    return MASS_MG.get(unit.strip().lower().replace("µ", "u").replace("μ", "u"))


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
        return Strength(mg_per_ml=mg / float(per or 1), read_from="the product name")
    return Strength(mg_per_unit=mg, read_from="the product name")


def strength_of_ratio(ratio: Any) -> Strength:
    """Strength of a Medication.ingredient.strength (Ratio)."""
    if not isinstance(ratio, dict):
        return Strength()
    numerator, denominator = ratio.get("numerator"), ratio.get("denominator")
    if not isinstance(numerator, dict) or not isinstance(numerator.get("value"), int | float):
        return Strength()
    mass = mass_mg(str(numerator.get("code") or numerator.get("unit") or ""))
    if mass is None:
        return Strength()
    mg = numerator["value"] * mass
    per = denominator if isinstance(denominator, dict) else {}
    amount = per.get("value", 1)
    if not isinstance(amount, int | float) or amount <= 0:
        return Strength()
    volume = VOLUME_ML.get(str(per.get("code") or per.get("unit") or "").lower())
    if volume is not None:
        return Strength(mg_per_ml=mg / (amount * volume), read_from="the Medication resource")
    return Strength(mg_per_unit=mg / amount, read_from="the Medication resource")
