"""How clozapine begins again after missed doses: the tier that a gap reaches, and the dose it allows (clinical.md 2.2)."""

from __future__ import annotations

from service.alerts.case.doses import Doses
from service.alerts.case.returning import Return
from service.alerts.policy.judge import tier_for
from service.alerts.policy.parts.breaks import MissedDoseTier


def reached_tier(case: Doses) -> MissedDoseTier | None:
    """The longest tier that the gap from the last dose to the next planned one reaches; None when no dose counts as missed."""
    gap = case.hours_without
    return None if gap is None else tier_for(case.policy.missed_dose, gap, case.hours_between_doses)


def tier_dose(case: Doses, tier: MissedDoseTier) -> tuple[float, float] | None:
    """(dose to suggest, highest dose that needs no alert) in mg per day; None when the established dose is unknown."""
    if tier.single_mg is not None:
        return tier.single_mg, tier.mg_per_day or tier.single_mg
    established = case.established_mg_per_day
    if established is None or tier.percent_low is None or tier.percent_high is None:
        return None
    highest = established * tier.percent_high / 100
    step = case.policy.dosing.dose_step.value
    return max(stepped(case, highest), step), max(highest, step)


def stepped(case: Doses, mg_per_day: float, doses: int = 1) -> float:
    """A dose rounded down to what tablets make, in so many doses a day (policy ``dosing.dose_step``); mg per day."""
    step = doses * case.policy.dosing.dose_step.value
    return mg_per_day // step * step


def returned_dose(back: Return) -> float:
    """The dose that the tier of a gap that is over allows at once, mg per day."""
    tier = back.tier
    if tier.single_mg is not None:
        return tier.mg_per_day or tier.single_mg
    return (back.established or 0.0) * (tier.percent_high or 0.0) / 100
