"""What a policy is made of: values with their citations, bands, schedule, tiers, tests (clinical.md section 1)."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Struct

from service.alerts.policy.numbers import Quantity
from service.alerts.say.finding import Severity
from service.alerts.say.sentence import Listed, Number, sentence

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
    counts: Annotated[int, Quantity("", 0, 60)] = 0
    every_days: Annotated[int, Quantity("d", 0, 400)] = 0
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
    at_least: Annotated[float, Quantity("cells/µL", 100, 20000, or_zero=True)] = 0.0
    below: Annotated[float, Quantity("cells/µL", 100, 20000)] | None = None
    lower_bound_belongs: bool = True
    upper_bound_belongs: bool = False
    #: Finding code; None in the normal band.
    finding: str | None = None
    severity: Severity | None = None
    #: Days at most between samples while in the band; None in the normal band (the schedule applies).
    every_days: Annotated[int, Quantity("d", 0, 400)] | None = None
    every_label: str = ""
    confirm_within_hours: Annotated[int, Quantity("h", 1, 168)] | None = None
    #: The protocol stops clozapine only when a second count confirms the band.
    stop_when_confirmed: bool = False
    #: Days at most between samples once the band is confirmed; None = ``every_days``.
    confirmed_every_days: Annotated[int, Quantity("d", 0, 400)] | None = None
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
    every_days: Annotated[int, Quantity("d", 0, 400)]
    source: str
    #: Days before the due date from which "due soon" is said; unless stated ``unless_stated.due_soon_days``.
    due_soon_days: Annotated[int, Quantity("d", 0, 60)]
    section: str = ""
    until_day: Annotated[int, Quantity("d", 1, 4000)] | None = None
    confirmed: bool = True
    #: The phase is reached only by a patient without any neutropenia in the course so far.
    needs_no_neutropenia: bool = False


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


class Start(Struct, frozen=True, forbid_unknown_fields=True):
    """What must be known before the first dose."""

    anc_minimum: Annotated[Minimum, Quantity("cells/µL", 500, 5000)]
    #: Days at most between the baseline count and the first dose; None = the first interval of the schedule.
    baseline_days: Annotated[Value, Quantity("d", 1, 60)] | None = None
    ben_anc_minimum: Annotated[Minimum, Quantity("cells/µL", 300, 5000)] | None = None
    wbc_minimum: Annotated[Minimum, Quantity("cells/µL", 1000, 10000)] | None = None
    ben_wbc_minimum: Annotated[Minimum, Quantity("cells/µL", 1000, 10000)] | None = None
    ben_baseline_counts: Annotated[Value, Quantity("", 1, 10)] | None = None
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

    gap: Annotated[Limit, Quantity("h", 12, 2000)]
    after_day: Annotated[Value, Quantity("d", 0, 1000)]
    every_days: Annotated[Value, Quantity("d", 1, 60)]
    weeks: Annotated[Value, Quantity("wk", 1, 60)]
    says: str


class Interruption(Struct, frozen=True, forbid_unknown_fields=True):
    """Breaks in treatment."""

    #: Days without clozapine from which the patient is monitored as a new one.
    new_course: Annotated[Limit, Quantity("d", 1, 365)]
    says: str
    extra: ExtraMonitoring | None = None


class Dispensing(Struct, frozen=True, forbid_unknown_fields=True):
    """Whether supply depends on a current count, and how much may be supplied."""

    requires_current_count: Flag
    #: Days' supply allowed by sampling interval: ``[[interval_days, supply_days], ...]``.
    supply_by_interval: Annotated[tuple[tuple[int, int], ...], Quantity("d", 1, 400)] = ()
    supply_source: str = ""
    supply_confirmed: bool = True
    #: Supply ends no later than the next count is due (AU), however long the interval is.
    until_next_count: Flag | None = None


class PostStop(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Counts after clozapine was stopped."""

    window_days: Annotated[Value, Quantity("d", 1, 365)]
    says: str
    #: Days between counts; None = the interval that applied before the stop.
    every_days: Annotated[Value, Quantity("d", 1, 60)] | None = None
    #: Counts may end once the ANC has reached this (cells/µL).
    until_anc: Annotated[Value, Quantity("cells/µL", 500, 5000)] | None = None
    ben_until_anc: Annotated[Value, Quantity("cells/µL", 300, 5000)] | None = None
    #: A last ANC below this (cells/µL) makes missing counts critical, and for so long after the stop.
    critical_below: Annotated[Value, Quantity("cells/µL", 300, 3000)]
    ben_critical_below: Annotated[Value, Quantity("cells/µL", 100, 3000)]
    critical_window_days: Annotated[Value, Quantity("d", 1, 365)]


