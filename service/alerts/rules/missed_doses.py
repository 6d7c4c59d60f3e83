"""Missed doses and the return to the established dose (clinical.md 2.2)."""

from __future__ import annotations

from collections.abc import Iterator

from service.alerts.case.case import Case
from service.alerts.case.returning import Return
from service.alerts.case.witness import Doubt
from service.alerts.policy.judge import tier_for
from service.alerts.policy.parts import MissedDoseTier
from service.alerts.rules.asked import when
from service.alerts.rules.count_lines import stalest
from service.alerts.say import wording as w
from service.alerts.say.finding import ChangeDose, Evidence, Finding, Offer, Severity

#: A unit.
_HOURS_A_DAY = 24.0
_BASIS = {
    "administration": "administration record",
    "withheld": "administration record: none given from then on",
    "statement": "statement of what the patient takes",
    "stop": "end date of the last order",
    "supply": "estimated from supply: the dispensed supply ran out",
    "update": "estimated: the last order or statement was over by then",
    "rhythm": "estimated: the next order was due by then",
}
_DOUBT: dict[Doubt, str] = {
    "home": "The order of the ward has ended and one for home runs on: doses taken since are not charted.",
    "leave": "Charted as on leave since: doses taken there are not charted.",
}
#: Last doses that nobody saw or stated, in words for the summary.
ESTIMATED = {
    "supply": "estimated from supply",
    "update": "estimated from the last change of the order",
    "rhythm": "estimated from the orders before",
}


def reached_tier(case: Case) -> MissedDoseTier | None:
    """The longest tier the gap since the last dose reaches; None when no dose counts as missed."""
    last = case.course.last_dose
    if last is None:
        return None
    return tier_for(case.policy.missed_dose, case.hours_since(last), case.hours_between_doses)


