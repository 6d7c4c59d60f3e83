"""Clozapine plasma levels (clinical.md 2.6): too low for a trial, high, toxic, and when one is worth taking."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from datetime import datetime, timedelta

from service.alerts.case.case import Case
from service.alerts.case.exposure import is_live, was_given
from service.alerts.facts.patient import Measurement, Medication
from service.alerts.knowledge.drugs import classes_of
from service.alerts.policy.parts import Value
from service.alerts.rules.asked import RELEVANT, when, when_it_bears
from service.alerts.rules.readings import (
    evidence,
    exceeds,
    falls_below,
    line,
    on_day,
    order,
    reaches,
    recent,
)
from service.alerts.say import wording as w
from service.alerts.say.finding import Evidence, Finding

_NOT_GIVEN = frozenset({"not-done", "entered-in-error", "unknown"})
#: An order that begins so soon after the end of another goes on with it (dates without a clock time reach a day).
_RENEWED_WITHIN = timedelta(days=1)


def _level(case: Case, m: Measurement) -> str:
    nmol = m.value * case.policy.levels.nmol_per_ng.value
    return f"Clozapine level {w.bound_word(m)}{w.number(m.value, 0)} ng/mL ({w.number(nmol, 0)} nmol/L)"


def level_text(case: Case, m: Measurement) -> str:
    """A level with its day: ``Clozapine level 412 ng/mL (1261 nmol/L) on 2026-11-20``."""
    return f"{_level(case, m)} {on_day(case, m)}"


def hours_after_dose(case: Case, level: Measurement) -> float | None:
    """Hours between the last charted dose and the sample; None when no chart tells.

    A chart without any entry near the sample (policy ``levels.charted_within_hours``) was no longer, or not yet, kept then: it tells nothing.
    """
    if level.at is None or level.date_only:
        return None
    near = timedelta(hours=case.policy.levels.charted_within_hours.value)
    chart = [
        m
        for m in case.clozapine_records
        if m.role == "administration" and m.start is not None and abs(m.start - level.at) <= near
    ]
    if not chart:
        return None
    doses = [
        m.start
        for m in case.clozapine_records
        if m.role == "administration" and m.start is not None and not m.start_date_only
        and m.status not in _NOT_GIVEN and not m.not_taken and m.start <= level.at
    ]  # fmt: skip
    return (level.at - max(doses)).total_seconds() / 3600 if doses else None


def is_trough(case: Case, hours: float | None) -> bool:
    """True for a sample taken in the policy's hours after a dose, and when no chart tells the time."""
    rule = case.policy.levels
    return hours is None or rule.trough_hours_low.value <= hours <= rule.trough_hours_high.value


def _in_force(case: Case, m: Medication, at: datetime) -> tuple[datetime, float] | None:
    """Since when a record gives the dose it gives at a time, and that dose (mg per day); of a titration the step of that day."""
    began = m.start or m.authored
    if began is None or began > at or m.dose is None or m.dose.mg_per_day is None:
        return None
    day = (case.snapshot.day(at) - case.snapshot.day(began)).days
    step = max((s for s in m.dose.steps if s.first_day <= day), key=lambda s: s.first_day, default=None)
    if step is None:
        return began, m.dose.mg_per_day
    return began + timedelta(days=step.first_day), step.mg_per_day


def _dose_since(case: Case, at: datetime) -> tuple[datetime, float] | None:
    """Since when the dose of that time was taken, and the dose; a renewal that follows at the same dose changes nothing."""
    regimens = [
        (m, found)
        for m in case.clozapine_records
        if m.role in ("order", "statement")
        and was_given(m, case.as_of)
        and (found := _in_force(case, m, at)) is not None
    ]
    if not regimens:
        return None
    regimens.sort(key=lambda r: r[1][0], reverse=True)
    since, mg = regimens[0][1]
    for earlier, (began, dose) in regimens[1:]:
        if dose != mg or earlier.end is None or abs(since - earlier.end) > _RENEWED_WITHIN:
            break
        since = began
    return since, mg


def _steady(case: Case, level: Measurement) -> bool:
    """The dose had been the same for long enough when the sample was taken, and still is, as far as orders tell."""
    if level.at is None:
        return True
    now, then = _dose_since(case, case.as_of), _dose_since(case, level.at)
    if now is None:
        return True
    if then is None or then[1] != now[1]:
        return False  # the dose was changed since: the level tells of the one before
    return (level.at - then[0]).total_seconds() / 86400 >= case.policy.levels.steady_state_days.value


