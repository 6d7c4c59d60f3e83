"""Unit spellings (clinical.md 3.2): anything a laboratory sends, to the canonical unit of a kind; never a guess."""

from __future__ import annotations

import html
import re
import unicodedata
from functools import lru_cache

from service.alerts.facts.reason import Reason, because
from service.alerts.facts.record_text import to_show
from service.alerts.knowledge.codes import Linear, conversions, dimensions

_BLANKS = re.compile(r"[\s\u00a0]+")
_RAISED = re.compile(r"<sup>\s*(\d+)\s*</sup>", re.IGNORECASE)
_MARK = re.compile(r"</?\w+/?>")
_SUPERSCRIPT = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
_MICRO = str.maketrans({"µ": "u", "μ": "u", "×": "x", "∕": "/", "·": "*", "∙": "*", "∗": "*", "﹡": "*"})


def normalised(unit: str) -> str:
    """One spelling for many: no blanks, lower case, µ as u, superscripts as ^n, ``x10`` before powers folded."""
    text = unit
    if "&" in text or "<" in text or "\\" in text:  # HTML, or HL7 v2's escape of ^
        text = _MARK.sub("", _RAISED.sub(r"^\1", html.unescape(text).replace("\\S\\", "^")))
    text = _BLANKS.sub("", text)
    if any(c in text for c in "⁰¹²³⁴⁵⁶⁷⁸⁹"):
        text = re.sub(r"([⁰¹²³⁴⁵⁶⁷⁸⁹]+)", lambda m: "^" + m.group().translate(_SUPERSCRIPT), text)
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text.translate(_MICRO)).translate(_MICRO)
    # G/L (giga per litre) and g/L (gram per litre) differ by case alone; only the capital is a count.
    if text == "g/L" or text == "g/l":
        return "gram/l"
    if text == "M/uL":
        return "mega/ul"
    return text.lower()


@lru_cache(maxsize=4096)
def conversion(dimension: str, unit: str) -> Linear | None:
    """How a unit as sent converts to the canonical unit of a dimension; None when it is not one of that dimension."""
    spelling = normalised(unit)
    found = conversions(dimension).get(spelling)
    if found is None and dimension == "count" and (plain := _plain_count(spelling)) is not None:
        found = conversions(dimension).get(plain)
    return found


#: Number, then volume, of a count in words of its own: powers of ten for K, thousand and the like; nothing for the cells themselves.
_CELLS = re.compile(r"\{?(?:cells?|leukocytes|zellen|cellules|cellen|#)\}?|[.*](?=\{|cells)")
#: Volumes written as a negative power: ``giga.l-1``, ``nL-1``.
_PER = re.compile(r"[.*]?(ul|nl|l)\^?-1$")
_VOLUMES = (
    (re.compile(r"(?:/|per)(?:mcl|micro(?:l|liters?|litres?)|mm[\^*]?3|cu\.?mm|cmm|mmc|ul)\.?$"), "/ul"),
    (re.compile(r"(?:/|per)(?:l|liter|litre)\.?$"), "/l"),
)
_TEN_TO = re.compile(r"[x*]?10(?:\*\*|[*^'x(]|exp|e\+?)?0?([369])\)?")
_THOUSAND = re.compile(r"[x*]?1000|k|th|thou|thous|thousands?|tsd\.?|tys\.?|miles")


def _plain_count(spelling: str) -> str | None:
    """UCUM-like spelling (``10*3/ul``) of a normalised unit that is a count in everyday words; None when it is not."""
    text = _PER.sub(r"/\1", _CELLS.sub("", spelling))
    if text in ("/nl", "1/nl"):
        return "10*3/ul"
    for volume, plain in _VOLUMES:
        if (end := volume.search(text)) is not None:
            number = text[: end.start()].removesuffix("x")
            if not number:
                return plain
            power = _TEN_TO.fullmatch(number)
            if power is not None:
                return f"10*{power.group(1)}{plain}"
            if plain == "/l":
                return "10*9/l" if number in ("e9", "bil", "billion", "giga") else None
            return "10*3/ul" if _THOUSAND.fullmatch(number) else None
    return None


@lru_cache(maxsize=4096)
def _of_another_kind(dimension: str, unit: str) -> bool:
    """True for a known unit that measures something else."""
    spelling = normalised(unit)
    return any(spelling in conversions(other) for other in dimensions() if other != dimension)


@lru_cache(maxsize=4096)
def agreed_conversion(dimension: str, code: str, unit: str) -> Linear | Reason:
    """Conversion for a Quantity with a UCUM code and a unit as displayed, or the reason why there is none."""
    by_code = conversion(dimension, code) if code else None
    by_unit = conversion(dimension, unit) if unit else None
    if by_code is not None and by_unit is not None and by_code != by_unit:
        return _contradicts(unit, code)
    found = by_code or by_unit
    if found is not None:
        if (
            code
            and unit
            and _of_another_kind(dimension, unit if by_unit is None else code if by_code is None else "")
        ):
            return _contradicts(unit, code)
        return found
    given = to_show(unit or code, _QUOTED)
    return because("unit.not-of-this-result", unit=given) if given else because("unit.none")


def _contradicts(unit: str, code: str) -> Reason:
    return because("unit.contradicts", unit=to_show(unit, _QUOTED), code=to_show(code, _QUOTED))


#: Characters of a unit that a reason repeats.
_QUOTED = 60
#: A number beside the sign for an unreadable character may be a part of one.
_NUMBER_AND_UNIT = re.compile(r"^\s*+(?:([<>]=?)\s*+)?(\d+(?:\.\d+)?)(?!\ufffd)\s*+([^\s\d.].*)$")
_NUMBER_AND_POWER = re.compile(r"^\s*+(?:([<>]=?)\s*+)?(\d+(?:\.\d+)?)\s++(10\S.*)$")
_DECIMAL_COMMA = re.compile(r"^(\s*+(?:[<>]=?\s*+)?\d++),(\d{1,2})(?![\d.,])")


def split_text(text: str) -> tuple[str, float, str] | None:
    """Comparator, number and unit of a text such as ``1.2 x10^3/uL``; None unless the whole text is just that."""
    text = html.unescape(text).rstrip().replace("≤", "<=").replace("≥", ">=")
    # A comma before one or two digits is a decimal one; before three it may part thousands, and nobody knows.
    text = _DECIMAL_COMMA.sub(r"\1.\2", text, count=1)
    match = _NUMBER_AND_UNIT.match(text)
    if match is None:
        # "1.2 10*3/uL": the unit begins with a digit, after a blank.
        match = _NUMBER_AND_POWER.match(text)
    return (match.group(1) or "", float(match.group(2)), match.group(3)) if match else None
