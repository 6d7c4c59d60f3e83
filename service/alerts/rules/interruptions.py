"""Blood counts after an interruption of clozapine (clinical.md 2.2): as a new patient, or weekly for some weeks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from service.alerts.case.breaks import Break
from service.alerts.case.case import Case
from service.alerts.case.interval import kept_schedule
from service.alerts.case.judged_counts import stalest
from service.alerts.case.renewal import is_between_orders, is_renewed_in_time
from service.alerts.case.witness import ESTIMATED
from service.alerts.knowledge.classes import classes_of
from service.alerts.phrases.count import ending_lines, offer_cbc
from service.alerts.phrases.dose import estimated, moment_of
from service.alerts.policy.parts.breaks import ExtraMonitoring
from service.alerts.policy.parts.values import Limit
from service.alerts.rules.asked import when
from service.alerts.say.finding import Severity
from service.alerts.say.found import Fact, Found
from service.alerts.say.sentence import Counted, Day, Hours, Sentence, Term, quoted, quoting, sentence


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
def interruption_restart_monitoring(case: Case) -> Iterator[Found]:
    """A break as long as the restart limit, before a start, lasting under an order, or over without a count since."""
    course, rule = case.course, case.policy.interruption
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
    unsure = back.estimated if until is not None and back is not None else course.last_dose_basis == "supply"
    gap_days = (
        (case.days_until_dose(last) if case.restarting else case.days_since(last))
        if until is None
        else (case.snapshot.day(until) - case.snapshot.day(last)).days
    )
    kept = kept_schedule(case)
    if kept is not None and until is not None:
        return  # the schedule of before goes on: nothing to be counted more often
    offers, steps = offer_cbc(case, "urgent", sentence("interruption-restart-monitoring.reason"))
    phase, taken = case.policy.schedule[0], Day(case.snapshot.day(last))
    yield Found(
        code="interruption-restart-monitoring",
        severity=severity,
        subject="interruption",
        summary=sentence("interruption-restart-monitoring.summary-kept", days=Counted(gap_days))
        if kept is not None
        else _restart_summary(case, gap_days, until, estimated=unsure and not case.restarting),
        why=(
            *(ending_lines(case) if case.restarting else ()),
            sentence(
                "interruption-restart-monitoring.last-intake"
                if until is None
                else "interruption-restart-monitoring.last-intake-before",
                day=taken,
                ago=Counted(case.days_since(last)),
            ),
        ),
        policy_says=(
            quoted("policy", f"{case.policy.id}/interruption.says", rule.says)
            if kept is None
            else quoted("policy", f"{case.policy.id}/interruption.exempt_says", rule.exempt_says),
        ),
        suggested=(
            *steps,
            sentence(
                "interruption-restart-monitoring.count",
                often=Term("policy", f"{case.policy.id}/schedule.{phase.label}.label", phase.label),
            )
            if kept is None
            else sentence("interruption-restart-monitoring.count-as-before", often=case.interval.label),
            *(() if until is not None else (sentence("interruption-restart-monitoring.titrate"),)),
        ),
        evidence=tuple(
            Fact(ref, sentence("interruption-restart-monitoring.evidence")) for ref in course.refs[:5]
        ),
        decisive=(last.isoformat(),),
        citation=case.policy.cite(
            rule.exempt_after_days if kept is not None and rule.exempt_after_days else rule.new_course
        ),
        offers=offers,
    )


def _restart_summary(case: Case, gap_days: int, until: datetime | None, *, estimated: bool) -> Sentence:
    days = Counted(gap_days)
    if case.restarting and case.course.ending is not None:
        return sentence("interruption-restart-monitoring.summary-at-least", days=days)
    if until is None:
        return sentence(
            "interruption-restart-monitoring.summary-estimated"
            if estimated
            else "interruption-restart-monitoring.summary",
            days=days,
        )
    return sentence(
        "interruption-restart-monitoring.summary-until-estimated"
        if estimated
        else "interruption-restart-monitoring.summary-until",
        days=days,
        until=Day(case.snapshot.day(until)),
    )


def _is_fresh(case: Case) -> bool:
    """The course is still in the first phase of the schedule, the one of a new patient."""
    first, day = case.policy.schedule[0], case.course_day
    return day is not None and (first.until_day is None or day < first.until_day)


@when("last-dose-known", "interrupted")
def interruption_extra_monitoring(case: Case) -> Iterator[Found]:
    """A shorter break, lasting or over without a count since, that some protocols answer with weekly counts for some weeks."""
    extra, limit = case.policy.interruption.extra, case.extra_gap
    course = case.course
    severity = _severity(case)
    if (
        extra is None
        or limit is None
        or course.start is None
        or severity is None
        or case.restarting
        or course.lapsed
    ):
        return
    if not (case.clozapine_drafts or case.on_clozapine):
        return
    gap = _lasting(case, limit) or _over(case, extra, limit)
    if gap is None:
        return
    if (case.snapshot.day(gap.start) - case.snapshot.day(course.start)).days < extra.after_day.value:
        return
    offers, steps = offer_cbc(case, "routine", sentence("interruption-extra-monitoring.reason"))
    every = Counted(int(extra.every_days.value))
    # The weeks begin when clozapine is taken again: today, or when the break ended.
    until = case.snapshot.day(gap.end) + timedelta(weeks=extra.weeks.value)
    # Of a break that is over only supply makes an estimate.
    lasting = gap.end >= case.as_of and course.last_dose_basis in ESTIMATED
    by = course.last_dose_basis if lasting else "supply"
    yield Found(
        code="interruption-extra-monitoring",
        severity=severity,
        subject="interruption",
        summary=sentence(
            "interruption-extra-monitoring.summary",
            gap=estimated(Hours(gap.hours), by) if gap.estimated else Hours(gap.hours),
            every=every,
            until=Day(until),
        ),
        why=(
            sentence(
                "interruption-extra-monitoring.last-dose-before"
                if gap.under_order
                else "interruption-extra-monitoring.last-dose",
                when=moment_of(case, gap.start, course.last_dose_date_only),
                gap=Hours(case.hours_since(gap.start)),
            ),
        ),
        policy_says=(
            quoted("policy", f"{case.policy.id}/interruption.extra.says", extra.says),
            *(
                (
                    sentence(
                        "interruption-extra-monitoring.brand",
                        brand=quoting(extra.brand),
                        gap=Hours(limit.value),
                    ),
                )
                if limit is extra.brand_gap
                else ()
            ),
        ),
        suggested=(*steps, sentence("interruption-extra-monitoring.repeat", every=every)),
        evidence=(Fact(gap.ref, sentence("last-dose.evidence"), gap.start, course.last_dose_date_only),),
        decisive=(gap.start.isoformat(),),
        citation=case.policy.cite(limit),
        offers=offers,
    )


def _lasting(case: Case, limit: Limit) -> Break | None:
    """The break that lasts until now, as far as the last dose is known."""
    course = case.course
    if course.last_dose is None or not limit.reached(case.hours_without or 0.0):
        return None
    if course.last_dose_doubt and not case.clozapine_drafts:
        return None  # the patient went home, where nobody charts
    if is_between_orders(case) or is_renewed_in_time(case):
        return None  # missed-dose-retitrate asks whether there was a break at all
    return Break(
        course.last_dose,
        case.next_dose.at,
        estimated=course.last_dose_basis in ESTIMATED,
        ref=course.last_dose_ref,
    )


def _over(case: Case, extra: ExtraMonitoring, limit: Limit) -> Break | None:
    """The last break under an order that was long enough, if its weeks are not over and no count has been taken since."""
    breaks = [b for b in case.course.breaks if b.under_order and limit.reached(b.hours)]
    if not breaks or case.as_of - breaks[-1].end >= timedelta(weeks=extra.weeks.value):
        return None
    return None if _counted_since(case, breaks[-1].end) else breaks[-1]


RULES = (interruption_restart_monitoring, interruption_extra_monitoring)
