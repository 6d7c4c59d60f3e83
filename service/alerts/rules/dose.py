"""Dose (clinical.md 2.3): the start dose and the daily maximum."""

from __future__ import annotations

from collections.abc import Iterator

from service.alerts.case.case import Case
from service.alerts.case.ordered_dose import drafted_first_day, is_elderly
from service.alerts.case.tablet import other_tablet
from service.alerts.phrases.dose import dose_fact, how_read
from service.alerts.rules.asked import when
from service.alerts.say import wording as w
from service.alerts.say.finding import ChangeDose, Offer
from service.alerts.say.found import Found
from service.alerts.say.sentence import Dose, Number, sentence


@when("starting")
def dose_start_too_high(case: Case) -> Iterator[Found]:
    """Starting above the dose of the first day; drafts of one call are summed."""
    first, rule = drafted_first_day(case), case.policy.dosing
    if not case.starting or first is None:
        return
    general, old = rule.first_day_maximum, rule.elderly_first_day_maximum if is_elderly(case) else None
    limit = old or general
    if first <= limit.value:
        return
    start = rule.restart_single.value
    drafts = case.clozapine_drafts
    offers: tuple[Offer, ...] = ()
    tablet = other_tablet(case, drafts[0], start) if len(drafts) == 1 else None
    if len(drafts) == 1 and drafts[0].ref:
        offers = (ChangeDose(drafts[0].ref, w.plain(drafts[0].label), start, tablet_mg=tablet),)
    yield Found(
        code="dose-start-too-high",
        # What others may take on the first day is no collapse foretold.
        severity="critical" if first > general.value else "warning",
        subject="dose",
        summary=sentence(
            "dose-start-too-high.summary" if limit.value > start else "dose-start-too-high.summary-once",
            dose=Dose(first),
            start=Dose(start),
        )
        if old is None
        else sentence(
            "dose-start-too-high.summary-elderly",
            dose=Dose(first),
            start=Dose(start),
            age=Number(case.age_years or 0, 0),
        ),
        why=(
            sentence("dose-start-too-high.drafted", dose=Dose(first)),
            *how_read(drafts),
            sentence("dose-start-too-high.no-clozapine")
            if case.snapshot.state("medications") == "complete"
            else sentence("dose-start-too-high.no-clozapine-as-far-as-read"),
        ),
        policy_says=(
            (
                sentence("dose-start-too-high.policy", start=Dose(start), limit=Dose(limit.value))
                if limit.value > start
                else sentence("dose-start-too-high.policy-once", limit=Dose(limit.value))
            )
            if old is None
            else sentence(
                "dose-start-too-high.policy-elderly",
                years=Number(rule.elderly_from_years.value, 0),
                limit=Dose(limit.value),
            ),
        ),
        suggested=(
            sentence(
                "dose-start-too-high.start-at" if limit.value > start else "dose-start-too-high.start-once",
                start=Dose(start),
            ),
            *((sentence("dose.other-tablet", tablet=Dose(tablet), dose=Dose(start)),) if tablet else ()),
            sentence("dose-start-too-high.record"),
        ),
        evidence=tuple(dose_fact(d) for d in drafts),
        citation=case.policy.cite(limit),
        offers=offers,
    )


def _highest_day(case: Case) -> float | None:
    """mg of the day with the most: of a dose given less than daily the whole of it, not its share of each day."""
    if case.drafted_mg_per_day is None:
        return None
    doses = [d.dose for d in case.clozapine_drafts if d.dose is not None]
    return sum(max(d.mg_per_day or 0.0, d.first_mg_per_day or 0.0) for d in doses)


@when("drafted")
def dose_exceeds_max(case: Case) -> Iterator[Found]:
    """More than the daily maximum."""
    dose = _highest_day(case)
    limit = case.policy.dosing.daily_maximum
    if dose is None or dose <= limit.value:
        return
    drafts = case.clozapine_drafts
    offers: tuple[Offer, ...] = ()
    if len(drafts) == 1 and drafts[0].ref and not case.starting:
        offers = (ChangeDose(drafts[0].ref, w.plain(drafts[0].label), limit.value, 2),)
    yield Found(
        code="dose-exceeds-max",
        severity="critical",
        subject="dose",
        summary=sentence("dose-exceeds-max.summary", dose=Dose(dose), limit=Dose(limit.value)),
        why=(
            sentence("dose-exceeds-max.drafted-together", dose=Dose(dose), orders=Number(len(drafts)))
            if len(drafts) > 1
            else sentence("dose-exceeds-max.drafted", dose=Dose(dose)),
            *how_read(drafts),
        ),
        policy_says=(sentence("dose-exceeds-max.policy", limit=Dose(limit.value)),),
        suggested=(sentence("dose-exceeds-max.correct"), sentence("dose-exceeds-max.level")),
        evidence=tuple(dose_fact(d) for d in drafts),
        citation=case.policy.cite(limit),
        offers=offers,
    )


RULES = (dose_start_too_high, dose_exceeds_max)
