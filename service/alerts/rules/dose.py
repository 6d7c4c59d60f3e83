"""Dose (clinical.md 2.3): the start dose, the daily maximum, and doses that cannot be read."""

from __future__ import annotations

from collections.abc import Iterator

from service.alerts.case.case import Case
from service.alerts.facts.patient import FROM_THE_TEXT, Medication
from service.alerts.rules.asked import when
from service.alerts.say import wording as w
from service.alerts.say.finding import ChangeDose, Evidence, Finding, Offer


def _evidence(drafts: tuple[Medication, ...]) -> tuple[Evidence, ...]:
    return tuple(Evidence(d.ref, w.safe(f"{d.label}: {d.dose.text if d.dose else ''}")) for d in drafts)


def how_read(drafts: tuple[Medication, ...]) -> tuple[str, ...]:
    """What was assumed while the doses were read, a line per assumption: the days without a dose, the two ways it is written."""
    notes = (note for d in drafts if d.dose is not None for note in d.dose.notes if note != FROM_THE_TEXT)
    return tuple(f"Read so: {w.safe(note)}." for note in dict.fromkeys(notes))


def _first_day(case: Case) -> float | None:
    total = 0.0
    for draft in case.clozapine_drafts:
        if draft.dose is None or draft.dose.mg_per_day is None:
            return None
        total += draft.dose.first_mg_per_day or draft.dose.mg_per_day
    return total or None


@when("starting")
def dose_start_too_high(case: Case) -> Iterator[Finding]:
    """Starting above the dose of the first day; drafts of one call are summed."""
    first = _first_day(case)
    limit = case.policy.dosing.first_day_maximum
    if not case.starting or first is None or first <= limit.value:
        return
    start = case.policy.dosing.restart_single.value
    drafts = case.clozapine_drafts
    offers: tuple[Offer, ...] = ()
    if len(drafts) == 1 and drafts[0].ref:
        offers = (ChangeDose(drafts[0].ref, w.plain(drafts[0].label), start),)
    yield Finding(
        code="dose-start-too-high",
        severity="critical",
        subject="dose",
        summary=w.summary(
            f"Clozapine start dose {w.mg(first)} on day 1: start at {w.mg(start)} once or twice daily."
        ),
        why=(
            f"Drafted for the first day: {w.mg(first)}.",
            *how_read(drafts),
            "No clozapine in the record within the restart limit."
            if case.snapshot.state("medications") == "complete"
            else "The medication orders could not all be read; what was read shows no clozapine within the restart limit.",
        ),
        policy_says=(
            f"First day: {w.mg(start)} once or twice, at most {w.mg(limit.value)}; higher doses risk collapse.",
        ),
        suggested=(
            f"Start at {w.mg(start)} once or twice daily.",
            "If the patient already takes clozapine, record the doses taken.",
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
def dose_exceeds_max(case: Case) -> Iterator[Finding]:
    """More than the daily maximum."""
    dose = _highest_day(case)
    limit = case.policy.dosing.daily_maximum
    if dose is None or dose <= limit.value:
        return
    drafts = case.clozapine_drafts
    offers: tuple[Offer, ...] = ()
    if len(drafts) == 1 and drafts[0].ref and not case.starting:
        offers = (ChangeDose(drafts[0].ref, w.plain(drafts[0].label), limit.value, 2),)
    yield Finding(
        code="dose-exceeds-max",
        severity="critical",
        subject="dose",
        summary=f"Clozapine {w.mg(dose)}/day is above the maximum of {w.mg(limit.value)}/day.",
        why=(
            f"Drafted: {w.mg(dose)}/day"
            + (f" in {len(drafts)} orders together." if len(drafts) > 1 else "."),
            *how_read(drafts),
        ),
        policy_says=(f"The daily maximum is {w.mg(limit.value)}.",),
        suggested=("Correct the dose.", "Check a clozapine level if response is poor."),
        evidence=_evidence(drafts),
        citation=case.policy.cite(limit),
        offers=offers,
    )


@when("drafted")
def dose_written_two_ways(case: Case) -> Iterator[Finding]:
    """Text and fields of a clozapine order contradict each other: both are shown, the higher was checked."""
    drafts = tuple(d for d in case.clozapine_drafts if d.dose is not None and d.dose.two_ways)
    if not drafts:
        return
    first = drafts[0].dose
    assert first is not None, "only doses that were read"
    yield Finding(
        code="dose-unreadable",
        severity="warning",
        subject="dose-two-ways",
        summary=w.summary(f"Clozapine dose is written in two ways: {w.plain(first.two_ways, 80)}."),
        why=tuple(
            f"{w.safe(d.label)}: {w.safe(d.dose.two_ways)} (as written: “{w.safe(d.dose.text)}”)"
            for d in drafts
            if d.dose is not None
        ),
        policy_says=("Start dose, maximum, titration and restart dose depend on the daily dose in mg.",),
        suggested=(
            "Correct the text or the dose, so that both say the same.",
            "The higher of the two was checked.",
        ),
        evidence=_evidence(drafts),
        citation=case.policy.cite(case.policy.dosing.daily_maximum),
    )


@when("drafted")
def dose_unreadable(case: Case) -> Iterator[Finding]:
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
    reason = (
        first.dose.unreadable
        if first.dose is not None and first.dose.unreadable
        else "the order gives no dose"
    )
    yield Finding(
        code="dose-unreadable",
        severity="warning",
        subject="dose",
        summary=w.summary(f"Clozapine dose could not be read ({w.plain(reason, 70)}): dose was not checked."),
        why=tuple(
            f"{w.safe(d.label)}: {w.safe(d.dose.unreadable if d.dose else 'no dosage instruction')}"
            + (f" (as written: “{w.safe(d.dose.text)}”)" if d.dose and d.dose.text else "")
            for d in unreadable
        ),
        policy_says=("Start dose, maximum, titration and restart dose depend on the daily dose in mg.",),
        suggested=("Check the dose by hand.", "Write the dose in mg with a timing."),
        unchecked=("start dose, daily maximum, restart dose after missed doses",),
        evidence=_evidence(tuple(unreadable)),
        citation=case.policy.cite(case.policy.dosing.daily_maximum),
    )


RULES = (dose_start_too_high, dose_exceeds_max, dose_written_two_ways, dose_unreadable)
