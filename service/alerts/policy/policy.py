"""Monitoring protocols as dated, cited data (clinical.md section 1): ``policies/*.toml``.

A policy is one regulator's protocol. Every number in it is a :class:`Value` with the document and section it comes from and
whether a primary text confirmed it; rules name the parameter and never hold a number. A policy may ``inherit`` from
another: tables are merged key by key, arrays are replaced whole, so a site's file states only what differs. A table with
``inherit = false`` starts empty, for a protocol that has *not* what the other one has.
"""

from __future__ import annotations

import tomllib
from datetime import date, timedelta
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Struct, field

from service.alerts.facts.lazy import lazy
from service.alerts.policy.numbers import Quantity, wrong_numbers
from service.alerts.policy.parts import (
    Analyte,
    Band,
    Dispensing,
    Dosing,
    Eosinophils,
    Falling,
    Fever,
    Interactions,
    Interruption,
    Levels,
    MissedDoseTier,
    MonitoringTest,
    Myocarditis,
    Overdue,
    Pathway,
    Platelets,
    Population,
    PostStop,
    PregnancyTest,
    Results,
    SchedulePhase,
    Source,
    Start,
    Supply,
    UnknownEnd,
    Value,
)
from service.alerts.policy.prose import ProseError, filled
from service.alerts.say.cited import cited_in_line
from service.alerts.say.finding import Citation
from service.alerts.say.sentence import Sentence, Term, sentence


class PolicyError(ValueError):
    """A policy file that cannot be used; the message names the file, the parameter and what was expected."""


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
    unknown_end: UnknownEnd
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
    unknown_start_every_days: Annotated[int, Quantity("d", 1, 60)] = 7
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
    def monitoring_says(self) -> dict[str, Sentence]:
        """What the policy says of each organ test, by its id, with the source."""
        where = f"{self.id}/monitoring"
        return {
            t.id: sentence(
                "monitoring-overdue.policy",
                test=Term("policy", f"{where}.{t.id}.title", t.title),
                schedule=t.schedule,
                source=cited_in_line(self.cite(t)),
            )
            for t in self.monitoring
        }

    def band(self, population: Population, analyte: Analyte, count: float) -> Band | None:
        """The band a count (cells/µL) lies in; None when the policy does not judge that count."""
        return next((b for b in self.bands_of(population, analyte) if b.holds(count)), None)

    @lazy
    def uses_wbc(self) -> bool:
        """True when the protocol judges the white cell count beside the ANC."""
        return any(b.analyte == "wbc" for b in self.bands)

    @lazy
    def retitrated_gaps(self) -> tuple[MissedDoseTier, ...]:
        """The tiers of missed doses whose gap is so long that a full dose at once is dangerous, shortest first."""
        return tuple(t for t in self.missed_dose if t.severity == "critical")

    @lazy
    def shortest_break(self) -> timedelta:
        """The shortest break that changes what this protocol asks for once clozapine is taken again."""
        hours = [t.gap.value for t in self.retitrated_gaps] + [self.interruption.new_course.value * 24]
        if self.interruption.extra is not None:
            hours.append(self.interruption.extra.gap.value)
        return timedelta(hours=min(hours))

    @lazy
    def baseline_window(self) -> tuple[int, Value | SchedulePhase]:
        """Days at most between the baseline count and the first dose, and what says so."""
        window = self.start.baseline_days
        if window is not None:
            return int(window.value), window
        return self.schedule[0].every_days, self.schedule[0]

    @property
    def steps_down(self) -> bool:
        """True when the schedule lengthens for a patient without neutropenia."""
        return any(phase.needs_no_neutropenia for phase in self.schedule)

    @property
    def has_ben_bands(self) -> bool:
        """True when the protocol has thresholds of its own for benign ethnic neutropenia."""
        return any(b.population == "ben" for b in self.bands)


POLICY_FILES = files("service.alerts.policy") / "files"


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


#: What a site may say of an inherited value without giving a source of its own: that it has read it, and a remark.
_SAID_OF_A_VALUE = frozenset({"confirmed", "note"})
#: Numbers whose source stands in a key beside them.
_SOURCE_BESIDE = {"supply_by_interval": "supply_source"}


def _merge(base: dict[str, Any], own: dict[str, Any], where: str = "") -> dict[str, Any]:
    """``own`` over ``base``, table by table. A cited value is one unit: a number changed without its source would keep a false citation."""
    merged = dict(base)
    for key, value in own.items():
        path = f"{where}.{key}" if where else key
        inherited = merged.get(key)
        if (beside := _SOURCE_BESIDE.get(key)) is not None and beside not in own:
            raise PolicyError(
                f"{path}: the numbers are changed without their source; write {beside} beside them"
            )
        if isinstance(value, dict) and value.get("inherit") is False:
            merged[key] = {name: child for name, child in value.items() if name != "inherit"}
        elif not isinstance(inherited, dict) or (isinstance(value, dict) and "source" in value):
            merged[key] = value
        elif "source" not in inherited and isinstance(value, dict):
            merged[key] = _merge(inherited, value, path)
        elif isinstance(value, dict) and value.keys() <= _SAID_OF_A_VALUE:
            merged[key] = {**inherited, **value}
        else:
            raise PolicyError(f"{path}: the value is changed without its source; {_as_written(inherited)}")
    return merged


def _as_written(inherited: dict[str, Any]) -> str:
    """How a cited value is written, after the one that is inherited."""
    parts = ["value = …", *(f'unit = "{inherited["unit"]}"' for _ in (1,) if inherited.get("unit"))]
    return f'expected a table such as {{ {", ".join(parts)}, source = "…", section = "…" }}'


def resolve(path: Any, _seen: tuple[str, ...] = ()) -> dict[str, Any]:
    """The TOML of a policy file with what it inherits merged in.

    Raises PolicyError for unreadable files, unknown parents, circles of inheritance and values changed without a source.
    """
    own = _read(path)
    parent = own.get("inherits", "")
    if not parent:
        return own
    if parent in _seen:
        raise PolicyError(f"{path}: policies inherit in a circle: {' -> '.join((*_seen, parent))}")
    known = ("common", *policy_ids())
    if parent not in known:
        raise PolicyError(f"{path}: inherits: unknown policy {parent!r}, expected one of {', '.join(known)}")
    inherited = resolve(POLICY_FILES / f"{parent}.toml", (*_seen, parent))
    for key in ("valid_to", "superseded_by", "notes"):
        inherited.pop(key, None)  # these belong to one policy only
    try:
        return _merge(inherited, own)
    except PolicyError as error:
        raise PolicyError(f"{path}: {error}") from None


def load_policy(path: Path | Any) -> Policy:
    """Read one policy file, with inheritance.

    Raises PolicyError with the file, the parameter at fault and what was expected: a shape that is no policy, a value without
    source, a foreign unit, a number out of bounds, a text that names a number which is not there.
    """
    try:
        content = resolve(path)
        msgspec.convert(content, Policy)  # what is wrong with its shape comes before what its texts name
        policy = msgspec.convert(filled(content), Policy)
    except (msgspec.ValidationError, ProseError) as error:
        raise PolicyError(f"{path}: {error}") from error
    wrong = next(wrong_numbers(policy), None)
    if wrong is not None:
        raise PolicyError(f"{path}: {wrong}")
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
