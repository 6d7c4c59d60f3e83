"""A result that a rule judges is named when it cannot be read: a kind that nobody entered would be passed over in silence."""

from __future__ import annotations

import pytest

from service.alerts.case import readings
from service.alerts.case.case import Case
from service.alerts.case.readings import Wanted
from service.alerts.evaluate import evaluate
from service.alerts.facts.patient import Measurement
from service.alerts.knowledge.codes import judged, kinds
from service.alerts.policy.policy import policy_by_id
from tests.alerts.vignette import facts_of, practice_of, rows
from tests.data import NOW

#: Of these ``anc-unusable`` says more.
_COUNTS = {"anc", "wbc"}


def _kinds_read_by_rules(patch: pytest.MonkeyPatch) -> set[str]:
    """Kinds of which some rule, in some vignette, asks for the result that counts today."""
    found: set[str] = set()
    read = readings._that_count

    def noted(case: Case, kind: str, wanted: Wanted = readings._all) -> list[Measurement]:
        found.add(kind)
        return read(case, kind, wanted)

    patch.setattr(readings, "_that_count", noted)
    seen: set[tuple[object, ...]] = set()
    for _, _, row in rows():
        of = frozenset(text.split()[0] for text in row.get("counts", ())) - {"ANC", "WBC"}
        alike = (of, row.get("hook"), str(row.get("expect")))
        if of and alike not in seen:  # one of each sort suffices
            seen.add(alike)
            policy = policy_by_id(row.get("policy", "us-label-2025"))
            evaluate(facts_of(row), policy, NOW, practice_of(row))
    return found


def test_every_kind_that_a_rule_judges_is_named_when_it_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = _kinds_read_by_rules(monkeypatch)
    assert len(asked) > 10
    assert asked - _COUNTS <= set(judged()), "enter it under [judged] in knowledge/codes.toml"


def test_only_kinds_that_exist_are_judged() -> None:
    assert set(judged()) <= set(kinds())