def tier_dose(case: Case, tier: MissedDoseTier) -> tuple[float, float] | None:
    """(dose to suggest, highest dose that needs no alert) in mg per day; None when the established dose is unknown."""
    if tier.single_mg is not None:
        return tier.single_mg, tier.mg_per_day or tier.single_mg
    established = case.established_mg_per_day
    if established is None or tier.percent_low is None or tier.percent_high is None:
        return None
    highest = established * tier.percent_high / 100
    step = case.policy.dosing.dose_step.value
    return max(highest // step * step, step), max(highest, step)


@when("last-dose-known", "interrupted")
@when("drafted", "taking")
def missed_dose(case: Case) -> Iterator[Finding]:
    """The gap since the last dose reaches a tier and the dose is above that tier's; or the dose rises too far on the return from a gap."""
    course = case.course
    if not (case.clozapine_drafts or case.on_clozapine) or case.stopping:
        return
    tier = reached_tier(case)
    if tier is None or course.last_dose is None:
        if course.last_dose_or_earlier:
            yield from _since_when_unknown(case)
        elif case.returning is not None:
            yield from _rises_too_far(case, case.returning)
        return
    dose = case.current_mg_per_day
    first = first_day_dose(case)
    target = tier_dose(case, tier)
    if target is not None and first is not None and first <= target[1]:
        return
    if is_renewed_in_time(case):
        yield _renewed_late(case, tier)
        return
    if is_between_orders(case):
        return  # asked when the next one is written
    gap = case.hours_since(course.last_dose)
    estimated = course.last_dose_basis in ESTIMATED
    withheld = course.last_dose_basis == "withheld"
    unsure = estimated or bool(course.last_dose_doubt)
    severity: Severity = tier.severity_when_estimated if unsure else tier.severity
    restart = _restart_text(case, tier, target)
    about = "≥ " if course.last_dose_date_only or course.last_dose_or_earlier else ""
    basis = _BASIS.get(course.last_dose_basis, "record")
    doubt = (
        f" ({ESTIMATED[course.last_dose_basis]})"
        if estimated
        else " (if none since the ward's chart)"
        if course.last_dose_doubt
        else ""
    )
    why = [
        f"Last dose: {'before ' if withheld else ''}{w.moment(case.snapshot, course.last_dose, course.last_dose_date_only)} ({basis}); {about}{w.hours(gap)} ago.",
    ]
    if course.last_dose_or_earlier:
        why.append("It is said since then; the last dose may have been earlier.")
    elif course.last_dose_date_only and not (estimated or withheld):
        why.append("Only the date of the last dose is known, so the longer gap is assumed.")
    if course.last_dose_doubt:
        why.append(_doubt(case, course.last_dose_doubt))
    if dose is not None:
        label = "Drafted" if case.clozapine_drafts else "Active"
        why.append(
            f"{label} dose: {w.mg(dose)}/day."
            + (
                f" Established dose: {w.mg(case.established_mg_per_day)}/day."
                if case.established_mg_per_day
                else ""
            )
        )
    else:
        why.append("The dose of the order could not be read, so it cannot be compared.")
    caution = _first_titration_caution(case)
    offers = _offers(case, target[0]) if target is not None else ()
    yield Finding(
        code="missed-dose-retitrate",
        severity=severity,
        subject="missed-dose",
        summary=w.summary(f"Clozapine not taken for {about}{w.hours(gap)}{doubt}: {restart}."),
        why=tuple(why),
        policy_says=(tier.says, case.policy.missed_dose_says),
        suggested=(
            *caution,
            f"{restart[0].upper()}{restart[1:]}.",
            "Ask when the last dose was really taken."
            if unsure or course.last_dose_date_only
            else "Check lying and standing blood pressure before and after the first dose.",
            "Then titrate back up as tolerated.",
        ),
        evidence=(
            Evidence(
                course.last_dose_ref, f"last dose, {basis}", course.last_dose, course.last_dose_date_only
            ),
            *(Evidence(d.ref, w.safe(d.label)) for d in case.clozapine_drafts),
        ),
        decisive=(tier.name, course.last_dose.isoformat()),
        citation=case.policy.cite(tier),
        offers=offers,
    )


def _doubt(case: Case, why: Doubt) -> str:
    until = case.course.supply_until
    if why == "supply" and until is not None:
        return f"Supply handed over before lasts until {w.day(case.snapshot, until)}: doses taken at home since are not charted."
    return _DOUBT[why]


def is_between_orders(case: Case) -> bool:
    """No order of this call, and only the end of one that was carried out a few days ago tells of the last dose."""
    course = case.course
    return (
        course.ending is not None
        and course.ending.between
        and not case.clozapine_drafts
        and course.last_dose_basis in ("update", "rhythm")
    )


def is_renewed_in_time(case: Case) -> bool:
    """The draft follows an order for home that was carried out (``completed``) a few days ago, at no higher dose, and counts go on.

    That an order is completed is no sign that a dose was missed, no more than an order that stays active; it is worth a question.
    """
    course = case.course
    ending, last = course.ending, course.last_dose
    if ending is None or not ending.carried_out or last is None or not case.clozapine_drafts:
        return False
    if course.last_dose_basis not in ("update", "rhythm"):
        return False
    if case.hours_since(last) > _HOURS_A_DAY * case.policy.unknown_end.renewed_within_days.value:
        return False
    first, established, newest = first_day_dose(case), case.established_mg_per_day, stalest(case)
    if first is None or established is None or first > established or newest is None:
        return False
    return case.answered_days(newest) <= case.interval.days


def _renewed_late(case: Case, tier: MissedDoseTier) -> Finding:
    """A question, for nobody is interrupted by it: the order before was over some days ago."""
    course, first = case.course, first_day_dose(case)
    assert course.ending is not None
    assert course.last_dose is not None
    gap = w.hours(case.hours_since(course.last_dose))
    over = "was completed" if course.last_dose_basis == "update" else "is completed, its renewal was due"
    return Finding(
        code="missed-dose-retitrate",
        severity="info",
        subject="missed-dose",
        changes_order=True,
        summary=w.summary(
            f"The last clozapine order {over} {gap} ago: ask whether doses were missed before giving {w.mg(first or 0)}/day."
        ),
        why=(
            f"{_BASIS[course.last_dose_basis][0].upper()}{_BASIS[course.last_dose_basis][1:]} "
            f"({w.moment(case.snapshot, course.last_dose, course.last_dose_basis == 'rhythm')}). Nothing tells whether doses were missed.",
        ),
        policy_says=(tier.says, case.policy.missed_dose_says),
        suggested=(
            "Ask when the last dose was taken.",
            "No dose missed: go on as before. Otherwise restart at the dose for that gap.",
        ),
        evidence=(
            Evidence(course.ending.ref, "clozapine order, completed", course.ending.start),
            *(Evidence(d.ref, w.safe(d.label)) for d in case.clozapine_drafts),
        ),
        decisive=(tier.name, course.last_dose.isoformat()),
        citation=case.policy.cite(tier),
    )


def first_day_dose(case: Case) -> float | None:
    """Dose of the first day after this call, mg: a drafted titration is judged by its first step."""
    if not case.clozapine_drafts:
        return case.established_mg_per_day
    total = 0.0
    for draft in case.clozapine_drafts:
        if draft.dose is None or draft.dose.mg_per_day is None:
            return None
        total += draft.dose.first_mg_per_day or draft.dose.mg_per_day
    return total


def _restart_text(case: Case, tier: MissedDoseTier, target: tuple[float, float] | None) -> str:
    if tier.single_mg is not None:
        return f"restart at {w.mg(tier.single_mg)} once or twice daily"
    percent = (
        f"{w.number(tier.percent_low or 0)}–{w.number(tier.percent_high or 0)} %"
        if tier.percent_low != tier.percent_high
        else f"about {w.number(tier.percent_high or 0)} %"
    )
    if target is None:
        return f"resume at {percent} of the established dose"
    return f"resume at {percent} of the established dose (≤ {w.mg(target[0])}/day)"


def _first_titration_caution(case: Case) -> tuple[str, ...]:
    events = case.problems_of("syncope", history=True)
    if not events:
        return ()
    return (f"**Extreme caution**: {w.safe(events[0].label)} is in the record.",)


def _since_when_unknown(case: Case) -> Iterator[Finding]:
    """Said not to be taken, against what is ordered, and nobody says since when."""
    longest = case.policy.missed_dose[-1] if case.policy.missed_dose else None
    if longest is None or (case.is_order_hook and not case.clozapine_drafts):
        return
    target = tier_dose(case, longest)
    first = first_day_dose(case)
    if target is not None and first is not None and first <= target[1]:
        return
    said = w.moment(case.snapshot, case.course.last_dose) if case.course.last_dose is not None else "undated"
    ordered = "Drafted" if case.clozapine_drafts else "Active"
    yield Finding(
        code="missed-dose-retitrate",
        severity="warning",
        subject="missed-dose",
        summary=w.summary(
            "Clozapine is said not to be taken, since when is not known: ask for the last dose before it is given."
        ),
        why=(
            f"Stated as not taken ({said}); the record does not say since when.",
            f"{ordered} dose: {w.mg(first)}/day."
            if first is not None
            else "The dose of the order could not be read.",
        ),
        policy_says=(*(tier.says for tier in case.policy.missed_dose), case.policy.missed_dose_says),
        suggested=(
            *_first_titration_caution(case),
            "Ask when the last dose was really taken, and record it.",
            "Until that is known, treat the gap as the longest one.",
        ),
        evidence=(
            Evidence(case.course.last_dose_ref, "statement of what the patient takes", case.course.last_dose),
            *(Evidence(d.ref, w.safe(d.label)) for d in case.clozapine_drafts),
        ),
        decisive=(case.course.last_dose_ref,),
        citation=case.policy.cite(longest),
    )


def _rises_too_far(case: Case, back: Return) -> Iterator[Finding]:
    """The dose before a gap has not been reached again: the dose reached since decides what the next may be."""
    if case.is_order_hook and not case.clozapine_drafts:
        return
    rise = case.policy.dosing.early_rise_maximum
    dose = first_day_dose(case) if case.clozapine_drafts else case.ordered_mg_per_day
    highest = max(back.reached + rise.value, _restart_mg(back))
    if (dose is None and not case.clozapine_drafts) or (dose is not None and dose <= highest):
        return
    step = case.policy.dosing.dose_step.value
    next_mg = highest // step * step
    offers = _offers(case, next_mg)
    gap = w.hours(back.gap.hours)
    estimated = " (estimated from supply)" if back.gap.estimated else ""
    ordered = "Drafted" if case.clozapine_drafts else "Active"
    yield Finding(
        code="missed-dose-retitrate",
        severity=back.tier.severity_when_estimated if back.gap.estimated else back.tier.severity,
        subject="missed-dose",
        summary=w.summary(
            f"Clozapine {w.mg(back.reached)}/day since a gap of {gap}{estimated}: at most {w.mg(next_mg)}/day next"
            f"{f', not {w.mg(dose)}' if dose is not None else ''}."
        ),
        why=(
            f"Not taken for {gap}{estimated}, from {w.moment(case.snapshot, back.gap.start)} to {w.moment(case.snapshot, back.gap.end)}.",
            f"Most given within a day since: {w.mg(back.reached)}. "
            + (
                f"{ordered} dose: {w.mg(dose)}/day."
                if dose is not None
                else "The dose of the order could not be read, so it cannot be compared."
            ),
        ),
        policy_says=(
            back.tier.says,
            f"In a new titration the dose rises by at most {w.mg(rise.value)} a day.",
            case.policy.missed_dose_says,
        ),
        suggested=(
            *_first_titration_caution(case),
            f"Give at most {w.mg(next_mg)}/day next.",
            "Check lying and standing blood pressure before and after the dose.",
            "Then titrate back up as tolerated.",
        ),
        evidence=(
            Evidence(back.gap.ref, "last record before the gap", back.gap.start),
            Evidence(back.ref, "first dose after the gap", back.since),
            *(Evidence(d.ref, w.safe(d.label)) for d in case.clozapine_drafts),
        ),
        decisive=(back.tier.name, back.gap.start.isoformat(), w.number(back.reached)),
        citation=case.policy.cite(back.tier),
        offers=offers,
    )


def _restart_mg(back: Return) -> float:
    """The dose that the tier of the gap allows at once, mg per day."""
    tier = back.tier
    if tier.single_mg is not None:
        return tier.mg_per_day or tier.single_mg
    return (back.established or 0.0) * (tier.percent_high or 0.0) / 100


def _offers(case: Case, mg_per_day: float) -> tuple[Offer, ...]:
    """The draft with another dose: more than is given at once is divided, into doses that tablets can make."""
    if len(case.clozapine_drafts) != 1 or not case.clozapine_drafts[0].ref:
        return ()
    draft = case.clozapine_drafts[0]
    per_day = 2 if mg_per_day > case.policy.dosing.once_daily_maximum.value else 1
    step = per_day * case.policy.dosing.dose_step.value
    return (ChangeDose(draft.ref, w.plain(draft.label), mg_per_day // step * step, per_day),)


RULES = (missed_dose,)
