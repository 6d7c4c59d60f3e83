"""Heart rate, blood pressure and QT (clinical.md 2.6)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import takewhile

from service.alerts.case.case import Case
from service.alerts.case.readings import (
    exceeds,
    falls_below,
    in_myocarditis_window,
    is_recent,
    reaches,
    recent,
)
from service.alerts.case.standing import is_count_due, is_new, is_told, raises_dose, worse_since
from service.alerts.facts.patient import Measurement
from service.alerts.phrases.result import (
    course_line,
    measured,
    offer_test,
    on_day,
    result_evidence,
    result_fact,
)
from service.alerts.rules.asked import RELEVANT, when, when_it_bears
from service.alerts.say.finding import Severity
from service.alerts.say.found import Found
from service.alerts.say.sentence import Listed, Number, Record, Sentence, sentence

_LYING = frozenset({"lying", "sitting"})


@when("qtc")
@when(*RELEVANT)
def qt_prolonged(case: Case) -> Iterator[Found]:
    """A QTc above the limit for the sex, the lower one while the sex is not known.

    One that is known and no worse is information, unless more clozapine or another drug that prolongs it is ordered.
    """
    qtc = recent(case, "qtc") if case.relevant else None
    if qtc is None:
        yield from _long_and_not_repeated(case)
        return
    rule = case.policy.results
    limit = rule.qtc_women if case.snapshot.sex == "female" else rule.qtc_men
    critical = reaches(qtc, rule.qtc_critical.value)
    if not critical and not exceeds(qtc, limit.value):
        return
    since = worse_since(takewhile(lambda m: exceeds(m, limit.value), case.series("qtc")))
    matters = case.starting or is_new(case, since) or raises_dose(case) or _prolonging_ordered(case)
    if not critical and not matters and not is_told(case, since):
        return
    severity: Severity = "critical" if critical else "warning" if matters else "info"
    others = case.taken_now("qt")
    known_sex = case.snapshot.sex in ("female", "male")
    yield Found(
        code="qt-prolonged",
        severity=severity,
        subject="qt",
        summary=sentence(
            "qt-prolonged.critical" if critical else "qt-prolonged.prolonged",
            qtc=measured(qtc),
            day=on_day(case, qtc),
        ),
        why=(
            result_fact(case, qtc),
            sentence(
                "qt-prolonged.limit" if known_sex else "qt-prolonged.limit-sex-unknown",
                limit=Number(limit.value),
                critical=Number(rule.qtc_critical.value),
            ),
            *(sentence("qt-prolonged.other-drug", drug=Record(m.label)) for m in others),
        ),
        policy_says=(sentence("qt-prolonged.policy"),),
        suggested=(
            sentence("qt-prolonged.ask-cardiology" if critical else "qt-prolonged.repeat"),
            sentence("qt-prolonged.electrolytes"),
            sentence("qt-prolonged.no-rise"),
        ),
        evidence=result_evidence(case, [qtc]),
        citation=case.policy.cite(rule.qtc_critical if critical else limit),
        offers=(
            *offer_test(
                case,
                "ecg",
                "stat" if critical else "urgent",
                sentence("qt-prolonged.reason", qtc=measured(qtc)),
            ),
            *offer_test(case, "electrolytes", "urgent", sentence("qt-prolonged.reason-electrolytes")),
        ),
    )


def _long_and_not_repeated(case: Case) -> Iterator[Found]:
    """At visits: the newest QTc of the course was critical, or prolonged, and nobody has taken an ECG since, however long ago it was.

    A prolonged one is told on visits on which a blood count is due, as long as no ECG is ordered.
    """
    qtc = case.newest("qtc")
    if qtc is None or qtc.at is None or case.is_order_hook or not case.on_clozapine:
        return
    start, rule = case.course.start, case.policy.results
    limit = rule.qtc_women if case.snapshot.sex == "female" else rule.qtc_men
    critical = reaches(qtc, rule.qtc_critical.value)
    ecg = case.newest("ecg")
    if (start is not None and qtc.at < start) or (ecg is not None and ecg.at is not None and ecg.at > qtc.at):
        return
    told = exceeds(qtc, limit.value) and is_count_due(case) and case.test_ordered("ecg") is None
    if not critical and not told:
        return
    others = case.taken_now("qt")
    yield Found(
        code="qt-prolonged",
        severity="warning" if critical else "info",
        subject="qt",
        summary=sentence("qt-prolonged.not-repeated", qtc=measured(qtc), day=on_day(case, qtc)),
        why=(
            result_fact(case, qtc),
            *(sentence("qt-prolonged.other-drug", drug=Record(m.label)) for m in others),
        ),
        policy_says=(sentence("qt-prolonged.policy"),),
        suggested=(
            sentence("qt-prolonged.ecg-now"),
            sentence("qt-prolonged.electrolytes"),
            sentence("qt-prolonged.no-rise"),
        ),
        evidence=result_evidence(case, [qtc]),
        citation=case.policy.cite(rule.qtc_critical if critical else limit),
        offers=(
            *offer_test(case, "ecg", "urgent", sentence("qt-prolonged.reason", qtc=measured(qtc))),
            *offer_test(case, "electrolytes", "routine", sentence("qt-prolonged.reason-electrolytes")),
        ),
    )


def _prolonging_ordered(case: Case) -> bool:
    """Another drug that prolongs the QTc is ordered."""
    return any(m in case.other_drafts for m in case.taken_now("qt"))


def _pair_among(readings: list[Measurement], together: timedelta) -> tuple[Measurement, Measurement] | None:
    """Of the newest occasion that has both: the lying (or sitting) reading and the lowest standing one. Readings newest first."""
    for newest in readings:
        if newest.qualifier != "standing":
            continue
        occasion = [m for m in readings if m.at and newest.at and abs(m.at - newest.at) <= together]
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
    together = timedelta(hours=case.policy.results.same_occasion_hours.value)
    pairs = [_pair_among(settled, together)]
    early = [m for m in results.preliminary if m.qualifier and is_recent(case, m)]
    if early:
        both = sorted([*settled, *early], key=lambda m: m.at, reverse=True)  # type: ignore[arg-type,return-value]
        pairs.append(_pair_among(both, together))
    return max((p for p in pairs if p is not None), key=lambda p: p[0].value - p[1].value, default=None)


@when_it_bears
@when("systolic", "diastolic")
@when(*RELEVANT)
def orthostatic_hypotension(case: Case) -> Iterator[Found]:
    """The pressure falls on standing, or is low."""
    if not case.relevant:
        return
    rule = case.policy.results
    found: list[Measurement] = []
    facts: list[Sentence] = []
    limit = rule.systolic_fall
    for kind, fall in (("systolic", rule.systolic_fall), ("diastolic", rule.diastolic_fall)):
        pair = _pair(case, kind)
        if pair is not None and pair[0].value - pair[1].value >= fall.value:
            limit = fall if not found else limit
            found += pair
            facts.append(
                sentence(
                    f"orthostatic-hypotension.{kind}-fall-{pair[0].qualifier}",
                    before=Number(pair[0].value, 0),
                    after=Number(pair[1].value, 0),
                )
            )
    low = recent(case, "systolic", lower_is_worse=True)
    if low is not None and falls_below(low, rule.systolic_low.value):
        if not found:
            limit = rule.systolic_low
        if low not in found:
            found.append(low)
        facts.append(sentence("orthostatic-hypotension.systolic-low", value=Number(low.value, 0)))
    if not found:
        return
    newest = found[1] if len(found) > 1 else found[0]
    yield Found(
        code="orthostatic-hypotension",
        severity="warning",
        subject="blood-pressure",
        summary=sentence(
            "orthostatic-hypotension.summary",
            day=on_day(case, newest),
            facts=Listed(tuple(facts), last=""),
        ),
        why=(*(result_fact(case, m) for m in found), course_line(case)),
        policy_says=(sentence("orthostatic-hypotension.policy"),),
        suggested=(
            sentence("orthostatic-hypotension.no-rise"),
            sentence("orthostatic-hypotension.look"),
            sentence("orthostatic-hypotension.advise"),
            sentence("orthostatic-hypotension.persists"),
        ),
        evidence=result_evidence(case, found),
        citation=case.policy.cite(limit),
        offers=offer_test(case, "vital-signs", "routine", sentence("orthostatic-hypotension.reason")),
    )


@when_it_bears
@when("heart-rate")
@when(*RELEVANT)
def tachycardia(case: Case) -> Iterator[Found]:
    """A fast resting pulse."""
    pulse = recent(case, "heart-rate") if case.relevant else None
    limit = case.policy.results.heart_rate_high
    if pulse is None or not reaches(pulse, limit.value):
        return
    early = in_myocarditis_window(case)
    offers = offer_test(case, "ecg", "routine", sentence("tachycardia.reason-ecg", pulse=measured(pulse)))
    if early:
        troponin = offer_test(case, "troponin-crp", "urgent", sentence("tachycardia.reason-troponin"))
        offers = (*troponin, *offers)
    yield Found(
        code="tachycardia",
        severity="warning",
        subject="heart-rate",
        summary=sentence(
            "tachycardia.early" if early else "tachycardia.later",
            pulse=measured(pulse),
            day=on_day(case, pulse),
        ),
        why=(result_fact(case, pulse), course_line(case)),
        policy_says=(sentence("tachycardia.policy"),),
        suggested=(
            *((sentence("tachycardia.troponin"),) if early else ()),
            sentence("tachycardia.look"),
            sentence("tachycardia.persists"),
        ),
        evidence=result_evidence(case, [pulse]),
        citation=case.policy.cite(limit),
        offers=offers,
    )


# A long QTc bears on every order: the next drug may prolong it.
RULES = (qt_prolonged, orthostatic_hypotension, tachycardia)
