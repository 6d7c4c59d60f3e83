"""Words of the data on cards: the id beside each leads to that text, so that a translation can be filed under it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import cache
from typing import Any

import pytest
from msgspec.structs import replace

from service.alerts.case.case import Case
from service.alerts.facts.patient import CLOZAPINE, Dose, Measurement, Medication, Problem
from service.alerts.facts.practice import Practice
from service.alerts.knowledge.classes import classes
from service.alerts.knowledge.concerns import concerns
from service.alerts.knowledge.conditions import contraindications
from service.alerts.knowledge.drugs import names_of
from service.alerts.knowledge.equivalents import methods
from service.alerts.policy.policy import policy_by_id
from service.alerts.rules import bowel, orders, pathway, pathway_trials, problems, seizures
from service.alerts.rules import concerns as concern_rules
from service.alerts.say.found import Fact, Found, Wish
from service.alerts.say.sentence import Listed, Sentence, Term
from tests.alerts.vignette import patients
from tests.data import NOW

_POLICY = "us-label-2025"
_RULES = (
    *orders.RULES, *bowel.RULES, *problems.RULES, *concern_rules.RULES, *seizures.RULES, *pathway_trials.RULES, *pathway.RULES,
)  # fmt: skip
_FILES = ("dangers-on-the-list", "problems", "seizures", "bowel", "stops", "one-treatment")
_TRIED = tuple(
    Medication(
        ref=f"MedicationRequest/{drug}", role="order", drugs=(drug,), label=drug, status="completed", dose=Dose(mg),
        start=NOW - timedelta(days=begin), end=NOW - timedelta(days=begin - 100),
    )
    for drug, mg, begin in (("olanzapine", 20.0, 900), ("haloperidol", 10.0, 700))
)  # fmt: skip
_PRACTICE = Practice(pathway=True)
_SCHIZOPHRENIA = Problem("Condition/scz", ("schizophrenia",), "schizophrenia", "active", "confirmed")


def _score(value: float, days: int) -> Measurement:
    return Measurement(
        kind="panss", value=value, at=NOW - timedelta(days=days), ref=f"Observation/{days}", raw=str(value)
    )


def _level(days: int) -> Measurement:
    return Measurement(
        kind="clozapine-level",
        value=400,
        at=NOW - timedelta(days=days),
        ref=f"Observation/l{days}",
        raw="400",
    )


def _cases() -> Iterator[Case]:
    """The vignettes about problems, and each again as a patient with schizophrenia who does not respond."""
    for name, _, facts in patients():
        if not name.startswith(_FILES):
            continue
        yield Case(facts, policy_by_id(_POLICY), NOW)
        resistant = facts.measurements | {
            "panss": (_score(98, 5), _score(100, 400)),
            "clozapine-level": (_level(150), _level(120)),
        }
        patient = Case(
            replace(
                facts,
                hook="patient-view",
                drafts=(),
                measurements=resistant,
                problems=(*facts.problems, _SCHIZOPHRENIA),
            ),
            policy_by_id(_POLICY),
            NOW,
            _PRACTICE,
        )
        yield patient
        yield _untreated(patient)


def _untreated(case: Case) -> Case:
    """The same patient without clozapine, after trials of other antipsychotics."""
    others = tuple(m for m in case.snapshot.medications if CLOZAPINE not in m.drugs)
    return Case(
        replace(case.snapshot, medications=(*others, *_TRIED), registered=False), case.policy, NOW, _PRACTICE
    )


def _terms(said: object) -> Iterator[Term]:
    match said:
        case Term():
            yield said
        case Sentence():
            for param in said.params.values():
                yield from _terms(param)
        case Listed():
            for item in said.items:
                yield from _terms(item)
        case Fact():
            yield from _terms(said.text)
        case Wish():
            yield from _terms(said.reason)
        case Found():
            yield from _terms(said.summary)
            for texts in (said.why, said.policy_says, said.suggested, said.unchecked, said.missing):
                for text in texts:
                    yield from _terms(text)
            for part in (*said.evidence, *said.offers):
                yield from _terms(part)


@cache
def _said() -> dict[str, dict[str, str]]:
    """table -> id -> English, of everything that the rules say of the cases."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for case in _cases():
        for rule in _RULES:
            for finding in rule(case):
                for term in _terms(finding):
                    assert found[term.table].setdefault(term.id, term.english) == term.english, term
    return found


def _at(root: Any, path: str) -> str:
    for step in path.split("."):
        root = root[int(step)] if step.isdigit() else getattr(root, step)
    return str(root)


def _of_concern(id: str) -> str:
    code, _, path = id.partition(".")
    return _at(concerns()[code], path)


def _of_policy(id: str) -> str:
    policy, _, path = id.partition("/")
    return _at(policy_by_id(policy), path)


@pytest.mark.parametrize(
    ("table", "text_of"),
    [
        ("concern", _of_concern),
        ("condition", lambda id: contraindications()[id].title),
        ("drug", lambda id: names_of(id)[0]),
        ("drug-class", lambda id: classes()[id].title),
        ("equivalence", lambda id: methods()[id].title),
        ("policy", _of_policy),
    ],
)
def test_the_id_beside_a_word_of_the_data_leads_to_it(table: str, text_of: Callable[[str], str]) -> None:
    said = _said()[table]
    assert said
    assert said == {id: text_of(id) for id in said}
