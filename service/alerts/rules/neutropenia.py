"""The band of the newest counts (clinical.md 1, 2.1): what the policy asks for, the worse of ANC and WBC deciding."""

from __future__ import annotations

from collections.abc import Iterator

from service.alerts.case.case import Case
from service.alerts.case.counts import judged_value
from service.alerts.case.falling import fall_of
from service.alerts.case.interval import is_confirmed
from service.alerts.facts.patient import ClinicianFlag, Measurement
from service.alerts.policy.parts import Band
from service.alerts.rules.asked import RELEVANT, when
from service.alerts.rules.count_lines import (
    count_line,
    ending_line,
    evidence_of,
    order_cbc,
    population_lines,
    remove_drafts,
    short,
    start_line,
)
from service.alerts.say import wording as w
from service.alerts.say.finding import Finding, Offer, ReferTo


@when("abnormal-count")
@when(*RELEVANT, "visit", "stopped")
def count_band(case: Case) -> Iterator[Finding]:
    """The newest count lies in an abnormal band of the policy.

    A count that forbids clozapine is said at visits also while it is on hold or just stopped: neutrophils go on falling, and
    somebody may resume it. Where no record tells since when it is stopped, it is said beside any other order, too.
    """
    said = said_band(case)
    if said is not None:
        yield _band_finding(case, *said)


def said_band(case: Case) -> tuple[Band, Measurement] | None:
    """The band that :func:`count_band` speaks of, with its count; None when it has nothing to say."""
    resumable = case.may_be_resumed and (not case.is_order_hook or case.course.ending is not None)
    if not case.relevant and not resumable:
        return None
    decided = case.decided
    if decided is None:
        return None
    band, deciding = decided
    if band.finding is None or band.severity is None:
        return None
    if (case.starting or resumable) and band.treatment == "continue":
        return None  # anc-below-initiation or anc-post-stop says it; "clozapine may continue" would contradict it
    if resumable and _stopped_for_it(case, band, deciding):
        return None  # whoever stopped clozapine knows; anc-post-stop asks for the follow-up
    return band, deciding


def _band_finding(case: Case, band: Band, deciding: Measurement) -> Finding:
    assert band.finding is not None
    assert band.severity is not None
    stop = band.treatment != "continue"
    first = _is_first_report(case, deciding)
    unconfirmed_stop = stop and band.stop_when_confirmed and not is_confirmed(case, band, deciding)
    confirm = (
        f"Repeat within {band.confirm_within_hours} hours to confirm."
        if first and band.confirm_within_hours
        else ""
    )
    offers, cbc_steps = order_cbc(
        case, "stat" if stop else "urgent", f"{band.title}: {short(case, deciding)}"
    )
    steps = list(band.steps)
    if band.stop_when_confirmed and stop and not unconfirmed_stop:
        steps.insert(0, "A second count confirms it: stop clozapine now.")
    if case.may_be_resumed:
        known = "is on hold, stopped or not begun" if case.stop_known else "may still be taken"
        steps.insert(0, f"Clozapine {known}: do not give it.")
    if confirm and not any("Repeat" in s for s in steps):
        steps.insert(1 if stop else 0, confirm)
    why = [f"{count_line(case, deciding)}: {band.title}."]
    previous = next(
        (
            m
            for m in case.series(deciding.kind)
            if m.at is not None and deciding.at is not None and m.at < deciding.at
        ),
        None,
    )
    if previous is not None:
        why.append(f"Before: {count_line(case, previous)}.")
    other = _other_count(case, deciding)
    if other is not None:
        also_in = case.band_of(other)
        why.append(f"{count_line(case, other)}{f': {also_in.title}' if also_in is not None else ''}.")
        why.append("The worse of WBC and ANC decides.")
    fall = fall_of(case) if case.policy.falling.severity != "info" and case.continuing else None
    if fall is not None:
        why.append(
            f"{fall.name} fell from {w.count(fall.before.value)} on {w.day(case.snapshot, fall.before.at)}."
        )
    why += population_lines(case)
    if case.may_be_resumed:
        why.append(_not_taken_line(case))
        if band.every_days is not None and case.age_days(deciding) > band.every_days:
            why.append(f"No count since, though one is due {band.every_label}.")
    elif not case.starting and case.course.start is not None:
        why.append(start_line(case))
    unchecked: list[str] = []
    if case.uses_wbc and case.results("wbc").newest is None:
        unchecked.append("No white cell count was found; the policy judges it beside the ANC.")
    removal = remove_drafts(case) if stop else ()
    referral: tuple[Offer, ...] = (
        (ReferTo("hematology", "urgent", f"{band.title}: {short(case, deciding)}"),)
        if band.consult_hematology
        else ()
    )
    # The agreement is about the ANC: a white cell count that stops clozapine by itself is not covered by it.
    other_stops = other is not None and _stops(case, other)
    agreeable = stop and deciding.kind == "anc" and not other_stops
    agreed = case.agreed_deviation(judged_value(deciding)) if agreeable else None
    if agreed is not None and agreed.continue_at is not None:
        return _agreed_finding(case, band, deciding, agreed, agreed.continue_at, tuple(why), tuple(offers))
    action = "stop clozapine now" if band.treatment == "stop" or band.rechallenge else "interrupt clozapine"
    if band.rechallenge == "never":
        action = "stop clozapine now and for good"
    if unconfirmed_stop:
        action = f"repeat within {band.confirm_within_hours} hours, stop if confirmed"
    if case.may_be_resumed:
        action = "do not give clozapine"
    if not stop:
        action = f"count {band.every_label}" if band.every_label else "continue"
    return Finding(
        code=band.finding,
        severity=band.severity,
        subject="anc",
        summary=w.summary(f"{short(case, deciding)}: {band.title} – {action}."),
        why=tuple(why),
        policy_says=(band.says,),
        suggested=(*steps, *(s for s in cbc_steps if "already" in s)),
        unchecked=tuple(unchecked),
        evidence=evidence_of(case, *(m for m in (deciding, previous, other) if m is not None)),
        citation=case.policy.cite(band),
        offers=(*removal, *offers, *referral),
        also=("anc-falling",) if fall is not None else (),
    )


