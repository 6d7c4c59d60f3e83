"""Blood counts: bands, what a first dose needs, falling counts, counts after a stop (clinical.md 1)."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Struct

from service.alerts.policy.numbers import Quantity
from service.alerts.policy.parts.values import Flag, Minimum, Value
from service.alerts.say.finding import Severity

Population = Literal["general", "ben"]
Analyte = Literal["anc", "wbc"]


class Recovery(Struct, frozen=True, forbid_unknown_fields=True):
    """What follows once a count has recovered from a band."""

    #: ``extra-counts``: ``counts`` samples every ``every_days`` days; ``new-patient``: the schedule starts anew; ``lifelong``: never longer than ``every_days``.
    kind: Literal["extra-counts", "new-patient", "lifelong"]
    source: str
    section: str = ""
    counts: Annotated[int, Quantity("", 0, 60)] = 0
    every_days: Annotated[int, Quantity("d", 0, 400)] = 0
    confirmed: bool = True


class Basis(Struct, frozen=True, forbid_unknown_fields=True):
    """Where a number comes from that stands beside others of another source."""

    source: str
    section: str = ""
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
    #: Counting as in the band goes on until so many counts in a row are normal.
    until_normal: Annotated[int, Quantity("", 1, 10)] = 1
    #: Where ``every_days`` comes from, when not from the band's source.
    sampling: Basis | None = None
    confirm_within_hours: Annotated[int, Quantity("h", 1, 168)] | None = None
    #: The protocol stops clozapine only when a second count confirms the band.
    stop_when_confirmed: bool = False
    #: Days at most between samples once the band is confirmed; None = ``every_days``.
    confirmed_every_days: Annotated[int, Quantity("d", 0, 400)] | None = None
    confirmed_every_label: str = ""
    consult_hematology: bool = False
    #: ``approval``: only where the committee of the protocol approves.
    rechallenge: Literal["", "benefit-over-risk", "approval", "never"] = ""
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
    #: None: a fall counts from any height.
    wbc_below: Annotated[Value, Quantity("cells/µL", 1000, 20000)] | None = None
    #: Days at most between counts while they fall; None = the schedule goes on.
    every_days: Annotated[Value, Quantity("d", 1, 60)] | None = None
    every_label: str = ""
    #: Flu-like signs count like a fall.
    flu_like: Flag | None = None


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