class Falling(Struct, frozen=True, forbid_unknown_fields=True):
    """A fall of the counts that is a warning before any band is reached."""

    severity: Severity
    within_days: Annotated[Value, Quantity("d", 1, 120)]
    says: str
    anc_fall_percent: Annotated[Value, Quantity("%", 10, 95)] | None = None
    anc_fall: Annotated[Value, Quantity("cells/µL", 300, 10000)] | None = None
    anc_below: Annotated[Value, Quantity("cells/µL", 500, 10000)] | None = None
    wbc_fall: Annotated[Value, Quantity("cells/µL", 500, 20000)] | None = None
    wbc_below: Annotated[Value, Quantity("cells/µL", 1000, 20000)] | None = None
    #: Days at most between counts while they fall; None = the schedule goes on.
    every_days: Annotated[Value, Quantity("d", 1, 60)] | None = None
    every_label: str = ""
    #: Flu-like signs count like a fall.
    flu_like: Flag | None = None


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


class Eosinophils(Struct, frozen=True, forbid_unknown_fields=True):
    """Eosinophilia."""

    high: Annotated[Value, Quantity("cells/µL", 500, 20000)]
    high_severity: Severity
    early: Annotated[Value, Quantity("cells/µL", 200, 10000)]
    early_days: Annotated[Value, Quantity("d", 1, 365)]
    says: str
    restart_below: Annotated[Value, Quantity("cells/µL", 200, 20000)] | None = None


class Platelets(Struct, frozen=True, forbid_unknown_fields=True):
    """Thrombocytopenia."""

    low: Annotated[Value, Quantity("cells/µL", 10000, 200000)]
    says: str


class Overdue(Struct, frozen=True, forbid_unknown_fields=True):
    """When an overdue count becomes critical."""

    critical_intervals: Annotated[Value, Quantity("", 1, 10)]


class UnlessStated(Struct, frozen=True, forbid_unknown_fields=True):
    """What a phase of the schedule or an organ test holds where the file does not state it; filled in when the file is read."""

    #: ``schedule.due_soon_days``
    due_soon_days: Annotated[Value, Quantity("d", 0, 60)]
    #: ``monitoring.early_days``
    early_days: Annotated[Value, Quantity("d", 0, 60)]
    #: ``monitoring.baseline_window_days``
    baseline_window_days: Annotated[Value, Quantity("d", 1, 400)]


class RecordReading(Struct, frozen=True, forbid_unknown_fields=True):
    """How the record is read: for how long an entry speaks, and which entries tell the dose that is really given."""

    #: A chart with an entry this young is still kept.
    chart_kept_days: Annotated[Value, Quantity("d", 0.5, 14)]
    #: Charted days that tell the dose that is really given: the last ones, and those before a gap.
    dose_charted_days: Annotated[Value, Quantity("d", 1, 28)]
    #: The charted doses of a dose below the one ordered must be so many days apart, first to last.
    dose_charted_least_days: Annotated[Value, Quantity("d", 0.5, 14)]
    #: Of a chart that alone tells the dose: the last of it that counts.
    last_charted_days: Annotated[Value, Quantity("d", 1, 14)]
    #: Extra counts after a neutropenia that follow each other sooner than this share of the interval asked for are one.
    counts_apart_percent: Annotated[Value, Quantity("%", 10, 100)]


class Quiet(Struct, frozen=True, forbid_unknown_fields=True):
    """When what is known already is said again, and when a reminder is not needed: decided from the record alone (``standing``, ``kept``)."""

    #: A condition that lasts is told for so long after it began or changed; later only where a count is due.
    standing_days: Annotated[Value, Quantity("d", 1, 90)]
    #: Whoever kept so many counts (or supplies) in a row in time needs no reminder of the next one.
    kept_times: Annotated[Value, Quantity("", 1, 20)]


class UnknownEnd(Struct, frozen=True, forbid_unknown_fields=True):
    """How far other facts are believed of an order or statement that is over and says not since when (``ending``)."""

    #: Nothing else known, it may have run on so long; counts that came regularly for so long show treatment by themselves.
    within_days: Annotated[Value, Quantity("d", 28, 1500)]
    #: Without a count for so many sampling intervals (or restart limits, where those are longer) treatment is over.
    silent_intervals: Annotated[Value, Quantity("", 1, 10)]
    #: An order for home that was carried out may be taken on for so long, and one that follows so soon renews it.
    renewed_within_days: Annotated[Value, Quantity("d", 1, 28)]


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
    day_14_maximum: Annotated[Value, Quantity("mg/d", 50, 900)]
    day_14: Annotated[Value, Quantity("d", 7, 60)]
    daily_maximum: Annotated[Value, Quantity("mg/d", 100, 1200)]
    seizure_above: Annotated[Value, Quantity("mg/d", 200, 1200)]
    single_maximum: Annotated[Value, Quantity("mg", 50, 900)]
    once_daily_maximum: Annotated[Value, Quantity("mg/d", 50, 900)]
    elderly_from_years: Annotated[Value, Quantity("a", 50, 90)]
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


