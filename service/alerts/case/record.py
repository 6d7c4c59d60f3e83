"""What is on record of a patient, as a question about one patient sees it: results in order, problems, what clinicians stated."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct

from service.alerts.case.anc import anc_series
from service.alerts.case.other_drugs import OtherDrugs
from service.alerts.case.series import NO_RESULTS, Series, series_of
from service.alerts.case.stated import OF_TREATMENT
from service.alerts.facts.lazy import lazy
from service.alerts.facts.patient import (
    ClinicianFlag,
    CodedResult,
    Measurement,
    PatientSnapshot,
    Problem,
    TestOrder,
    UnusableResult,
)
from service.alerts.facts.practice import AS_USUAL, Practice
from service.alerts.knowledge.conditions import passing_kinds
from service.alerts.policy.parts.counts import Population
from service.alerts.policy.policy import Policy
from service.alerts.say.finding import Evidence

_INACTIVE = frozenset({"resolved", "inactive", "remission"})
#: What a problem says of itself, if it says anything, before it relaxes a threshold (clinical.md 3.3).
_ACTIVE = frozenset({"", "active", "recurrence", "relapse"})
_CONFIRMED = frozenset({"", "confirmed"})
_NEVER_TRUE = frozenset({"refuted", "entered-in-error"})


class BenignEthnicNeutropenia(Struct, frozen=True, gc=False):
    """What the record says of benign ethnic neutropenia / Duffy-null associated neutrophil count (clinical.md 3.3)."""

    confirmed: bool = False
    evidence: tuple[Evidence, ...] = ()
    #: Hints that do not suffice to relax a threshold.
    unconfirmed: tuple[Evidence, ...] = ()


_NOTHING_SAID = BenignEthnicNeutropenia()


class Record(OtherDrugs):
    """Results, problems and statements beside the treatment."""

    def __init__(
        self, snapshot: PatientSnapshot, policy: Policy, as_of: datetime, practice: Practice = AS_USUAL
    ) -> None:
        super().__init__(snapshot, policy, as_of, practice)
        self._series: dict[str, Series] = {}

    @lazy
    def anc(self) -> Series:
        """The ANC series, direct and calculated."""
        return anc_series(self.snapshot.measurements, self.as_of, self.snapshot.unusable)

    @lazy
    def present(self) -> frozenset[str]:
        """Kinds of which the record holds anything, usable or not."""
        if not self.snapshot.unusable:
            return frozenset(self.snapshot.measurements)
        return frozenset((*self.snapshot.measurements, *(u.kind for u in self.snapshot.unusable)))

    def has_any(self, kinds: Iterable[str]) -> bool:
        """A quick look: False when the record holds nothing of the kinds, usable or not; an ANC that is only calculated does not count."""
        return not self.present.isdisjoint(kinds)

    def results(self, kind: str) -> Series:
        """The series of one kind (the ANC with the calculated values)."""
        if kind == "anc":
            return self.anc
        if kind not in self.present:
            return NO_RESULTS
        series = self._series.get(kind)
        if series is None:
            found = self.snapshot.measurements.get(kind, ())
            unusable = [u for u in self.snapshot.unusable if u.kind == kind]
            series = series_of(found, self.as_of, unusable) if found or unusable else NO_RESULTS
            self._series[kind] = series
        return series

    def series(self, kind: str) -> tuple[Measurement, ...]:
        """Settled results of one kind, newest first."""
        return self.results(kind).settled

    def newest(self, kind: str) -> Measurement | None:
        """The settled result of one kind that counts."""
        if kind != "anc" and kind not in self.present:
            return None
        return self.results(kind).newest

    def age_days(self, measurement: Measurement) -> int:
        """Age of a dated result in calendar days."""
        assert measurement.at is not None, "series hold dated results only"
        return self.days_since(measurement.at)

    def coded(self, *kinds: str) -> tuple[CodedResult, ...]:
        """Coded observations of the kinds, newest first, undated ones last."""
        if not self.snapshot.coded:
            return ()
        found = [c for c in self.snapshot.coded if c.kind in kinds]
        floor = datetime.min.replace(tzinfo=self.as_of.tzinfo)
        return tuple(sorted(found, key=lambda c: c.at or floor, reverse=True))

    def unusable(self, kind: str) -> tuple[UnusableResult, ...]:
        """Results of one kind that exist but cannot be used."""
        return self.results(kind).unusable

    def test_ordered(self, *tests: str) -> TestOrder | None:
        """An order for one of the tests, drafted in this session or active."""
        if not self.snapshot.test_orders:
            return None
        return next((o for o in self.snapshot.test_orders if any(t in o.tests for t in tests)), None)

    @lazy
    def age_years(self) -> int | None:
        """Age in completed years; None when the birth date is unknown, or still to come."""
        born = self.snapshot.birth_date
        if born is None or born > self.today:
            return None
        return self.today.year - born.year - ((self.today.month, self.today.day) < (born.month, born.day))

    @lazy
    def _problems(self) -> dict[str, tuple[Problem, ...]]:
        """Problems that may be believed, by kind."""
        found: dict[str, list[Problem]] = {}
        for p in self.snapshot.problems:
            if p.verification not in _NEVER_TRUE:
                for kind in p.kinds:
                    found.setdefault(kind, []).append(p)
        return {kind: tuple(problems) for kind, problems in found.items()}

    def has_problems(self, kinds: Iterable[str]) -> bool:
        """A quick look: False when the record holds none of the kinds."""
        return not self._problems.keys().isdisjoint(kinds)

    def problems_of(self, *kinds: str, history: bool = False) -> tuple[Problem, ...]:
        """Problems of the kinds: active ones (also provisional), with ``history`` resolved ones too. Refuted ones never."""
        if not self.snapshot.problems:
            return ()
        known = self._problems
        if known.keys().isdisjoint(kinds):
            return ()
        found = {id(p): p for kind in kinds for p in known.get(kind, ())}
        return tuple(p for p in found.values() if history or not self._is_over(p))

    def _is_over(self, p: Problem) -> bool:
        """A problem is over by its status; without one, by the date it ended, or as an old diagnosis of what passes by itself."""
        if p.clinical_status:
            return p.clinical_status in _INACTIVE
        if p.abated is not None and p.abated <= self.as_of:
            return True
        if not p.of_encounter or p.onset is None or passing_kinds().isdisjoint(p.kinds):
            return False
        return self.days_since(p.onset) > self.policy.results.recent_days.value

    @lazy
    def ben(self) -> BenignEthnicNeutropenia:
        """Evidence for benign ethnic neutropenia; only confirmed evidence relaxes a threshold."""
        if not self.snapshot.problems and not self.snapshot.coded and not self.snapshot.flags:
            return _NOTHING_SAID
        evidence: list[Evidence] = []
        hints: list[Evidence] = []
        for p in self.snapshot.problems:
            if "benign-ethnic-neutropenia" not in p.kinds or p.verification in _NEVER_TRUE:
                continue
            fact = Evidence(ref=p.ref, text=p.label, at=p.onset, date_only=p.onset_date_only)
            sure = p.clinical_status in _ACTIVE and p.verification in _CONFIRMED and not self._is_over(p)
            if sure and "benign-ethnic-neutropenia" in p.named:
                evidence.append(fact)
            else:
                hints.append(fact)
        for c in self.coded("duffy-null"):
            evidence.append(Evidence(ref=c.ref, text=c.raw, at=c.at, date_only=c.date_only))
        for flag in self.flags("ben"):
            evidence.append(_stated(flag))
        return BenignEthnicNeutropenia(bool(evidence), tuple(evidence), tuple(hints))

    def flags(self, kind: str) -> tuple[ClinicianFlag, ...]:
        """Statements of clinicians in the registry that are in force."""
        if not self.snapshot.flags:
            return ()
        return tuple(f for f in self.snapshot.flags if f.kind == kind and f.holds(self.as_of))

    @lazy
    def flags_of_treatment(self) -> tuple[ClinicianFlag, ...]:
        """Statements in force on what is done with clozapine."""
        return tuple(f for kind in OF_TREATMENT for f in self.flags(kind))

    def agreed_deviation(self, count: float) -> ClinicianFlag | None:
        """The agreement in force under which treatment goes on at this count (cells/µL), if there is one."""
        agreed = (f for f in self.flags("deviation") if f.continue_at is not None and count >= f.continue_at)
        return next(agreed, None)

    @lazy
    def population(self) -> Population:
        """Which ANC thresholds apply."""
        return "ben" if self.ben.confirmed else "general"


def _stated(flag: ClinicianFlag) -> Evidence:
    text = f"{flag.text or 'benign ethnic neutropenia'} (stated by {flag.by} in this service's registry)"
    return Evidence(ref="", text=text, at=flag.at)
