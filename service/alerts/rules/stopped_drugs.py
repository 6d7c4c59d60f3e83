"""The stop of an inhibitor or inducer (clinical.md 2.4): the clozapine level falls or rises, for as long as the drug's effect goes on."""

from __future__ import annotations

from collections.abc import Iterator

from service.alerts.case.case import Case
from service.alerts.case.other_drugs import ON_HOLD
from service.alerts.case.together import dose_before_stopped
from service.alerts.facts.patient import Medication
from service.alerts.phrases.result import offer_test
from service.alerts.rules.interaction_matches import Match
from service.alerts.rules.interaction_words import (
    cite,
    doses_beside,
    doubts,
    drugs_first,
    ended,
    level_high,
    level_low,
    says_of,
)
from service.alerts.rules.interactions import left_told_together
from service.alerts.rules.left_drugs import Left, left_drugs
from service.alerts.say.found import Fact, Found
from service.alerts.say.sentence import Counted, Day, Dose, Record, Sentence, sentence


def stopped_inhibitor_or_inducer(case: Case) -> Iterator[Found]:
    """An inhibitor or inducer ended lately, or its stop is drafted: the clozapine level will fall or rise. One finding for a product.

    Where another drug moves the level at the same time its card tells of the stop, too.
    """
    if not case.clozapine_drafts and not case.on_clozapine:
        return
    told_there: frozenset[str] | None = None
    for left in left_drugs(case):
        # An ended record is for a visit, or for an order of clozapine.
        if left.medication.role != "draft" and case.is_order_hook and not case.clozapine_drafts:
            continue
        if told_there is None:
            told_there = left_told_together(case)
        if told_there.isdisjoint(left.groups):
            yield _stopped_finding(case, left)


def _stopped_finding(case: Case, left: Left) -> Found:
    medication, drug_ids, drug_id = left.medication, left.drug_ids, left.longest
    group = left.groups[drug_id]
    named = drugs_first(drug_ids)
    change = "falls" if group.effect == "raises" else "rises"
    day = Day(case.snapshot.day(medication.end)) if medication.end is not None else None
    offset = Counted(left.offset_days)
    if medication.role == "draft":
        summary = sentence(f"interaction-stopped.with-this-order-{change}", drug=named, days=offset)
    elif day is not None:
        summary = sentence(f"interaction-stopped.on-{change}", drug=named, day=day, days=offset)
    elif medication.status == ON_HOLD:
        summary = sentence(f"interaction-stopped.held-{change}", drug=named, days=offset)
    else:
        summary = sentence(f"interaction-stopped.day-unknown-{change}", drug=named, days=offset)
    return Found(
        code=group.stopped,
        severity="warning",
        subject=f"drug:{'+'.join(drug_ids)}",
        summary=summary,
        why=(*ended(case, left), *doses_beside(case, left), *doubts(case, Match(group, drug_id, "warning"))),
        policy_says=(says_of(case, Match(group, drug_id, "warning")),),
        suggested=(
            sentence(f"interaction-stopped.watch-{change}"),
            sentence("interaction-stopped.level", days=offset),
            _dose_step(case, drug_id, medication, change),
        ),
        evidence=(
            Fact(
                medication.ref,
                sentence("interaction.drug", drug=Record(medication.label)),
                medication.end,
                medication.end_date_only,
            ),
        ),
        citation=cite(case, Match(group, drug_id, "warning")),
        offers=offer_test(
            case, "clozapine-level", "routine", sentence("interaction-stopped.reason", drug=named)
        ),
    )


def _dose_step(case: Case, drug_id: str, medication: Medication, change: str) -> Sentence:
    """What to do with the dose: back to the one on record, where it was changed; else by the level, and by which."""
    before, now = dose_before_stopped(case, drug_id), case.established_mg_per_day
    limit = level_low(case) if change == "falls" else level_high(case)
    if before is not None and now is not None and before != now and (before > now) == (change == "falls"):
        return sentence("interaction-stopped.return-to", dose=Dose(before))
    if before is not None and now is not None and before == now:
        return sentence(f"interaction-stopped.keep-{change}", dose=Dose(now), limit=limit)
    return sentence(f"interaction-stopped.dose-{change}", limit=limit)


RULES = (stopped_inhibitor_or_inducer,)
