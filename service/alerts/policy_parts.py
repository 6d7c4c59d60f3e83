"""What a policy is made of: values with their citations, bands, schedule, tiers, tests (clinical.md section 1)."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from service.alerts.finding import Severity

Population = Literal["general", "ben"]
Analyte = Literal["anc", "wbc"]
Comparator = Literal[">=", ">"]


class Source(Struct, frozen=True, forbid_unknown_fields=True):
    """A document that values cite by its short name."""

    title: str
    url: str = ""
    date: str = ""


class Value(Struct, frozen=True, forbid_unknown_fields=True):
    """One cited number. ``confirmed`` is false until the number was read in the primary text."""

    value: float
    source: str
    section: str = ""
    unit: str = ""
    confirmed: bool = True
    note: str = ""


class Flag(Struct, frozen=True, forbid_unknown_fields=True):
    """One cited yes/no."""

    value: bool
    source: str
    section: str = ""
    confirmed: bool = True
    note: str = ""


class Text(Struct, frozen=True, forbid_unknown_fields=True):
    """A cited sentence (our words) of what the protocol says or asks for."""

    value: str
    source: str
    section: str = ""
    confirmed: bool = True


class Limit(Struct, frozen=True, forbid_unknown_fields=True):
    """A cited number with the side it belongs to: whether the bound itself counts is part of the protocol."""

    value: float
    comparator: Comparator
    source: str
    section: str = ""
    unit: str = ""
    confirmed: bool = True
    note: str = ""

    def reached(self, quantity: float) -> bool:
        """True when ``quantity`` (same unit) is at or over the limit, as the comparator says."""
        return quantity >= self.value if self.comparator == ">=" else quantity > self.value


class Minimum(Struct, frozen=True, forbid_unknown_fields=True):
    """A cited count (cells/µL) that must be reached; ``>`` where the bound itself does not suffice."""

    value: float
    source: str
    section: str = ""
    comparator: Comparator = ">="
    unit: str = ""
    confirmed: bool = True
    note: str = ""

    def reached(self, count: float) -> bool:
        """True when ``count`` (cells/µL) suffices."""
        return count >= self.value if self.comparator == ">=" else count > self.value


class Recovery(Struct, frozen=True, forbid_unknown_fields=True):
    """What follows once a count has recovered from a band."""

    #: ``extra-counts``: ``counts`` samples every ``every_days`` days; ``new-patient``: the schedule starts anew; ``lifelong``: never longer than ``every_days``.
    kind: Literal["extra-counts", "new-patient", "lifelong"]
    source: str
    section: str = ""
    counts: int = 0
    every_days: int = 0
    confirmed: bool = True


class Band(Struct, frozen=True, forbid_unknown_fields=True):
    """A range of one count (cells/µL) and what the protocol asks for in it: ``at_least`` ≤ count < ``below``.

    A protocol that writes "over 3500" sets ``lower_bound_belongs`` to false, and ``upper_bound_belongs`` in the band below.
    """

    name: str
    title: str
    population: Population
    analyte: Analyte
    treatment: Literal["continue", "interrupt", "stop"]
    says: str
    source: str
    section: str = ""
    confirmed: bool = True
    at_least: float = 0.0
    below: float | None = None
    lower_bound_belongs: bool = True
    upper_bound_belongs: bool = False
    #: Finding code; None in the normal band.
    finding: str | None = None
    severity: Severity | None = None
    #: Days at most between samples while in the band; None in the normal band (the schedule applies).
    every_days: int | None = None
    every_label: str = ""
    confirm_within_hours: int | None = None
    #: The protocol stops clozapine only when a second count confirms the band.
    stop_when_confirmed: bool = False
    #: Days at most between samples once the band is confirmed; None = ``every_days``.
    confirmed_every_days: int | None = None
    confirmed_every_label: str = ""
    consult_hematology: bool = False
    rechallenge: Literal["", "benefit-over-risk", "never"] = ""
    recovery: Recovery | None = None
    steps: tuple[str, ...] = ()

    def holds(self, count: float) -> bool:
        """True when ``count`` (cells/µL) lies in the band."""
        if count < self.at_least or (count == self.at_least and not self.lower_bound_belongs):
            return False
        return self.below is None or count < self.below or (count == self.below and self.upper_bound_belongs)

    @property
    def range_text(self) -> str:
        """The range in cells/µL for people: ``1000 to < 1500``, ``> 3500``, ``< 500``."""
        upper = "" if self.below is None else f"{'≤' if self.upper_bound_belongs else '<'} {self.below:g}"
        lower = f"{self.at_least:g}"
        if not upper:
            return f"{'≥' if self.lower_bound_belongs else '>'} {lower}"
        if self.at_least == 0:
            return upper
        return f"{'' if self.lower_bound_belongs else '> '}{lower} to {upper}"


class SchedulePhase(Struct, frozen=True, forbid_unknown_fields=True):
    """Sampling interval while counts are normal, until ``until_day`` of the course (exclusive; None = for good)."""

    label: str
    every_days: int
    source: str
    section: str = ""
    until_day: int | None = None
    confirmed: bool = True
    #: The phase is reached only by a patient without any neutropenia in the course so far.
    needs_no_neutropenia: bool = False
    #: Days before the due date from which "due soon" is said.
    due_soon_days: int = 7


class MissedDoseTier(Struct, frozen=True, forbid_unknown_fields=True):
    """Restart dose for a gap since the last dose, from ``gap`` on (hours); tiers are ordered, the longest reached applies."""

    name: str
    gap: Limit
    says: str
    severity: Severity
    source: str
    section: str = ""
    confirmed: bool = True
    #: The dosing interval of the established regimen (24 h / doses per day) is added to ``gap``.
    plus_dosing_interval: bool = False
    #: Restart at this share of the established daily dose (low, high), in %.
    percent_low: float | None = None
    percent_high: float | None = None
    #: Or restart at this single dose in mg, at most ``mg_per_day`` on the first day.
    single_mg: float | None = None
    mg_per_day: float | None = None
    severity_when_estimated: Severity = "warning"


class Start(Struct, frozen=True, forbid_unknown_fields=True):
    """What must be known before the first dose."""

    anc_minimum: Minimum
    #: Days at most between the baseline count and the first dose; None = the first interval of the schedule.
    baseline_days: Value | None = None
    ben_anc_minimum: Minimum | None = None
    wbc_minimum: Minimum | None = None
    ben_wbc_minimum: Minimum | None = None
    ben_baseline_counts: Value | None = None
    says: str = ""

    def minimum(self, population: Population, analyte: Analyte) -> Minimum | None:
        """What a count must reach before the first dose; a policy without a minimum for BEN uses the general one."""
        general, ben = (
            (self.anc_minimum, self.ben_anc_minimum)
            if analyte == "anc"
            else (self.wbc_minimum, self.ben_wbc_minimum)
        )
        return ben if population == "ben" and ben is not None else general


class ExtraMonitoring(Struct, frozen=True, forbid_unknown_fields=True):
    """Weekly counts after a break shorter than the restart limit (UK, AU)."""

    gap: Limit
    after_day: Value
    every_days: Value
    weeks: Value
    says: str


class Interruption(Struct, frozen=True, forbid_unknown_fields=True):
    """Breaks in treatment."""

    #: Days without clozapine from which the patient is monitored as a new one.
    new_course: Limit
    says: str
    extra: ExtraMonitoring | None = None


class Dispensing(Struct, frozen=True, forbid_unknown_fields=True):
    """Whether supply depends on a current count, and how much may be supplied."""

    requires_current_count: Flag
    #: Days' supply allowed by sampling interval: ``[[interval_days, supply_days], ...]``.
    supply_by_interval: tuple[tuple[int, int], ...] = ()
    supply_source: str = ""
    supply_confirmed: bool = True
    #: Supply ends no later than the next count is due (AU), however long the interval is.
    until_next_count: Flag | None = None


class PostStop(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Counts after clozapine was stopped."""

    window_days: Value
    says: str
    #: Days between counts; None = the interval that applied before the stop.
    every_days: Value | None = None
    #: Counts may end once the ANC has reached this (cells/µL).
    until_anc: Value | None = None
    ben_until_anc: Value | None = None
    #: A last ANC below this (cells/µL) makes missing counts critical, and for so long after the stop.
    critical_below: Value
    ben_critical_below: Value
    critical_window_days: Value


