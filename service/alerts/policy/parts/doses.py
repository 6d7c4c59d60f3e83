"""Dose limits (clinical.md 2.3)."""

from __future__ import annotations

from typing import Annotated

from msgspec import Struct

from service.alerts.policy.numbers import Quantity
from service.alerts.policy.parts.values import Value


class Dosing(Struct, frozen=True, forbid_unknown_fields=True):
    """Dose limits (clinical.md 2.3); mg and mg/day."""

    first_day_maximum: Annotated[Value, Quantity("mg", 5, 100)]
    restart_single: Annotated[Value, Quantity("mg", 5, 50)]
    #: Doses that are suggested are multiples of it, rounded down: the smallest that tablets make.
    dose_step: Annotated[Value, Quantity("mg", 5, 25)]
    early_rise_maximum: Annotated[Value, Quantity("mg/d", 5, 200)]
    early_days: Annotated[Value, Quantity("d", 1, 90)]
    late_step_maximum: Annotated[Value, Quantity("mg", 10, 300)]
    late_steps_per_week: Annotated[Value, Quantity("", 1, 7)]
    #: The dose is at most so large before day ``day_14`` of the course; few protocols count to another day than the fourteenth.
    day_14_maximum: Annotated[Value, Quantity("mg/d", 50, 900)]
    day_14: Annotated[Value, Quantity("d", 7, 60)]
    daily_maximum: Annotated[Value, Quantity("mg/d", 100, 1200)]
    seizure_above: Annotated[Value, Quantity("mg/d", 200, 1200)]
    single_maximum: Annotated[Value, Quantity("mg", 50, 900)]
    once_daily_maximum: Annotated[Value, Quantity("mg/d", 50, 900)]
    elderly_from_years: Annotated[Value, Quantity("a", 50, 90)]
    #: From this age dementia-related psychosis is what the boxed warning is about.
    dementia_from_years: Annotated[Value, Quantity("a", 50, 90)]
    #: Below this age the numbers of the policy were never tried.
    adult_from_years: Annotated[Value, Quantity("a", 12, 21)]
    strong_inhibitor_factor: Annotated[Value, Quantity("", 0.1, 1)]
    smoking_stop_factor: Annotated[Value, Quantity("", 0.1, 1)]
    duplicate_factor: Annotated[Value, Quantity("", 1, 5)]
    #: An active order of the same dose, older than this, is taken for renewed by the draft.
    renewal_after_days: Annotated[Value, Quantity("d", 1, 90)]
    taper_weeks_low: Annotated[Value, Quantity("wk", 0.5, 52)]
    taper_weeks_high: Annotated[Value, Quantity("wk", 0.5, 52)]
    #: What the sources say of seizures by dose.
    seizure_says: str
    #: What the sources say of the level when smoking stops.
    smoking_stop_says: str
    #: Early rises end with this dose; None = with ``early_days`` alone.
    early_below: Annotated[Value, Quantity("mg/d", 50, 900)] | None = None
    #: Days at least between two later steps.
    late_steps_apart_days: Annotated[Value, Quantity("d", 1, 30)] | None = None
    #: Above this dose the protocol asks for caution, still below ``seizure_above``.
    seizure_caution_above: Annotated[Value, Quantity("mg/d", 100, 1200)] | None = None
    #: From ``elderly_from_years``: at most so much on the first day, once, and so much more at each rise.
    elderly_first_day_maximum: Annotated[Value, Quantity("mg", 5, 100)] | None = None
    elderly_rise_maximum: Annotated[Value, Quantity("mg/d", 5, 200)] | None = None


class DoseTimes(Struct, frozen=True, forbid_unknown_fields=True):
    """At which hour of the day a dose is taken whose order names only a part of the day, and how late it may be given."""

    morning: Annotated[Value, Quantity("h", 4, 11)]
    noon: Annotated[Value, Quantity("h", 11, 14)]
    afternoon: Annotated[Value, Quantity("h", 13, 18)]
    evening: Annotated[Value, Quantity("h", 16, 21)]
    bedtime: Annotated[Value, Quantity("h", 19, 23.5)]
    #: A dose of a time that is named may be given so late; later the next one is the next planned.
    late: Annotated[Value, Quantity("h", 0.5, 8)]
    #: A time at which doses were charted is the usual one when they lie so close together from day to day.
    usual_within: Annotated[Value, Quantity("h", 0.5, 6)]
