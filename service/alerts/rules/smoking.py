"""Smoking and clozapine (clinical.md 2.4): tobacco smoke induces CYP1A2, so a change of habit changes the level within days."""

from __future__ import annotations

from collections.abc import Iterator

from service.alerts.case.case import Case
from service.alerts.facts.patient import NOT_UNDERSTOOD, CodedResult
from service.alerts.rules.asked import when, when_it_bears
from service.alerts.rules.readings import reaches
from service.alerts.say import wording as w
from service.alerts.say.finding import Evidence, Finding, OrderTest, Severity
from service.alerts.say.found import Fact, Found
from service.alerts.say.sentence import Day, Record, sentence


@when_it_bears
@when("coded")
@when("continuing")
def smoking_changed(case: Case) -> Iterator[Finding]:
    """The smoking status changed lately."""
    if not case.continuing or (case.stop_drafts and not case.clozapine_drafts):
        return
    rule = case.policy.interactions
    known = [
        c for c in case.coded("smoking") if c.at is not None and c.value in ("current", "former", "never")
    ]
    admitted = case.hook == "encounter-start" and case.snapshot.smoke_free_wards
    if admitted and known and known[0].value == "current":
        yield _finding(case, known[0], known[0], stopped=True, day=case.today.isoformat(), admission=True)
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
        case, changed, before, stopped=stopped, day=w.day(case.snapshot, changed.at), admission=False
    )


def _smokes(answer: CodedResult) -> bool:
    return answer.value == "current"


def _finding(
    case: Case, changed: CodedResult, before: CodedResult, *, stopped: bool, day: str, admission: bool
) -> Finding:
    rule = case.policy.interactions
    dose = case.current_mg_per_day
    level = case.newest("clozapine-level")
    severe = (dose is not None and dose >= rule.smoking_critical_dose.value) or (
        level is not None and reaches(level, rule.smoking_critical_level.value)
    )
    severity: Severity = "critical" if stopped and severe else "warning"
    factor = w.number(case.policy.dosing.smoking_stop_factor.value * 100)
    why = (
        [f"Admission to a smoke-free ward on {day}; smoking status: {w.safe(changed.raw)}."]
        if admission
        else [f"Smoking status: {w.safe(changed.raw)} on {day}; before: {w.safe(before.raw)}."]
    )
    if dose is not None:
        why.append(f"Clozapine dose: {w.mg(dose)}/day.")
    if level is not None:
        why.append(
            f"Last clozapine level: {w.number(level.value)} ng/mL on {w.day(case.snapshot, level.at)}."
        )
    return Finding(
        code="smoking-stopped" if stopped else "smoking-started",
        severity=severity,
        subject="smoking",
        summary=(
            f"Smoking stopped ({day}): {case.policy.dosing.smoking_stop_says}."
            if stopped
            else f"Smoking started ({day}): the clozapine level will fall."
        ),
        why=tuple(why),
        policy_says=(
            "Tobacco smoke, not nicotine, speeds up clozapine's clearance; nicotine replacement and vaping do not keep it up.",
        ),
        suggested=(
            (
                "Check a clozapine level now and after a week.",
                f"Consider about {factor} % of the dose.",
                "Watch for sedation, hypotension and seizures.",
            )
            if stopped
            else ("Check a clozapine level in one to two weeks.", "Watch for loss of response.")
        ),
        evidence=(
            Evidence(changed.ref, w.safe(changed.raw), changed.at, changed.date_only),
            Evidence(before.ref, w.safe(before.raw), before.at, before.date_only),
        ),
        citation=case.policy.cite(case.policy.dosing.smoking_stop_factor),
        offers=()
        if case.test_ordered("clozapine-level")
        else (OrderTest("clozapine-level", "urgent", "Smoking status changed"),),
    )


@when_it_bears
@when("coded")
@when("continuing")
def smoking_unclear(case: Case) -> Iterator[Found]:
    """The newest answer is in no words and no code that are known here, and the one before it was that of a smoker: it may be a stop."""
    if not case.continuing or (case.stop_drafts and not case.clozapine_drafts):
        return
    dated = [c for c in case.coded("smoking") if c.at is not None and c.value != "unknown"]
    if not dated or dated[0].value != NOT_UNDERSTOOD:
        return
    newest = dated[0]
    before = next((c for c in dated if c.value != NOT_UNDERSTOOD), None)
    if before is None or not _smokes(before) or newest.at is None or before.at is None:
        return
    if not 0 <= case.days_since(newest.at) <= case.policy.interactions.smoking_within_days.value:
        return
    yield Found(
        code="smoking-unclear",
        severity="info",
        subject="smoking",
        summary=sentence("smoking-unclear.summary", day=Day(case.snapshot.day(newest.at))),
        why=(
            sentence("smoking-unclear.now", answer=Record(newest.raw), day=Day(case.snapshot.day(newest.at))),
            sentence(
                "smoking-unclear.before", answer=Record(before.raw), day=Day(case.snapshot.day(before.at))
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
