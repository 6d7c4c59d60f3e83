"""Counts that came and answer nothing (clinical.md 2.1, 3.1): a value that cannot be used, a blood count without a differential."""

from __future__ import annotations

from collections.abc import Iterator

from service.alerts.case.case import Case
from service.alerts.case.judged_counts import judged_kinds, preliminary_anc, without_differential
from service.alerts.case.samples import is_of_sample
from service.alerts.facts.patient import UnusableResult
from service.alerts.phrases.count import (
    count_evidence,
    count_line,
    count_name,
    judged_names,
    last_usable,
    offer_cbc,
    pending_lines,
)
from service.alerts.phrases.result import moment_of, on_day, refusal, refused_evidence
from service.alerts.rules.asked import RELEVANT, when
from service.alerts.say.found import Found
from service.alerts.say.sentence import Count, Counted, as_recorded, sentence

_SHOWN = 5
#: Characters of a value in a summary.
_SHORT = 30


def _newer_unusable(case: Case, kind: str) -> list[UnusableResult]:
    newest = case.results(kind).newest
    return [
        u
        for u in case.results(kind).unusable
        # Reported twice, once under a code of the laboratory's own, it is one count.
        if not (u.by_words and newest is not None and is_of_sample(u, newest))
        and (
            newest is None
            or newest.at is None
            or u.at is None
            or u.at > newest.at
            # A calculated ANC takes the place of the one that was refused, but does not explain it.
            or (newest.calculated and u.at == newest.at)
        )
    ]


@when("unusable-count")
@when(*RELEVANT)
def anc_unusable(case: Case) -> Iterator[Found]:
    """A newer count exists that cannot be used: it is shown, not guessed."""
    if not case.relevant:
        return
    refused = [u for kind in judged_kinds(case) for u in _newer_unusable(case, kind)]
    if not refused:
        return
    refused.sort(key=lambda u: (u.at is not None, u.at.timestamp() if u.at is not None else 0), reverse=True)
    first = refused[0]
    offers, steps = offer_cbc(case, "routine", sentence("anc-unusable.reason"))
    newest = case.anc.newest
    yield Found(
        code="anc-unusable",
        severity="warning",
        subject="anc",
        summary=sentence(
            "anc-unusable.summary",
            name=count_name(first.kind),
            raw=as_recorded(first.as_sent, short=_SHORT),
            reason=refusal(first),
        ),
        why=(
            *(
                sentence(
                    "anc-unusable.not-used",
                    name=count_name(u.kind),
                    raw=as_recorded(u.as_sent),
                    when=moment_of(case, u.at, u.date_only),
                    reason=refusal(u),
                )
                for u in refused[:_SHOWN]
            ),
            *((sentence("anc-unusable.used", line=count_line(case, newest)),) if newest is not None else ()),
        ),
        policy_says=(sentence("anc-unusable.policy"),),
        suggested=(
            sentence("anc-unusable.read"),
            *(() if all(u.by_words for u in refused) else (sentence("anc-unusable.ask-unit"),)),
            *((sentence("anc-unusable.map-code"),) if any(u.by_words for u in refused) else ()),
            *steps,
        ),
        evidence=refused_evidence(refused[:_SHOWN]),
        citation=case.policy.citation,
        offers=offers,
    )


@when("wbc")
@when("continuing")
def anc_without_differential(case: Case) -> Iterator[Found]:
    """The newest blood count came without a differential while an ANC is about due: it answers nothing."""
    if not case.continuing or case.starting:
        return
    newest, wbc = case.anc.newest, without_differential(case)
    if newest is None or wbc is None or preliminary_anc(case) is not None:
        return  # without any ANC anc-missing names it
    interval, age = case.interval, case.age_days(newest)
    if age > interval.days:
        return  # anc-overdue names it
    due = age >= interval.days - interval.due_soon_days(case.policy.schedule)
    if not due and case.is_order_hook:
        return
    offers, _ = offer_cbc(case, "routine", sentence("anc-unusable.reason-differential"))
    yield Found(
        code="anc-unusable",
        severity="warning" if due else "info",
        subject="anc-differential",
        summary=sentence(
            "anc-unusable.no-differential",
            day=on_day(case, wbc),
            count=Count(wbc.value),
            age=Counted(age, at_most=newest.until is not None),
        ),
        why=(*pending_lines(case), last_usable(case, newest)),
        policy_says=(
            sentence("anc-unusable.policy-differential", counts=judged_names(case), every=interval.label),
        ),
        suggested=(
            sentence("anc-unusable.ask-differential"),
            sentence("anc-unusable.repeat-with-differential"),
        ),
        evidence=count_evidence(case, wbc, newest),
        missing=(sentence("anc-unusable.anc-of-the-newest"),),
        citation=case.policy.cite(interval.cited or case.policy.schedule[0]),
        offers=offers,
        changes_order=due,
    )


RULES = (anc_unusable, anc_without_differential)
