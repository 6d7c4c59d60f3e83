"""Results that no known code names, and whose words say that a rule judges them: a neutrophil count under a laboratory's own code."""

from __future__ import annotations

from typing import NamedTuple

from service.alerts.facts.reason import Reason, because
from service.alerts.facts.record_text import NAME, VALUE, to_read, to_show
from service.alerts.knowledge.codes import kinds
from service.alerts.knowledge.test_words import kind_by_words
from service.fhir.answers import text_of
from service.fhir.other_values import other_value, quantity_of
from service.fhir.resources import CodeableConcept, Component, Observation
from service.fhir.units import agreed_conversion

#: Characters of a name that the reason repeats.
_QUOTED = 60
#: Kinds of which the unit tells whether the words mean what they seem to: there are white cells in urine, too, and doses of clozapine.
_BY_UNIT = frozenset({"wbc", "clozapine-level"})


class Named(NamedTuple):
    """A result that is known by its words: kind, and why it is not used."""

    kind: str
    reason: Reason


def by_words(code: CodeableConcept | None, o: Observation | Component) -> Named | None:
    """The kind that the words of a code name, where there is a value to be missed; None for any other test."""
    if code is None:
        return None
    for title in (code.text, *[c.display for c in code.coding or ()]):
        # Nearly every result is of another test: nothing else is looked at before its words are.
        kind = kind_by_words(title) if title and len(title) <= NAME else ""
        if kind and title and _has_value(o) and _may_be(kind, o):
            return Named(
                kind,
                because("result-unused.named-only", name=to_show(title, _QUOTED)),
            )
    return None


def _has_value(o: Observation | Component) -> bool:
    quantity = quantity_of(o)
    if quantity is not None and quantity.value is not None:
        return True
    return bool((o.valueString or "").strip() or text_of(o.valueCodeableConcept).strip() or other_value(o))


def _may_be(kind: str, o: Observation | Component) -> bool:
    """False where the value is none of the kind: white cells of no count, a level that is no concentration."""
    if kind not in _BY_UNIT:
        return True
    quantity = quantity_of(o)
    if quantity is None or quantity.value is None:
        return bool(o.valueString and any(c.isdigit() for c in o.valueString))
    sent = to_read(quantity.code or "", VALUE), to_read(quantity.unit or "", VALUE)
    if None in sent or not any(sent):
        return sent == ("", "")
    return not isinstance(agreed_conversion(kinds()[kind].dimension, sent[0] or "", sent[1] or ""), Reason)