def _agreed_finding(
    case: Case,
    band: Band,
    deciding: Measurement,
    agreed: ClinicianFlag,
    continue_at: float,
    why: tuple[str, ...],
    offers: tuple[Offer, ...],
) -> Finding:
    """The band stays named, but a deviation that a clinician agreed for this patient decides what is asked for."""
    until = f" until {w.day(case.snapshot, agreed.expires)}" if agreed.expires is not None else ""
    assert band.finding is not None
    return Finding(
        code=band.finding,
        severity="warning",
        subject="anc",
        summary=w.summary(
            f"{short(case, deciding)}: {band.title}; agreed to continue from {w.count(continue_at)}{until}."
        ),
        why=(
            *why,
            f"Agreed deviation by {w.safe(agreed.by)} on {w.day(case.snapshot, agreed.at)}{until}: {w.safe(agreed.text)}",
        ),
        policy_says=(band.says, "The agreement in this service's registry departs from the policy."),
        suggested=(
            f"Check that the agreement still holds; below {w.count(continue_at)} the policy applies.",
            f"Sample {band.every_label}." if band.every_label else "Repeat the count.",
        ),
        evidence=evidence_of(case, deciding),
        decisive=(w.number(continue_at), agreed.at.isoformat()),
        citation=case.policy.cite(band),
        offers=offers,
    )


def _other_count(case: Case, deciding: Measurement) -> Measurement | None:
    """The newest count of the other kind, where the policy judges both."""
    if not case.uses_wbc:
        return None
    return case.worst_new("wbc" if deciding.kind == "anc" else "anc")


def _stopped_for_it(case: Case, band: Band, deciding: Measurement) -> bool:
    """True when somebody stopped clozapine after a count that was as bad already: this one tells nothing new."""
    stopped = case.course.stopped_at
    if stopped is None or case.course.last_dose_basis not in ("stop", "statement"):
        return False  # on hold, not begun, or only taken for stopped because the supply has run out
    last_day = case.snapshot.day(stopped)
    return any(
        m.at is not None
        and case.snapshot.day(m.at) <= last_day
        and (earlier := case.band_of(m)) is not None
        and earlier.treatment != "continue"
        and earlier.at_least <= band.at_least
        for m in case.series(deciding.kind)
    )


def _not_taken_line(case: Case) -> str:
    """Why this count matters in a patient who takes no clozapine today."""
    stopped = case.course.stopped_at
    if case.course.ending is not None:
        return ending_line(case)
    if stopped is None or case.days_since(stopped) > case.policy.post_stop.window_days.value:
        return "Clozapine is ordered, but on hold or not begun."
    return f"Clozapine was last taken on {w.day(case.snapshot, stopped)}, as far as the record tells."


def _stops(case: Case, count: Measurement) -> bool:
    band = case.band_of(count)
    return band is not None and band.treatment != "continue"


def _is_first_report(case: Case, deciding: Measurement) -> bool:
    """True unless the count before was already abnormal."""
    for m in case.series(deciding.kind):
        if m.at is not None and deciding.at is not None and m.at < deciding.at:
            earlier = case.band_of(m)
            return earlier is None or earlier.finding is None
    return True


RULES = (count_band,)
