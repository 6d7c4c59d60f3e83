"""A product that contradicts itself (clinical.md 3.5): code, name and Medication resource do not name one strength."""

from __future__ import annotations

from collections.abc import Iterator

from service.alerts.case.case import Case
from service.alerts.phrases.medication import medication_evidence
from service.alerts.rules.asked import when
from service.alerts.say.found import Found
from service.alerts.say.sentence import Record, quoting, sentence

#: Characters of the contradiction in a summary.
_SHORT = 80


@when("drafted")
def product_contradicts_itself(case: Case) -> Iterator[Found]:
    """A clozapine order in mg whose product is of one strength by its code and of another by its name; in tablets, dose_unreadable says it."""
    drafts = tuple(d for d in case.clozapine_drafts if d.dose is not None and d.dose.strengths)
    if not drafts:
        return
    first = drafts[0].dose
    assert first is not None, "only doses that were read"
    yield Found(
        code="dose-unreadable",
        severity="warning",
        subject="dose-product",
        summary=sentence("dose-product.summary", strengths=quoting(first.strengths, short=_SHORT)),
        why=tuple(
            sentence("dose-product.order", order=Record(d.label), strengths=quoting(d.dose.strengths))
            for d in drafts
            if d.dose is not None
        ),
        policy_says=(sentence("dose-product.policy"),),
        suggested=(sentence("dose-product.correct"),),
        evidence=medication_evidence(drafts),
        missing=(sentence("dose-product.missing"),),
        citation=case.policy.cite(case.policy.dosing.daily_maximum),
    )


RULES = (product_contradicts_itself,)
