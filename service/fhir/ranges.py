"""The upper limit of normal that a result names (clinical.md 2.6: troponin, CRP and liver tests are judged by their own)."""

from __future__ import annotations

import re

import msgspec
from msgspec import Raw, Struct

from service.alerts.facts.reason import Reason
from service.alerts.facts.record_text import VALUE, to_read
from service.alerts.knowledge.codes import Kind
from service.fhir.numbers import finite
from service.fhir.resources import CodeableConcept, Component, Observation, Quantity
from service.fhir.units import agreed_conversion, conversion, normalised

#: A range of another meaning: beyond it is an emergency, or within it a drug works.
_OTHER_RANGE = re.compile("critical|panic|alert|therap|treat|recommend", re.IGNORECASE)


class _ReferenceRange(Struct):
    """Observation.referenceRange."""

    high: Quantity | None = None
    type: CodeableConcept | None = None
    text: str | None = None

    @property
    def is_normal(self) -> bool:
        """False for one that says it is another than the normal range."""
        said = () if self.type is None else (self.type.text, *(c.code for c in self.type.coding or ()))
        return not any(
            (known := to_read(text, VALUE)) is None or _OTHER_RANGE.search(known) for text in said if text
        )

    def upper(self) -> tuple[float, str, str] | None:
        """Upper limit, unit and unit code; of a range that is text only when the whole text is such a limit."""
        high = self.high
        if high is not None and high.value is not None:
            value = finite(high.value)
            unit, code = to_read(high.unit or "", VALUE), to_read(high.code or "", VALUE)
            return None if value is None or unit is None or code is None else (value, unit, code)
        text = to_read(self.text, VALUE) if self.text else None
        found = _RANGE_TEXT.match(text) if text else None
        return (float(found.group(1)), found.group(2), "") if found is not None else None


#: "0-14", "< 14 ng/L", "<=0.04", "0.0 – 5.0 mg/L", "up to 40 U/L".
_RANGE_TEXT = re.compile(
    r"^\s*(?:(?:<=?|≤|up to)\s*|\d+(?:\.\d+)?\s*(?:-|–|to)\s*)(\d+(?:\.\d+)?)\s*([^\s\d.,].*?|)\s*$",
    re.IGNORECASE,
)
_range_list = msgspec.json.Decoder(list[_ReferenceRange])


def _same_unit(own_unit: str, own_code: str, unit: str, code: str) -> float | None:
    """Factor from the unit of a range to the unit of the value it belongs to; None when they cannot be compared."""
    theirs = {normalised(u) for u in (own_unit, own_code) if u}
    ours = {normalised(u) for u in (unit, code) if u}
    if not theirs or theirs & ours:
        return 1.0
    for one in theirs:
        for other in ours:
            known, wanted = conversion("mass-per-volume", one), conversion("mass-per-volume", other)
            if known is not None and wanted is not None:
                return known.factor / wanted.factor
    return None


def _ranges(raw: Raw) -> list[_ReferenceRange]:
    """Reference ranges; one that cannot be read is no range."""
    try:
        return _range_list.decode(raw) if len(raw) else []
    except (msgspec.DecodeError, RecursionError):
        return []


def upper_limit(kind: Kind, o: Observation | Component, unit: str, code: str) -> float | None:
    """The upper limit of normal in the unit of the value; of several the lowest, for nothing tells which one is the patient's."""
    found: list[float] = []
    for reference_range in _ranges(o.referenceRange):
        limit = reference_range.upper() if reference_range.is_normal else None
        if limit is None:
            continue
        high, own_unit, own_code = limit
        if kind.dimension == "own-range":
            factor = _same_unit(own_unit or own_code, own_code, unit, code)
            if factor is not None:
                found.append(high * factor)
            continue
        agreed = agreed_conversion(kind.dimension, own_code, own_unit or ("" if own_code else unit or code))
        if not isinstance(agreed, Reason):
            found.append(round(high * agreed.factor + agreed.offset, 6))
    return min(found, default=None)
