"""Fever, eosinophils and platelets (clinical.md 2.1): signs in the blood and at the bedside that cannot wait for the schedule."""

from __future__ import annotations

from collections.abc import Iterator

from service.alerts.case.case import Case
from service.alerts.case.counts import judged_value
from service.alerts.facts.patient import Measurement
from service.alerts.rules.asked import RELEVANT, when
from service.alerts.rules.count_lines import count_line, evidence_of, order_cbc, pending_lines, remove_drafts
from service.alerts.rules.readings import exceeds, reaches, within_hours
from service.alerts.say import wording as w
from service.alerts.say.finding import Evidence, Finding, Offer, OrderTest, Severity


def _early(m: Measurement) -> str:
    return " (preliminary)" if m.status == "preliminary" else ""


@when("temperature")
@when("continuing", "stopped")
def fever(case: Case) -> Iterator[Finding]:
    """A raised temperature in the last days, without a blood count since."""
    rule = case.policy.fever
    stopped = case.course.stopped_at
    lately_stopped = stopped is not None and 0 <= case.days_since(stopped) <= rule.after_stop_days.value
    if not (case.continuing or lately_stopped):
        return
    readings = within_hours(case, "temperature", rule.window_hours.value)
    if not readings:
        return
    highest = max(readings, key=lambda m: m.value)
    assert highest.at is not None
    day = case.course_day
    # A course whose start nobody knows may be in its first weeks.
    early = day < rule.early_days.value if day is not None else case.continuing
    full = highest.value >= rule.threshold.value
    if not full and not (early and highest.value >= rule.early_threshold.value):
        return
    count = case.anc.newest
    counted = count is not None and count.at is not None and count.at >= highest.at
    severity: Severity = "critical" if full and not counted else "warning"
    hold = full and not counted and case.continuing
    offers, steps = ((), ()) if counted else order_cbc(case, "stat", "Fever under clozapine")
    extra: tuple[Offer, ...] = (
        OrderTest("clozapine-level", "urgent", "Infection can raise the clozapine level"),
    )
    if early:
        extra = (
            OrderTest("troponin-crp", "urgent", "Fever in the first weeks of clozapine: myocarditis?"),
            *extra,
        )
    if counted and not early:
        extra = ()
    if full and case.continuing and not counted:
        extra = (*extra, OrderTest("ck", "urgent", "Fever under clozapine: neuroleptic malignant syndrome?"))
    yield Finding(
        code="fever",
        severity=severity,
        subject="fever",
        summary=w.summary(
            f"Temperature {w.number(highest.value, 1)} °C{_early(highest)} on {w.day(case.snapshot, highest.at)} {'under clozapine' if case.continuing else 'after clozapine was stopped' if case.stop_known else 'and clozapine may still be taken'}"
            + ("." if counted else ": hold clozapine, ANC at once." if hold else ": ANC at once.")
        ),
        why=(
            f"Temperature {w.number(highest.value, 1)} °C{_early(highest)}, {w.moment(case.snapshot, highest.at, highest.date_only)} (as sent: {w.safe(highest.raw)}).",
            f"ANC since: {count_line(case, count)}."
            if counted and count is not None
            else "No blood count since then.",
            *(() if counted else pending_lines(case)),
        ),
        policy_says=(
            rule.says,
            *((f"{rule.hold.value} Source: {case.policy.cite(rule.hold)}.",) if hold else ()),
        ),
        suggested=(
            *(("Hold clozapine until the ANC is back.",) if hold else ()),
            *steps,
            *(("Check troponin and CRP (first weeks of treatment).",) if early else ()),
            "Look for infection.",
            *(
                (
                    *(() if early else ("Think of myocarditis: troponin, CRP.",)),
                    "Rigid, confused or sweating? Neuroleptic malignant syndrome: CK.",
                )
                if full and case.continuing
                else ()
            ),
        ),
        evidence=(
            Evidence(
                highest.ref, f"Temperature {w.number(highest.value, 1)} °C", highest.at, highest.date_only
            ),
            *evidence_of(case, *([count] if counted and count is not None else [])),
        ),
        missing=() if counted else ("a blood count since the fever",),
        citation=case.policy.cite(rule.threshold if full else rule.early_threshold),
        offers=(*offers, *extra),
    )


