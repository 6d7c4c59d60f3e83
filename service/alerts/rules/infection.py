"""Fever, eosinophils and platelets (clinical.md 2.1): signs in the blood and at the bedside that cannot wait for the schedule."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from service.alerts import wording as w
from service.alerts.case import Case
from service.alerts.finding import Evidence, Finding, Offer, OrderTest, Severity
from service.alerts.rules.counting import count_line, evidence_of, order_cbc, remove_drafts


def fever(case: Case) -> Iterator[Finding]:
    """A raised temperature in the last days, without a blood count since."""
    rule = case.policy.fever
    newest = case.newest("temperature")
    stopped = case.course.stopped_at
    lately_stopped = stopped is not None and 0 <= case.days_since(stopped) <= rule.after_stop_days.value
    if newest is None or newest.at is None or not (case.continuing or lately_stopped):
        return
    since = case.as_of - timedelta(hours=rule.window_hours.value)
    readings = [m for m in case.series("temperature") if m.at is not None and m.at >= since]
    if not readings:
        return
    highest = max(readings, key=lambda m: m.value)
    assert highest.at is not None
    day = case.course_day
    early = day is not None and day < rule.early_days.value
    full = highest.value >= rule.threshold.value
    if not full and not (early and highest.value >= rule.early_threshold.value):
        return
    count = case.anc.newest
    counted = count is not None and count.at is not None and count.at >= highest.at
    severity: Severity = "critical" if full and not counted else "warning"
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
    yield Finding(
        code="fever",
        severity=severity,
        subject="fever",
        summary=w.summary(
            f"Temperature {w.number(highest.value, 1)} °C on {w.day(case.snapshot, highest.at)} under clozapine"
            + ("." if counted else ": ANC at once.")
        ),
        why=(
            f"Temperature {w.number(highest.value, 1)} °C, {w.moment(case.snapshot, highest.at, highest.date_only)} (as sent: {w.safe(highest.raw)}).",
            f"ANC since: {count_line(case, count)}."
            if counted and count is not None
            else "No blood count since then.",
        ),
        policy_says=(rule.says,),
        suggested=(
            *steps,
            *(("Check troponin and CRP (first weeks of treatment).",) if early else ()),
            "Look for infection.",
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
        overrides="counts",
    )


def eosinophilia(case: Case) -> Iterator[Finding]:
    """Eosinophils above the policy's limit, or raised in the first weeks."""
    rule = case.policy.eosinophils
    newest = case.worst_new("eosinophils")
    if newest is None or not case.relevant:
        return
    day = case.course_day
    early = day is not None and day < rule.early_days.value and newest.value > rule.early.value
    high = newest.value > rule.high.value
    if not high and not early:
        return
    cited = rule.high if high else rule.early
    offers, _ = order_cbc(case, "routine", "Recheck eosinophils")
    yield Finding(
        code="eosinophilia",
        severity=rule.high_severity if high else "info",
        changes_order=True,
        subject="eosinophils",
        summary=f"Eosinophils {w.count(newest.value)} on {w.day(case.snapshot, newest.at)} under clozapine.",
        why=(
            f"Eosinophils {w.count(newest.value)}, {w.moment(case.snapshot, newest.at, newest.date_only)} (as sent: {w.safe(newest.raw)}).",
        ),
        policy_says=(rule.says,),
        suggested=(
            "Repeat the count.",
            "Check CRP and troponin; ask about rash, fever, chest pain and breathlessness.",
        ),
        evidence=evidence_of(case, newest),
        citation=case.policy.cite(cited),
        offers=(*offers, OrderTest("troponin-crp", "urgent", "Eosinophilia under clozapine")),
        overrides="counts",
    )


def thrombocytopenia(case: Case) -> Iterator[Finding]:
    """Platelets below the limit."""
    rule = case.policy.platelets
    newest = case.worst_new("platelets")
    if newest is None or not case.relevant or newest.value >= rule.low.value:
        return
    offers, _ = order_cbc(case, "stat", "Confirm thrombocytopenia")
    yield Finding(
        code="thrombocytopenia",
        severity="critical",
        subject="platelets",
        summary=f"Platelets {w.count(newest.value)} on {w.day(case.snapshot, newest.at)}: stop clozapine, ask hematology.",
        why=(
            f"Platelets {w.count(newest.value)}, {w.moment(case.snapshot, newest.at, newest.date_only)} (as sent: {w.safe(newest.raw)}).",
        ),
        policy_says=(rule.says,),
        suggested=("Stop clozapine.", "Repeat the count at once.", "Consult hematology."),
        evidence=evidence_of(case, newest),
        citation=case.policy.cite(rule.low),
        offers=(*remove_drafts(case), *offers),
        overrides="counts",
    )


RULES = (fever, eosinophilia, thrombocytopenia)
