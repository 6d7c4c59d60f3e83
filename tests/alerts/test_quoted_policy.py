"""Texts of the policy on cards of results and organ tests: the id beside each leads to that text, under every policy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from service.alerts.case.case import Case
from service.alerts.policy.policy import policy_by_id, policy_ids
from service.alerts.rules import eosinophils, infection, levels, metabolic, monitoring, myocarditis
from service.alerts.say.found import Fact, Found, Wish
from service.alerts.say.sentence import Listed, Sentence, Term
from tests.alerts.vignette import patients
from tests.data import NOW

_RULES = (
    *eosinophils.RULES, *infection.RULES, *levels.RULES, *metabolic.RULES, *monitoring.RULES, *myocarditis.RULES,
)  # fmt: skip
_FILES = ("blood-signs", "results", "monitoring", "level-suggested", "toxic-level", "eosinophils")


def _terms(said: object) -> Iterator[Term]:
    match said:
        case Term():
            yield said
        case Sentence():
            for param in said.params.values():
                yield from _terms(param)
        case Listed() | tuple():
            for item in said.items if isinstance(said, Listed) else said:
                yield from _terms(item)
        case Fact():
            yield from _terms(said.text)
        case Wish():
            yield from _terms(said.reason)
        case Found():
            for name in (
                "summary",
                "why",
                "policy_says",
                "suggested",
                "unchecked",
                "missing",
                "evidence",
                "offers",
            ):
                yield from _terms(getattr(said, name))


def _at(node: Any, path: str) -> Any:
    """What stands at a path: names of fields, ids of tests, places in a list."""
    for step in path.split("."):
        if isinstance(node, tuple):
            node = node[int(step)] if step.isdigit() else next(item for item in node if item.id == step)
        else:
            node = getattr(node, step)
    return node


@pytest.mark.parametrize("policy_id", policy_ids())
def test_the_id_beside_a_text_of_the_policy_leads_to_it(policy_id: str) -> None:
    policy = policy_by_id(policy_id)
    said: dict[str, str] = {}
    for name, _, facts in patients():
        if name.startswith(_FILES):
            case = Case(facts, policy, NOW)
            for rule in _RULES:
                for found in rule(case):
                    said |= {t.id: t.english for t in _terms(found) if t.table == "policy"}
    assert len(said) > 15
    for id, text in said.items():
        whose, _, path = id.partition("/")
        assert (whose, _at(policy, path)) == (policy_id, text), id
