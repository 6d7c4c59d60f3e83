"""A clozapine level in words."""

from __future__ import annotations

from service.alerts.case.case import Case
from service.alerts.facts.patient import Measurement
from service.alerts.phrases.result import bound_of, on_day
from service.alerts.say.sentence import Number, Sentence, sentence


def level_value(case: Case, m: Measurement) -> Sentence:
    """A level in both units: ``Clozapine level 412 ng/mL (1261 nmol/L)``."""
    nmol = m.value * case.policy.levels.nmol_per_ng.value
    return sentence(f"level.value{bound_of(m)}", level=Number(m.value, 0), nmol=Number(nmol, 0))


def level_on_day(case: Case, m: Measurement) -> Sentence:
    """A level with its day: ``Clozapine level 412 ng/mL (1261 nmol/L) on 2026-11-20``."""
    return sentence("level.on-day", level=level_value(case, m), day=on_day(case, m))
