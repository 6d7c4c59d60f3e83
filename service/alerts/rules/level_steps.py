"""When to measure the clozapine level beside a drug that moves it, and what to do by it."""

from __future__ import annotations

from service.alerts.case.case import Case
from service.alerts.case.together import taken_since
from service.alerts.knowledge.classes import offset_days, onset_days
from service.alerts.rules.interaction_matches import Match, both_since
from service.alerts.rules.interaction_words import level_after, level_high, level_low
from service.alerts.say.sentence import Counted, Sentence, sentence


def level_steps(case: Case, match: Match) -> list[Sentence]:
    """When to measure, what to do with the dose by the level, and what happens when the drug stops."""
    group, drug_id = match.group, match.drug_id
    falls = group.effect == "raises"
    return [
        *_when_to_measure(case, match),
        sentence("interaction.by-level", high=level_high(case))
        if falls
        else sentence("interaction.by-level-low", low=level_low(case)),
        sentence(
            "interaction.when-it-stops-falls" if falls else "interaction.when-it-stops-rises",
            days=Counted(offset_days(drug_id, group.id)),
        ),
    ]


def _when_to_measure(case: Case, match: Match) -> list[Sentence]:
    """A level when the effect is full; where it is so already, none by the day."""
    group, drug_id = match.group, match.drug_id
    onset = onset_days(drug_id, group.id)
    if case.starting and taken_since(case, drug_id) is not None:
        return [
            sentence("interaction.titrate-by-level-raises")
            if group.effect == "raises"
            else sentence("interaction.titrate-by-level-lowers")
        ]
    since = both_since(case, drug_id)
    if since is None or case.days_since(since) <= onset:
        return level_after(case, onset)
    level = case.newest("clozapine-level")
    if level is not None and level.at is not None and (level.at - since).days >= onset:
        return [sentence("interaction.level-each-change")]
    return [sentence("interaction.level-now")]
