"""Which band, phase or tier a policy holds for a count, a day, a gap: asked here by the rules, and by whoever compares two policies.

Pure questions about parts of a policy. What of a patient's record they are asked about is the case's business, the words are the rules'.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from service.alerts.policy.parts.breaks import Interruption, MissedDoseTier
from service.alerts.policy.parts.counts import Band
from service.alerts.policy.parts.schedule import SchedulePhase


def band_for(bands: Sequence[Band], count: float) -> Band | None:
    """The band a count lies in; None when none of them judges it.

    Args:
        bands: those of one population and kind of count, in any order: they do not overlap.
        count: cells/µL.
    """
    for band in bands:
        if band.holds(count):
            return band
    return None


def phase_for(
    schedule: Sequence[SchedulePhase], day: float, neutropenic: Callable[[], bool]
) -> SchedulePhase:
    """The phase of the schedule that holds while counts are normal.

    Args:
        schedule: the phases, in order.
        day: of the course; its first day is 0.
        neutropenic: tells whether the course had a neutropenia; asked once at most, and only where a phase depends on it.
    """
    chosen = schedule[0]
    had_one: bool | None = None
    for phase in schedule:
        if phase.needs_no_neutropenia:
            had_one = neutropenic() if had_one is None else had_one
            if had_one:
                break
        chosen = phase
        if phase.until_day is None or day < phase.until_day:
            break
    return chosen


def gap_of(tier: MissedDoseTier, between_doses: float) -> float:
    """Hours since the last dose at which a tier begins; whether the hour itself belongs to it says its comparator.

    Args:
        tier: a tier of missed doses.
        between_doses: hours between two doses of the regimen.
    """
    return tier.gap.value + between_doses if tier.plus_dosing_interval else tier.gap.value


def tier_for(tiers: Sequence[MissedDoseTier], gap: float, between_doses: float) -> MissedDoseTier | None:
    """The longest tier that a gap reaches; None when no dose counts as missed.

    Args:
        tiers: ordered by their gaps.
        gap: hours since the last dose.
        between_doses: hours between two doses of the regimen.
    """
    found = None
    for tier in tiers:
        begins = gap_of(tier, between_doses)
        if gap >= begins if tier.gap.comparator == ">=" else gap > begins:
            found = tier
    return found


def begins_anew(rule: Interruption, days: float) -> bool:
    """True of a break after which the patient is monitored as a new one.

    Args:
        rule: what the policy says of breaks.
        days: the date of the first new dose minus the date of the last one.
    """
    return rule.new_course.reached(days)