class MonitoringTest(Struct, frozen=True, forbid_unknown_fields=True):
    """One organ test and its schedule (clinical.md 2.5); days are days of the course."""

    id: str
    title: str
    #: Measurement kinds (or coded kinds) any of which satisfies the test.
    kinds: tuple[str, ...]
    source: str
    #: A baseline taken up to so many days before the start counts; unless stated ``unless_stated.baseline_window_days``.
    baseline_window_days: Annotated[int, Quantity("d", 1, 400)]
    #: Days the early schedule tolerates before the due day; unless stated ``unless_stated.early_days``.
    early_days: Annotated[int, Quantity("d", 0, 60)]
    section: str = ""
    confirmed: bool = True
    baseline: bool = True
    #: Kinds that must *all* be there (troponin and CRP); empty = any of ``kinds``.
    all_kinds: tuple[str, ...] = ()
    #: Days of the course on which the test is due.
    days: Annotated[tuple[int, ...], Quantity("d", 0, 4000)] = ()
    #: After the last of ``days``: every so many days (None = no more).
    then_every_days: Annotated[int, Quantity("d", 1, 1200)] | None = None
    #: Flagged when so many days late.
    late_days: Annotated[int, Quantity("d", 0, 365)] = 0
    #: No longer flagged from this day of the course on.
    until_day: Annotated[int, Quantity("d", 1, 4000)] | None = None
    severity: Severity = "warning"
    #: id of ``knowledge/tests.toml`` to order.
    order: str = ""

    @property
    def schedule(self) -> Listed:
        """``baseline, day 7, 28, then every 365 days``."""
        parts = [sentence("test-schedule.baseline")] if self.baseline else []
        if self.days:
            days = Listed(tuple(Number(day, 0) for day in self.days), last="")
            parts.append(sentence("test-schedule.days", days=days))
        if self.then_every_days:
            parts.append(sentence("test-schedule.every", days=Number(self.then_every_days, 0)))
        return Listed(tuple(parts), last="")


class PregnancyTest(Struct, frozen=True, forbid_unknown_fields=True):
    """Pregnancy test before the first dose (clinical.md 2.5)."""

    from_years: Annotated[Value, Quantity("a", 8, 25)]
    to_years: Annotated[Value, Quantity("a", 40, 65)]
    window_days: Annotated[Value, Quantity("d", 1, 60)]
    #: A positive test means pregnancy for so long, unless a later one says otherwise.
    carried_days: Annotated[Value, Quantity("d", 200, 320)]
    says: str


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


class Interactions(Struct, frozen=True, forbid_unknown_fields=True):
    """Times and levels of the interaction rules (clinical.md 2.4)."""

    #: ``eu`` = marrow-toxic drugs and depots are contraindicated; ``us`` = cautioned.
    severity_region: Literal["us", "eu"]
    long_standing_days: Annotated[Value, Quantity("d", 1, 365)]
    titration_days: Annotated[Value, Quantity("d", 1, 365)]
    stopped_within_days: Annotated[Value, Quantity("d", 1, 120)]
    smoking_within_days: Annotated[Value, Quantity("d", 1, 365)]
    smoking_critical_dose: Annotated[Value, Quantity("mg/d", 50, 900)]
    smoking_critical_level: Annotated[Value, Quantity("ng/mL", 100, 1000)]
    qt_drugs_critical: Annotated[Value, Quantity("", 1, 10)]
    #: A strong inhibitor and clozapine, both unchanged for so long, are adjusted to each other when a level says so, ...
    settled_days: Annotated[Value, Quantity("d", 7, 365)]
    #: ... taken so long after the last change.
    level_after_days: Annotated[Value, Quantity("d", 2, 90)]
    #: Classes (ids of ``interactions.toml``) that the site leaves to the EHR's own interaction checker.
    left_to_ehr: tuple[str, ...] = ()
    #: What the protocol asks of the blood counts when valproate is given too.
    valproate: Text | None = None


class Scale(Struct, frozen=True, forbid_unknown_fields=True):
    """A symptom scale: id of its result kind, its lowest possible score, and the score from which the illness is at least moderate."""

    kind: str
    minimum: Annotated[float, Quantity("points", 0, 200)]
    moderate: Annotated[Value, Quantity("points", 1, 200)]


class FunctionScale(Struct, frozen=True, forbid_unknown_fields=True):
    """A scale of how a person manages in daily life: id of its result kind, and the score up to which that is at least moderately impaired."""

    kind: str
    impaired: Annotated[Value, Quantity("points", 1, 100)]


class PathwayOption(Struct, frozen=True, forbid_unknown_fields=True):
    """Something that can be tried beside clozapine, or instead of it (``value``), and how good the evidence for it is."""

    value: str
    evidence: str
    source: str
    section: str = ""
    confirmed: bool = True
    #: Symptoms it is tried for (``case.target.Domain``); those that the record names come first.
    domains: tuple[str, ...] = ()
    instead: bool = False


class ChecklistItem(Struct, frozen=True, forbid_unknown_fields=True):
    """A cause of a poor response to look for, and by what the record shows it.

    Args:
        value: what to look for, in words.
        kinds: problems (``knowledge/conditions.toml``).
        signs: what else the rule looks for, by name (``rules.causes``).
    """

    value: str
    source: str
    section: str = ""
    confirmed: bool = True
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


class Supply(Struct, frozen=True, forbid_unknown_fields=True):
    """Supply and adherence."""

    gap_days: Annotated[Value, Quantity("d", 0.5, 60)]
    adherence_days: Annotated[Value, Quantity("d", 7, 730)]
    adherence_percent: Annotated[Value, Quantity("%", 10, 100)]
