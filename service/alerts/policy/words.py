"""The texts of a policy as sentences: what it says of a band, how often it asks for a count.

The id of a text is the policy's and its path there; a band is found by its population, count and name.
"""

from __future__ import annotations

from service.alerts.policy.parts.counts import Band
from service.alerts.policy.parts.schedule import SchedulePhase
from service.alerts.policy.policy import Policy
from service.alerts.say.sentence import Sentence, Term, quoted

_TABLE = "policy"


def policy_says(policy: Policy, path: str, text: str) -> Sentence:
    """A text of the policy that is a sentence by itself, by its path: ``start.says``."""
    return quoted(_TABLE, f"{policy.id}/{path}", text)


def policy_steps(policy: Policy, path: str, steps: tuple[str, ...]) -> tuple[Sentence, ...]:
    """Steps that the policy names, in their order: ``myocarditis.watch_steps``."""
    return tuple([policy_says(policy, f"{path}.{n}", step) for n, step in enumerate(steps)])


def policy_word(policy: Policy, path: str, text: str, *, first: bool = False) -> Term:
    """A text of the policy within a sentence, by its path: ``falling.every_label``; ``first``: at its beginning."""
    return Term(_TABLE, f"{policy.id}/{path}", text, first)


def band_title(policy: Policy, band: Band) -> Term:
    """What a band is called, within a sentence."""
    return policy_word(policy, f"{_path(band)}.title", band.title)


def band_says(policy: Policy, band: Band) -> Sentence:
    """What the protocol says of a band."""
    return policy_says(policy, f"{_path(band)}.says", band.says)


def band_steps(policy: Policy, band: Band) -> tuple[Sentence, ...]:
    """What the protocol asks for in a band, in its order."""
    return policy_steps(policy, f"{_path(band)}.steps", band.steps)


def band_every(policy: Policy, band: Band) -> Term:
    """How often counts are due in a band, within a sentence; nothing where it does not say."""
    return policy_word(policy, f"{_path(band)}.every_label", band.every_label)


def band_every_confirmed(policy: Policy, band: Band) -> Term:
    """The same once a second count has confirmed the band."""
    return policy_word(policy, f"{_path(band)}.confirmed_every_label", band.confirmed_every_label)


def phase_every(policy: Policy, phase: SchedulePhase) -> Term:
    """How often counts are due in a phase of the schedule, within a sentence."""
    return policy_word(policy, f"schedule.{phase.label}.label", phase.label)


def falling_every(policy: Policy) -> Term:
    """How often counts are due while they fall, within a sentence; nothing where it does not say."""
    return policy_word(policy, "falling.every_label", policy.falling.every_label)


def _path(band: Band) -> str:
    return f"bands.{band.population}.{band.analyte}.{band.name}"
