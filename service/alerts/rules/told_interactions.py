"""Which interacting drugs are told in a call: what an order makes, and what is for the visit."""

from __future__ import annotations

from service.alerts.case.case import Case
from service.alerts.facts.patient import Medication
from service.alerts.knowledge.classes import alerting_classes_of
from service.alerts.knowledge.drugs import drugs
from service.alerts.rules.interaction_matches import Match, is_kept_for_emergency, matches, rank
from service.alerts.say.finding import SEVERITY_RANK


def told_here(case: Case) -> dict[tuple[str, ...], tuple[Medication, list[Match]]]:
    """What is told in this call: drugs of one product -> its record and its classes, the leading one first."""
    perhaps = case.is_order_hook and case.perhaps_taken
    if not (case.clozapine_drafts or case.on_clozapine or case.clozapine_in_session or perhaps):
        return {}
    # An order of another drug raises only its own interactions: old combinations are for the visit, not for every order.
    pool = case.other_medications if case.clozapine_drafts or not case.is_order_hook else case.other_drafts
    if case.stopping:
        return {}  # clozapine ends with this call
    best: dict[tuple[str, ...], tuple[Medication, list[Match]]] = {}
    # A drug has many records, its history is one; beside which others a product holds it can matter.
    judged: dict[tuple[str, bool, bool, tuple[str, ...], bool], list[Match]] = {}
    for medication in pool:
        if not medication.systemic:
            continue
        found: list[Match] = []
        for drug_id in medication.drugs:
            groups = alerting_classes_of(drug_id)
            if not groups:
                continue
            kept = any(g.kept_for_emergency and is_kept_for_emergency(g, medication) for g in groups)
            key = (drug_id, medication.parenteral, medication.long_acting, medication.drugs, kept)
            if key not in judged:
                judged[key] = matches(case, drug_id, medication)
            found += judged[key]
        if not found:
            continue
        # A combination product is one order and gets one card, named after its interacting ingredients, however they are listed.
        drug_ids = tuple(sorted({m.drug_id for m in found}))
        found.sort(key=rank)
        known = best.get(drug_ids)
        if known is None or SEVERITY_RANK[found[0].severity] > SEVERITY_RANK[known[1][0].severity]:
            best[drug_ids] = (medication, found)
    return {
        drug_ids: (medication, found)
        for drug_ids, (medication, found) in best.items()
        # An old, quiet combination is for the visit, not for the order.
        if not (
            case.is_order_hook and found[0].severity == "info" and not bears_on_order(case, medication, found)
        )
        and not (len(best) > 1 and _is_named_already(drug_ids, found, best))
    }


def bears_on_order(case: Case, medication: Medication, found: list[Match]) -> bool:
    """The combination is made by an order of this call, and is worth a word there."""
    if not (medication.role == "draft" or case.starting):
        return False
    return case.starting or any(m.severity != "info" or not _for_visits(m) for m in found)


def _for_visits(match: Match) -> bool:
    own = drugs()[match.drug_id]
    if match.group.id in own.visits_only:
        return True
    return match.group.visits_only and match.group.id not in own.speaks_at_orders


def _is_named_already(
    drug_ids: tuple[str, ...],
    found: list[Match],
    best: dict[tuple[str, ...], tuple[Medication, list[Match]]],
) -> bool:
    """The card of a combination product names these drugs, too, and is as severe."""
    severity = SEVERITY_RANK[found[0].severity]
    return any(
        set(drug_ids) < set(others) and SEVERITY_RANK[of_others[0].severity] >= severity
        for others, (_, of_others) in best.items()
    )
