"""The stop of an inhibitor or inducer (clinical.md 2.4): the clozapine level falls or rises, for as long as the drug's effect goes on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from service.alerts.case.case import Case
from service.alerts.case.other_drugs import ON_HOLD
from service.alerts.case.smoking import SmokingChange
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
    says_of_stop,
    time_line_of,
)
from service.alerts.rules.interactions import left_told_together, told_with_smoking
from service.alerts.rules.joint_interactions import (
    is_lowered_for_smoking,
    share_of_dose,
    smoking_code,
    smoking_here,
    smoking_line,
    smoking_severity,
)
from service.alerts.rules.left_drugs import Left, left_drugs, severity_of_stop, still_moves
from service.alerts.say.finding import worst
from service.alerts.say.found import Fact, Found
from service.alerts.say.sentence import Counted, Day, Dose, Param, Record, Sentence, sentence


def stopped_inhibitor_or_inducer(case: Case) -> Iterator[Found]:
    """An inhibitor or inducer ended lately, or its stop is drafted: the clozapine level will fall or rise. One finding for a product.

    Where another drug moves the level at the same time its card tells of the stop, too; several stops, and a change of smoking, share one.
    """
    told = _told(case)
    moving = _moving_together(case, told)
    if moving is not None:
        yield _together_finding(case, *moving)
        told = [one for one in told if one not in moving[0]]
    for left in told:
        yield _stopped_finding(case, left)


def smoking_told_with_stop(case: Case) -> bool:
    """The change of smoking is told on the card of a drug that has stopped."""
    moving = _moving_together(case, _told(case))
    return moving is not None and moving[1] is not None


def _told(case: Case) -> list[Left]:
    """What is told of here."""
    if not case.clozapine_drafts and not case.on_clozapine:
        return []
    found = []
    told_there: frozenset[str] | None = None
    for left in left_drugs(case):
        # An ended record is for a visit, or for an order of clozapine; of what is information, for a visit.
        quiet = not case.clozapine_drafts or severity_of_stop(case, left) == "info"
        if left.medication.role != "draft" and case.is_order_hook and quiet:
            continue
        if told_there is None:
            told_there = left_told_together(case)
        if told_there.isdisjoint(left.groups):
            found.append(left)
    return found


def _moving_together(case: Case, told: list[Left]) -> tuple[list[Left], SmokingChange | None] | None:
    """Drugs that have left, and a change of smoking, that move the level at the same time; None where only one thing does."""
    left = [one for one in told if still_moves(case, one)]
    if not left:
        return None
    change = None if told_with_smoking(case) else smoking_here(case)
    return (left, change) if len(left) > 1 or change is not None else None


def _together_finding(case: Case, lefts: list[Left], change: SmokingChange | None) -> Found:
    """One card, one suggestion for the dose, for all that has stopped."""
    drug_ids = tuple(dict.fromkeys(d for one in lefts for d in one.drug_ids))
    effects = {one.effect for one in lefts}
    if change is not None:
        effects.add("raises" if change.stopped else "lowers")
    way = "both" if len(effects) > 1 else next(iter(effects))
    days = sorted({one.offset_days for one in lefts})
    named = drugs_first(drug_ids)
    by: dict[str, Param] = {} if way == "both" else {"days": Counted(days[-1])}
    if change is None:
        summary = sentence(f"interaction-stopped.together-{way}", drugs=named, **by)
    else:
        by["day"] = Day(change.day)
        summary = sentence(f"interaction-stopped.together-{way}-{smoking_code(change)}", drugs=named, **by)
    lead = max(lefts, key=lambda one: (one.effect == "raises", one.offset_days))
    movers = [Match(one.groups[one.longest], one.longest, "warning") for one in lefts]
    why: list[Sentence] = []
    for one in lefts:
        why += [*ended(case, one), *doses_beside(case, one)]
    if change is not None:
        why.append(smoking_line(change))
    why += [time_line_of(one.longest, one.groups[one.longest]) for one in lefts]
    why += _each_once(line for m in movers for line in doubts(case, m))
    codes = [one.groups[one.longest].stopped for one in lefts]
    code = lead.groups[lead.longest].stopped
    return Found(
        code=code,
        severity="warning" if change is None else worst("warning", smoking_severity(case, change)),
        subject=f"drug:{'+'.join(sorted(drug_ids))}",
        summary=summary,
        why=tuple(why),
        policy_says=(
            *(says_of_stop(group) for group in {m.group.id: m.group for m in movers}.values()),
            *((sentence("smoking.policy"),) if change is not None else ()),
        ),
        suggested=(
            sentence("interaction-stopped.watch-rises")
            if "raises" in effects
            else sentence("interaction-stopped.watch-falls"),
            *_levels_together(days[-1], change),
            *_dose_together(case, lefts, change, way),
        ),
        evidence=tuple(_ended_fact(one.medication) for one in lefts),
        citation=cite(case, Match(lead.groups[lead.longest], lead.longest, "warning")),
        offers=offer_test(
            case,
            "clozapine-level",
            "routine" if change is None else "urgent",
            sentence("interaction-stopped.reason", drug=named),
        ),
        also=tuple(
            dict.fromkeys(
                c for c in (*codes, *((smoking_code(change),) if change is not None else ())) if c != code
            )
        ),
    )


def _each_once(lines: Iterable[Sentence]) -> list[Sentence]:
    """Sentences hold data and have no hash: each once, in their order."""
    kept: list[Sentence] = []
    for line in lines:
        if line not in kept:
            kept.append(line)
    return kept


def _levels_together(offset: int, change: SmokingChange | None) -> tuple[Sentence, ...]:
    days = Counted(offset)
    if change is None:
        return (sentence("interaction-stopped.level", days=days),)
    return sentence("smoking.level-after-a-week"), sentence("interaction.level-again", days=days)


def _dose_together(
    case: Case, lefts: list[Left], change: SmokingChange | None, way: str
) -> tuple[Sentence, ...]:
    if way == "both":
        return (
            sentence("interaction.no-change-blind"),
            sentence("interaction.by-level-both", low=level_low(case), high=level_high(case)),
        )
    now = case.established_mg_per_day
    before = [b for one in lefts if (b := dose_before_stopped(case, one.longest)) is not None]
    back = [b for b in before if now is not None and (b > now if way == "lowers" else b < now)]
    if back:
        return (sentence("interaction-stopped.return-to", dose=Dose(min(back))),)
    if change is not None and change.stopped:
        return (
            sentence("smoking.no-second-cut")
            if is_lowered_for_smoking(case, change)
            else share_of_dose(case),
        )
    limit = level_low(case) if way == "lowers" else level_high(case)
    falls = "falls" if way == "lowers" else "rises"
    if now is not None and len(before) == len(lefts) and set(before) == {now}:
        return (sentence(f"interaction-stopped.keep-{falls}", dose=Dose(now), limit=limit),)
    return (sentence(f"interaction-stopped.dose-{falls}", limit=limit),)


def _ended_fact(medication: Medication) -> Fact:
    return Fact(
        medication.ref,
        sentence("interaction.drug", drug=Record(medication.label)),
        medication.end,
        medication.end_date_only,
    )


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
        severity=severity_of_stop(case, left),
        subject=f"drug:{'+'.join(drug_ids)}",
        summary=summary,
        why=(*ended(case, left), *doses_beside(case, left), *doubts(case, Match(group, drug_id, "warning"))),
        policy_says=(says_of_stop(group),),
        suggested=(
            sentence(f"interaction-stopped.watch-{change}"),
            sentence("interaction-stopped.level", days=offset),
            _dose_step(case, drug_id, medication, change),
        ),
        evidence=(_ended_fact(medication),),
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
