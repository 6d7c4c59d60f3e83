"""Orders against each other (clinical.md 2.3): duplicates, and an abrupt stop."""

from __future__ import annotations

from collections.abc import Iterator

from service.alerts.case.case import Case
from service.alerts.case.myocarditis import HEART_PROBLEMS, suspicion
from service.alerts.case.restart import reached_tier
from service.alerts.facts.patient import Medication
from service.alerts.knowledge.conditions import kinds_by_text
from service.alerts.phrases.medication import medication_evidence
from service.alerts.rules.asked import when
from service.alerts.say import wording as w
from service.alerts.say.finding import Offer, RemoveDraft
from service.alerts.say.found import Found
from service.alerts.say.sentence import Dose, Number, Record, Sentence, as_recorded, sentence


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
def duplicate_order(case: Case) -> Iterator[Found]:
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
    yield Found(
        code="duplicate-order",
        severity="warning",
        subject="duplicate",
        summary=sentence(
            "duplicate-order.beside" if beside else "duplicate-order.twice",
            number=Number(len(orders), 0),
            dose=Dose(total),
        ),
        why=tuple(_order_line(m, mg) for m, mg in zip(orders, doses, strict=True)),
        policy_says=(sentence("duplicate-order.policy", dose=Dose(rule.daily_maximum.value)),),
        suggested=(sentence("duplicate-order.stop"), sentence("duplicate-order.remove")),
        evidence=medication_evidence(m for m in orders if m.ref),
        missing=() if any(m.ref for m in orders) else (sentence("duplicate-order.missing"),),
        citation=case.policy.cite(rule.daily_maximum if too_much else rule.duplicate_factor),
        offers=offers,
    )


@when("drafted", "taking")
def restart_beside_order(case: Case) -> Iterator[Found]:
    """A restart dose beside an older, larger order that nobody ended: both are said, for either may be taken."""
    drafted = case.restarted_by_draft
    restart = drafted or case.restarted
    if restart is None or case.stopping or (case.is_order_hook and drafted is None):
        return
    beside, older = Dose(restart.mg), Dose(restart.older_mg)
    yield Found(
        code="duplicate-order",
        # Without a gap on record it may be meant in addition.
        severity="warning" if reached_tier(case) is not None or case.returning is not None else "info",
        subject="restart-beside",
        changes_order=True,
        summary=sentence(
            "duplicate-order.restart-drafted" if drafted else "duplicate-order.restart-active",
            dose=beside,
            older=older,
        ),
        why=(_order_line(restart.order, restart.mg), _order_line(restart.older, restart.older_mg)),
        policy_says=(
            sentence(
                "duplicate-order.restart-policy",
                dose=Dose(case.policy.dosing.restart_single.value),
            ),
        ),
        suggested=(
            sentence("duplicate-order.restart-meant", older=older),
            sentence("duplicate-order.addition-meant"),
        ),
        evidence=medication_evidence(m for m in (restart.order, restart.older) if m.ref),
        missing=() if restart.older.ref else (sentence("duplicate-order.missing"),),
        citation=case.policy.cite(case.policy.dosing.restart_single),
    )


def _order_line(m: Medication, mg: float | None) -> Sentence:
    order = Record(m.label)
    if mg is None:
        return sentence(
            "duplicate-order.draft-unreadable" if m.role == "draft" else "duplicate-order.active-unreadable",
            order=order,
        )
    return sentence(
        "duplicate-order.draft" if m.role == "draft" else "duplicate-order.active", order=order, dose=Dose(mg)
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
    heart = suspicion(case)
    return heart is not None and bool(heart.stop)


@when("stop-drafted")
def abrupt_stop(case: Case) -> Iterator[Found]:
    """Clozapine is stopped at once without a reason that demands it."""
    stops = case.stop_drafts
    if not case.stopping or not case.course.active or case.course.lapsed or _demanded(case):
        return
    rule = case.policy.dosing
    low, high = Number(rule.taper_weeks_low.value), Number(rule.taper_weeks_high.value)
    dose = case.established_mg_per_day
    yield Found(
        code="abrupt-stop",
        severity="warning",
        subject="stop",
        summary=sentence("abrupt-stop.summary", low=low, high=high)
        if dose is None
        else sentence("abrupt-stop.summary-dose", dose=Dose(dose), low=low, high=high),
        why=(*(_stop_line(s) for s in stops), sentence("abrupt-stop.nothing-demands")),
        policy_says=(sentence("abrupt-stop.policy", low=low, high=high),),
        suggested=(
            sentence("abrupt-stop.taper"),
            sentence("abrupt-stop.watch"),
            sentence("abrupt-stop.counts"),
        ),
        evidence=medication_evidence(s for s in stops if s.ref),
        missing=() if any(s.ref for s in stops) else (sentence("abrupt-stop.missing"),),
        citation=case.policy.cite(rule.taper_weeks_low),
    )


def _stop_line(stop: Medication) -> Sentence:
    order = Record(stop.label)
    if not stop.stopped_because:
        return sentence("abrupt-stop.stopped", order=order)
    return sentence("abrupt-stop.stopped-because", order=order, reason=as_recorded(stop.stopped_because))


RULES = (duplicate_order, restart_beside_order, abrupt_stop)
