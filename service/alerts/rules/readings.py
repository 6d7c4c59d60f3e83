"""Results in words, for the rules whose sentences are written in their own modules."""

from __future__ import annotations

from collections.abc import Iterable

from service.alerts.case.case import Case
from service.alerts.case.readings import (
    in_myocarditis_window,
    is_a_result,
    latest,
    reaches,
    recent,
    recent_comparable,
)
from service.alerts.facts.patient import Measurement
from service.alerts.knowledge.codes import kinds, title
from service.alerts.say import wording as w
from service.alerts.say.finding import Evidence

__all__ = [
    "evidence",
    "in_myocarditis_window",
    "is_a_result",
    "latest",
    "line",
    "reaches",
    "recent",
    "recent_comparable",
    "value",
]


def value(m: Measurement) -> str:
    """A result with its unit: ``QTc 512 ms``; a kind judged by its own range keeps the unit it was sent in."""
    kind = kinds().get(m.kind)
    preliminary = " (preliminary)" if m.status == "preliminary" else ""
    name = title(m.kind)
    name = name if name[:2].isupper() else name[0].upper() + name[1:]
    if kind is None or kind.dimension == "own-range":
        return f"{name} {w.plain(m.raw, 40)}{preliminary}"
    return f"{name} {w.bound_word(m)}{w.number(m.value, 1)} {kind.unit}{preliminary}"


def line(case: Case, m: Measurement) -> str:
    """A result as a fact for the card."""
    limit = f", upper limit of normal {w.number(m.upper_limit, 2)}" if m.upper_limit is not None else ""
    return (
        f"{w.safe(value(m))}, {w.moment(case.snapshot, m.at, m.date_only)}{limit} (as sent: {w.safe(m.raw)})"
    )


def evidence(case: Case, results: Iterable[Measurement]) -> tuple[Evidence, ...]:
    """Results as evidence."""
    return tuple(Evidence(m.ref, line(case, m), m.at, m.date_only) for m in results)
