"""The stop of an inhibitor or inducer (clinical.md 2.4): the clozapine level falls or rises, for as long as the drug's effect goes on."""

from __future__ import annotations

from collections.abc import Iterator

from service.alerts.case.case import Case
from service.alerts.case.together import dose_before_stopped, stop_window_days
from service.alerts.facts.patient import Medication
from service.alerts.knowledge.class_effects import InteractionClass
from service.alerts.knowledge.classes import classes_of, longest_offset_days, offset_days
from service.alerts.phrases.result import offer_test
from service.alerts.rules.interaction_matches import Match
from service.alerts.rules.interaction_words import cite, doubts, drugs_first, says_of, title
from service.alerts.say.found import Fact, Found
from service.alerts.say.sentence import Counted, Day, Dose, Record, Sentence, sentence


def stopped_inhibitor_or_inducer(case: Case) -> Iterator[Found]:
    """An inhibitor or inducer ended lately, or its stop is drafted: the clozapine level will fall or rise. One finding for a product."""
    if not case.clozapine_drafts and not case.on_clozapine:
        return
    ended = (
        list(case.stopped_medications(longest_offset_days()))
        if not case.is_order_hook or case.clozapine_drafts
        else []
    )
    ended += [d for d in case.drafts if d.stops and "clozapine" not in d.drugs and not _withdrawn(case, d)]
    seen: set[str] = set()
    for medication in ended:
        if not medication.systemic:
            continue
        found: dict[str, InteractionClass] = {}
        for drug_id in medication.drugs:
            group = next((c for c in classes_of(drug_id) if c.stopped), None)
            if (
                group is None
                or drug_id in seen
                or (medication.role == "draft" and _goes_on(case, medication, drug_id))
                or (medication.role != "draft" and _is_over(case, medication, drug_id, group))
            ):
                continue
            seen.add(drug_id)
            found[drug_id] = group
        if found:
            yield _stopped_finding(case, found, medication)


def _is_over(case: Case, medication: Medication, drug_id: str, group: InteractionClass) -> bool:
    """The effect of the drug was gone before today."""
    over = medication.end or case.over_undated(medication)
    return over is None or case.days_since(over) > stop_window_days(case, drug_id, group.id)


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


def _stopped_finding(case: Case, found: dict[str, InteractionClass], medication: Medication) -> Found:
    drug_ids = tuple(sorted(found))
    drug_id = max(drug_ids, key=lambda d: offset_days(d, found[d].id))
    group = found[drug_id]
    named = drugs_first(drug_ids)
    change = "falls" if group.effect == "raises" else "rises"
    day = Day(case.snapshot.day(medication.end)) if medication.end is not None else None
    record, what = Record(medication.label), title(group)
    offset = Counted(offset_days(drug_id, group.id))
    why: tuple[Sentence, ...]
    if medication.role == "draft":
        summary = sentence(f"interaction-stopped.with-this-order-{change}", drug=named, days=offset)
        why = (sentence("interaction-stopped.ended-with-this-order", drug=record, title=what),)
    elif day is not None:
        summary = sentence(f"interaction-stopped.on-{change}", drug=named, day=day, days=offset)
        why = (sentence("interaction-stopped.ended-on", drug=record, title=what, day=day),)
    else:
        summary = sentence(f"interaction-stopped.day-unknown-{change}", drug=named, days=offset)
        began = medication.start or medication.authored
        why = (
            sentence("interaction-stopped.ended", drug=record, title=what),
            sentence(
                "interaction-stopped.no-day", day=Day(case.snapshot.day(began) if began is not None else None)
            ),
        )
    return Found(
        code=group.stopped,
        severity="warning",
        subject=f"drug:{'+'.join(drug_ids)}",
        summary=summary,
        why=(*why, *_dose_line(case, drug_id, medication), *doubts(case, Match(group, drug_id, "warning"))),
        policy_says=(says_of(case, group),),
        suggested=(
            sentence(f"interaction-stopped.watch-{change}"),
            sentence("interaction-stopped.level", days=offset),
            _dose_step(case, drug_id, medication, change),
        ),
        evidence=(
            Fact(
                medication.ref,
                sentence("interaction.drug", drug=record),
                medication.end,
                medication.end_date_only,
            ),
        ),
        citation=cite(case, Match(group, drug_id, "warning")),
        offers=offer_test(
            case, "clozapine-level", "routine", sentence("interaction-stopped.reason", drug=named)
        ),
    )


def _dose_line(case: Case, drug_id: str, medication: Medication) -> tuple[Sentence, ...]:
    """The dose before the drug, and today's."""
    before, now = dose_before_stopped(case, drug_id, medication), case.established_mg_per_day
    if before is None or now is None:
        return ()
    return (sentence("interaction-stopped.doses", before=Dose(before), now=Dose(now)),)


def _dose_step(case: Case, drug_id: str, medication: Medication, change: str) -> Sentence:
    """What to do with the dose: back to the one on record, where it was changed."""
    before, now = dose_before_stopped(case, drug_id, medication), case.established_mg_per_day
    if before is not None and now is not None and before != now and (before > now) == (change == "falls"):
        return sentence("interaction-stopped.return-to", dose=Dose(before))
    if before is not None and now is not None and before == now:
        return sentence("interaction-stopped.keep", dose=Dose(now))
    return sentence(f"interaction-stopped.dose-{change}")


RULES = (stopped_inhibitor_or_inducer,)
