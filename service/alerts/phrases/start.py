"""What a start asks of the blood count, as a policy's words and a step."""

from __future__ import annotations

from service.alerts.case.case import Case
from service.alerts.policy.parts.counts import Analyte
from service.alerts.policy.parts.values import Minimum
from service.alerts.policy.words import policy_says
from service.alerts.say.sentence import Count, Sentence, sentence


def start_only(kind: Analyte, minimum: Minimum) -> Sentence:
    """What a count must reach before the first dose, as a step."""
    side = "at-least" if minimum.comparator == ">=" else "more-than"
    return sentence(f"anc-missing.start-only-{kind}-{side}", count=Count(minimum.value))


def start_says(case: Case) -> Sentence:
    """What the policy says of the counts before the first dose."""
    return policy_says(case.policy, "start.says", case.policy.start.says)
