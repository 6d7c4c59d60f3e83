"""Results and signs that need action (clinical.md 2.6)."""

from __future__ import annotations

from typing import Annotated

from msgspec import Struct

from service.alerts.policy.numbers import Quantity
from service.alerts.policy.parts.values import Text, Value


class Fever(Struct, frozen=True, forbid_unknown_fields=True):
    """Fever as a sign of infection under clozapine."""

    threshold: Annotated[Value, Quantity("°C", 37.5, 40)]
    early_threshold: Annotated[Value, Quantity("°C", 37, 40)]
    early_days: Annotated[Value, Quantity("d", 1, 365)]
    window_hours: Annotated[Value, Quantity("h", 1, 336)]
    after_stop_days: Annotated[Value, Quantity("d", 0, 120)]
    says: str
    #: Clozapine is held from ``threshold`` on until the ANC is known.
    hold: Text


class Myocarditis(Struct, frozen=True, forbid_unknown_fields=True):
    """Thresholds of the myocarditis protocol (RON-2011)."""

    window_days: Annotated[Value, Quantity("d", 14, 365)]
    troponin_stop_factor: Annotated[Value, Quantity("", 1, 20)]
    crp_stop: Annotated[Value, Quantity("mg/L", 20, 300)]
    heart_rate: Annotated[Value, Quantity("/min", 90, 180)]
    heart_rate_rise: Annotated[Value, Quantity("/min", 5, 80)]
    fever: Annotated[Value, Quantity("°C", 37, 40)]
    #: CRP above this counts as raised when the result names no reference range (mg/L).
    crp_raised: Annotated[Value, Quantity("mg/L", 3, 150)]
    says: str
    #: What to do while troponin or CRP is raised and below the limits for stopping.
    watch_steps: tuple[str, ...]


class Levels(Struct, frozen=True, forbid_unknown_fields=True):
    """Clozapine plasma levels, ng/mL (= µg/L)."""

    adequate: Annotated[Value, Quantity("ng/mL", 100, 1000)]
    high: Annotated[Value, Quantity("ng/mL", 200, 2000)]
    toxic: Annotated[Value, Quantity("ng/mL", 400, 3000)]
    trough_hours_low: Annotated[Value, Quantity("h", 6, 24)]
    trough_hours_high: Annotated[Value, Quantity("h", 6, 24)]
    steady_state_days: Annotated[Value, Quantity("d", 1, 30)]
    #: A chart with an entry within so long of a level tells when the last dose before it was given.
    charted_within_hours: Annotated[Value, Quantity("h", 1, 168)]
    nmol_per_ng: Annotated[Value, Quantity("nmol/L per ng/mL", 3, 3.1)]
    #: What the sources say of when and how to take a level.
    says: str
    steps: tuple[str, ...]


class Results(Struct, frozen=True, forbid_unknown_fields=True):
    """Other results that need action (clinical.md 2.6)."""

    qtc_critical: Annotated[Value, Quantity("ms", 450, 600)]
    qtc_men: Annotated[Value, Quantity("ms", 400, 550)]
    qtc_women: Annotated[Value, Quantity("ms", 400, 550)]
    systolic_fall: Annotated[Value, Quantity("mm[Hg]", 5, 60)]
    diastolic_fall: Annotated[Value, Quantity("mm[Hg]", 3, 40)]
    systolic_low: Annotated[Value, Quantity("mm[Hg]", 60, 120)]
    #: A lying and a standing reading belong together when they were taken within so long.
    same_occasion_hours: Annotated[Value, Quantity("h", 0.1, 24)]
    heart_rate_high: Annotated[Value, Quantity("/min", 90, 180)]
    glucose_fasting: Annotated[Value, Quantity("mg/dL", 70, 300)]
    glucose_warning: Annotated[Value, Quantity("mg/dL", 100, 600)]
    hba1c: Annotated[Value, Quantity("%", 4, 14)]
    weight_gain_percent: Annotated[Value, Quantity("%", 1, 50)]
    transaminase_factor: Annotated[Value, Quantity("", 1, 20)]
    bilirubin_factor: Annotated[Value, Quantity("", 1, 20)]
    recent_days: Annotated[Value, Quantity("d", 1, 365)]
