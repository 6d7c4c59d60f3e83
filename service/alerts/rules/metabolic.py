"""Glucose, weight and liver (clinical.md 2.6)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import takewhile

from service.alerts.case.case import Case
from service.alerts.case.readings import exceeds, reaches, recent, recent_comparable
from service.alerts.case.standing import is_told, worse_since
from service.alerts.facts.patient import Measurement, Problem
from service.alerts.phrases.result import (
    course_line,
    measured,
    offer_test,
    on_day,
    result_evidence,
    result_fact,
    result_line,
)
from service.alerts.policy.parts.values import Value
from service.alerts.rules.asked import RELEVANT, when, when_it_bears
from service.alerts.say.finding import Severity
from service.alerts.say.found import Fact, Found
from service.alerts.say.sentence import Number, Sentence, as_recorded, recorded, sentence


@when_it_bears
@when("glucose", "glucose-fasting", "hba1c", "problems")
@when(*RELEVANT)
def hyperglycemia(case: Case) -> Iterator[Found]:
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
        if high is not None:
            summary = sentence("hyperglycemia.ketoacidosis", result=measured(high), day=on_day(case, high))
        else:
            summary = sentence("hyperglycemia.ketoacidosis-listed", problem=as_recorded(ketosis[0].name))
        found = [high] if high is not None else []
        yield _glucose(case, found, ketosis, "warning", summary, rule.glucose_warning)
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
        summary = sentence("hyperglycemia.diabetic-range", result=measured(new[0]), day=on_day(case, new[0]))
        yield _glucose(case, new, (), "info", summary, limit)


def _glucose(
    case: Case,
    found: list[Measurement],
    ketosis: Sequence[Problem],
    severity: Severity,
    summary: Sentence,
    limit: Value,
) -> Found:
    urgent = severity == "warning"
    return Found(
        code="hyperglycemia",
        severity=severity,
        subject="glucose",
        summary=summary,
        why=(
            *(result_fact(case, m) for m in found),
            *(sentence("problem.line", problem=as_recorded(p.name)) for p in ketosis),
            course_line(case),
        ),
        policy_says=(sentence("hyperglycemia.policy"),),
        suggested=(sentence("hyperglycemia.ask"), sentence("hyperglycemia.treat-ketoacidosis"))
        if urgent
        else (
            sentence("hyperglycemia.confirm"),
            sentence("hyperglycemia.treat-diabetes"),
            sentence("hyperglycemia.uncontrolled"),
        ),
        evidence=(
            *result_evidence(case, found),
            *(Fact(p.ref, recorded(p.name), p.onset) for p in ketosis),
        ),
        citation=case.policy.cite(limit),
        offers=offer_test(case, "hba1c", "urgent" if urgent else "routine", sentence("hyperglycemia.reason")),
    )


def _gained(before: Measurement, m: Measurement, limit: Value) -> bool:
    gain = (m.value - before.value) / before.value * 100
    return gain >= limit.value or math.isclose(gain, limit.value)  # 5.6 kg on 80 kg are 7 %, not 6.999…


@when_it_bears
@when("weight")
@when("visit")
@when("taking")
def weight_gain(case: Case) -> Iterator[Found]:
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
    limit = case.policy.results.weight_gain_percent
    if not _gained(before[0], now, limit):
        return
    gain = (now.value - before[0].value) / before[0].value * 100
    run = takewhile(lambda m: _gained(before[0], m, limit), case.series("weight"))
    if not is_told(case, worse_since(run)):
        return
    yield Found(
        code="weight-gain",
        severity="info",
        subject="weight",
        summary=sentence(
            "weight-gain.summary",
            before=Number(before[0].value, 1),
            now=Number(now.value, 1),
            percent=Number(gain, 0),
        ),
        why=(
            sentence("weight-gain.before", line=result_line(case, before[0])),
            sentence("weight-gain.now", line=result_line(case, now)),
        ),
        policy_says=(sentence("weight-gain.policy", percent=Number(limit.value)),),
        suggested=(sentence("weight-gain.diet"), sentence("weight-gain.tests")),
        evidence=result_evidence(case, [now, before[0]]),
        citation=case.policy.cite(limit),
    )


@when_it_bears
@when("alt", "ast", "bilirubin")
@when(*RELEVANT)
def hepatotoxicity(case: Case) -> Iterator[Found]:
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
    yield Found(
        code="hepatotoxicity",
        severity="warning",
        subject="liver",
        summary=sentence(
            "hepatotoxicity.summary",
            result=measured(over[0]),
            day=on_day(case, over[0]),
            times=Number(limit.value),
        ),
        why=(*(result_fact(case, m) for m in over), course_line(case)),
        policy_says=(sentence("hepatotoxicity.policy"),),
        suggested=(sentence("hepatotoxicity.ask"), sentence("hepatotoxicity.repeat")),
        evidence=result_evidence(case, over),
        citation=case.policy.cite(limit),
        offers=offer_test(case, "liver", "urgent", sentence("hepatotoxicity.reason")),
    )


RULES = (hyperglycemia, weight_gain, hepatotoxicity)
