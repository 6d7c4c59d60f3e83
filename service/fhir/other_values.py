"""The rarer forms of ``value[x]`` and a result without any: a whole number is read, the others are shown, never judged (R4 observation.html)."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from service.alerts.facts.reason import Reason, because
from service.alerts.facts.record_text import NAME, to_read, to_show
from service.fhir.answers import text_of
from service.fhir.resources import CodeableConcept, Component, Observation, Quantity

_concept = msgspec.json.Decoder(CodeableConcept)
#: Characters of a value, and of a reason for there being none, that are shown.
_SHOWN = 60


def quantity_of(o: Observation | Component) -> Quantity | None:
    """The number of a result; a ``valueInteger`` is one without a unit. None where there is no number."""
    if o.valueQuantity is not None:
        return o.valueQuantity
    whole = o.valueInteger
    return Quantity(value=whole) if isinstance(whole, int) and not isinstance(whole, bool) else None


def other_value(o: Observation | Component) -> str | Reason:
    """A value in a form that no rule reads, for people; empty where there is none."""
    if o.valueInteger is not None:
        return str(o.valueInteger)[:_SHOWN]
    if isinstance(o.valueBoolean, bool):
        return because("shown.yes") if o.valueBoolean else because("shown.no")
    for sent, first, second, between in (
        (o.valueRange, "low", "high", "–"),
        (o.valueRatio, "numerator", "denominator", " / "),
    ):
        if isinstance(sent, dict):
            ends = [_amount(sent.get(key)) for key in (first, second)]
            return between.join(end or "?" for end in ends)[:_SHOWN]
    return because("shown.series") if o.valueSampledData is not None else ""


def _amount(quantity: Any) -> str:
    if not isinstance(quantity, dict) or quantity.get("value") is None:
        return ""
    return f"{quantity['value']} {quantity.get('unit') or quantity.get('code') or ''}".strip()


def why_absent(raw: Raw) -> str:
    """Why a result has no value (``dataAbsentReason``), in the laboratory's words; empty where it does not say."""
    if not len(raw):
        return ""
    try:
        concept = _concept.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return ""
    said = text_of(concept) or next((c.code for c in concept.coding or () if c.code), "") or ""
    return to_show(to_read(said, NAME) or "", _SHOWN)
