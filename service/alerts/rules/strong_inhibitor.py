"""What the card of a strong CYP1A2 inhibitor asks of the dose, by how the inhibitor and the dose stand to each other."""

from __future__ import annotations

from service.alerts.case.case import Case
from service.alerts.case.together import clozapine_dose_before
from service.alerts.knowledge.classes import offset_days, onset_days
from service.alerts.rules.interaction_matches import Match
from service.alerts.rules.interaction_words import (
    after_gap,
    change_to,
    headline,
    level_high,
    level_low,
    restarts_small,
    start_small,
    third_of,
)
from service.alerts.say.finding import Offer
from service.alerts.say.sentence import Counted, Dose, Param, Sentence, sentence


def of_strong_inhibitor(
    case: Case, match: Match, named: Param, steps: list[Sentence]
) -> tuple[Sentence, list[Sentence], tuple[Offer, ...]]:
    """Summary, steps and offers by how the inhibitor and the dose stand to each other."""
    onset = Counted(onset_days(match.drug_id, match.group.id))
    level = sentence("interaction.level-after", days=onset)
    stops = _time_of_stop(case, match)
    match match.standing:
        case "smallest":
            return (
                sentence("interaction.summary-smallest", drug=named, dose=_smallest(case)),
                [sentence("interaction.titrate-to-third"), sentence("interaction.level-each-change"), stops],
                (),
            )
        case "reduced":
            return (
                sentence("interaction.summary-reduced", drug=named),
                [sentence("interaction.check-level"), stops],
                (),
            )
        case "first":
            return (
                sentence("interaction.summary-first", drug=named),
                [
                    sentence("interaction.titrate-to-third")
                    if case.in_titration
                    else sentence("interaction.no-cut"),
                    sentence("interaction.level-each-change"),
                    stops,
                ],
                (),
            )
        case "settled":
            return (
                sentence("interaction.summary-settled", drug=named),
                [sentence("interaction.no-cut"), sentence("interaction.level-each-change"), stops],
                (),
            )
        case "changed" | "takes-over":
            return (
                sentence("interaction.summary-changed", drug=named, days=onset)
                if match.standing == "changed"
                else sentence("interaction.summary-takes-over", drug=named, days=onset),
                [
                    sentence("interaction.no-second-third"),
                    level,
                    sentence("interaction.by-level-both", low=level_low(case), high=level_high(case)),
                    stops,
                ],
                (),
            )
        case "level-needed":
            return (
                sentence("interaction.summary-level-needed", drug=named),
                [
                    sentence("interaction.level-now"),
                    sentence("interaction.by-level", high=level_high(case)),
                    stops,
                ],
                (),
            )
    if case.starting:
        asked, change = start_small(case)
        return (
            sentence("interaction.summary-start", drug=named, dose=_smallest(case)),
            [*steps, *asked, stops],
            change,
        )
    watch = sentence("interaction.watch")
    if restarts_small(case):
        return (
            sentence("interaction.summary-after-gap", drug=named),
            [*steps, *after_gap(), watch, stops],
            (),
        )
    third = third_of(case, match.drug_id)
    if third is None:
        return (
            sentence("interaction.summary-aim-at-third", drug=named, headline=headline(match)),
            [*steps, level, watch, stops],
            (),
        )
    base, target = Dose(third.base), Dose(third.target)
    steps = [*steps, sentence("interaction.one-third", base=base, third=target)]
    if not third.tablet_gives and third.tablet_mg is not None:
        steps.append(sentence("interaction.other-tablet", tablet=Dose(third.tablet_mg), third=target))
    steps += [level, watch, sentence("interaction.return-to", dose=base)]
    return (
        sentence("interaction.summary-third", drug=named, base=base, third=target),
        steps,
        change_to(case, third),
    )


def _smallest(case: Case) -> Dose:
    return Dose(case.policy.dosing.restart_single.value)


def _time_of_stop(case: Case, match: Match) -> Sentence:
    """What to do when an inhibitor stops."""
    offset = Counted(offset_days(match.drug_id, match.group.id))
    before = clozapine_dose_before(case, match.drug_id)
    now = case.current_mg_per_day
    if match.standing == "reduced" and before and now and before > now:
        return sentence("interaction.return-to", dose=Dose(before))
    return sentence("interaction.when-it-stops-falls", days=offset)