class Falling(Struct, frozen=True, forbid_unknown_fields=True):
    """A fall of the counts that is a warning before any band is reached."""

    severity: Severity
    within_days: Value
    says: str
    anc_fall_percent: Value | None = None
    anc_fall: Value | None = None
    anc_below: Value | None = None
    wbc_fall: Value | None = None
    wbc_below: Value | None = None
    #: Days at most between counts while they fall; None = the schedule goes on.
    every_days: Value | None = None
    every_label: str = ""
    #: Flu-like signs count like a fall.
    flu_like: Flag | None = None


class Fever(Struct, frozen=True, forbid_unknown_fields=True):
    """Fever as a sign of infection under clozapine."""

    threshold: Value
    early_threshold: Value
    early_days: Value
    window_hours: Value
    after_stop_days: Value
    says: str
    #: Clozapine is held from ``threshold`` on until the ANC is known.
    hold: Text


class Eosinophils(Struct, frozen=True, forbid_unknown_fields=True):
    """Eosinophilia."""

    high: Value
    high_severity: Severity
    early: Value
    early_days: Value
    says: str
    restart_below: Value | None = None


class Platelets(Struct, frozen=True, forbid_unknown_fields=True):
    """Thrombocytopenia."""

    low: Value
    says: str


class Overdue(Struct, frozen=True, forbid_unknown_fields=True):
    """When an overdue count becomes critical."""

    critical_intervals: Value


