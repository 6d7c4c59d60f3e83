"""Monitoring protocols as dated, cited data (clinical.md section 1): ``policies/*.toml``.

A policy is one regulator's protocol. Every number in it is a :class:`Value` with the document and section it comes from and
whether a primary text confirmed it; rules name the parameter and never hold a number. A policy may ``inherit`` from
another: tables are merged key by key, arrays are replaced whole – the notes, too –, so a site's file states only what differs. A table with
``inherit = false`` starts empty, for a protocol that has *not* what the other one has.

What all policies share stands in ``common.toml``, and is never overwritten either: a change is a file of its own, such as
``common-2027-03-01.toml``, that inherits from the one before and names the day from which it holds (``valid_from``). A policy carries
what was shared before (``earlier``), and a question is judged by what was shared on its day.
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
from service.alerts.policy.judge import band_for
from service.alerts.policy.numbers import Quantity, wrong_numbers
from service.alerts.policy.parts.breaks import Interruption, MissedDoseTier, UnknownEnd
from service.alerts.policy.parts.counts import (
    Analyte,
    Band,
    Eosinophils,
    Falling,
    Platelets,
    Population,
    PostStop,
    Start,
)
from service.alerts.policy.parts.doses import DoseTimes, Dosing
from service.alerts.policy.parts.interactions import Interactions
from service.alerts.policy.parts.pathway import Pathway
from service.alerts.policy.parts.quiet import Quiet
from service.alerts.policy.parts.record import RecordReading
from service.alerts.policy.parts.results import Fever, Levels, Myocarditis, Results
from service.alerts.policy.parts.schedule import (
    MonitoringTest,
    Overdue,
    PregnancyTest,
    SchedulePhase,
    UnlessStated,
)
from service.alerts.policy.parts.supply import Dispensing, Supply
from service.alerts.policy.parts.values import PART_OF, Confirmation, Source, Value
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
    quiet: Quiet
    record: RecordReading
    dose_times: DoseTimes
    unless_stated: UnlessStated
    #: Days at most between counts while nobody knows since when clozapine is taken.
    unknown_start_every_days: Annotated[Value, Quantity("d", 1, 60)]
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
    notes: tuple[str, ...] = field(default_factory=tuple)
    #: Parts that the site has read in the primary text itself.
    confirmations: tuple[Confirmation, ...] = ()
    #: The day from which the shared values hold; None = they are the first ones.
    shared_from: date | None = None
    #: The same policy with the values that were shared before, the latest first.
    earlier: tuple[Policy, ...] = ()

    def on(self, day: date) -> Policy:
        """The policy with the values that were shared on ``day``, in the site's time zone; itself, where nothing shared has changed."""
        if self.shared_from is None or day >= self.shared_from:
            return self
        return next((p for p in self.earlier if p.shared_from is None or day >= p.shared_from), self)

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
        return band_for(self.bands_of(population, analyte), count)

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
    def chart_kept(self) -> timedelta:
        """A chart with an entry this young is still kept."""
        return timedelta(days=self.record.chart_kept_days.value)

    @lazy
    def dose_charted(self) -> timedelta:
        """The time of a chart that tells the dose really given: the last of it, or what lies before a gap."""
        return timedelta(days=self.record.dose_charted_days.value)

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


#: What all policies inherit in the end.
_COMMON = "common"
#: Written by the loader alone.
_OF_THE_LOADER = ("earlier", "shared_from")


def shared_versions() -> tuple[tuple[str, date | None], ...]:
    """(name, first day) of the files that all policies share, the newest first; the first of all has no day. Raises PolicyError."""
    found: list[tuple[str, date]] = []
    for entry in POLICY_FILES.iterdir():
        name = entry.name.removesuffix(".toml")
        if name.startswith(f"{_COMMON}-") and entry.name.endswith(".toml"):
            begins = _read(entry).get("valid_from")
            if not isinstance(begins, date):
                raise PolicyError(
                    f"{entry}: valid_from: the day from which it holds is missing, expected a date"
                )
            found.append((name, begins))
    found.sort(key=lambda version: version[1], reverse=True)
    return (*found, (_COMMON, None))


