"""Results that no rule could judge (clinical.md 3.2, 3.6): named at the next visit, for missing data are never read as normal."""

from __future__ import annotations

from collections.abc import Iterator

from service.alerts.case.case import Case
from service.alerts.case.readings import (
    in_myocarditis_window,
    is_a_result,
    latest,
    recent,
    recent_comparable,
)
from service.alerts.case.samples import is_of_sample
from service.alerts.facts.patient import UnusableResult
from service.alerts.knowledge.codes import judged
from service.alerts.phrases.result import (
    measured,
    moment_of,
    name_of,
    refusal,
    refused_evidence,
    result_evidence,
    result_line,
    within,
)
from service.alerts.rules.asked import RELEVANT, when
from service.alerts.say.cited import own
from service.alerts.say.found import Found
from service.alerts.say.sentence import Listed, as_recorded, sentence

#: Kinds of which one bad result speaks at an order of clozapine, and at any other order (``knowledge/codes.toml``).
_AT_CLOZAPINE = judged("any-order", "clozapine")
_AT_OTHERS = judged("any-order")
#: Signs of myocarditis are judged in the weeks in which it happens.
_IN_WINDOW = ("troponin", "crp")
#: Judged by their own upper limit only. A troponin without one: myocarditis-suspected says so.
_BY_OWN_LIMIT = ("alt", "ast", "bilirubin")
#: So many results are shown one by one; the card says how many there are.
_SHOWN = 8
#: Of the results that could not be judged, so many are named in the summary; a value there is cut to so many characters.
_NAMED = 3
_SHORT = 30


def _newest_unusable(case: Case, kind: str) -> UnusableResult | None:
    """The newest result of a kind that cannot be used, unless it is history or a usable one is as new."""
    usable = recent(case, kind)
    since = usable.at if usable is not None else None
    days = case.policy.results.recent_days.value
    newest: UnusableResult | None = None
    for u in case.unusable(kind):
        if not is_a_result(u) or (u.at is None and since is not None):
            continue
        if u.at is not None and (case.days_since(u.at) > days or (since is not None and u.at <= since)):
            continue
        if u.by_words and usable is not None and is_of_sample(u, usable):
            continue  # reported twice, once under a code of the laboratory's own
        if newest is None or newest.at is None or (u.at is not None and u.at >= newest.at):
            newest = u
    return newest


def _asked_for(case: Case) -> tuple[str, ...]:
    """Kinds of which a bad result would be said here."""
    if not case.is_order_hook:
        return judged()
    return _AT_CLOZAPINE if case.clozapine_drafts else _AT_OTHERS


@when("visit", *_AT_CLOZAPINE)
@when(*RELEVANT)
def results_not_judged(case: Case) -> Iterator[Found]:
    """Recent results without a code, a unit, a date or a limit, or with a value that cannot be true, on one card.

    At orders only of what would stop or change them, were it bad.
    """
    if not case.relevant:
        return
    without_limit = [
        m
        for kind in (() if case.is_order_hook else _BY_OWN_LIMIT)
        if (m := latest(case, kind)) is not None and recent_comparable(case, kind) is None
    ]
    unusable = [
        u
        for kind in _asked_for(case)
        if (kind not in _IN_WINDOW or in_myocarditis_window(case))
        and (u := _newest_unusable(case, kind)) is not None
    ]
    if not without_limit and not unusable:
        return
    names = (*(within(u.kind) for u in unusable), *(within(m.kind) for m in without_limit))
    yield Found(
        code="data-unavailable",
        severity="info",
        subject="results",
        summary=sentence(
            "results-not-judged.refused",
            names=Listed(names[:_NAMED]),
            raw=as_recorded(unusable[0].as_sent, short=_SHORT),
            reason=refusal(unusable[0]),
        )
        if unusable
        else sentence(
            "results-not-judged.no-limit",
            names=Listed(names[:_NAMED]),
            result=measured(without_limit[0]),
        ),
        why=(
            *(
                sentence(
                    "results-not-judged.refused-line",
                    name=name_of(u.kind),
                    raw=as_recorded(u.as_sent),
                    when=moment_of(case, u.at, u.date_only),
                    reason=refusal(u),
                )
                for u in unusable[:_SHOWN]
            ),
            *(sentence("results-not-judged.no-limit-line", line=result_line(case, m)) for m in without_limit),
        ),
        policy_says=(sentence("results-not-judged.policy"),),
        suggested=(sentence("results-not-judged.read"), sentence("results-not-judged.ask")),
        unchecked=(sentence("results-not-judged.unchecked", names=Listed(names)),),
        evidence=(*refused_evidence(unusable[:_SHOWN]), *result_evidence(case, without_limit)),
        missing=tuple(sentence("results-not-judged.a-usable", name=name) for name in names),
        citation=own("unchecked"),
    )


RULES = (results_not_judged,)
