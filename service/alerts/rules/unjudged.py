"""Results that no rule could judge (clinical.md 3.2, 3.6): named at the next visit, for missing data are never read as normal."""

from __future__ import annotations

from collections.abc import Iterator

from service.alerts.case.case import Case
from service.alerts.facts.patient import UnusableResult
from service.alerts.knowledge.codes import title
from service.alerts.rules.asked import RELEVANT, when
from service.alerts.rules.readings import (
    evidence,
    in_myocarditis_window,
    is_a_result,
    latest,
    line,
    recent,
    recent_comparable,
    value,
)
from service.alerts.say import wording as w
from service.alerts.say.finding import Citation, Evidence, Finding

#: Kinds that a rule judges; of ANC and WBC anc-unusable says more.
_JUDGED = (
    "troponin", "crp", "clozapine-level", "qtc", "systolic", "diastolic", "heart-rate", "temperature", "glucose", "glucose-fasting",
    "hba1c", "alt", "ast", "bilirubin", "weight", "eosinophils", "platelets",
)  # fmt: skip
#: Judged by their own upper limit only. A troponin without one: myocarditis-suspected says so.
_BY_OWN_LIMIT = ("alt", "ast", "bilirubin")
#: So many results are shown one by one; the card says how many there are.
_SHOWN = 8


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
        if newest is None or newest.at is None or (u.at is not None and u.at >= newest.at):
            newest = u
    return newest


@when("visit")
@when(*RELEVANT)
def results_not_judged(case: Case) -> Iterator[Finding]:
    """Recent results without a unit, a date or a limit, or with a value that cannot be true: all on one card, at visits."""
    if case.is_order_hook or not case.relevant:
        return
    without_limit = [
        m
        for kind in _BY_OWN_LIMIT
        if (m := latest(case, kind)) is not None and recent_comparable(case, kind) is None
    ]
    unusable = [
        u
        for kind in _JUDGED
        if (kind != "troponin" or in_myocarditis_window(case))
        and (u := _newest_unusable(case, kind)) is not None
    ]
    if not without_limit and not unusable:
        return
    names = [*(title(u.kind) for u in unusable), *(title(m.kind) for m in without_limit)]
    first = (
        f"{w.plain(unusable[0].raw, 30)}, {w.plain_reason(unusable[0].reason)}"
        if unusable
        else f"{value(without_limit[0])}, no upper limit of normal is sent with it"
    )
    yield Finding(
        code="data-unavailable",
        severity="info",
        subject="results",
        summary=w.summary(f"Not judged: {w.listed(names[:3])} ({first}). Read it yourself."),
        why=(
            *(
                f"{title(u.kind)[0].upper()}{title(u.kind)[1:]} “{w.safe(u.raw)}”, "
                f"{w.moment(case.snapshot, u.at, u.date_only)}: {w.reason(u.reason)}."
                for u in unusable[:_SHOWN]
            ),
            *(f"{line(case, m)}: it names no upper limit of normal." for m in without_limit),
        ),
        policy_says=(
            "A value is never guessed, and a result that could not be judged is not called normal.",
        ),
        suggested=(
            "Read the original report.",
            "Ask the laboratory to send the unit and the reference range with the value.",
        ),
        unchecked=(f"Whether a result needs action: {w.listed(names)}.",),
        evidence=(
            *(Evidence(u.ref, w.safe(u.raw), u.at, u.date_only) for u in unusable[:_SHOWN]),
            *evidence(case, without_limit),
        ),
        missing=tuple(f"a usable {name}" for name in names),
        citation=Citation("This service", "what could not be checked"),
    )


RULES = (results_not_judged,)