def _assumptions(case: Case, level: Measurement) -> tuple[str, ...]:
    hours = hours_after_dose(case, level)
    rule = case.policy.levels
    span = f"{w.number(rule.trough_hours_low.value)} to {w.number(rule.trough_hours_high.value)} h"
    if hours is None:
        return (f"Time since the last dose is not charted: taken as a trough ({span} after a dose).",)
    if is_trough(case, hours):
        return (f"Trough: {w.number(hours, 1)} h after the last charted dose.",)
    return (f"Not a trough: {w.number(hours, 1)} h after the last charted dose ({span} is one).",)


@when_it_bears
@when("clozapine-level")
@when(*RELEVANT)
def clozapine_level(case: Case) -> Iterator[Finding]:
    """The newest level lies outside the range that a trial needs."""
    level = recent(case, "clozapine-level") if case.relevant else None
    if level is None:
        yield from _toxic_and_not_repeated(case)
        return
    rule = case.policy.levels
    trough = is_trough(case, hours_after_dose(case, level))
    if reaches(level, rule.toxic.value):
        yield _finding(case, level, "level-toxic", "critical", rule.toxic, ": toxic, reduce or hold, ECG.", (
            "Reduce or hold clozapine; look for sedation, hypersalivation, myoclonus, seizures.",
            "ECG; consider an anticonvulsant.",
            "Look for the cause: infection, an inhibitor, smoking stopped, a sample soon after a dose.",
            "Repeat the level.",
        ))  # fmt: skip
    elif exceeds(level, rule.high.value):
        yield _finding(case, level, "level-high", "warning", rule.high, ": above the ceiling of response.", (
            "Look for side effects; consider a lower dose or seizure prophylaxis.",
            "Look for the cause: infection, an inhibitor, smoking stopped.",
        ))  # fmt: skip
    elif falls_below(level, rule.adequate.value) and trough and _steady(case, level):
        yield _finding(case, level, "level-subtherapeutic", "info", rule.adequate, ": an adequate trial is not reached.", (
            "Ask about missed doses; look for smoking and inducers.",
            "If response is poor and the drug is tolerated, raise the dose and repeat the level.",
        ))  # fmt: skip


def _toxic_and_not_repeated(case: Case) -> Iterator[Finding]:
    """At visits: the newest level of the course was toxic, and nobody has repeated it since, however long ago it was."""
    level = case.newest("clozapine-level")
    if level is None or case.is_order_hook or not case.on_clozapine:
        return
    start, rule = case.course.start, case.policy.levels
    if level.at is None or not reaches(level, rule.toxic.value) or (start is not None and level.at < start):
        return
    yield _finding(case, level, "level-toxic", "warning", rule.toxic, ": toxic, never repeated since.", (
        "Take a trough level now.",
        "Look for sedation, hypersalivation, myoclonus, seizures; ECG.",
        "Find out what was done about it: the dose, an inhibitor, smoking.",
    ))  # fmt: skip


def _finding(
    case: Case, level: Measurement, code: str, severity: str, limit: Value, says: str, steps: tuple[str, ...]
) -> Finding:
    offers = order(
        case,
        "clozapine-level",
        "urgent" if severity == "critical" else "routine",
        "Repeat the clozapine level",
    )
    if severity == "critical":
        offers = (*order(case, "ecg", "urgent", "Toxic clozapine level"), *offers)
    dose = case.current_mg_per_day
    return Finding(
        code=code,
        severity=severity,  # type: ignore[arg-type]
        subject="level",
        summary=w.summary(f"{_level(case, level)} {on_day(case, level)}{says}"),
        why=(
            f"{line(case, level)}.",
            *_assumptions(case, level),
            *((f"Clozapine dose: {w.mg(dose)}/day.",) if dose is not None else ()),
        ),
        policy_says=(
            f"Response needs a trough of {w.number(case.policy.levels.adequate.value)} ng/mL or more; "
            f"above {w.number(case.policy.levels.high.value)} it seldom improves, from {w.number(case.policy.levels.toxic.value)} it is toxic.",
        ),
        suggested=steps,
        evidence=evidence(case, [level]),
        citation=case.policy.cite(limit),
        offers=offers,
    )