class Dosing(Struct, frozen=True, forbid_unknown_fields=True):
    """Dose limits (clinical.md 2.3); mg and mg/day."""

    first_day_maximum: Value
    restart_single: Value
    early_rise_maximum: Value
    early_days: Value
    late_step_maximum: Value
    late_steps_per_week: Value
    day_14_maximum: Value
    day_14: Value
    daily_maximum: Value
    seizure_above: Value
    seizure_moderate_above: Value
    single_maximum: Value
    once_daily_maximum: Value
    elderly_from_years: Value
    strong_inhibitor_factor: Value
    smoking_stop_factor: Value
    duplicate_factor: Value
    #: An active order of the same dose, older than this, is taken for renewed by the draft.
    renewal_after_days: Value
    taper_weeks_low: Value
    taper_weeks_high: Value
    #: What the sources say of seizures by dose.
    seizure_says: str
    #: What the sources say of the level when smoking stops.
    smoking_stop_says: str


class MonitoringTest(Struct, frozen=True, forbid_unknown_fields=True):
    """One organ test and its schedule (clinical.md 2.5); days are days of the course."""

    id: str
    title: str
    #: Measurement kinds (or coded kinds) any of which satisfies the test.
    kinds: tuple[str, ...]
    source: str
    section: str = ""
    confirmed: bool = True
    baseline: bool = True
    #: Kinds that must *all* be there (troponin and CRP); empty = any of ``kinds``.
    all_kinds: tuple[str, ...] = ()
    #: Days of the course on which the test is due.
    days: tuple[int, ...] = ()
    #: After the last of ``days``: every so many days (None = no more).
    then_every_days: int | None = None
    #: Flagged when so many days late.
    late_days: int = 0
    #: No longer flagged from this day of the course on.
    until_day: int | None = None
    #: A baseline taken up to so many days before the start counts.
    baseline_window_days: int = 90
    #: Visits in the first weeks: at least every so many days until ``until_day``.
    severity: Severity = "warning"
    #: id of ``knowledge/tests.toml`` to order.
    order: str = ""
    #: Days the early schedule tolerates before the due day.
    early_days: int = 3

    @property
    def schedule(self) -> str:
        """``baseline, day 7, 28, then every 365 days``."""
        parts = ["baseline"] if self.baseline else []
        if self.days:
            parts.append(f"day {', '.join(str(d) for d in self.days)}")
        if self.then_every_days:
            parts.append(f"then every {self.then_every_days} days")
        return ", ".join(parts)


