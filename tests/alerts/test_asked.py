"""A rule that is not asked would have found nothing: ``@when`` against the rules themselves, over every vignette at every hook."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from cds_hooks.context import HOOKS
from service.alerts.case.case import Case
from service.alerts.evaluate import RULEBOOK, evaluate_case
from service.alerts.facts.patient import PatientSnapshot
from service.alerts.facts.practice import Practice
from service.alerts.knowledge.codes import kinds
from service.alerts.policy.policy import policy_by_id, policy_ids
from service.alerts.rules import RULES
from service.alerts.rules.asked import SITUATIONS, RuleBook, needs_of, situation_of, when
from service.alerts.say.finding import Finding
from tests.alerts.vignette import facts_of, patients, practice_of
from tests.data import NOW


def _unasked(facts: PatientSnapshot, policy_id: str, practice: Practice) -> list[str]:
    """Findings of the rules that are not asked: there must be none."""
    case = Case(facts, policy_by_id(policy_id), NOW, practice)
    asked = {rule for rule, _ in RULEBOOK.asked(case)}
    return [f"{rule.__name__}: {f.summary}" for rule in RULES if rule not in asked for f in rule(case)]


@pytest.mark.parametrize("hook", [*HOOKS, "sweep"])
def test_what_is_not_asked_has_nothing_to_say(hook: str) -> None:
    lost = {
        name: found
        for name, row, facts in patients()
        if (
            found := _unasked(
                replace(facts, hook=hook),
                row.get("policy", "us-label-2025"),
                practice_of(row, pathway=True),
            )
        )
    }
    assert lost == {}


@pytest.mark.parametrize("policy_id", policy_ids())
def test_nor_under_any_policy(policy_id: str) -> None:
    lost = {
        name: found
        for name, row, facts in patients()
        if (found := _unasked(facts, policy_id, practice_of(row)))
    }
    assert lost == {}


def test_a_rule_that_asks_too_little_would_be_caught() -> None:
    """The tests above can fail: a rule that is asked at visits only, though it speaks at orders, loses findings."""

    @when("visit")
    def speaks_always(case: Case) -> tuple[Finding, ...]:
        return tuple(f for rule in RULES for f in rule(case))

    book = RuleBook((speaks_always,))
    silent = [
        name
        for name, row, facts in patients()
        if facts.hook == "order-sign"
        and not book.asked(case := Case(facts, policy_by_id(row.get("policy", "us-label-2025")), NOW))
        and speaks_always(case)
    ]
    assert len(silent) > 100


def test_every_word_is_a_situation_or_a_kind_of_result() -> None:
    assert SITUATIONS.isdisjoint(kinds())
    words = {word for rule in RULES for need in needs_of(rule) for word in need}
    assert words <= SITUATIONS | set(kinds())


def test_most_rules_are_not_asked_in_an_ordinary_call() -> None:
    facts = facts_of(
        {
            "on": ["clozapine 300 mg since 400 d"],
            "counts": ["ANC 3200 /uL 5 d ago"],
            "draft": ["clozapine 300 mg"],
        }
    )
    case = Case(facts, policy_by_id("us-label-2025"), NOW)
    assert len(RULEBOOK.asked(case)) < len(RULES) / 2


def test_a_case_that_cannot_be_told_is_put_to_every_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    """Orders are compared though the course cannot be laid out; the rules that need the course say that they failed."""

    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr("service.alerts.case.treatment.course_of", broken)
    facts = facts_of(
        {
            "on": ["clozapine 300 mg since 400 d"],
            "counts": ["ANC 400 /uL 1 d ago"],
            "draft": ["clozapine 1000 mg"],
        }
    )
    case = Case(facts, policy_by_id("us-label-2025"), NOW)
    with pytest.raises(ZeroDivisionError):
        situation_of(case)
    found = evaluate_case(case)
    assert {"data-unavailable", "duplicate-order"} <= {f.code for f in found}
    assert "rule:count_band" in {f.subject for f in found}


def test_nor_is_it_louder_while_another_drug_is_ordered(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for the next visit still waits when the counts cannot be laid out."""

    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError

    row = {"on": ["clozapine 300 mg since 400 d"], "problems": ["constipation"], "draft": ["ibuprofen"]}
    case = Case(facts_of(row), policy_by_id("us-label-2025"), NOW)
    monkeypatch.setattr("service.alerts.case.record.anc_series", broken)
    said = {f.code for f in evaluate_case(case)}
    assert "data-unavailable" in said
    assert said.isdisjoint({"gi-hypomotility", "monitoring-overdue"})


def test_a_policy_that_judges_white_cells_for_some_alone_fails_no_rule() -> None:
    uk = policy_by_id("uk-smpc")
    bands = tuple(b for b in uk.bands if b.analyte == "anc" or b.population == "ben")
    policy = replace(uk, bands=bands)
    facts = facts_of(
        {"counts": ["ANC 400 /uL 400 d ago", "ANC 4000 /uL 1 d ago"], "draft": ["clozapine 12.5 mg"]}
    )
    codes = {f.code for f in evaluate_case(Case(facts, policy, NOW))}
    assert "rechallenge-caution" in codes