def _newly_taken(case: Case, within: float) -> list[Medication]:
    """Other drugs taken now, but for those that only go on under a new order."""
    lasting: set[str] = set()  # drugs of which an order that began before runs on
    ends: dict[str, list[datetime]] = {}  # and ends of those that do not
    for earlier in case.snapshot.medications:
        since = earlier.start or earlier.authored
        if since is None or case.days_since(since) <= within or not was_given(earlier, case.as_of):
            continue
        if is_live(earlier, case.as_of):
            lasting.update(earlier.drugs)
        elif earlier.end is not None:
            for drug in earlier.drugs:
                ends.setdefault(drug, []).append(earlier.end)
    for found in ends.values():
        found.sort()

    def goes_on(m: Medication) -> bool:
        began = m.start or m.authored
        return began is not None and any(
            drug in lasting or _ended_near(ends.get(drug, []), began) for drug in m.drugs
        )

    return [m for m in case.other_current if not goes_on(m)]


def _ended_near(ends: list[datetime], began: datetime) -> bool:
    """Whether one of the ends, in order, lies so near that what began then is a renewal."""
    first = bisect_left(ends, began - _RENEWED_WITHIN)
    return first < len(ends) and ends[first] <= began + _RENEWED_WITHIN


@when("visit")
@when("taking")
def level_suggested(case: Case) -> Iterator[Finding]:
    """Something lately changed the clozapine level, and none was taken since; said at visits."""
    if case.is_order_hook or not case.on_clozapine:
        return
    rule = case.policy
    causes: list[tuple[str, Evidence, datetime]] = []
    crp = recent(case, "crp")
    if (
        crp is not None
        and crp.at is not None
        and exceeds(crp, crp.upper_limit or rule.myocarditis.crp_raised.value)
    ):
        causes.append((f"CRP raised: {line(case, crp)}.", evidence(case, [crp])[0], crp.at))
    for p in case.problems_of("infection", "pregnancy"):
        # A pregnancy goes on; an infection passes. Without a date it asks for a level when none was taken lately.
        lasts = rule.pregnancy_test.carried_days if "pregnancy" in p.kinds else rule.results.recent_days
        if p.onset is not None and not 0 <= case.days_since(p.onset) <= lasts.value:
            continue
        causes.append(
            (
                f"Problem list: {w.safe(p.label)}.",
                Evidence(p.ref, w.safe(p.label), p.onset, p.onset_date_only),
                p.onset or case.as_of - timedelta(days=rule.results.recent_days.value),
            )
        )
    within = rule.interactions.stopped_within_days.value
    for m in _newly_taken(case, within):
        began = m.start or m.authored
        if began is not None and 0 <= case.days_since(began) <= within and _moves_level(m):
            causes.append((f"New: {w.safe(m.label)}.", Evidence(m.ref, w.safe(m.label), began), began))
    for m in case.stopped_medications(within):
        if m.end is not None and _moves_level(m):
            causes.append((f"Stopped: {w.safe(m.label)}.", Evidence(m.ref, w.safe(m.label), m.end), m.end))
    last = case.newest("clozapine-level")
    if last is not None and last.at is not None:
        taken = last.at
        causes = [c for c in causes if c[2] > taken]
    if not causes or case.test_ordered("clozapine-level") is not None:
        return
    yield Finding(
        code="level-suggested",
        severity="info",
        subject="level-suggested",
        summary=w.summary(f"A clozapine level is worth taking now: {w.plain(causes[0][0].rstrip('.'), 80)}."),
        why=(
            *(text for text, _, _ in causes),
            f"Last level: {line(case, last)}." if last is not None else "No clozapine level on record.",
        ),
        policy_says=(
            "Infection, pregnancy, smoking and drugs that act on CYP1A2 change the clozapine level.",
        ),
        suggested=("Take a trough level; repeat it once the change has settled.",),
        evidence=tuple(e for _, e, _ in causes),
        citation=rule.cite(rule.levels.steady_state_days),
        offers=order(case, "clozapine-level", "routine", "Something changed that moves the clozapine level"),
    )


def _moves_level(m: Medication) -> bool:
    return m.systemic and any(c.effect in ("raises", "lowers") for d in m.drugs for c in classes_of(d))


RULES = (clozapine_level, level_suggested)
