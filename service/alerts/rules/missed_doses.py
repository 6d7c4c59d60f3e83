"""Missed doses and interruptions (clinical.md 2.2)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from service.alerts import wording as w
from service.alerts.asked import when
from service.alerts.case import Case
from service.alerts.finding import ChangeDose, Evidence, Finding, Offer, Severity
from service.alerts.policy_parts import MissedDoseTier
from service.alerts.rules.counting import order_cbc

_HOURS_A_DAY = 24.0
_BASIS = {
    "administration": "administration record",
    "withheld": "administration record: none given from then on",
    "statement": "statement of what the patient takes",
    "stop": "end date of the last order",
    "supply": "estimated from supply: the dispensed supply ran out",
}
#: Doses are suggested in halves of the smallest tablet (12.5 mg), rounded down: the safer side.
_DOSE_STEP_MG = 12.5


def _dosing_interval(case: Case) -> float:
    """Hours between two doses of the established regimen: 24 h / doses per day."""
    regimen = case.established_regimen
    per_day = regimen.dose.doses_per_day if regimen is not None and regimen.dose is not None else None
    return _HOURS_A_DAY / per_day if per_day else _HOURS_A_DAY


def reached_tier(case: Case) -> MissedDoseTier | None:
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


def tier_dose(case: Case, tier: MissedDoseTier) -> tuple[float, float] | None:
    """(dose to suggest, highest dose that needs no alert) in mg per day; None when the established dose is unknown."""
    if tier.single_mg is not None:
        return tier.single_mg, tier.mg_per_day or tier.single_mg
    established = case.established_mg_per_day
    if established is None or tier.percent_low is None or tier.percent_high is None:
        return None
    highest = established * tier.percent_high / 100
    rounded = highest // _DOSE_STEP_MG * _DOSE_STEP_MG
    return max(rounded, _DOSE_STEP_MG), max(highest, _DOSE_STEP_MG)


@when("last-dose-known")
@when("drafted", "taking")
def missed_dose(case: Case) -> Iterator[Finding]:
    """The gap since the last dose reaches a tier and the dose is above that tier's."""
    course = case.course
    if course.last_dose is None or not (case.clozapine_drafts or case.on_clozapine) or case.stopping:
        return
    tier = reached_tier(case)
    if tier is None:
        return
    dose = case.current_mg_per_day
    first = _first_day_dose(case)
    target = tier_dose(case, tier)
    if target is not None and first is not None and first <= target[1]:
        return
    gap = case.hours_since(course.last_dose)
    estimated = course.last_dose_basis == "supply"
    withheld = course.last_dose_basis == "withheld"
    unsure = estimated or course.last_dose_doubtful
    severity: Severity = tier.severity_when_estimated if unsure else tier.severity
    restart = _restart_text(case, tier, target)
    about = "≥ " if course.last_dose_date_only else ""
    basis = _BASIS.get(course.last_dose_basis, "record")
    doubt = (
        " (estimated from supply)"
        if estimated
        else " (if none since the ward's chart)"
        if course.last_dose_doubtful
        else ""
    )
    why = [
        f"Last dose: {'before ' if withheld else ''}{w.moment(case.snapshot, course.last_dose, course.last_dose_date_only)} ({basis}); {about}{w.hours(gap)} ago.",
    ]
    if course.last_dose_date_only and not (estimated or withheld):
        why.append("Only the date of the last dose is known, so the longer gap is assumed.")
    if course.last_dose_doubtful:
        why.append(
            "The order of the ward has ended and one for home runs on: doses taken since are not charted."
        )
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
    offers: tuple[Offer, ...] = ()
    if target is not None and len(case.clozapine_drafts) == 1 and case.clozapine_drafts[0].ref:
        draft = case.clozapine_drafts[0]
        # More than is given at once is divided, into doses that tablets can make.
        per_day = 2 if target[0] > case.policy.dosing.once_daily_maximum.value else 1
        step = per_day * _DOSE_STEP_MG
        offers = (ChangeDose(draft.ref, w.plain(draft.label), target[0] // step * step, per_day),)
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
        overrides="dose",
    )


def _first_day_dose(case: Case) -> float | None:
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


@when("starting")
def interruption_restart_monitoring(case: Case) -> Iterator[Finding]:
    """A break as long as the restart limit: the patient is monitored as a new one."""
    limit = case.policy.interruption.new_course
    if not case.restarting or case.course.last_exposure is None:
        return
    last = case.course.last_exposure
    gap_days = case.days_since(last)
    offers, steps = order_cbc(case, "urgent", "New baseline ANC after an interruption of clozapine")
    yield Finding(
        code="interruption-restart-monitoring",
        severity="warning",
        subject="interruption",
        summary=f"Clozapine interrupted for {w.days(gap_days)}: monitor as a new patient, starting with a baseline ANC.",
        why=(f"Last known or estimated intake: {w.day(case.snapshot, last)}, {w.days(gap_days)} ago.",),
        policy_says=(case.policy.interruption.says,),
        suggested=(
            *steps,
            f"ANC {case.policy.schedule[0].label} from the restart, as in a new patient.",
            "Titrate from the start dose.",
        ),
        evidence=tuple(Evidence(ref, "clozapine record") for ref in case.course.refs[:5]),
        decisive=(last.isoformat(),),
        citation=case.policy.cite(limit),
        offers=offers,
        overrides="dose",
    )


@when("last-dose-known")
@when("drafted")
def interruption_extra_monitoring(case: Case) -> Iterator[Finding]:
    """A shorter break that some protocols answer with weekly counts for some weeks."""
    extra = case.policy.interruption.extra
    last, start = case.course.last_dose, case.course.start
    if extra is None or last is None or start is None or case.restarting or not case.clozapine_drafts:
        return
    gap = case.hours_since(last)
    treated = (case.snapshot.day(last) - case.snapshot.day(start)).days
    if not extra.gap.reached(gap) or treated < extra.after_day.value:
        return
    offers, steps = order_cbc(case, "routine", "Weekly ANC after a break in clozapine")
    until = case.today + timedelta(weeks=extra.weeks.value)
    yield Finding(
        code="interruption-extra-monitoring",
        severity="warning",
        subject="interruption",
        summary=f"Clozapine break of {w.hours(gap)}: weekly blood counts until {until.isoformat()}.",
        why=(
            f"Last dose: {w.moment(case.snapshot, last, case.course.last_dose_date_only)}; {w.hours(gap)} ago.",
        ),
        policy_says=(extra.says,),
        suggested=(*steps, "Repeat weekly until the date above."),
        evidence=(Evidence(case.course.last_dose_ref, "last dose", last, case.course.last_dose_date_only),),
        decisive=(last.isoformat(),),
        citation=case.policy.cite(extra.gap),
        offers=offers,
        overrides="dose",
    )


RULES = (missed_dose, interruption_restart_monitoring, interruption_extra_monitoring)
