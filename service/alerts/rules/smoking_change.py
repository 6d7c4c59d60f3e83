"""A change of smoking as it counts for the clozapine level: how severe it is, what share of the dose it asks for, and how it is said."""

from __future__ import annotations

from service.alerts.case.case import Case
from service.alerts.case.readings import reaches
from service.alerts.case.smoking import SmokingChange, smoking_change
from service.alerts.case.together import ROUNDED
from service.alerts.say.finding import Severity
from service.alerts.say.sentence import Day, Dose, Number, Record, Sentence, sentence


def smoking_here(case: Case) -> SmokingChange | None:
    """The change of smoking, where it counts for the level."""
    if not case.continuing or (case.stop_drafts and not case.clozapine_drafts):
        return None
    return smoking_change(case)


def _is_severe(case: Case) -> bool:
    """A stop of smoking is critical: by the dose or the level before it."""
    rule, dose, level = case.policy.interactions, case.current_mg_per_day, case.newest("clozapine-level")
    return (dose is not None and dose >= rule.smoking_critical_dose.value) or (
        level is not None and reaches(level, rule.smoking_critical_level.value)
    )


def smoking_severity(case: Case, change: SmokingChange) -> Severity:
    """How severe a change of smoking is by itself."""
    if not change.stopped:
        return "warning"
    if is_lowered_for_smoking(case, change):
        return "info"
    return "critical" if change.in_order and _is_severe(case) else "warning"


def is_lowered_for_smoking(case: Case, change: SmokingChange) -> bool:
    """The dose is lowered for a stop of smoking already: to the share of the policy, by orders since the last answer of a smoker, or by the draft."""
    at = change.before.at if not change.admission else None
    before = case.mg_per_day_before(at) if at is not None else case.established_mg_per_day
    now, factor = case.current_mg_per_day, case.policy.dosing.smoking_stop_factor.value
    return before is not None and now is not None and now <= before * factor * ROUNDED


def share_of_dose(case: Case) -> Sentence:
    """The share of the dose to consider after a stop of smoking, in mg where the dose is known."""
    factor, dose, step = (
        case.policy.dosing.smoking_stop_factor.value,
        case.established_mg_per_day or case.current_mg_per_day,
        case.policy.dosing.dose_step.value,
    )
    share = Number(factor * 100)
    if not dose or dose * factor < step:
        return sentence("smoking.share", share=share)
    return sentence(
        "smoking.share-of", share=share, base=Dose(dose), target=Dose(dose * factor // step * step)
    )


def smoking_code(change: SmokingChange) -> str:
    """The finding that tells of the change of smoking."""
    return "smoking-stopped" if change.stopped else "smoking-started"


def smoking_line(change: SmokingChange) -> Sentence:
    """What was answered, when, and what before."""
    answer = Record(change.changed.raw)
    if change.admission:
        return sentence("smoking.admission", day=Day(change.day, change.until), answer=answer)
    return sentence(
        "smoking.changed", answer=answer, day=Day(change.day, change.until), before=Record(change.before.raw)
    )
