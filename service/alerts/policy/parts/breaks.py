"""Breaks in treatment: missed doses, a course that begins anew, an end that nobody dated (clinical.md 2.2)."""

from __future__ import annotations

from typing import Annotated

from msgspec import Struct

from service.alerts.policy.numbers import Quantity
from service.alerts.policy.parts.values import Limit, Value
from service.alerts.say.finding import Severity


class MissedDoseTier(Struct, frozen=True, forbid_unknown_fields=True):
    """Restart dose for a gap since the last dose, from ``gap`` on (hours); tiers are ordered, the longest reached applies."""

    name: str
    gap: Annotated[Limit, Quantity("h", 12, 720)]
    says: str
    severity: Severity
    source: str
    section: str = ""
    confirmed: bool = True
    #: The dosing interval of the established regimen (24 h / doses per day) is added to ``gap``.
    plus_dosing_interval: bool = False
    #: Restart at this share of the established daily dose (low, high), in %.
    percent_low: Annotated[float, Quantity("%", 1, 100)] | None = None
    percent_high: Annotated[float, Quantity("%", 1, 100)] | None = None
    #: Or restart at this single dose in mg, at most ``mg_per_day`` on the first day.
    single_mg: Annotated[float, Quantity("mg", 5, 100)] | None = None
    mg_per_day: Annotated[float, Quantity("mg/d", 5, 200)] | None = None
    severity_when_estimated: Severity = "warning"


class ExtraMonitoring(Struct, frozen=True, forbid_unknown_fields=True):
    """Weekly counts after a break shorter than the restart limit (UK, AU)."""

    gap: Annotated[Limit, Quantity("h", 12, 2000)]
    after_day: Annotated[Value, Quantity("d", 0, 1000)]
    every_days: Annotated[Value, Quantity("d", 1, 60)]
    weeks: Annotated[Value, Quantity("wk", 1, 60)]
    says: str
    #: A brand whose monitoring service counts from another gap on, and that gap.
    brand: str = ""
    brand_gap: Annotated[Limit, Quantity("h", 12, 2000)] | None = None


class Interruption(Struct, frozen=True, forbid_unknown_fields=True):
    """Breaks in treatment."""

    #: Days without clozapine from which the patient is monitored as a new one.
    new_course: Annotated[Limit, Quantity("d", 1, 365)]
    says: str
    extra: ExtraMonitoring | None = None
    #: Treated for so long without any neutropenia, the schedule of before goes on after a break, however long; the dose is titrated anew.
    exempt_after_days: Annotated[Value, Quantity("d", 182, 2000)] | None = None
    exempt_says: str = ""


class UnknownEnd(Struct, frozen=True, forbid_unknown_fields=True):
    """How far other facts are believed of an order or statement that is over and says not since when (``ending``)."""

    #: Nothing else known, it may have run on so long; counts that came regularly for so long show treatment by themselves.
    within_days: Annotated[Value, Quantity("d", 28, 1500)]
    #: Without a count for so many sampling intervals (or restart limits, where those are longer) treatment is over.
    silent_intervals: Annotated[Value, Quantity("", 1, 10)]
    #: An order for home that was carried out may be taken on for so long, and one that follows so soon renews it.
    renewed_within_days: Annotated[Value, Quantity("d", 1, 28)]
