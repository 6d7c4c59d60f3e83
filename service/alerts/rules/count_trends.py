"""Where the counts are going (clinical.md 1.6, 2.1): falling before any band is reached, and counted more often after a recovery."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from service.alerts.case.case import Case
from service.alerts.case.falling import Fall, fall_of, flu_like_signs
from service.alerts.phrases.count import (
    count_evidence,
    count_fact,
    count_name,
    judged_names,
    last_usable,
    offer_cbc,
)
from service.alerts.phrases.problem import problem_evidence
from service.alerts.phrases.result import day_of, on_day
from service.alerts.policy.parts.counts import Falling
from service.alerts.policy.parts.values import Value
from service.alerts.policy.words import falling_every, policy_says
from service.alerts.rules.asked import when
from service.alerts.say.found import Found
from service.alerts.say.sentence import Count, Counted, Day, Number, Sentence, as_recorded, sentence


@when("continuing")
def anc_falling(case: Case) -> Iterator[Found]:
    """Counts fall fast before any band is reached."""
    if not case.continuing:
        return
    rule = case.policy.falling
    decided = case.decided
    if decided is not None and decided[0].finding is not None:
        return  # the band says more, and names the fall
    fall = fall_of(case)
    if fall is not None and _has_risen_from_a_band(case, fall):
        return  # what fell was told by its band, and now the count rises
    if fall is not None:
        before, now = fall.before, fall.now
        name = count_name(now.kind)
        offers, steps = offer_cbc(case, "urgent", sentence("anc-falling.reason", name=name))
        yield Found(
            code="anc-falling",
            severity=rule.severity,
            changes_order=True,
            subject="anc",
            summary=sentence(
                "anc-falling.summary",
                name=name,
                before=Count(before.value),
                before_day=on_day(case, before),
                now=Count(now.value),
                now_day=on_day(case, now),
            ),
            why=(count_fact(case, now), count_fact(case, before)),
            policy_says=(_says(case),),
            suggested=(*steps, *((_then(case),) if rule.every_label else ()), sentence("anc-falling.ask")),
            evidence=count_evidence(case, now, before),
            citation=case.policy.cite(_cited_fall(rule, now.kind)),
            offers=offers,
        )
        return
    signs = flu_like_signs(case)
    newest = case.anc.newest
    if signs is None or rule.flu_like is None:
        return
    counted = case.snapshot.day(newest.at) if newest is not None and newest.at is not None else None
    if signs.onset is not None and counted is not None and counted >= case.snapshot.day(signs.onset):
        return  # counted since: the denser interval says the rest
    offers, steps = offer_cbc(case, "urgent", sentence("anc-falling.reason-flu-like"))
    sign, day = as_recorded(signs.name), day_of(case, signs.onset, signs.onset_until)
    yield Found(
        code="anc-falling",
        severity=rule.severity,
        subject="anc",
        summary=sentence(
            "anc-falling.flu-like",
            sign=sign,
            day=day,
            counts=judged_names(case),
            every=falling_every(case.policy),
        ),
        why=(sentence("anc-falling.listed", sign=sign, day=day),),
        policy_says=(_says(case),),
        suggested=(*steps, _then(case), sentence("anc-falling.look")),
        evidence=problem_evidence([signs]),
        citation=case.policy.cite(rule.flu_like),
        offers=offers,
    )


def _has_risen_from_a_band(case: Case, fall: Fall) -> bool:
    """Between the two counts lies one of an abnormal band that was lower than the newest."""
    return any(
        m.value < fall.now.value and band.finding is not None
        for m in case.series(fall.now.kind)
        if m.at is not None
        and fall.before.at is not None
        and fall.now.at is not None
        and fall.before.at < m.at < fall.now.at
        and (band := case.band_of(m)) is not None
    )


def _says(case: Case) -> Sentence:
    return policy_says(case.policy, "falling.says", case.policy.falling.says)


def _then(case: Case) -> Sentence:
    """How often counts are due from now on, as a step."""
    return sentence("anc-falling.then", counts=judged_names(case), every=falling_every(case.policy))


def _cited_fall(rule: Falling, kind: str) -> Value:
    found = rule.wbc_fall if kind == "wbc" else rule.anc_fall_percent or rule.anc_fall
    return found or rule.within_days


@when("visit")
@when("continuing")
def anc_recheck_after_recovery(case: Case) -> Iterator[Found]:
    """The extra counts after a neutropenia are not complete; said at visits, an order meets them as anc-overdue."""
    if case.is_order_hook:
        return
    interval = case.interval
    newest = case.anc.newest
    if (
        not case.continuing
        or case.starting
        or newest is None
        or not interval.recovery_counts_left
        or interval.recovery is None
    ):
        return
    offers, steps = offer_cbc(case, "routine", sentence("anc-recheck-after-recovery.reason"))
    due = case.today + timedelta(days=interval.days - case.age_days(newest))
    yield Found(
        code="anc-recheck-after-recovery",
        severity="info",
        subject="anc",
        summary=sentence(
            "anc-recheck-after-recovery.summary",
            left=Counted(interval.recovery_counts_left, "more-weekly-count"),
        ),
        why=(
            last_usable(case, newest),
            sentence("anc-recheck-after-recovery.due", every=interval.label, day=Day(due)),
        ),
        policy_says=(
            sentence(
                "anc-recheck-after-recovery.policy",
                days=Counted(interval.recovery.every_days),
                times=Number(interval.recovery.counts, 0),
            ),
        ),
        suggested=steps,
        evidence=count_evidence(case, newest),
        citation=case.policy.cite(interval.recovery),
        offers=offers,
    )


RULES = (anc_falling, anc_recheck_after_recovery)
