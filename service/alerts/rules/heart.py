"""Heart rate, blood pressure and QT (clinical.md 2.6)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from service.alerts.case.case import Case
from service.alerts.facts.patient import Measurement
from service.alerts.rules.asked import RELEVANT, when, when_it_bears
from service.alerts.rules.readings import (
    course_line,
    evidence,
    exceeds,
    falls_below,
    is_recent,
    line,
    on_day,
    order,
    reaches,
    recent,
    value,
)
from service.alerts.say import wording as w
from service.alerts.say.finding import Finding, Severity

#: Two readings belong together when they were taken within so long.
_SAME_OCCASION = timedelta(hours=1)
_LYING = frozenset({"lying", "sitting"})


@when("qtc")
@when(*RELEVANT)
def qt_prolonged(case: Case) -> Iterator[Finding]:
    """A QTc above the limit for the sex; the lower limit while the sex is not known."""
    qtc = recent(case, "qtc") if case.relevant else None
    if qtc is None:
        return
    rule = case.policy.results
    limit = rule.qtc_women if case.snapshot.sex == "female" else rule.qtc_men
    critical = reaches(qtc, rule.qtc_critical.value)
    if not critical and not exceeds(qtc, limit.value):
        return
    severity: Severity = "critical" if critical else "warning"
    others = case.taken_now("qt")
    unknown = (
        "" if case.snapshot.sex in ("female", "male") else " (sex not recorded: the limit for men is used)"
    )
    yield Finding(
        code="qt-prolonged",
        severity=severity,
        subject="qt",
        summary=w.summary(
            f"{value(qtc)} {on_day(case, qtc)}: "
            + (
                "torsade risk, review clozapine and QT drugs now."
                if critical
                else "prolonged, repeat the ECG."
            )
        ),
        why=(
            f"{line(case, qtc)}.",
            f"Limit: {w.number(limit.value)} ms{unknown}; {w.number(rule.qtc_critical.value)} ms is critical.",
            *(f"Also prolongs QT: {w.safe(m.label)}." for m in others),
        ),
        policy_says=("Clozapine prolongs QT; low potassium and magnesium and other QT drugs add to it.",),
        suggested=(
            "Ask cardiology; stop what prolongs QT if it can be stopped." if critical else "Repeat the ECG.",
            "Check potassium and magnesium and correct them.",
            "Do not raise the dose before the QTc is known again.",
        ),
        evidence=evidence(case, [qtc]),
        citation=case.policy.cite(rule.qtc_critical if critical else limit),
        offers=(
            *order(case, "ecg", "stat" if critical else "urgent", f"{value(qtc)}"),
            *order(case, "electrolytes", "urgent", "Prolonged QTc under clozapine"),
        ),
    )


def _pair_among(readings: list[Measurement]) -> tuple[Measurement, Measurement] | None:
    """Of the newest occasion that has both: the lying (or sitting) reading and the lowest standing one. Readings newest first."""
    for newest in readings:
        if newest.qualifier != "standing":
            continue
        occasion = [m for m in readings if m.at and newest.at and abs(m.at - newest.at) <= _SAME_OCCASION]
        before = [m for m in occasion if m.qualifier in _LYING]
        if before:
            # Lying tells more than sitting; the pressure falls at once, and may be back after minutes.
            return (
                min(before, key=lambda m: m.qualifier != "lying"),
                min((m for m in occasion if m.qualifier == "standing"), key=lambda m: m.value),
            )
    return None


def _pair(case: Case, kind: str) -> tuple[Measurement, Measurement] | None:
    """The readings lying and standing that count: settled ones, or with preliminary ones when they tell of a deeper fall."""
    if not case.has_any((kind,)):
        return None
    results = case.results(kind)
    settled = [m for m in results.settled if m.qualifier and is_recent(case, m)]
    pairs = [_pair_among(settled)]
    early = [m for m in results.preliminary if m.qualifier and is_recent(case, m)]
    if early:
        pairs.append(_pair_among(sorted([*settled, *early], key=lambda m: m.at, reverse=True)))  # type: ignore[arg-type,return-value]
    return max((p for p in pairs if p is not None), key=lambda p: p[0].value - p[1].value, default=None)


@when_it_bears
@when("systolic", "diastolic")
@when(*RELEVANT)
def orthostatic_hypotension(case: Case) -> Iterator[Finding]:
    """The pressure falls on standing, or is low."""
    if not case.relevant:
        return
    rule = case.policy.results
    found: list[Measurement] = []
    facts: list[str] = []
    limit = rule.systolic_fall
    for kind, fall in (("systolic", rule.systolic_fall), ("diastolic", rule.diastolic_fall)):
        pair = _pair(case, kind)
        if pair is not None and pair[0].value - pair[1].value >= fall.value:
            limit = fall if not found else limit
            found += pair
            facts.append(
                f"{kind} {w.number(pair[0].value, 0)} {pair[0].qualifier} to {w.number(pair[1].value, 0)} standing"
            )
    low = recent(case, "systolic", lower_is_worse=True)
    if low is not None and falls_below(low, rule.systolic_low.value):
        if not found:
            limit = rule.systolic_low
        if low not in found:
            found.append(low)
        facts.append(f"systolic {w.number(low.value, 0)}")
    if not found:
        return
    newest = found[1] if len(found) > 1 else found[0]
    yield Finding(
        code="orthostatic-hypotension",
        severity="warning",
        subject="blood-pressure",
        summary=w.summary(
            f"Blood pressure {on_day(case, newest)}: {', '.join(facts)} mmHg: slow the titration."
        ),
        why=(*(f"{line(case, m)}." for m in found), course_line(case)),
        policy_says=(
            "Clozapine lowers the blood pressure on standing, most of all while the dose is rising.",
        ),
        suggested=(
            "Do not raise the dose; consider the last tolerated one.",
            "Look for other drugs that lower the pressure, and for dehydration.",
            "Advise standing up slowly.",
        ),
        evidence=evidence(case, found),
        citation=case.policy.cite(limit),
        offers=order(case, "vital-signs", "routine", "Low blood pressure under clozapine"),
    )


@when_it_bears
@when("heart-rate")
@when(*RELEVANT)
def tachycardia(case: Case) -> Iterator[Finding]:
    """A fast resting pulse."""
    pulse = recent(case, "heart-rate") if case.relevant else None
    limit = case.policy.results.heart_rate_high
    if pulse is None or not reaches(pulse, limit.value):
        return
    day = case.course_day
    early = day is None or day < case.policy.myocarditis.window_days.value
    offers = order(case, "ecg", "routine", f"{value(pulse)} under clozapine")
    if early:
        offers = (
            *order(
                case, "troponin-crp", "urgent", "Tachycardia in the first weeks of clozapine: myocarditis?"
            ),
            *offers,
        )
    yield Finding(
        code="tachycardia",
        severity="warning",
        subject="heart-rate",
        summary=w.summary(
            f"{value(pulse)} {on_day(case, pulse)}"
            + (": check troponin and CRP (first weeks)." if early else ": look for the cause.")
        ),
        why=(f"{line(case, pulse)}.", course_line(case)),
        policy_says=("A fast pulse is common under clozapine, and can be the first sign of myocarditis.",),
        suggested=(
            *(("Troponin and CRP now.",) if early else ()),
            "ECG; look for fever, dehydration and anticholinergic drugs.",
            "If it persists without another cause, slow the titration or treat it.",
        ),
        evidence=evidence(case, [pulse]),
        citation=case.policy.cite(limit),
        offers=offers,
    )


# A long QTc bears on every order: the next drug may prolong it.
RULES = (qt_prolonged, orthostatic_hypotension, tachycardia)