def resolve(path: Any, _seen: tuple[str, ...] = (), *, shared: str | None = None) -> dict[str, Any]:
    """The TOML of a policy file with what it inherits merged in.

    Args:
        path: of the file.
        shared: the name of the shared file, of :func:`shared_versions`; None = the newest.

    Raises PolicyError for unreadable files, unknown parents, circles of inheritance and values changed without a source.
    """
    own = _read(path)
    if (key := next((key for key in _OF_THE_LOADER if key in own), None)) is not None:
        raise PolicyError(f"{path}: {key}: is no value of a policy file")
    parent = own.get("inherits", "")
    if not parent:
        return own
    if parent in _seen:
        raise PolicyError(f"{path}: policies inherit in a circle: {' -> '.join((*_seen, parent))}")
    versions = [name for name, _ in shared_versions()]
    is_shared = any(path == POLICY_FILES / f"{name}.toml" for name in versions)
    known = (*(versions if is_shared else [_COMMON]), *policy_ids())
    if parent not in known:
        raise PolicyError(f"{path}: inherits: unknown policy {parent!r}, expected one of {', '.join(known)}")
    takes_shared = parent == _COMMON and not is_shared
    file = (shared or versions[0]) if takes_shared else parent
    inherited = resolve(POLICY_FILES / f"{file}.toml", (*_seen, file), shared=shared)
    if takes_shared:
        inherited.pop("valid_from", None)
    for key in ("valid_to", "superseded_by", "confirmations"):
        inherited.pop(key, None)  # these belong to one policy only
    try:
        return _merge(inherited, own)
    except PolicyError as error:
        raise PolicyError(f"{path}: {error}") from None


#: What ``unless_stated`` holds for the items of an array.
_UNLESS_STATED = {"schedule": ("due_soon_days",), "monitoring": ("early_days", "baseline_window_days")}


def stated(content: dict[str, Any]) -> dict[str, Any]:
    """A merged policy with what its phases and tests leave to ``unless_stated`` written into them."""
    general = content.get("unless_stated", {})
    result = dict(content)
    for array, keys in _UNLESS_STATED.items():
        known = {key: general[key]["value"] for key in keys if isinstance(general.get(key), dict)}
        result[array] = [
            {**known, **item} if isinstance(item, dict) else item for item in content.get(array, ())
        ]
    return result


def _confirmed(policy: dict[str, Any]) -> dict[str, Any]:
    """The policy with what its site has confirmed marked so."""
    confirmed = [part for c in policy.get("confirmations", ()) for part in c["parts"]]
    return policy | {name: _marked(policy[name]) for part in confirmed for name in PART_OF[part]}


def _marked(node: Any) -> Any:
    if isinstance(node, dict):
        marked = {key: _marked(child) for key, child in node.items()}
        return marked | {"confirmed": True} if "source" in node else marked
    return [_marked(child) for child in node] if isinstance(node, list) else node


def load_policy(path: Path | Any) -> Policy:
    """Read one policy file, with inheritance.

    It holds the newest shared values, and in ``earlier`` those of before.

    Raises PolicyError with the file, the parameter at fault and what was expected: a shape that is no policy, a value without
    source, a foreign unit, a number out of bounds, a text that names a number which is not there.
    """
    newest, *before = [_load(path, *version) for version in shared_versions()]
    return msgspec.structs.replace(newest, earlier=tuple(before)) if before else newest


def _load(path: Path | Any, shared: str, begins: date | None) -> Policy:
    try:
        content = stated(resolve(path, shared=shared))
        msgspec.convert(content, Policy)  # what is wrong with its shape comes before what its texts name
        policy = msgspec.convert(_confirmed(filled(content)), Policy)
    except (msgspec.ValidationError, ProseError) as error:
        raise PolicyError(f"{path}: {error}") from error
    wrong = next(wrong_numbers(policy), None)
    if wrong is not None:
        raise PolicyError(f"{path}: {wrong}")
    return msgspec.structs.replace(policy, shared_from=begins) if begins is not None else policy


@cache
def policy_by_id(policy_id: str) -> Policy:
    """A shipped policy by its id. Raises PolicyError naming the known ids."""
    if policy_id not in policy_ids():
        raise PolicyError(f"unknown policy {policy_id!r}; known: {', '.join(policy_ids())}")
    return load_policy(POLICY_FILES / f"{policy_id}.toml")


@cache
def policy_ids() -> tuple[str, ...]:
    """Ids of the shipped policies, in alphabetical order (``common`` and its successors are only inherited from)."""
    names = (entry.name for entry in POLICY_FILES.iterdir() if entry.name.endswith(".toml"))
    return tuple(sorted(name.removesuffix(".toml") for name in names if not name.startswith(_COMMON)))
