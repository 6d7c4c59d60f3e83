"""Smoking and clozapine (clinical.md 2.4): tobacco smoke induces CYP1A2, so a change of habit changes the level within days."""

from __future__ import annotations

from collections.abc import Iterator

from service.alerts.case.case import Case
from service.alerts.facts.patient import CodedResult
from service.alerts.rules.asked import when, when_it_bears
from service.alerts.rules.readings import reaches
from service.alerts.rules.result_phrases import offer_test, on_day
from service.alerts.say.finding import Severity
from service.alerts.say.found import Fact, Found
from service.alerts.say.sentence import Day, Dose, Number, Quantity, Record, Term, sentence


@when_it_bears
@when("coded")
@when("continuing")
def smoking_changed(case: Case) -> Iterator[Found]:
    """The smoking status changed lately."""
    if not case.continuing or (case.stop_drafts and not case.clozapine_drafts):
        return
    rule = case.policy.interactions
    known = [
        c for c in case.coded("smoking") if c.at is not None and c.value in ("current", "former", "never")
    ]
    admitted = case.hook == "encounter-start" and case.snapshot.smoke_free_wards
    if admitted and known and known[0].value == "current":
        yield _finding(case, known[0], known[0], stopped=True, day=Day(case.today), admission=True)
        return
    if len(known) < 2:
        return
    # Of two answers of one moment that contradict each other the one that asks for caution holds: the level rises after a stop.
    stopped = not all(_smokes(c) for c in known if c.at == known[0].at)
    before = next((c for c in known if _smokes(c) is stopped and c.at != known[0].at), None)
    if before is None:
        return
    # The change lies between the last answer of the old kind and the first of the new kind.
    changed = next(
        c
        for c in reversed(known)
        if before.at is not None and c.at is not None and c.at > before.at and _smokes(c) is not stopped
    )
    assert changed.at is not None
    if not 0 <= case.days_since(changed.at) <= rule.smoking_within_days.value:
        return
    yield _finding(
        case, changed, before, stopped=stopped, day=Day(case.snapshot.day(changed.at)), admission=False
    )


def _smokes(answer: CodedResult) -> bool:
    return answer.value == "current"


def _finding(
    case: Case, changed: CodedResult, before: CodedResult, *, stopped: bool, day: Day, admission: bool
) -> Found:
    rule = case.policy.interactions
    dose = case.current_mg_per_day
    level = case.newest("clozapine-level")
    severe = (dose is not None and dose >= rule.smoking_critical_dose.value) or (
        level is not None and reaches(level, rule.smoking_critical_level.value)
    )
    severity: Severity = "critical" if stopped and severe else "warning"
    answer = Record(changed.raw)
    why = [
        sentence("smoking.admission", day=day, answer=answer)
        if admission
        else sentence("smoking.changed", answer=answer, day=day, before=Record(before.raw))
    ]
    if dose is not None:
        why.append(sentence("smoking.dose", dose=Dose(dose)))
    if level is not None:
        why.append(sentence("smoking.level", level=Quantity(level.value, "ng/mL"), day=on_day(case, level)))
    says = Term("policy", "dosing.smoking_stop_says", case.policy.dosing.smoking_stop_says)
    share = Number(case.policy.dosing.smoking_stop_factor.value * 100)
    return Found(
        code="smoking-stopped" if stopped else "smoking-started",
        severity=severity,
        subject="smoking",
        summary=sentence("smoking.stopped", day=day, says=says)
        if stopped
        else sentence("smoking.started", day=day),
        why=tuple(why),
        policy_says=(sentence("smoking.policy"),),
        suggested=(
            (
                sentence("smoking.level-after-a-week"),
                sentence("smoking.share", share=share),
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


RULES = (smoking_changed,)