class PregnancyTest(Struct, frozen=True, forbid_unknown_fields=True):
    """Pregnancy test before the first dose (clinical.md 2.5)."""

    from_years: Value
    to_years: Value
    window_days: Value
    #: A positive test means pregnancy for so long, unless a later one says otherwise.
    carried_days: Value
    says: str


class Myocarditis(Struct, frozen=True, forbid_unknown_fields=True):
    """Thresholds of the myocarditis protocol (RON-2011)."""

    window_days: Value
    troponin_stop_factor: Value
    crp_stop: Value
    heart_rate: Value
    heart_rate_rise: Value
    fever: Value
    #: CRP above this counts as raised when the result names no reference range (mg/L).
    crp_raised: Value
    says: str
    #: What to do while troponin or CRP is raised and below the limits for stopping.
    watch_steps: tuple[str, ...]


class Levels(Struct, frozen=True, forbid_unknown_fields=True):
    """Clozapine plasma levels, ng/mL (= µg/L)."""

    adequate: Value
    high: Value
    toxic: Value
    trough_hours_low: Value
    trough_hours_high: Value
    steady_state_days: Value
    nmol_per_ng: Value
    #: What the sources say of when and how to take a level.
    says: str
    steps: tuple[str, ...]


class Results(Struct, frozen=True, forbid_unknown_fields=True):
    """Other results that need action (clinical.md 2.6)."""

    qtc_critical: Value
    qtc_men: Value
    qtc_women: Value
    systolic_fall: Value
    diastolic_fall: Value
    systolic_low: Value
    heart_rate_high: Value
    glucose_fasting: Value
    glucose_warning: Value
    hba1c: Value
    weight_gain_percent: Value
    transaminase_factor: Value
    bilirubin_factor: Value
    recent_days: Value


class Interactions(Struct, frozen=True, forbid_unknown_fields=True):
    """Times and levels of the interaction rules (clinical.md 2.4)."""

    #: ``eu`` = marrow-toxic drugs and depots are contraindicated; ``us`` = cautioned.
    severity_region: Literal["us", "eu"]
    long_standing_days: Value
    titration_days: Value
    stopped_within_days: Value
    smoking_within_days: Value
    smoking_critical_dose: Value
    smoking_critical_level: Value
    qt_drugs_critical: Value
    #: What the protocol asks of the blood counts when valproate is given too.
    valproate: Text | None = None


class Scale(Struct, frozen=True, forbid_unknown_fields=True):
    """A symptom scale: id of its result kind and its lowest possible score."""

    kind: str
    minimum: float


class Pathway(Struct, frozen=True, forbid_unknown_fields=True):
    """Treatment-resistance pathway (clinical.md 2.8)."""

    trials: Value
    trial_days: Value
    chlorpromazine_mg: Value
    #: A break longer than this ends a trial.
    trial_gap_days: Value
    adherence_percent: Value
    #: Symptom scores older than this are history.
    score_days: Value
    levels_apart_days: Value
    duration_days: Value
    dose_without_level: Value
    response_percent: Value
    scales: tuple[Scale, ...]
    options: tuple[str, ...]
    optimisation: tuple[str, ...]
    checklist: tuple[str, ...]


class Supply(Struct, frozen=True, forbid_unknown_fields=True):
    """Supply and adherence."""

    gap_days: Value
    adherence_days: Value
    adherence_percent: Value
