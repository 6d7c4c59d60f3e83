"""Blood counts in words, where a vignette's codes do not tell: which count is named, how often the next one is due."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from msgspec import Struct
from msgspec.structs import fields

from service.alerts.case.case import Case
from service.alerts.case.interval import every
from service.alerts.policy.policy import policy_by_id, policy_ids
from service.alerts.rules import (
    count_trends,
    due_counts,
    neutropenia,
    neutropenia_free,
    post_stop,
    rechallenge,
    undated,
    unusable_counts,
)
from service.alerts.say.finding import Finding
from service.alerts.say.language import english
from service.alerts.say.sentence import Term
from tests.alerts.vignette import findings, patients
from tests.data import NOW

_RULES = (
    *due_counts.RULES, *neutropenia.RULES, *count_trends.RULES, *unusable_counts.RULES, *post_stop.RULES, *rechallenge.RULES,
    *neutropenia_free.RULES, *undated.RULES,
)  # fmt: skip
_FILES = ("anc-", "after-", "baseline-", "counts-", "policy-", "undated-")
#: What tells the parts of a policy's list apart.
_TELLS_APART = ("population", "analyte", "name", "label")


def _found(code: str, **row: Any) -> Finding:
    found = [f for f in findings(row) if f.code == code]
    assert len(found) == 1
    return found[0]


def test_each_count_that_was_refused_has_its_own_name() -> None:
    said = _found(
        "anc-unusable",
        policy="eu-classic",
        on=["clozapine 300 mg since 500 d"],
        draft=["clozapine 300 mg"],
        counts=[
            "ANC 3.0 10*3/uL 20 d ago",
            "WBC 6.0 10*3/uL 20 d ago",
            "ANC 'plenty' 2 d ago",
            "WBC 'enough' 3 d ago",
        ],
    )
    assert said.why[0].startswith("ANC result plenty")
    assert said.why[1].startswith("WBC result enough")
    assert said.summary.startswith("ANC result “plenty” was not used")


@pytest.mark.parametrize(
    ("days", "said"),
    [
        (1, "every 1 day"),
        (3, "every 3 days"),
        (7, "weekly"),
        (14, "every 2 weeks"),
        (28, "every 4 weeks"),
        (30, "every 30 days"),
    ],
)
def test_how_often_in_words(days: int, said: str) -> None:
    assert english().plain(every(days)) == said


def test_heart_and_blood_before_another_try_ask_for_both_specialists() -> None:
    said = _found(
        "rechallenge-caution",
        draft=["clozapine 12.5 mg"],
        on=["clozapine 300 mg from 900 d to 700 d"],
        counts=["ANC 0.3 10*3/uL 700 d ago", "ANC 3.0 10*3/uL 2 d ago"],
        problems=["myocarditis since 700 d (resolved)"],
    )
    assert said.summary == (
        "ANC 300/µL on 2024-12-20 and more in the record: rechallenge only if the benefit outweighs the risk."
    )
    assert "Ask a cardiologist and a hematologist before going on." in said.suggested


def _terms(said: Any) -> Iterator[Term]:
    """Every word of the data in what a rule found."""
    if isinstance(said, Term):
        yield said
    elif isinstance(said, Struct):
        for field in fields(said):
            yield from _terms(getattr(said, field.name))
    elif isinstance(said, tuple | dict):
        for part in said.values() if isinstance(said, dict) else said:
            yield from _terms(part)


def _at(node: Any, path: str) -> Any:
    """What stands at a path in a policy: names of fields, places in a list, and of the parts of a list what tells them apart."""
    for step in path.split("."):
        if isinstance(node, tuple) and step.isdigit():
            node = node[int(step)]
        elif isinstance(node, tuple):
            parts = [p for p in node if step in (getattr(p, key, "") for key in _TELLS_APART)]
            node = tuple(parts) if parts else getattr(node[0], step)
        else:
            node = getattr(node, step)
    return node


@pytest.mark.parametrize("policy_id", policy_ids())
def test_the_id_beside_a_text_of_the_policy_leads_to_it(policy_id: str) -> None:
    policy = policy_by_id(policy_id)
    said: dict[str, str] = {}
    for facts in (facts for name, _, facts in patients() if name.startswith(_FILES)):
        case = Case(facts, policy, NOW)
        for rule in _RULES:
            for found in rule(case):
                said |= {t.id: t.english for t in _terms(found) if t.table == "policy"}
    assert len(said) > 20
    assert {id: f"{policy_id}/" + id.partition("/")[2] for id in said} == {id: id for id in said}
    assert {id: _at(policy, id.partition("/")[2]) for id in said} == said
