"""How the dose of an order is written (clinical.md 3.5): not readable, in two ways, or of a product that contradicts itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from service.alerts.case.case import Case
from service.alerts.facts.patient import Dose, Medication
from service.alerts.phrases.dose import dose_fact
from service.alerts.phrases.medication import medication_evidence
from service.alerts.rules.asked import when
from service.alerts.say.found import Fact, Found
from service.alerts.say.sentence import Dose as Milligrams
from service.alerts.say.sentence import Param, Record, Sentence, Why, sentence

#: Characters of a contradiction in a summary.
_SHORT = 80


def _evidence(drafts: Iterable[Medication]) -> tuple[Fact, ...]:
    return tuple(dose_fact(d) for d in drafts)


def _read(case: Case) -> list[tuple[Medication, Dose]]:
    """Orders of clozapine whose dose was read, with it."""
    return [(d, d.dose) for d in case.clozapine_drafts if d.dose is not None]


@when("drafted")
def dose_written_two_ways(case: Case) -> Iterator[Found]:
    """Text and fields of a clozapine order contradict each other: both are shown, the higher was checked."""
    found = [(d, dose) for d, dose in _read(case) if dose.two_ways]
    if not found:
        return
    yield Found(
        code="dose-unreadable",
        severity="warning",
        subject="dose-two-ways",
        summary=sentence("dose-unreadable.two-ways", ways=Why(found[0][1].two_ways, short=_SHORT)),
        why=tuple(
            sentence(
                "dose-unreadable.order-written",
                order=Record(d.label),
                reason=Why(dose.two_ways),
                dose=Record(dose.text),
            )
            for d, dose in found
        ),
        policy_says=(sentence("dose-unreadable.policy"),),
        suggested=(sentence("dose-unreadable.correct"), sentence("dose-unreadable.higher-checked")),
        evidence=_evidence(d for d, _ in found),
        citation=case.policy.cite(case.policy.dosing.daily_maximum),
    )


@when("drafted")
def dose_unreadable(case: Case) -> Iterator[Found]:
    """The daily dose of a clozapine order cannot be computed: no dose rule may silently pass."""
    if case.hook == "order-select":
        unreadable = [
            d
            for d in case.clozapine_drafts
            if d.dose is not None and d.dose.mg_per_day is None and d.dose.text
        ]
    else:
        unreadable = [d for d in case.clozapine_drafts if d.dose is None or d.dose.mg_per_day is None]
    if not unreadable:
        return
    first = unreadable[0]
    reason: Param = (
        Why(first.dose.unreadable, short=70)
        if first.dose is not None and first.dose.unreadable
        else sentence("dose-unreadable.gives-no-dose")
    )
    yield Found(
        code="dose-unreadable",
        severity="warning",
        subject="dose",
        summary=sentence("dose-unreadable.summary", reason=reason),
        why=tuple(_why_unreadable(d) for d in unreadable),
        policy_says=(sentence("dose-unreadable.policy"),),
        suggested=(sentence("dose-unreadable.by-hand"), sentence("dose-unreadable.write")),
        unchecked=(sentence("dose-unreadable.unchecked"),),
        evidence=_evidence(unreadable),
        citation=case.policy.cite(case.policy.dosing.daily_maximum),
    )


def _why_unreadable(draft: Medication) -> Sentence:
    order, dose = Record(draft.label), draft.dose
    if dose is None:
        return sentence(
            "dose-unreadable.order", order=order, reason=sentence("dose-unreadable.no-instruction")
        )
    reason = Why(dose.unreadable)
    if not dose.text:
        return sentence("dose-unreadable.order", order=order, reason=reason)
    return sentence("dose-unreadable.order-written", order=order, reason=reason, dose=Record(dose.text))


@when("drafted")
def product_contradicts_itself(case: Case) -> Iterator[Found]:
    """A clozapine order in mg whose product is of one strength by its code and of another by its name; in tablets, dose_unreadable says it."""
    found = [(d, dose) for d, dose in _read(case) if dose.strengths]
    if not found:
        return
    yield Found(
        code="dose-unreadable",
        severity="warning",
        subject="dose-product",
        summary=sentence("dose-product.summary", strengths=Why(found[0][1].strengths, short=_SHORT)),
        why=tuple(
            sentence("dose-product.order", order=Record(d.label), strengths=Why(dose.strengths))
            for d, dose in found
        ),
        policy_says=(sentence("dose-product.policy"),),
        suggested=(sentence("dose-product.correct"),),
        evidence=medication_evidence(d for d, _ in found),
        missing=(sentence("dose-product.missing"),),
        citation=case.policy.cite(case.policy.dosing.daily_maximum),
    )


@when("drafted")
def dose_below_the_smallest(case: Case) -> Iterator[Found]:
    """A clozapine order of less at a time than anybody starts with, and not what is taken already: a dose of another drug, or a slip."""
    smallest = case.policy.dosing.restart_single
    small = [
        (d, dose.largest_single_mg)
        for d, dose in _read(case)
        if dose.mg_per_day and dose.largest_single_mg and dose.largest_single_mg < smallest.value
    ]
    # Beside another order of the call it is the small part of a larger dose.
    if not small or len(small) < len(case.clozapine_drafts):
        return
    if case.drafted_mg_per_day is not None and case.drafted_mg_per_day == case.established_mg_per_day:
        return
    most = max(mg for _, mg in small)
    yield Found(
        code="dose-below-smallest",
        severity="warning",
        subject="dose-small",
        summary=sentence(
            "dose-below-smallest.summary", dose=Milligrams(most), smallest=Milligrams(smallest.value)
        ),
        why=tuple(
            sentence("dose-below-smallest.order", order=Record(d.label), dose=Milligrams(mg))
            for d, mg in small
        ),
        policy_says=(sentence("dose-below-smallest.policy", smallest=Milligrams(smallest.value)),),
        suggested=(sentence("dose-below-smallest.which-drug"), sentence("dose-below-smallest.which-dose")),
        evidence=_evidence(d for d, _ in small),
        citation=case.policy.cite(smallest),
    )


RULES = (dose_written_two_ways, dose_unreadable, product_contradicts_itself, dose_below_the_smallest)
