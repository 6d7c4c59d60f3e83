"""Smoking and clozapine (clinical.md 2.4): tobacco smoke induces CYP1A2, so a change of habit changes the level within days."""

from __future__ import annotations

from collections.abc import Iterator

from service.alerts.case.case import Case
from service.alerts.case.smoking import SmokingChange, latest_of, newest_first, smokes
from service.alerts.case.standing import changes_dose, is_new, is_told
from service.alerts.facts.patient import NOT_UNDERSTOOD, CodedResult
from service.alerts.phrases.result import day_of, offer_test, on_day
from service.alerts.rules.asked import when, when_it_bears
from service.alerts.rules.interactions import told_with_smoking
from service.alerts.rules.smoking_change import (
    is_lowered_for_smoking,
    share_of_dose,
    smoking_here,
    smoking_severity,
)
from service.alerts.rules.stopped_drugs import smoking_told_with_stop
from service.alerts.say.finding import Severity
from service.alerts.say.found import Fact, Found
from service.alerts.say.sentence import Day, Dose, Quantity, Record, Term, sentence


@when_it_bears
@when("coded")
@when("continuing")
def smoking_changed(case: Case) -> Iterator[Found]:
    """The smoking status changed lately."""
    change = smoking_here(case)
    # Beside a drug that moves the level, or has just left, it is told on the card of that drug: one level, one suggestion.
    if change is None or told_with_smoking(case) or smoking_told_with_stop(case):
        return
    lowered = change.stopped and is_lowered_for_smoking(case, change)
    severity = smoking_severity(case, change)
    matters = change.admission or is_new(case, change.at) or changes_dose(case)
    if severity != "critical" and not matters:
        if not is_told(case, change.at):
            return
        severity = "info"
    yield _finding(case, change, severity, lowered=lowered)


def _finding(case: Case, change: SmokingChange, severity: Severity, *, lowered: bool) -> Found:
    changed, before, stopped, day = (
        change.changed,
        change.before,
        change.stopped,
        Day(change.day, change.until),
    )
    ordered = case.current_mg_per_day
    dose = case.established_mg_per_day or ordered
    level = case.newest("clozapine-level")
    answer = Record(changed.raw)
    why = [
        sentence("smoking.admission", day=day, answer=answer)
        if change.admission
        else sentence("smoking.changed", answer=answer, day=day, before=Record(before.raw))
    ]
    if dose is not None and ordered not in (None, dose):
        why.append(sentence("smoking.dose-ordered", dose=Dose(dose), ordered=Dose(ordered)))
    elif dose is not None:
        why.append(sentence("smoking.dose", dose=Dose(dose)))
    if level is not None:
        why.append(sentence("smoking.level", level=Quantity(level.value, "ng/mL"), day=on_day(case, level)))
    says = Term("policy", "dosing.smoking_stop_says", case.policy.dosing.smoking_stop_says)
    return Found(
        code="smoking-stopped" if stopped else "smoking-started",
        severity=severity,
        subject="smoking",
        summary=sentence("smoking.lowered", day=day)
        if lowered
        else sentence("smoking.stopped", day=day, says=says)
        if stopped
        else sentence("smoking.started", day=day),
        why=tuple(why),
        policy_says=(sentence("smoking.policy"),),
        suggested=(
            (
                sentence("smoking.level-after-a-week"),
                sentence("smoking.no-second-cut") if lowered else share_of_dose(case),
                sentence("smoking.watch-toxicity"),
            )
            if stopped
            else (sentence("smoking.level-in-weeks"), sentence("smoking.watch-response"))
        ),
        evidence=(_answered(changed), _answered(before)),
        citation=case.policy.cite(case.policy.dosing.smoking_stop_factor),
        offers=offer_test(case, "clozapine-level", "urgent", sentence("smoking.reason")),
    )


def _answered(answer: CodedResult) -> Fact:
    return Fact(
        answer.ref, sentence("smoking.answer", answer=Record(answer.raw)), answer.at, answer.date_only
    )


@when_it_bears
@when("coded")
@when("continuing")
def smoking_unclear(case: Case) -> Iterator[Found]:
    """The newest answer is in no words and no code that are known here, and the one before it was that of a smoker: it may be a stop."""
    if not case.continuing or (case.stop_drafts and not case.clozapine_drafts):
        return
    dated = newest_first(case, [c for c in case.coded("smoking") if c.value != "unknown"])
    if not dated or dated[0].value != NOT_UNDERSTOOD:
        return
    newest = dated[0]
    before = next((c for c in dated if c.value != NOT_UNDERSTOOD), None)
    if before is None or not smokes(before):
        return
    latest = latest_of(case, newest)
    if not 0 <= case.days_since(latest) <= case.policy.interactions.smoking_within_days.value:
        return
    yield Found(
        code="smoking-unclear",
        severity="info",
        subject="smoking",
        summary=sentence("smoking-unclear.summary", day=day_of(case, newest.at, newest.until)),
        why=(
            sentence(
                "smoking-unclear.now", answer=Record(newest.raw), day=day_of(case, newest.at, newest.until)
            ),
            sentence(
                "smoking-unclear.before", answer=Record(before.raw), day=day_of(case, before.at, before.until)
            ),
        ),
        policy_says=(sentence("smoking-unclear.policy"),),
        suggested=(sentence("smoking-unclear.ask"), sentence("smoking-unclear.level")),
        evidence=tuple(
            Fact(c.ref, sentence("smoking-unclear.answer", answer=Record(c.raw)), c.at, c.date_only)
            for c in (newest, before)
        ),
        citation=case.policy.cite(case.policy.dosing.smoking_stop_factor),
    )


RULES = (smoking_changed, smoking_unclear)
