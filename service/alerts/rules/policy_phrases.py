"""Texts of the policy, as cards quote them."""

from __future__ import annotations

from service.alerts.case.case import Case
from service.alerts.say.sentence import Sentence, Term, quoted


def policy_says(case: Case, path: str, text: str) -> Sentence:
    """A text of the policy that is a sentence by itself; ``path``: where it stands in the policy."""
    return quoted("policy", f"{case.policy.id}/{path}", text)


def policy_steps(case: Case, path: str, steps: tuple[str, ...]) -> tuple[Sentence, ...]:
    """Steps that the policy names, in their order."""
    return tuple([policy_says(case, f"{path}.{n}", step) for n, step in enumerate(steps)])


def policy_word(case: Case, path: str, word: str, *, first: bool = False) -> Term:
    """A word of the policy – the title of a test – for a sentence; ``first``: at its beginning."""
    return Term("policy", f"{case.policy.id}/{path}", word, first)
