"""Blood counts after an interruption of clozapine (clinical.md 2.2): as a new patient, or weekly for some weeks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from service.alerts.case.breaks import Break
from service.alerts.case.case import Case
from service.alerts.knowledge.drugs import classes_of
from service.alerts.policy.parts import ExtraMonitoring
from service.alerts.rules.asked import when
from service.alerts.rules.count_lines import order_cbc, stalest
from service.alerts.rules.missed_doses import ESTIMATED, is_between_orders, is_renewed_in_time
from service.alerts.say import wording as w
from service.alerts.say.finding import Evidence, Finding, Severity


def _severity(case: Case) -> Severity | None:
    """A warning where clozapine, its counts or its level are in question; information while an unrelated drug is ordered."""
    if not case.is_order_hook or case.clozapine_drafts:
        return "warning"
    if case.stopping:
        return None
    interacts = any(c.finding for d in case.other_drafts for drug in d.drugs for c in classes_of(drug))
    laboratory = any(order.draft for order in case.snapshot.test_orders)
    return "warning" if interacts or laboratory else "info"


def _counted_since(case: Case, resumed: datetime) -> bool:
    """A count has been taken since clozapine was resumed: from then on the schedule tells when the next is due."""
    newest = stalest(case)
    return newest is not None and newest.at is not None and newest.at >= resumed


@when("starting", "interrupted")
def interruption_restart_monitoring(case: Case) -> Iterator[Finding]:
    """A break as long as the restart limit, before a start, lasting under an order, or over without a count since."""
    course = case.course
    severity: Severity | None = "warning" if case.restarting else _severity(case)
    back = course.restarted_after
    last, until = course.last_exposure, None
    if not case.restarting:
        if severity is None or not case.on_clozapine:
            return
        if course.lapsed and course.last_dose is not None:
            last = course.last_dose
        elif back is not None and back.under_order and _is_fresh(case) and not _counted_since(case, back.end):
            last, until = back.start, back.end
        else:
            return
    if last is None or severity is None:
        return
    estimated = (
        back.estimated if until is not None and back is not None else course.last_dose_basis == "supply"
    )
    gap_days = (
        case.days_since(last) if until is None else (case.snapshot.day(until) - case.snapshot.day(last)).days
    )
    offers, steps = order_cbc(case, "urgent", "New baseline ANC after an interruption of clozapine")
    over = f" until {w.day(case.snapshot, until)}" if until is not None else ""
    doubt = " (estimated from supply)" if estimated and not case.restarting else ""
    ago = f"{w.days(case.days_since(last))} ago"
    yield Finding(
        code="interruption-restart-monitoring",
        severity=severity,
        subject="interruption",
        summary=w.summary(
            f"Clozapine interrupted for {w.days(gap_days)}{over}{doubt}: monitor as a new patient, starting with a baseline ANC."
        ),
        why=(
            f"Last known or estimated intake{' before the break' if until is not None else ''}: {w.day(case.snapshot, last)}, {ago}.",
        ),
        policy_says=(case.policy.interruption.says,),
        suggested=(
            *steps,
            f"ANC {case.policy.schedule[0].label} from the restart, as in a new patient.",
            *(() if until is not None else ("Titrate from the start dose.",)),
        ),
        evidence=tuple(Evidence(ref, "clozapine record") for ref in course.refs[:5]),
        decisive=(last.isoformat(),),
        citation=case.policy.cite(case.policy.interruption.new_course),
        offers=offers,
    )


def _is_fresh(case: Case) -> bool:
    """The course is still in the first phase of the schedule, the one of a new patient."""
    first, day = case.policy.schedule[0], case.course_day
    return day is not None and (first.until_day is None or day < first.until_day)


@when("last-dose-known", "interrupted")
def interruption_extra_monitoring(case: Case) -> Iterator[Finding]:
    """A shorter break, lasting or over without a count since, that some protocols answer with weekly counts for some weeks."""
    extra = case.policy.interruption.extra
    course = case.course
    severity = _severity(case)
    if extra is None or course.start is None or severity is None or case.restarting or course.lapsed:
        return
    if not (case.clozapine_drafts or case.on_clozapine):
        return
    gap = _lasting(case, extra) or _over(case, extra)
    if gap is None:
        return
    if (case.snapshot.day(gap.start) - case.snapshot.day(course.start)).days < extra.after_day.value:
        return
    offers, steps = order_cbc(case, "routine", "Weekly ANC after a break in clozapine")
    # The weeks begin when clozapine is taken again: today, or when the break ended.
    until = case.snapshot.day(gap.end) + timedelta(weeks=extra.weeks.value)
    # Of a break that is over only supply makes an estimate.
    doubt = (
        f" ({ESTIMATED.get(course.last_dose_basis, ESTIMATED['supply']) if gap.end == case.as_of else ESTIMATED['supply']})"
        if gap.estimated
        else ""
    )
    yield Finding(
        code="interruption-extra-monitoring",
        severity=severity,
        subject="interruption",
        summary=f"Clozapine break of {w.hours(gap.hours)}{doubt}: weekly blood counts until {until.isoformat()}.",
        why=(
            f"Last dose{' before the break' if gap.under_order else ''}: "
            f"{w.moment(case.snapshot, gap.start, course.last_dose_date_only)}; {w.hours(case.hours_since(gap.start))} ago.",
        ),
        policy_says=(extra.says,),
        suggested=(*steps, "Repeat weekly until the date above."),
        evidence=(Evidence(gap.ref, "last dose", gap.start, course.last_dose_date_only),),
        decisive=(gap.start.isoformat(),),
        citation=case.policy.cite(extra.gap),
        offers=offers,
    )


def _lasting(case: Case, extra: ExtraMonitoring) -> Break | None:
    """The break that lasts until now, as far as the last dose is known."""
    course = case.course
    if course.last_dose is None or not extra.gap.reached(case.hours_since(course.last_dose)):
        return None
    if course.last_dose_doubt and not case.clozapine_drafts:
        return None  # the patient went home, where nobody charts
    if is_between_orders(case) or is_renewed_in_time(case):
        return None  # missed-dose-retitrate asks whether there was a break at all
    return Break(
        course.last_dose,
        case.as_of,
        estimated=course.last_dose_basis in ESTIMATED,
        ref=course.last_dose_ref,
    )


def _over(case: Case, extra: ExtraMonitoring) -> Break | None:
    """The last break under an order that was long enough, if its weeks are not over and no count has been taken since."""
    breaks = [b for b in case.course.breaks if b.under_order and extra.gap.reached(b.hours)]
    if not breaks or case.as_of - breaks[-1].end >= timedelta(weeks=extra.weeks.value):
        return None
    return None if _counted_since(case, breaks[-1].end) else breaks[-1]


RULES = (interruption_restart_monitoring, interruption_extra_monitoring)
