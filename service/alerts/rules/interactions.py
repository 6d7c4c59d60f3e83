"""Interactions with clozapine (clinical.md 2.4), in both directions, and the stop of an inhibitor or inducer."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from service.alerts.case.beside import applies, base_severity
from service.alerts.case.case import Case
from service.alerts.case.together import clozapine_dose_before, taken_since
from service.alerts.facts.patient import Medication, Problem
from service.alerts.knowledge.drugs import InteractionClass, alerting_classes_of, classes_of, has_class
from service.alerts.rules.bowel import SLOW_BOWEL
from service.alerts.rules.count_lines import ending_line
from service.alerts.rules.readings import reaches
from service.alerts.say import wording as w
from service.alerts.say.finding import (
    SEVERITY_RANK,
    ChangeDose,
    Citation,
    Evidence,
    Finding,
    Offer,
    OrderTest,
    RemoveDraft,
    Severity,
)

#: A third is written with few digits (0.3333): a dose that is one third but for that is reduced, and is not rounded to the step below.
_ROUNDED = 1.001
#: The same for the dose itself, mg.
_ROUNDED_MG = 0.5


class _Match(Struct, frozen=True):
    """One class that applies to one drug of the patient, with the severity it has here."""

    group: InteractionClass
    severity: Severity


def _most_severe_first(match: _Match) -> int:
    return -SEVERITY_RANK[match.severity]


def _new_together(case: Case, drug_id: str) -> bool:
    """True unless both drugs have been taken together for longer than the policy calls long-standing; a renewal is nothing new."""
    if case.starting:
        return True
    since = taken_since(case, drug_id)
    if since is None:
        return True
    start = case.course.start
    both_since = since if start is None or start < since else start
    return case.days_since(both_since) <= case.policy.interactions.long_standing_days.value


def _qt_is_critical(case: Case) -> bool:
    qtc = case.newest("qtc")
    if qtc is not None and reaches(qtc, case.policy.results.qtc_critical.value):
        return True
    others = {d for m in case.taken_now("qt") for d in m.drugs if has_class(d, "qt")}
    return len(others - {"clozapine"}) >= case.policy.interactions.qt_drugs_critical.value


def _severity(case: Case, group: InteractionClass, drug_id: str, medication: Medication) -> Severity:
    """Severity of a class for one drug here: the worst of what applies; long-standing quietens only what nothing raised."""
    table = group.severity
    base = base_severity(group, drug_id)
    raised: list[Severity] = []
    if case.policy.interactions.severity_region == "eu" and "eu" in table:
        raised.append(table["eu"])
    if "titration" in table and case.in_titration:
        raised.append(table["titration"])
    if "qt_critical" in table and _qt_is_critical(case):
        raised.append(table["qt_critical"])
    if drug_id in group.parenteral_critical and medication.parenteral:
        raised.append("critical")
    if raised:
        return max([base, *raised], key=SEVERITY_RANK.__getitem__)
    if "long_standing" in table and drug_id not in group.severity_of and not _new_together(case, drug_id):
        return table["long_standing"]
    return base


def _dose_already_reduced(case: Case, drug_id: str) -> bool:
    """The clozapine dose is at most a third of the dose before the inhibitor (clinical.md 2.4)."""
    now, before = case.current_mg_per_day, clozapine_dose_before(case, drug_id)
    if now is None or not before:
        return False
    return now <= before * case.policy.dosing.strong_inhibitor_factor.value * _ROUNDED


def _matches(case: Case, drug_id: str, medication: Medication) -> list[_Match]:
    found: list[_Match] = []
    for group in alerting_classes_of(drug_id):
        if not applies(group, medication):
            continue
        # A laxative quietens it in a healthy bowel; where one is slow already the bowel is named whatever is taken for it.
        if group.unless_taking and case.taken_now(group.unless_taking) and not _bowel(case, group):
            continue
        severity = _severity(case, group, drug_id, medication)
        if group.reduce_to_one_third and _dose_already_reduced(case, drug_id):
            severity = "info"
        found.append(_Match(group, severity))
    if len(found) > 1:
        found.sort(key=_most_severe_first)
    return found


def _bowel(case: Case, group: InteractionClass) -> tuple[Problem, ...]:
    """Problems of the bowel on the list, for a class that slows it."""
    return case.problems_of("gi-obstruction", *SLOW_BOWEL) if group.effect == "bowel" else ()


def _cite(case: Case, group: InteractionClass, drug_id: str) -> Citation:
    cited = case.policy.cite(group)
    if drug_id in group.unconfirmed:
        return Citation(cited.label, cited.section, cited.url, confirmed=False)
    return cited


def _reduced_dose(case: Case, drug_id: str) -> tuple[float, float] | None:
    """(dose before the inhibitor, one third of it rounded down to a dose step), mg per day; None when that is no lower dose than today's."""
    base = clozapine_dose_before(case, drug_id) or case.established_mg_per_day or case.drafted_mg_per_day
    now = case.current_mg_per_day or base
    if base is None or now is None:
        return None
    third = base * case.policy.dosing.strong_inhibitor_factor.value
    step = case.policy.dosing.dose_step.value
    target = max(step, (third + _ROUNDED_MG) // step * step)
    return (base, target) if target < now else None


def _name(drug_id: str) -> str:
    return drug_id.replace("-", " ").capitalize() if drug_id != "st-johns-wort" else "St John's wort"


def _finding(case: Case, drug_ids: tuple[str, ...], medication: Medication, matches: list[_Match]) -> Finding:
    lead = matches[0].group
    severity = matches[0].severity
    others = list({m.group.id: m for m in matches[1:] if m.group.finding != lead.finding}.values())
    drug = w.listed([_name(drug_ids[0]), *(d.replace("-", " ") for d in drug_ids[1:])])
    state = "is being ordered" if medication.role == "draft" else "is on the medication list"
    since = (
        f" since {w.day(case.snapshot, medication.start)}"
        if medication.start and medication.role != "draft"
        else ""
    )
    ordered = case.clozapine_drafts or (() if case.on_clozapine else case.clozapine_in_session)
    perhaps = case.perhaps_taken and not ordered
    clozapine = "is being ordered" if ordered else "may still be taken" if perhaps else "is taken"
    dose = case.current_mg_per_day
    why = [
        f"{w.safe(medication.label)} {state}{since}; clozapine {clozapine}{f' ({w.mg(dose)}/day)' if dose else ''}.",
        lead.mechanism,
        *(f"Also: {m.group.title} – {m.group.headline} ({m.severity})." for m in others),
    ]
    if perhaps:
        # Whether it is taken at all is an estimate: worth a look, no alarm.
        severity = "info" if severity == "info" else "warning"
        why.append(ending_line(case))
    bowel = next((found for m in matches if (found := _bowel(case, m.group))), ())
    if bowel:
        laxatives = case.taken_now("laxative")
        taken = f"; laxative: {w.safe(laxatives[0].label)}" if laxatives else ""
        why.append(f"The bowel is slow already: {w.safe(bowel[0].label)} on the problem list{taken}.")
    if medication.matched_by == "name":
        why.append(f"{drug} was recognised by name, not by code.")
    offers: list[Offer] = []
    summary = f"{drug} with clozapine: {lead.headline}."
    if bowel:
        risk = "" if lead.effect == "bowel" else f"{lead.headline}; "
        summary = f"{drug} with clozapine, {w.plain(bowel[0].label, 40)} on the list: {risk}risk of ileus, examine the bowel."
    steps = list(lead.steps)
    if lead.reduce_to_one_third:
        reduced = _reduced_dose(case, next(d for d in drug_ids if d in lead.drugs))
        if severity == "info":
            summary = f"{drug} with clozapine: dose is already one third or less; check the level, raise again when it stops."
            steps = ["Check the clozapine level.", "Return to the original dose when the inhibitor stops."]
        elif reduced is not None:
            base, target = reduced
            summary = f"{drug} with clozapine: level can rise several-fold; give one third of the dose ({w.mg(base)} → {w.mg(target)}/day)."
            steps.insert(
                2,
                f"One third of {w.mg(base)}/day, rounded down to a dose that tablets can make: {w.mg(target)}/day.",
            )
            drafts = case.clozapine_drafts
            if len(drafts) == 1 and drafts[0].ref:
                offers.append(ChangeDose(drafts[0].ref, w.plain(drafts[0].label), target))
        else:
            summary = (
                f"{drug} with clozapine: {lead.headline}; aim at one third of the dose it would be without."
            )
    if (
        medication.role == "draft"
        and medication.ref
        and severity != "info"
        and case.hook in ("order-select", "order-sign")
    ):
        offers.append(RemoveDraft(medication.ref, w.plain(medication.label)))
    for test_id in dict.fromkeys(t for m in matches for t in m.group.orders):
        if case.test_ordered(test_id) is None:
            offers.append(OrderTest(test_id, "routine", f"{drug} with clozapine"))
    steps += [s for m in others for s in m.group.steps[:1] if s not in steps]
    says = [lead.says]
    valproate = case.policy.interactions.valproate
    if valproate is not None and "valproate" in drug_ids:
        says.append(f"{valproate.value} Source: {case.policy.cite(valproate)}.")
    return Finding(
        code=lead.finding,
        severity=severity,
        subject=f"drug:{'+'.join(drug_ids)}",
        summary=w.summary(summary),
        why=tuple(why),
        policy_says=tuple(says),
        suggested=tuple(steps),
        evidence=(
            Evidence(medication.ref, w.safe(medication.label), medication.start, medication.start_date_only),
            *(
                Evidence(m.ref, w.safe(m.label), m.start, m.start_date_only)
                for m in (ordered or case.current_clozapine or (case.clozapine_records if perhaps else ()))[
                    :2
                ]
            ),
        ),
        citation=_cite(case, lead, next((d for d in drug_ids if d in lead.drugs), drug_ids[0])),
        offers=tuple(offers),
        changes_order=_bears_on_order(case, medication),
        also=tuple(dict.fromkeys(m.group.finding for m in others)),
    )


def _bears_on_order(case: Case, medication: Medication) -> bool:
    """The combination is made by an order of this call."""
    return medication.role == "draft" or case.starting


def _is_named_already(
    drug_ids: tuple[str, ...],
    matches: list[_Match],
    best: dict[tuple[str, ...], tuple[Medication, list[_Match]]],
) -> bool:
    """The card of a combination product names these drugs, too, and is as severe."""
    rank = SEVERITY_RANK[matches[0].severity]
    return any(
        set(drug_ids) < set(others) and SEVERITY_RANK[found[0].severity] >= rank
        for others, (_, found) in best.items()
    )


def interacting_drugs(case: Case) -> Iterator[Finding]:
    """One finding per interacting drug; its most severe class leads."""
    perhaps = case.is_order_hook and case.perhaps_taken
    if not (case.clozapine_drafts or case.on_clozapine or case.clozapine_in_session or perhaps):
        return
    # An order of another drug raises only its own interactions: old combinations are for the visit, not for every order.
    pool = case.other_medications if case.clozapine_drafts or not case.is_order_hook else case.other_drafts
    best: dict[tuple[str, ...], tuple[Medication, list[_Match]]] = {}
    # A drug has many records, its history is one; beside which others a product holds it can matter.
    judged: dict[tuple[str, bool, bool, tuple[str, ...]], list[_Match]] = {}
    for medication in pool:
        if not medication.systemic:
            continue
        found = []
        for drug_id in medication.drugs:
            if not alerting_classes_of(drug_id):
                continue
            key = (drug_id, medication.parenteral, medication.long_acting, medication.drugs)
            if key not in judged:
                judged[key] = _matches(case, drug_id, medication)
            found += [(drug_id, m) for m in judged[key]]
        if not found:
            continue
        # A combination product is one order and gets one card, named after its interacting ingredients, however they are listed.
        drug_ids = tuple(sorted({drug_id for drug_id, _ in found}))
        matches = sorted([m for _, m in found], key=_most_severe_first)
        known = best.get(drug_ids)
        if known is None or SEVERITY_RANK[matches[0].severity] > SEVERITY_RANK[known[1][0].severity]:
            best[drug_ids] = (medication, matches)
    for drug_ids, (medication, matches) in best.items():
        if case.is_order_hook and matches[0].severity == "info" and not _bears_on_order(case, medication):
            continue  # an old, quiet combination is for the visit, not for the order
        if len(best) > 1 and _is_named_already(drug_ids, matches, best):
            continue
        yield _finding(case, drug_ids, medication, matches)


def stopped_inhibitor_or_inducer(case: Case) -> Iterator[Finding]:
    """An inhibitor or inducer ended lately, or its stop is drafted: the clozapine level will fall or rise."""
    if not case.clozapine_drafts and not case.on_clozapine:
        return
    days = case.policy.interactions.stopped_within_days
    ended = (
        list(case.stopped_medications(days.value)) if not case.is_order_hook or case.clozapine_drafts else []
    )
    ended += [d for d in case.drafts if d.stops and "clozapine" not in d.drugs and not _withdrawn(case, d)]
    seen: set[str] = set()
    for medication in ended:
        if not medication.systemic:
            continue
        for drug_id in medication.drugs:
            group = next((c for c in classes_of(drug_id) if c.stopped), None)
            if (
                group is None
                or drug_id in seen
                or (medication.role == "draft" and _goes_on(case, medication, drug_id))
            ):
                continue
            seen.add(drug_id)
            yield _stopped_finding(case, drug_id, medication, group)


def _withdrawn(case: Case, draft: Medication) -> bool:
    """A draft taken back before it was signed: cancelled, and the record, where it could be read, knows nothing of the drug."""
    if draft.status != "cancelled" or case.snapshot.state("medications") != "complete":
        return False
    return not any(set(m.drugs) & set(draft.drugs) for m in case.snapshot.medications)


def _goes_on(case: Case, stop: Medication, drug_id: str) -> bool:
    """Another order of this call, or another record beside the one that is stopped, gives the drug on: a change of dose, no stop."""
    if any(drug_id in d.drugs and d.systemic for d in case.other_drafts):
        return True
    # A stop that names no order may mean any of those on record.
    names_one = any(m.ref in (stop.ref, *stop.replaces) for m in case.snapshot.medications)
    # A statement may only mirror the order that is stopped.
    return names_one and any(
        drug_id in m.drugs and m.systemic and m.role != "statement" for m in case.other_current
    )


def _stopped_finding(case: Case, drug_id: str, medication: Medication, group: InteractionClass) -> Finding:
    drug = _name(drug_id)
    falls = group.effect == "raises"
    when = f" on {w.day(case.snapshot, medication.end)}" if medication.end is not None else ""
    if medication.role == "draft":
        when = " with this order"
    began = medication.start or medication.authored
    change = "fall" if falls else "rise"
    watch = "loss of response" if falls else "sedation, hypotension and seizures"
    ordered = case.test_ordered("clozapine-level") is not None
    return Finding(
        code=group.stopped,
        severity="warning",
        subject=f"drug:{drug_id}",
        summary=w.summary(
            f"{drug} stopped{when}: the clozapine level will {change} over the next days to weeks."
        ),
        why=(
            f"{w.safe(medication.label)} ended{when}; it is a {group.title}.",
            *(() if when else (f"No record tells the day; it began {w.day(case.snapshot, began)}.",)),
        ),
        policy_says=(group.says,),
        suggested=(
            f"Watch for {watch}.",
            "Check a clozapine level now and again in one to two weeks.",
            "Return to the dose before the inhibitor." if falls else "Consider a lower clozapine dose.",
        ),
        evidence=(
            Evidence(medication.ref, w.safe(medication.label), medication.end, medication.end_date_only),
        ),
        citation=_cite(case, group, drug_id),
        offers=() if ordered else (OrderTest("clozapine-level", "routine", f"{drug} stopped"),),
    )


RULES = (interacting_drugs, stopped_inhibitor_or_inducer)
