"""Monitoring protocols as dated, cited data (clinical.md section 1): ``policies/*.toml``.

A policy is one regulator's protocol. Every number in it is a :class:`Value` with the document and section it comes from and
whether a primary text confirmed it; rules name the parameter and never hold a number. A policy may ``inherit`` from
another: tables are merged key by key, arrays are replaced whole, so a site's file states only what differs. A table with
``inherit = false`` starts empty, for a protocol that has *not* what the other one has.
"""

from __future__ import annotations

import tomllib
from datetime import date
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct, field

from service.alerts.finding import Citation, Severity
from service.alerts.lazy import lazy

Population = Literal["general", "ben"]
Analyte = Literal["anc", "wbc"]
Comparator = Literal[">=", ">"]


class PolicyError(ValueError):
    """A policy file that cannot be used; the message names the file, the parameter and what was expected."""


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


class PostStop(Struct, frozen=True, forbid_unknown_fields=True):
    """Counts after clozapine was stopped."""

    window_days: Value
    says: str
    #: Days between counts; None = the interval that applied before the stop.
    every_days: Value | None = None
    #: Counts may end once the ANC has reached this (cells/µL).
    until_anc: Value | None = None
    ben_until_anc: Value | None = None


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


class Policy(Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """One regulator's protocol, valid from ``valid_from`` to ``valid_to`` (exclusive)."""

    id: str
    title: str
    jurisdiction: str
    summary: str
    valid_from: date
    sources: dict[str, Source]
    start: Start
    bands: tuple[Band, ...]
    schedule: tuple[SchedulePhase, ...]
    interruption: Interruption
    missed_dose: tuple[MissedDoseTier, ...]
    missed_dose_says: str
    dispensing: Dispensing
    post_stop: PostStop
    falling: Falling
    fever: Fever
    eosinophils: Eosinophils
    platelets: Platelets
    overdue: Overdue
    dosing: Dosing
    monitoring: tuple[MonitoringTest, ...]
    pregnancy_test: PregnancyTest
    myocarditis: Myocarditis
    levels: Levels
    results: Results
    interactions: Interactions
    supply: Supply
    pathway: Pathway
    valid_to: date | None = None
    superseded_by: str = ""
    #: Short name in ``sources`` of the document the cards name as their source.
    main_source: str = ""
    inherits: str = ""
    unknown_start_every_days: int = 7
    notes: tuple[str, ...] = field(default_factory=tuple)

    def cite(self, cited: Any) -> Citation:
        """The citation of a value, band, tier or test of this policy."""
        source = self.sources.get(cited.source)
        return Citation(
            label=source.title if source else cited.source,
            section=getattr(cited, "section", ""),
            url=source.url if source else "",
            confirmed=getattr(cited, "confirmed", True),
        )

    @property
    def citation(self) -> Citation:
        """The policy as a whole."""
        source = self.sources.get(self.main_source)
        return Citation(label=self.title, url=source.url if source else "")

    def valid_on(self, day: date) -> bool:
        """True when the policy was in force on ``day``."""
        return self.valid_from <= day and (self.valid_to is None or day < self.valid_to)

    def bands_of(self, population: Population, analyte: Analyte) -> tuple[Band, ...]:
        """Bands of one count for one population, lowest first; a policy without BEN bands uses the general ones."""
        known = self._bands_of.get((population, analyte))
        if known is None:
            bands = [b for b in self.bands if b.population == population and b.analyte == analyte]
            if not bands and population == "ben":
                return self.bands_of("general", analyte)
            known = tuple(sorted(bands, key=lambda b: b.at_least))
            self._bands_of[population, analyte] = known
        return known

    @lazy
    def _bands_of(self) -> dict[tuple[Population, Analyte], tuple[Band, ...]]:
        return {}

    @lazy
    def monitoring_says(self) -> dict[str, str]:
        """What the policy says of each organ test, by its id, with the source."""
        return {t.id: f"{t.title}: {t.schedule} ({self.cite(t)})." for t in self.monitoring}

    def band(self, population: Population, analyte: Analyte, count: float) -> Band | None:
        """The band a count (cells/µL) lies in; None when the policy does not judge that count."""
        return next((b for b in self.bands_of(population, analyte) if b.holds(count)), None)

    @lazy
    def uses_wbc(self) -> bool:
        """True when the protocol judges the white cell count beside the ANC."""
        return any(b.analyte == "wbc" for b in self.bands)

    @property
    def steps_down(self) -> bool:
        """True when the schedule lengthens for a patient without neutropenia."""
        return any(phase.needs_no_neutropenia for phase in self.schedule)

    @property
    def has_ben_bands(self) -> bool:
        """True when the protocol has thresholds of its own for benign ethnic neutropenia."""
        return any(b.population == "ben" for b in self.bands)


POLICY_FILES = files("service.alerts") / "policies"


def _read(path: Any) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise PolicyError(f"{path}: not valid TOML: {error}") from error
    except UnicodeDecodeError as error:
        raise PolicyError(f"{path}: not a text file in UTF-8; a policy is a TOML file") from error
    except FileNotFoundError as error:
        raise PolicyError(f"{path}: no such policy file") from error
    except OSError as error:
        raise PolicyError(f"{path}: cannot be read ({error.strerror})") from error


def _merge(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in own.items():
        inherited = merged.get(key)
        # A cited value is one unit: overriding the number without its source would leave a false citation.
        if isinstance(value, dict) and value.get("inherit") is False:
            merged[key] = {name: child for name, child in value.items() if name != "inherit"}
        elif isinstance(value, dict) and isinstance(inherited, dict) and "source" not in value:
            merged[key] = _merge(inherited, value)
        else:
            merged[key] = value
    return merged


def resolve(path: Any, _seen: tuple[str, ...] = ()) -> dict[str, Any]:
    """The TOML of a policy file with what it inherits merged in.

    Raises PolicyError for unreadable files and for circles of inheritance.
    """
    own = _read(path)
    parent = own.get("inherits", "")
    if not parent:
        return own
    if parent in _seen:
        raise PolicyError(f"{path}: policies inherit in a circle: {' -> '.join((*_seen, parent))}")
    inherited = resolve(POLICY_FILES / f"{parent}.toml", (*_seen, parent))
    for key in ("valid_to", "superseded_by", "notes"):
        inherited.pop(key, None)  # these belong to one policy only
    return _merge(inherited, own)


def load_policy(path: Path | Any) -> Policy:
    """Read one policy file, with inheritance.

    Raises PolicyError with the parameter at fault and what was expected.
    """
    try:
        policy = msgspec.convert(resolve(path), Policy)
    except msgspec.ValidationError as error:
        raise PolicyError(f"{path}: {error}") from error
    return policy


@cache
def policy_by_id(policy_id: str) -> Policy:
    """A shipped policy by its id. Raises PolicyError naming the known ids."""
    if policy_id not in policy_ids():
        raise PolicyError(f"unknown policy {policy_id!r}; known: {', '.join(policy_ids())}")
    return load_policy(POLICY_FILES / f"{policy_id}.toml")


@cache
def policy_ids() -> tuple[str, ...]:
    """Ids of the shipped policies, in alphabetical order (``common`` is only inherited from)."""
    names = (entry.name for entry in POLICY_FILES.iterdir() if entry.name.endswith(".toml"))
    return tuple(sorted(name.removesuffix(".toml") for name in names if name != "common.toml"))
