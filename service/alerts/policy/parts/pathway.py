"""The pathway of the difficult to treat (clinical.md 2.8)."""

from __future__ import annotations

from typing import Annotated

from msgspec import Struct

from service.alerts.policy.numbers import Quantity
from service.alerts.policy.parts.values import Text, Value


class Scale(Struct, frozen=True, forbid_unknown_fields=True):
    """A symptom scale: id of its result kind, its lowest possible score, and the score from which the illness is at least moderate."""

    kind: str
    minimum: Annotated[float, Quantity("points", 0, 200)]
    moderate: Annotated[Value, Quantity("points", 1, 200)]


class FunctionScale(Struct, frozen=True, forbid_unknown_fields=True):
    """A scale of how a person manages in daily life: id of its result kind, and the score up to which that is at least moderately impaired."""

    kind: str
    impaired: Annotated[Value, Quantity("points", 1, 100)]


class PathwayOption(Text, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that can be tried beside clozapine, or instead of it (``value``), and how good the evidence for it is."""

    evidence: str
    #: Symptoms it is tried for (``case.target.Domain``); those that the record names come first.
    domains: tuple[str, ...] = ()
    instead: bool = False


class ChecklistItem(Text, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A cause of a poor response to look for, and by what the record shows it.

    Args:
        value: what to look for, in words.
        kinds: problems (``knowledge/conditions.toml``).
        signs: what else the rule looks for, by name (``rules.causes``).
    """

    kinds: tuple[str, ...] = ()
    signs: tuple[str, ...] = ()


class Pathway(Struct, frozen=True, forbid_unknown_fields=True):
    """Treatment-resistance pathway (clinical.md 2.8)."""

    trials: Annotated[Value, Quantity("", 1, 10)]
    trial_days: Annotated[Value, Quantity("d", 7, 365)]
    chlorpromazine_mg: Annotated[Value, Quantity("mg/d", 100, 1500)]
    #: Equivalents are rounded to so many mg before they are compared: the tables are no more exact.
    chlorpromazine_step_mg: Annotated[Value, Quantity("mg/d", 1, 50)]
    #: A break longer than this ends a trial.
    trial_gap_days: Annotated[Value, Quantity("d", 1, 60)]
    #: An injection of a depot lasts until the next one, at most so long.
    depot_days: Annotated[Value, Quantity("d", 7, 120)]
    adherence_percent: Annotated[Value, Quantity("%", 10, 100)]
    #: Independent sources that show adherence.
    adherence_sources: Annotated[Value, Quantity("", 1, 5)]
    #: Symptom scores older than this are history.
    score_days: Annotated[Value, Quantity("d", 7, 1000)]
    #: Until this day of the course a missing baseline score is asked for at visits.
    baseline_until_day: Annotated[Value, Quantity("d", 1, 60)]
    levels_apart_days: Annotated[Value, Quantity("d", 1, 90)]
    #: A trial of clozapine lasts so long, by what it is to improve.
    duration_days: Annotated[Value, Quantity("d", 14, 730)]
    duration_aggression_days: Annotated[Value, Quantity("d", 14, 730)]
    duration_negative_days: Annotated[Value, Quantity("d", 14, 730)]
    dose_without_level: Annotated[Value, Quantity("mg/d", 100, 900)]
    response_percent: Annotated[Value, Quantity("%", 5, 90)]
    scales: tuple[Scale, ...]
    functions: tuple[FunctionScale, ...]
    options: tuple[PathwayOption, ...]
    #: What holds for all of ``options``.
    options_says: str
    optimisation: tuple[str, ...]
    checklist: tuple[ChecklistItem, ...]
