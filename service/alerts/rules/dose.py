"""Dose (clinical.md 2.3): the start dose, the daily maximum, and doses that cannot be read."""

from __future__ import annotations

from collections.abc import Iterator

from service.alerts.case.case import Case
from service.alerts.case.ordered_dose import drafted_first_day
from service.alerts.facts.patient import Medication
from service.alerts.phrases.dose import dose_fact, how_read
from service.alerts.rules.asked import when
from service.alerts.say import wording as w
from service.alerts.say.finding import ChangeDose, Offer
from service.alerts.say.found import Fact, Found
from service.alerts.say.sentence import Dose, Number, Param, Record, Sentence, quoting, sentence


def _evidence(drafts: tuple[Medication, ...]) -> tuple[Fact, ...]:
    return tuple(dose_fact(d) for d in drafts)


@when("starting")
def dose_start_too_high(case: Case) -> Iterator[Found]:
    """Starting above the dose of the first day; drafts of one call are summed."""
    first = drafted_first_day(case)
    limit = case.policy.dosing.first_day_maximum
    if not case.starting or first is None or first <= limit.value:
        return
    start = case.policy.dosing.restart_single.value
    drafts = case.clozapine_drafts
    offers: tuple[Offer, ...] = ()
    if len(drafts) == 1 and drafts[0].ref:
        offers = (ChangeDose(drafts[0].ref, w.plain(drafts[0].label), start),)
    yield Found(
        code="dose-start-too-high",
        severity="critical",
        subject="dose",
        summary=sentence("dose-start-too-high.summary", dose=Dose(first), start=Dose(start)),
        why=(
            sentence("dose-start-too-high.drafted", dose=Dose(first)),
            *how_read(drafts),
            sentence("dose-start-too-high.no-clozapine")
            if case.snapshot.state("medications") == "complete"
            else sentence("dose-start-too-high.no-clozapine-as-far-as-read"),
        ),
        policy_says=(sentence("dose-start-too-high.policy", start=Dose(start), limit=Dose(limit.value)),),
        suggested=(
            sentence("dose-start-too-high.start-at", start=Dose(start)),
            sentence("dose-start-too-high.record"),
        ),
        evidence=_evidence(drafts),
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
        evidence=_evidence(drafts),
        citation=case.policy.cite(limit),
        offers=offers,
    )


@when("drafted")
def dose_written_two_ways(case: Case) -> Iterator[Found]:
    """Text and fields of a clozapine order contradict each other: both are shown, the higher was checked."""
    drafts = tuple(d for d in case.clozapine_drafts if d.dose is not None and d.dose.two_ways)
    if not drafts:
        return
    first = drafts[0].dose
    assert first is not None, "only doses that were read"
    yield Found(
        code="dose-unreadable",
        severity="warning",
        subject="dose-two-ways",
        summary=sentence("dose-unreadable.two-ways", ways=quoting(first.two_ways, short=80)),
        why=tuple(
            sentence(
                "dose-unreadable.order-written",
                order=Record(d.label),
                reason=quoting(d.dose.two_ways),
                dose=Record(d.dose.text),
            )
            for d in drafts
            if d.dose is not None
        ),
        policy_says=(sentence("dose-unreadable.policy"),),
        suggested=(sentence("dose-unreadable.correct"), sentence("dose-unreadable.higher-checked")),
        evidence=_evidence(drafts),
        citation=case.policy.cite(case.policy.dosing.daily_maximum),
    )


@when("drafted")
def dose_unreadable(case: Case) -> Iterator[Found]:
    """The daily dose of a clozapine order cannot be computed: no dose rule may silently pass."""
    if case.hook == "order-select":
        unreadable = [
            d
            for d in case.clozapine_drafts
            if d.dose is not None and d.dose.mg_per_day is None and d.dose.text
        ]
    else:
        unreadable = [d for d in case.clozapine_drafts if d.dose is None or d.dose.mg_per_day is None]
    if not unreadable:
        return
    first = unreadable[0]
    reason: Param = (
        quoting(first.dose.unreadable, short=70)
        if first.dose is not None and first.dose.unreadable
        else sentence("dose-unreadable.gives-no-dose")
    )
    yield Found(
        code="dose-unreadable",
        severity="warning",
        subject="dose",
        summary=sentence("dose-unreadable.summary", reason=reason),
        why=tuple(_why_unreadable(d) for d in unreadable),
        policy_says=(sentence("dose-unreadable.policy"),),
        suggested=(sentence("dose-unreadable.by-hand"), sentence("dose-unreadable.write")),
        unchecked=(sentence("dose-unreadable.unchecked"),),
        evidence=_evidence(tuple(unreadable)),
        citation=case.policy.cite(case.policy.dosing.daily_maximum),
    )


def _why_unreadable(draft: Medication) -> Sentence:
    order, dose = Record(draft.label), draft.dose
    if dose is None:
        return sentence(
            "dose-unreadable.order", order=order, reason=sentence("dose-unreadable.no-instruction")
        )
    reason = quoting(dose.unreadable)
    if not dose.text:
        return sentence("dose-unreadable.order", order=order, reason=reason)
    return sentence("dose-unreadable.order-written", order=order, reason=reason, dose=Record(dose.text))


RULES = (dose_start_too_high, dose_exceeds_max, dose_written_two_ways, dose_unreadable)
