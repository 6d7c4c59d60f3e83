"""Unit spellings (clinical.md 3.2): anything a laboratory sends, to the canonical unit of a kind; never a guess."""

from __future__ import annotations

import re
from functools import lru_cache

from service.alerts.codes import Linear, conversions

_BLANKS = re.compile(r"[\s\u00a0]+")
_SUPERSCRIPT = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
_MICRO = str.maketrans({"µ": "u", "μ": "u", "×": "x", "∕": "/", "·": "*", "∙": "*"})


def normalised(unit: str) -> str:
    """One spelling for many: no blanks, lower case, µ as u, superscripts as ^n, ``x10`` before powers folded."""
    text = _BLANKS.sub("", unit)
    if any(c in text for c in "⁰¹²³⁴⁵⁶⁷⁸⁹"):
        text = re.sub(r"([⁰¹²³⁴⁵⁶⁷⁸⁹]+)", lambda m: "^" + m.group().translate(_SUPERSCRIPT), text)
    text = text.translate(_MICRO)
    # G/L (giga per litre) and g/L (gram per litre) differ by case alone; only the capital is a count.
    if text == "g/L" or text == "g/l":
        return "gram/l"
    if text == "M/uL":
        return "mega/ul"
    return text.lower()


@lru_cache(maxsize=4096)
def conversion(dimension: str, unit: str) -> Linear | None:
    """How a unit as sent converts to the canonical unit of a dimension; None when it is not one of that dimension."""
    return conversions(dimension).get(normalised(unit))


@lru_cache(maxsize=4096)
def agreed_conversion(dimension: str, code: str, unit: str) -> Linear | str:
    """Conversion for a Quantity with a UCUM code and a unit as displayed, or the reason why there is none."""
    by_code = conversion(dimension, code) if code else None
    by_unit = conversion(dimension, unit) if unit else None
    if by_code is not None and by_unit is not None and by_code != by_unit:
        return f"its unit is written “{unit}” but coded “{code}”"
    found = by_code or by_unit
    if found is not None:
        return found
    given = unit or code
    return f"“{given}” is not a unit of this result" if given else "it has no unit"


_NUMBER_AND_UNIT = re.compile(r"^\s*([<>]=?)?\s*(\d+(?:\.\d+)?)\s*([^\s\d.].*?)\s*$")


def split_text(text: str) -> tuple[str, float, str] | None:
    """Comparator, number and unit of a text such as ``1.2 x10^3/uL``; None unless the whole text is just that."""
    match = _NUMBER_AND_UNIT.match(text)
    if match is None:
        # "1.2 10*3/uL": the unit begins with a digit, after a blank.
        match = re.match(r"^\s*([<>]=?)?\s*(\d+(?:\.\d+)?)\s+(10\S.*?)\s*$", text)
    return (match.group(1) or "", float(match.group(2)), match.group(3)) if match else None
