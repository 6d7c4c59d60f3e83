"""Clozapine plasma levels (clinical.md 2.6): too low for a trial, high, toxic, and when one is worth taking."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from datetime import datetime, timedelta

from msgspec import Struct

from service.alerts.case.case import Case
from service.alerts.case.exposure import is_live, was_given
from service.alerts.case.level import RENEWED_WITHIN, hours_after_dose, is_steady, is_trough
from service.alerts.case.readings import exceeds, falls_below, reaches, recent
from service.alerts.facts.patient import Measurement, Medication
from service.alerts.knowledge.classes import classes_of
from service.alerts.phrases.level import level_on_day
from service.alerts.phrases.result import offer_test, result_evidence, result_fact, result_line
from service.alerts.policy.parts.values import Value
from service.alerts.rules.asked import RELEVANT, when, when_it_bears
from service.alerts.rules.left_drugs import left_drugs
from service.alerts.say.finding import Severity
from service.alerts.say.found import Fact, Found
from service.alerts.say.sentence import Dose, Number, Record, Sentence, as_recorded, recorded, sentence


def _assumption(case: Case, level: Measurement) -> Sentence:
    """Whether the sample is a trough, as far as anybody knows."""
    hours = hours_after_dose(case, level)
    rule = case.policy.levels
    low, high = Number(rule.trough_hours_low.value), Number(rule.trough_hours_high.value)
    if hours is None:
        return sentence("level.time-not-charted", low=low, high=high)
    if is_trough(case, hours):
        return sentence("level.trough", hours=Number(hours, 1))
    return sentence("level.no-trough", hours=Number(hours, 1), low=low, high=high)


@when_it_bears
@when("clozapine-level")
@when(*RELEVANT)
def clozapine_level(case: Case) -> Iterator[Found]:
    """The newest level lies outside the range that a trial needs."""
    level = recent(case, "clozapine-level") if case.relevant else None
    if level is None:
        yield from _toxic_and_not_repeated(case)
        return
    rule = case.policy.levels
    trough = is_trough(case, hours_after_dose(case, level))
    said = level_on_day(case, level)
    steps: tuple[Sentence, ...]
    if reaches(level, rule.toxic.value):
        steps = (
            sentence("level-toxic.reduce"),
            sentence("level-toxic.ecg"),
            sentence("level-toxic.cause"),
            sentence("level-toxic.repeat"),
        )
        summary = sentence("level-toxic.summary", level=said)
        yield _found(case, level, "level-toxic", "critical", rule.toxic, summary, steps)
    elif exceeds(level, rule.high.value):
        steps = (sentence("level-high.side-effects"), sentence("level-high.cause"))
        summary = sentence("level-high.summary", level=said)
        yield _found(case, level, "level-high", "warning", rule.high, summary, steps)
    elif falls_below(level, rule.adequate.value) and trough and is_steady(case, level):
        steps = (sentence("level-subtherapeutic.missed"), sentence("level-subtherapeutic.raise"))
        summary = sentence("level-subtherapeutic.summary", level=said)
        yield _found(case, level, "level-subtherapeutic", "info", rule.adequate, summary, steps)


def _toxic_and_not_repeated(case: Case) -> Iterator[Found]:
    """At visits: the newest level of the course was toxic, and nobody has repeated it since, however long ago it was."""
    level = case.newest("clozapine-level")
    if level is None or case.is_order_hook or not case.on_clozapine:
        return
    start, rule = case.course.start, case.policy.levels
    if level.at is None or not reaches(level, rule.toxic.value) or (start is not None and level.at < start):
        return
    steps = (
        sentence("level-toxic.trough-now"),
        sentence("level-toxic.look"),
        sentence("level-toxic.what-was-done"),
    )
    summary = sentence("level-toxic.not-repeated", level=level_on_day(case, level))
    yield _found(case, level, "level-toxic", "warning", rule.toxic, summary, steps)


def _found(
    case: Case,
    level: Measurement,
    code: str,
    severity: Severity,
    limit: Value,
    summary: Sentence,
    steps: tuple[Sentence, ...],
) -> Found:
    repeat = "urgent" if severity == "critical" else "routine"
    offers = offer_test(case, "clozapine-level", repeat, sentence("level.reason"))
    if severity == "critical":
        offers = (*offer_test(case, "ecg", "urgent", sentence("level-toxic.reason-ecg")), *offers)
    dose, rule = case.current_mg_per_day, case.policy.levels
    return Found(
        code=code,
        severity=severity,
        subject="level",
        summary=summary,
        why=(
            result_fact(case, level),
            _assumption(case, level),
            *((sentence("level.dose", dose=Dose(dose)),) if dose is not None else ()),
        ),
        policy_says=(
            sentence(
                "level.policy",
                adequate=Number(rule.adequate.value),
                high=Number(rule.high.value),
                toxic=Number(rule.toxic.value),
            ),
        ),
        suggested=steps,
        evidence=result_evidence(case, [level]),
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
    first = bisect_left(ends, began - RENEWED_WITHIN)
    return first < len(ends) and ends[first] <= began + RENEWED_WITHIN


class _Cause(Struct, frozen=True):
    """Something that moves the level, and since when."""

    said: Sentence
    fact: Fact
    at: datetime


@when("visit")
@when("taking")
def level_suggested(case: Case) -> Iterator[Found]:
    """Something lately changed the clozapine level, and none was taken since; said at visits."""
    if case.is_order_hook or not case.on_clozapine:
        return
    rule = case.policy
    causes = list(_causes(case))
    last = case.newest("clozapine-level")
    if last is not None and last.at is not None:
        taken = last.at
        causes = [c for c in causes if c.at > taken]
    if not causes or case.test_ordered("clozapine-level") is not None:
        return
    yield Found(
        code="level-suggested",
        severity="info",
        subject="level-suggested",
        summary=sentence("level-suggested.summary", cause=causes[0].said),
        why=(
            *(sentence("level-suggested.fact", cause=c.said) for c in causes),
            sentence("level-suggested.last", line=result_line(case, last))
            if last is not None
            else sentence("level-suggested.none"),
        ),
        policy_says=(sentence("level-suggested.policy"),),
        suggested=(sentence("level-suggested.take"),),
        evidence=tuple(c.fact for c in causes),
        citation=rule.cite(rule.levels.steady_state_days),
        offers=offer_test(case, "clozapine-level", "routine", sentence("level-suggested.reason")),
    )


def _causes(case: Case) -> Iterator[_Cause]:
    """What changed the level lately: an inflammation, an infection or a pregnancy, a drug that was begun or stopped."""
    rule = case.policy
    crp = recent(case, "crp")
    if (
        crp is not None
        and crp.at is not None
        and exceeds(crp, crp.upper_limit or rule.myocarditis.crp_raised.value)
    ):
        line = result_line(case, crp)
        yield _Cause(
            sentence("level-suggested.crp", line=line), Fact(crp.ref, line, crp.at, crp.date_only), crp.at
        )
    for p in case.problems_of("infection", "pregnancy"):
        # A pregnancy goes on; an infection passes. Without a date it asks for a level when none was taken lately.
        lasts = rule.pregnancy_test.carried_days if "pregnancy" in p.kinds else rule.results.recent_days
        if p.onset is not None and not 0 <= case.days_since(p.onset) <= lasts.value:
            continue
        yield _Cause(
            sentence("level-suggested.problem", problem=as_recorded(p.name)),
            Fact(p.ref, recorded(p.name), p.onset, p.onset_date_only),
            p.onset or case.as_of - timedelta(days=rule.results.recent_days.value),
        )
    within = rule.interactions.stopped_within_days.value
    for m in _newly_taken(case, within):
        began = m.start or m.authored
        if began is not None and 0 <= case.days_since(began) <= within and _moves_level(m):
            said = sentence("level-suggested.new", drug=Record(m.label))
            yield _Cause(said, Fact(m.ref, recorded(m.label), began), began)
    told = _told_elsewhere(case)
    for m in case.stopped_medications(within):
        if m.end is not None and _moves_level(m, told):
            said = sentence("level-suggested.stopped", drug=Record(m.label))
            yield _Cause(said, Fact(m.ref, recorded(m.label), m.end), m.end)


def _told_elsewhere(case: Case) -> frozenset[str]:
    """Drugs that have stopped, and whose own card asks for a level."""
    return frozenset(drug_id for one in left_drugs(case) for drug_id in one.groups)


def _moves_level(m: Medication, told: frozenset[str] = frozenset()) -> bool:
    """It moves the level by a drug of which no other card speaks."""
    return m.systemic and any(
        c.effect in ("raises", "lowers") for d in m.drugs if d not in told for c in classes_of(d)
    )


RULES = (clozapine_level, level_suggested)
