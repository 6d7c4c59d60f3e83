"""The blood counts that the policy judges, and the one of them that decides when the next sample is due."""

from __future__ import annotations

from service.alerts.case.case import Case
from service.alerts.facts.patient import Measurement
from service.alerts.policy.parts import Analyte


def judged_kinds(case: Case) -> tuple[Analyte, ...]:
    """The counts the policy judges, the ANC first."""
    return ("anc", "wbc") if case.uses_wbc else ("anc",)


def stalest(case: Case) -> Measurement | None:
    """Of the newest usable counts that the policy judges, the oldest: it decides when the next sample is due."""
    if not case.uses_wbc:
        return case.anc.newest
    newest = [m for kind in judged_kinds(case) if (m := case.newest(kind)) is not None]
    return max(newest, key=case.age_days, default=None)