@when("eosinophils")
@when(*RELEVANT)
def eosinophilia(case: Case) -> Iterator[Finding]:
    """Eosinophils above the policy's limit, or raised in the first weeks."""
    rule = case.policy.eosinophils
    if not case.relevant or not _any_eosinophilia(case):
        return
    newest = case.worst_new("eosinophils", higher_is_worse=True)
    if newest is None:
        return
    early = _in_first_weeks(case, newest) and exceeds(newest, rule.early.value)
    high = exceeds(newest, rule.high.value)
    waiting = not high and _not_yet_low_again(case)
    if not high and not early and not waiting:
        return
    cited = rule.high if high else rule.restart_below if waiting and rule.restart_below else rule.early
    stop = (high or waiting) and rule.high_severity == "critical"
    restart = (
        f"Restart only once the eosinophils are below {w.count(rule.restart_below.value)}."
        if stop and rule.restart_below is not None
        else ""
    )
    offers, _ = order_cbc(case, "routine", "Recheck eosinophils")
    yield Finding(
        code="eosinophilia",
        severity=rule.high_severity if high or waiting else "info",
        changes_order=True,
        subject="eosinophils",
        summary=f"Eosinophils {w.bound_word(newest)}{w.count(newest.value)}{_early(newest)} on {w.day(case.snapshot, newest.at)} under clozapine"
        + (": stop clozapine." if stop and high else ": not yet low enough to restart." if stop else "."),
        why=(
            f"Eosinophils {w.bound_word(newest)}{w.count(newest.value)}{_early(newest)}, {w.moment(case.snapshot, newest.at, newest.date_only)} (as sent: {w.safe(newest.raw)}).",
            *(("They were above the limit before and have not been low enough since.",) if waiting else ()),
        ),
        policy_says=(rule.says,),
        suggested=(
            *(("Stop clozapine.", restart) if stop and restart else ()),
            "Repeat the count.",
            "Check CRP and troponin; ask about rash, fever, chest pain and breathlessness.",
        ),
        evidence=evidence_of(case, newest),
        citation=case.policy.cite(cited),
        offers=(
            *(remove_drafts(case) if stop else ()),
            *offers,
            OrderTest("troponin-crp", "urgent", "Eosinophilia under clozapine"),
        ),
    )


def _any_eosinophilia(case: Case) -> bool:
    """A quick look: False when no count of the record reaches a limit, so that none need be put in order."""
    limit = min(case.policy.eosinophils.early.value, case.policy.eosinophils.high.value)
    return any(
        m.value >= limit or reaches(m, limit) for m in case.snapshot.measurements.get("eosinophils", ())
    )


def _in_first_weeks(case: Case, m: Measurement) -> bool:
    """True when a count was taken in the first weeks of the course, or may have been; one from before the first dose is no sign."""
    day, days = case.course_day, case.policy.eosinophils.early_days.value
    if case.starting or m.at is None:
        return False
    return case.age_days(m) < days if day is None else day < days and case.age_days(m) <= day


def _not_yet_low_again(case: Case) -> bool:
    """The policy names a count below which clozapine may restart, and none was that low since the eosinophils were too high."""
    rule = case.policy.eosinophils
    if rule.restart_below is None:
        return False
    for m in case.series("eosinophils"):
        if m.value < rule.restart_below.value:
            return False
        if m.value > rule.high.value:
            return True
    return False


@when("platelets")
@when(*RELEVANT)
def thrombocytopenia(case: Case) -> Iterator[Finding]:
    """Platelets below the limit."""
    rule = case.policy.platelets
    counts = case.snapshot.measurements.get("platelets", ())
    if not case.relevant or all(judged_value(m) >= rule.low.value for m in counts):
        return
    newest = case.worst_new("platelets")
    if newest is None or judged_value(newest) >= rule.low.value:
        return
    offers, _ = order_cbc(case, "stat", "Confirm thrombocytopenia")
    yield Finding(
        code="thrombocytopenia",
        severity="critical",
        subject="platelets",
        summary=f"Platelets {w.bound_word(newest)}{w.count(newest.value)}{_early(newest)} on {w.day(case.snapshot, newest.at)}: stop clozapine, ask hematology.",
        why=(
            f"Platelets {w.bound_word(newest)}{w.count(newest.value)}{_early(newest)}, {w.moment(case.snapshot, newest.at, newest.date_only)} (as sent: {w.safe(newest.raw)}).",
        ),
        policy_says=(rule.says,),
        suggested=("Stop clozapine.", "Repeat the count at once.", "Consult hematology."),
        evidence=evidence_of(case, newest),
        citation=case.policy.cite(rule.low),
        offers=(*remove_drafts(case), *offers),
    )


RULES = (fever, eosinophilia, thrombocytopenia)
