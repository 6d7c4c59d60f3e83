"""What a joint card asks of the dose and the level, where several things move the clozapine level: one suggestion."""

from __future__ import annotations

from service.alerts.case.case import Case
from service.alerts.case.together import dose_before_stopped, taken_since
from service.alerts.knowledge.classes import offset_days, onset_days
from service.alerts.rules.interaction_matches import Match
from service.alerts.rules.interaction_words import (
    after_gap,
    change_to,
    drugs_within,
    first_level_days,
    level_high,
    level_low,
    restarts_small,
    start_small,
    third_of,
)
from service.alerts.rules.left_drugs import Left
from service.alerts.rules.level_movers import Joint
from service.alerts.rules.smoking_change import is_lowered_for_smoking, share_of_dose, smoking_code
from service.alerts.say.finding import Offer
from service.alerts.say.sentence import Counted, Day, Dose, Param, Sentence, sentence


def dose_of_joint(
    case: Case, named: Param, movers: list[Match], shared: Joint
) -> tuple[Sentence, list[Sentence], tuple[Offer, ...]]:
    """What to do with the dose: summary, steps, and the one offer."""
    change, left = shared.smoking, shared.left
    effects = {m.group.effect for m in movers} | {one.effect for one in left}
    if change is not None:
        effects.add("raises" if change.stopped else "lowers")
    strong = [m for m in movers if m.group.reduce_to_one_third]
    now = case.current_mg_per_day
    days = _days(case, movers, shared)
    levels = [sentence("interaction.level-after", days=days[0])]
    if len(days) > 1:
        levels.append(sentence("interaction.level-again", days=days[-1]))
    watch, choose = sentence("interaction.watch"), sentence("interaction.choose-another")
    by_level = sentence("interaction.by-level-both", low=level_low(case), high=level_high(case))
    gone = drugs_within([d for one in left for d in one.drug_ids]) if left else None
    new = [m for m in strong if m.standing == "new"]
    takes_over = [m for m in strong if m.standing == "takes-over"]
    if strong and case.starting:
        asked, changes = start_small(case)
        summary = sentence(
            "interaction.joint-start", drugs=named, dose=Dose(case.policy.dosing.restart_single.value)
        )
        return summary, [choose, *asked, watch, sentence("interaction.level-when-one-stops")], changes
    if new and restarts_small(case):
        summary = sentence("interaction.joint-after-gap", drugs=named)
        return summary, [choose, *after_gap(), watch, sentence("interaction.level-when-one-stops")], ()
    lowers_only_by_leaving = not any(m.group.effect == "lowers" for m in movers)
    if strong and lowers_only_by_leaving and len(new) == len(strong):
        first = min(strong, key=lambda m: taken_since(case, m.drug_id) or case.as_of)
        third = third_of(case, first.drug_id, _before_left(case, left))
        if third is not None:
            base, target = Dose(third.base), Dose(third.target)
            steps = [choose, sentence("interaction.one-third", base=base, third=target)]
            if not third.tablet_gives and third.tablet_mg is not None:
                steps.append(sentence("interaction.other-tablet", tablet=Dose(third.tablet_mg), third=target))
            if change is not None:
                summary = sentence(
                    "interaction.joint-third-smoking",
                    drugs=named,
                    day=Day(change.day, change.until),
                    base=base,
                    third=target,
                )
            elif gone is not None:
                summary = sentence(
                    "interaction.joint-third-left", drugs=named, left=gone, base=base, third=target
                )
            else:
                summary = sentence("interaction.joint-third", drugs=named, base=base, third=target)
            back = (
                # The dose before stood beside an inducer that is gone by then.
                sentence("interaction.not-back-inducer-gone", dose=base)
                if any(one.effect == "raises" for one in left)
                else sentence("interaction.not-back-smoking", dose=base)
                if change is not None
                else sentence("interaction.return-when-all-stop", dose=base)
            )
            return summary, [*steps, *levels, watch, back], change_to(case, third)
    one_stops = sentence("interaction.level-when-one-stops")
    if takes_over and gone is not None and len(effects) > 1:
        summary = (
            sentence("interaction.joint-takes-over", drugs=named, left=gone, dose=Dose(now), days=days[0])
            if now
            else sentence("interaction.joint-both-ways-no-dose", drugs=named, days=days[0])
        )
        before, successor = _before_left(case, left), takes_over[0]
        back = (
            sentence("interaction.return-to", dose=Dose(before))
            if before is not None
            else sentence(
                "interaction.when-it-stops-falls",
                days=Counted(offset_days(successor.drug_id, successor.group.id)),
            )
        )
        return (
            summary,
            [choose, sentence("interaction.no-second-third"), *levels, by_level, watch, back],
            (),
        )
    if len(effects) > 1:
        # A level before the inhibitor tells how much room there is.
        base_line = [sentence("interaction.level-now")] if new else []
        rises = [watch] if "raises" in effects else []
        steps = [choose, sentence("interaction.no-change-blind"), *base_line, *levels, by_level, *rises]
        before = _before_left(case, left)
        if before is not None and now is not None and before > now:
            steps.append(sentence("interaction.towards", dose=Dose(before)))
        steps.append(one_stops)
        if not now:
            return sentence("interaction.joint-both-ways-no-dose", drugs=named, days=days[0]), steps, ()
        summary = (
            sentence(
                f"interaction.joint-opposed-{smoking_code(change)}",
                drugs=named,
                day=Day(change.day, change.until),
                dose=Dose(now),
                days=days[0],
            )
            if gone is None and change is not None
            else sentence("interaction.joint-both-ways", drugs=named, dose=Dose(now), days=days[0])
            if gone is None
            else sentence(
                "interaction.joint-both-ways-left", drugs=named, left=gone, dose=Dose(now), days=days[0]
            )
        )
        return summary, steps, ()
    if effects == {"lowers"}:
        summary = (
            sentence(
                "interaction.joint-lower-smoking-started",
                drugs=named,
                day=Day(change.day, change.until),
                days=days[0],
            )
            if change is not None
            else sentence("interaction.joint-lower", drugs=named, days=days[0])
            if gone is None
            else sentence("interaction.joint-lower-left", drugs=named, left=gone, days=days[0])
        )
        return summary, [choose, *levels, by_level, one_stops], ()
    steps = [choose]
    if strong and len(new) < len(strong):
        steps.append(sentence("interaction.no-second-third"))
    elif change is not None:
        steps.append(
            sentence("smoking.no-second-cut") if is_lowered_for_smoking(case, change) else share_of_dose(case)
        )
    steps += [*levels, by_level, watch, one_stops]
    if change is not None:
        return (
            sentence(
                "interaction.joint-smoking", drugs=named, day=Day(change.day, change.until), days=days[0]
            ),
            steps,
            (),
        )
    if gone is not None:
        return sentence("interaction.joint-raise-left", drugs=named, left=gone, days=days[0]), steps, ()
    summary = (
        sentence("interaction.joint-raise", drugs=named, dose=Dose(now), days=days[0])
        if now
        else sentence("interaction.joint-raise-no-dose", drugs=named, days=days[0])
    )
    return summary, steps, ()


def _days(case: Case, movers: list[Match], shared: Joint) -> list[Counted]:
    """When to take a level: when the first of them has its full effect, and when the last one has."""
    days = {onset_days(m.drug_id, m.group.id) for m in movers} | {one.offset_days for one in shared.left}
    days.add(first_level_days(case, min(days)))
    if shared.left or shared.smoking is not None:
        days.add(min(*days, int(case.policy.interactions.level_after_days.value)))
    return [Counted(d) for d in sorted({min(days), max(days)})]


def _before_left(case: Case, left: tuple[Left, ...]) -> float | None:
    """The dose before a strong inhibitor that leaves: of it, not of a dose that was lowered for it, is a third meant."""
    doses = [
        before
        for one in left
        for drug_id, group in one.groups.items()
        if group.reduce_to_one_third and (before := dose_before_stopped(case, drug_id)) is not None
    ]
    return max(doses, default=None)
