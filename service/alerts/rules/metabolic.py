"""Glucose, weight and liver (clinical.md 2.6)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import timedelta

from service.alerts.case.case import Case
from service.alerts.facts.patient import Measurement
from service.alerts.policy.parts import Value
from service.alerts.rules.asked import RELEVANT, when, when_it_bears
from service.alerts.rules.readings import (
    course_line,
    evidence,
    exceeds,
    line,
    on_day,
    order,
    reaches,
    recent,
    recent_comparable,
    value,
)
from service.alerts.say import wording as w
from service.alerts.say.finding import Evidence, Finding


@when_it_bears
@when("glucose", "glucose-fasting", "hba1c", "problems")
@when(*RELEVANT)
def hyperglycemia(case: Case) -> Iterator[Finding]:
    """Glucose or HbA1c in the diabetic range and no diabetes on the problem list; very high glucose or ketosis always."""
    if not case.relevant:
        return
    rule = case.policy.results
    fasting, random, hba1c = (recent(case, k) for k in ("glucose-fasting", "glucose", "hba1c"))
    high = next(
        (m for m in (fasting, random) if m is not None and reaches(m, rule.glucose_warning.value)), None
    )
    ketosis = case.problems_of("ketoacidosis")
    if high is not None or ketosis:
        found = [high] if high is not None else []
        what = f"{value(high)} {on_day(case, high)}" if high is not None else w.plain(ketosis[0].label)
        yield _glucose(
            case, found, ketosis, "warning", f"{what}: rule out ketoacidosis today.", rule.glucose_warning
        )
        return
    if any(p.verification in ("", "confirmed") for p in case.problems_of("diabetes")):
        return  # a suspected diabetes is what the result may confirm
    new = [
        m
        for m, limit in ((fasting, rule.glucose_fasting), (hba1c, rule.hba1c))
        if m is not None and reaches(m, limit.value)
    ]
    if new:
        limit = rule.glucose_fasting if new[0].kind == "glucose-fasting" else rule.hba1c
        yield _glucose(
            case,
            new,
            (),
            "info",
            f"{value(new[0])} {on_day(case, new[0])}: in the diabetic range, and new.",
            limit,
        )


def _glucose(
    case: Case,
    found: list[Measurement],
    ketosis: tuple[object, ...],
    severity: str,
    summary: str,
    limit: Value,
) -> Finding:
    problems = list(case.problems_of("ketoacidosis")) if ketosis else []
    return Finding(
        code="hyperglycemia",
        severity=severity,  # type: ignore[arg-type]
        subject="glucose",
        summary=w.summary(summary),
        why=(
            *(f"{line(case, m)}." for m in found),
            *(f"Problem list: {w.safe(p.label)}." for p in problems),
            course_line(case),
        ),
        policy_says=("Clozapine can cause diabetes and ketoacidosis, also without weight gain.",),
        suggested=(
            (
                "Ask about thirst, vomiting and weight loss; ketones today.",
                "Ketoacidosis: stop clozapine for the time being and treat.",
            )
            if severity == "warning"
            else (
                "Confirm with a second sample.",
                "Diet, exercise, metformin; treat diabetes as usual: clozapine may continue.",
            )
        ),
        evidence=(*evidence(case, found), *(Evidence(p.ref, w.safe(p.label), p.onset) for p in problems)),
        citation=case.policy.cite(limit),
        offers=order(
            case, "hba1c", "urgent" if severity == "warning" else "routine", "Raised glucose under clozapine"
        ),
    )


@when_it_bears
@when("weight")
@when("visit")
@when("taking")
def weight_gain(case: Case) -> Iterator[Finding]:
    """Weight against the one at the start; said at visits."""
    now, start = (recent(case, "weight") if case.on_clozapine else None), case.course.start
    if now is None or start is None or case.is_order_hook:
        return
    window = next((t.baseline_window_days for t in case.policy.monitoring if t.id == "weight"), 0)
    began = case.snapshot.day(start)
    before = [
        m
        for m in case.series("weight")
        if m.at is not None and began - timedelta(days=window) <= case.snapshot.day(m.at) <= began
    ]
    if not before:
        return
    gain = (now.value - before[0].value) / before[0].value * 100
    limit = case.policy.results.weight_gain_percent
    if gain < limit.value and not math.isclose(gain, limit.value):  # 5.6 kg on 80 kg are 7 %, not 6.999…
        return
    yield Finding(
        code="weight-gain",
        severity="info",
        subject="weight",
        summary=w.summary(
            f"Weight {w.number(before[0].value, 1)} to {w.number(now.value, 1)} kg since clozapine began (+{w.number(gain, 0)} %)."
        ),
        why=(f"At the start: {line(case, before[0])}.", f"Now: {line(case, now)}."),
        policy_says=(f"A gain of {w.number(limit.value)} % or more matters for heart and metabolism.",),
        suggested=(
            "Diet and exercise programme; consider metformin.",
            "Glucose or HbA1c and lipids if not recent.",
        ),
        evidence=evidence(case, [now, before[0]]),
        citation=case.policy.cite(limit),
    )


@when_it_bears
@when("alt", "ast", "bilirubin")
@when(*RELEVANT)
def hepatotoxicity(case: Case) -> Iterator[Finding]:
    """Liver tests far above their own upper limit."""
    if not case.relevant:
        return
    rule = case.policy.results
    over: list[Measurement] = []
    limit = rule.transaminase_factor
    for kind, factor in (
        ("alt", rule.transaminase_factor),
        ("ast", rule.transaminase_factor),
        ("bilirubin", rule.bilirubin_factor),
    ):
        # A newer result that names no limit does not make an older, raised one disappear.
        m = recent_comparable(case, kind)
        if m is not None and m.upper_limit and exceeds(m, factor.value * m.upper_limit):
            limit = limit if over else factor
            over.append(m)
    if not over:
        return
    yield Finding(
        code="hepatotoxicity",
        severity="warning",
        subject="liver",
        summary=w.summary(
            f"{value(over[0])} {on_day(case, over[0])}: more than {w.number(limit.value)} times normal; examine, repeat."
        ),
        why=(*(f"{line(case, m)}." for m in over), course_line(case)),
        policy_says=("Clozapine can injure the liver; with symptoms or jaundice it is stopped.",),
        suggested=(
            "Ask about nausea, loss of appetite and jaundice; stop clozapine if they are there.",
            "Repeat the liver tests within days; look for other causes.",
        ),
        evidence=evidence(case, over),
        citation=case.policy.cite(limit),
        offers=order(case, "liver", "urgent", "Raised liver tests under clozapine"),
    )


RULES = (hyperglycemia, weight_gain, hepatotoxicity)
