"""What a trial of clozapine is to improve, as the problem list names it, and how long it must then last (clinical.md 2.8)."""

from __future__ import annotations

from typing import Literal

from service.alerts.case.record import Record
from service.alerts.facts.patient import Problem
from service.alerts.policy.parts.values import Value

Domain = Literal["positive", "aggression", "negative"]

_AGGRESSION = "aggression-self-harm"
_NEGATIVE = "negative-symptoms"


def target(case: Record) -> tuple[Domain, Value, tuple[Problem, ...]]:
    """(domain, days a trial needs, problems that say so). Positive symptoms unless the list names others; of several the longest decides."""
    rule = case.policy.pathway
    if negative := case.problems_of(_NEGATIVE):
        return "negative", rule.duration_negative_days, negative
    if aggression := case.problems_of(_AGGRESSION):
        return "aggression", rule.duration_aggression_days, aggression
    return "positive", rule.duration_days, ()
