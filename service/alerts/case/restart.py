"""How clozapine begins again after missed doses: the tier that a gap reaches, and the dose it allows (clinical.md 2.2)."""

from __future__ import annotations

from service.alerts.case.returning import Return
from service.alerts.case.treatment import Treatment
from service.alerts.policy.parts import MissedDoseTier

_HOURS_A_DAY = 24.0
#: Doses are suggested in halves of the smallest tablet (12.5 mg), rounded down: the safer side.
_DOSE_STEP_MG = 12.5


def _dosing_interval(case: Treatment) -> float:
    """Hours between two doses of the established regimen: 24 h / doses per day."""
    regimen = case.established_regimen
    per_day = regimen.dose.doses_per_day if regimen is not None and regimen.dose is not None else None
    return _HOURS_A_DAY / per_day if per_day else _HOURS_A_DAY


def reached_tier(case: Treatment) -> MissedDoseTier | None:
    """The longest tier the gap since the last dose reaches; None when no dose counts as missed."""
    last = case.course.last_dose
    if last is None:
        return None
    gap = case.hours_since(last)
    found = None
    for tier in case.policy.missed_dose:
        extra = _dosing_interval(case) if tier.plus_dosing_interval else 0.0
        limit = tier.gap.value + extra
        if gap >= limit if tier.gap.comparator == ">=" else gap > limit:
            found = tier
    return found


def tier_dose(case: Treatment, tier: MissedDoseTier) -> tuple[float, float] | None:
    """(dose to suggest, highest dose that needs no alert) in mg per day; None when the established dose is unknown."""
    if tier.single_mg is not None:
        return tier.single_mg, tier.mg_per_day or tier.single_mg
    established = case.established_mg_per_day
    if established is None or tier.percent_low is None or tier.percent_high is None:
        return None
    highest = established * tier.percent_high / 100
    return max(stepped(highest), _DOSE_STEP_MG), max(highest, _DOSE_STEP_MG)


def stepped(mg_per_day: float, doses: int = 1) -> float:
    """A dose rounded down to what tablets make, in so many doses a day; mg per day."""
    step = doses * _DOSE_STEP_MG
    return mg_per_day // step * step


def returned_dose(back: Return) -> float:
    """The dose that the tier of a gap that is over allows at once, mg per day."""
    tier = back.tier
    if tier.single_mg is not None:
        return tier.mg_per_day or tier.single_mg
    return (back.established or 0.0) * (tier.percent_high or 0.0) / 100
