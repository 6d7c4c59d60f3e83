"""Orders against each other (clinical.md 2.3): duplicates, and an abrupt stop."""

from __future__ import annotations

from collections.abc import Iterator

from service.alerts.case.case import Case
from service.alerts.facts.patient import Medication
from service.alerts.knowledge.conditions import kinds_by_text
from service.alerts.rules.asked import when
from service.alerts.rules.myocarditis import HEART_PROBLEMS, myocarditis_suspected
from service.alerts.say import wording as w
from service.alerts.say.finding import Evidence, Finding, Offer, RemoveDraft


def _renewed(case: Case, order: Medication) -> bool:
    """A draft of the same daily dose as an order that is no longer new is its renewal, linked or not: EHRs seldom link them."""
    began = order.start or order.authored
    mg = order.dose.mg_per_day if order.dose is not None else None
    if mg is None or (
        began is not None and case.days_since(began) <= case.policy.dosing.renewal_after_days.value
    ):
        return False
    doses = [d.dose.mg_per_day for d in case.clozapine_drafts if d.dose is not None]
    return mg in doses or mg == case.drafted_mg_per_day


def _beside(case: Case) -> tuple[Medication, ...]:
    """Active clozapine orders that no draft replaces or renews, and that go on beyond tomorrow."""
    going_on = [
        m
        for m in case.running_orders
        if (m.end is None or case.days_since(m.end) < -1) and not _renewed(case, m)
    ]
    if not going_on:
        return ()
    replaced = {ref for d in case.clozapine_drafts for ref in (d.ref, *d.replaces)}
    replaced.update(d.ref for d in case.stop_drafts)
    return tuple(m for m in going_on if m.ref not in replaced)


@when("drafted")
def duplicate_order(case: Case) -> Iterator[Finding]:
    """Drafts, or a draft and an order it does not replace, that add up to too much or double the dose."""
    drafts = case.clozapine_drafts
    beside = _beside(case) if drafts and case.hook != "medication-refill" else ()
    orders = (*drafts, *beside)
    if not drafts or len(orders) < 2:
        return
    doses = [m.dose.mg_per_day if m.dose is not None else None for m in orders]
    known = [d for d in doses if d is not None]
    total = sum(known)
    rule = case.policy.dosing
    too_much = total > rule.daily_maximum.value
    largest = max(known, default=0.0)
    doubled = len(known) == len(doses) and largest > 0 and total >= rule.duplicate_factor.value * largest
    if not (too_much or doubled):
        return
    offers: tuple[Offer, ...] = ()
    if case.hook not in ("medication-verify", "encounter-discharge"):
        offers = tuple(
            RemoveDraft(d.ref, w.plain(d.label)) for d in (drafts if beside else drafts[1:]) if d.ref
        )
    yield Finding(
        code="duplicate-order",
        severity="warning",
        subject="duplicate",
        summary=w.summary(
            f"{len(orders)} clozapine orders add up to {w.mg(total)}/day: "
            + ("the new order does not replace the active one." if beside else "ordered twice?")
        ),
        why=tuple(
            f"{'Draft' if m.role == 'draft' else 'Active order'}: {w.safe(m.label)}, "
            f"{w.mg(d) + '/day' if d is not None else 'dose not readable'}."
            for m, d in zip(orders, doses, strict=True)
        ),
        policy_says=(
            f"The daily maximum is {w.mg(rule.daily_maximum.value)}; two orders meant as one double the dose.",
        ),
        suggested=("Stop the order that is replaced, or link the new one to it.", "Or remove the draft."),
        evidence=tuple(Evidence(m.ref, w.safe(m.label)) for m in orders if m.ref),
        missing=() if any(m.ref for m in orders) else ("ids of the orders",),
        citation=case.policy.cite(rule.daily_maximum if too_much else rule.duplicate_factor),
        offers=offers,
    )


#: Problems that demand a stop at once.
_STOP_AT_ONCE = (
    *HEART_PROBLEMS,
    "agranulocytosis-history",
    "gi-obstruction",
    "neuroleptic-malignant-syndrome",
    "neutropenic-fever",
    "pericarditis",
    "eosinophilic-organ-disease",
    "thromboembolism",
)


def _demanded(case: Case) -> bool:
    """A count, a result, a problem or the reason written on the order asks for a stop at once."""
    decided = case.decided
    if decided is not None and decided[0].treatment != "continue":
        return True
    if case.problems_of(*_STOP_AT_ONCE):
        return True
    written = {kind for s in case.stop_drafts for kind in kinds_by_text(s.stop_reason)}
    if written & {*_STOP_AT_ONCE, "neutropenia"}:
        return True
    return any(f.severity == "critical" for f in myocarditis_suspected(case))


@when("stop-drafted")
def abrupt_stop(case: Case) -> Iterator[Finding]:
    """Clozapine is stopped at once without a reason that demands it."""
    stops = case.stop_drafts
    if not case.stopping or not case.course.active or case.course.lapsed or _demanded(case):
        return
    rule = case.policy.dosing
    low, high = w.number(rule.taper_weeks_low.value), w.number(rule.taper_weeks_high.value)
    dose = case.established_mg_per_day
    yield Finding(
        code="abrupt-stop",
        severity="warning",
        subject="stop",
        summary=w.summary(
            f"Clozapine{f' {w.mg(dose)}/day' if dose is not None else ''} is stopped at once: taper over {low} to {high} weeks if nothing forbids."
        ),
        why=(
            *(
                f"Stopped: {w.safe(s.label)}{f' ({w.safe(s.stop_reason)})' if s.stop_reason else ''}."
                for s in stops
            ),
            "No neutropenia, myocarditis or bowel obstruction in the data of this call.",
        ),
        policy_says=(
            f"A planned stop is a taper over {low} to {high} weeks; an abrupt one risks psychosis and cholinergic rebound "
            "(sweating, headache, nausea, vomiting, diarrhoea).",
        ),
        suggested=(
            "Write a taper, or say why it must stop at once.",
            "Watch for psychosis and cholinergic rebound.",
            "Blood counts go on after the stop.",
        ),
        evidence=tuple(Evidence(s.ref, w.safe(s.label)) for s in stops if s.ref),
        missing=() if any(s.ref for s in stops) else ("the id of the stopped order",),
        citation=case.policy.cite(rule.taper_weeks_low),
    )


RULES = (duplicate_order, abrupt_stop)
