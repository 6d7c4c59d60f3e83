"""The blood counts that the policy judges: which kinds, the one that is oldest, and what a newer one does not answer."""

from __future__ import annotations

from service.alerts.case.case import Case
from service.alerts.case.samples import same_sample
from service.alerts.facts.patient import Measurement
from service.alerts.policy.parts.counts import Analyte


def judged_kinds(case: Case) -> tuple[Analyte, ...]:
    """The counts the policy judges, the ANC first."""
    return ("anc", "wbc") if case.uses_wbc else ("anc",)


def counts_readable(case: Case) -> bool:
    """False when no count could be read at all: then none is missing as far as anybody knows."""
    return case.snapshot.state("counts") != "unavailable" or bool(case.snapshot.measurements.get("anc"))


def stalest(case: Case) -> Measurement | None:
    """Of the newest usable counts that the policy judges, the oldest: it decides when the next sample is due."""
    if not case.uses_wbc:
        return case.anc.newest
    newest = [m for kind in judged_kinds(case) if (m := case.newest(kind)) is not None]
    return max(newest, key=case.age_days, default=None)


def without_differential(case: Case) -> Measurement | None:
    """The newest white cell count, when it is of a later sample than the newest ANC: a blood count without a differential."""
    wbc, anc = case.newest("wbc"), case.anc.newest
    if wbc is None or wbc.at is None:
        return None
    if anc is not None and (anc.at is None or anc.at >= wbc.at or same_sample(anc, wbc)):
        return None
    return wbc


def preliminary_anc(case: Case) -> Measurement | None:
    """A preliminary ANC that is newer than every settled one."""
    newest = case.anc.newest
    later = [
        m
        for m in case.anc.preliminary
        if m.at is not None and (newest is None or newest.at is None or m.at > newest.at)
    ]
    return max(later, key=lambda m: (m.at, -m.value), default=None)
