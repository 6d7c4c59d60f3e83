"""“May matter”, by pairs: each ordinary order beside a record that can be read, and beside the same one a part of which cannot."""

from __future__ import annotations

import pytest

from service.alerts.evaluate import evaluate
from service.alerts.knowledge.classes import alerting_classes_of
from service.alerts.knowledge.drug_names import drugs_by_name
from service.alerts.policy.policy import policy_by_id
from tests.alerts.test_unread import card, facts
from tests.data import NOW, anc, on_clozapine, order
from tools.noise import orders

_DRUGS = tuple(dict.fromkeys(o.drug for o in orders()))
_COUNT = (anc(3.2, 3),)
#: Information as a rule, a warning where no laxative is on record: not worth a card wherever a source fails.
_ONLY_WITHOUT_A_LAXATIVE = ("semaglutide", "dulaglutide", "liraglutide")


def _severities(drug: str) -> tuple[set[str], set[str]]:
    """How severe the interaction is beside clozapine of long standing, and at most for others: begun lately, under another policy."""
    drafts = (order(drug),)
    settled, lately = (facts(on_clozapine(days), drafts=drafts, counts=_COUNT) for days in (500, 10))
    found = [
        {f.severity for f in evaluate(given, policy_by_id(policy), NOW) if f.code.startswith("interaction")}
        for given, policy in ((settled, "us-label-2025"), (settled, "uk-smpc"), (lately, "us-label-2025"))
    ]
    return found[0], found[1] | found[2]


def _is_warned_of(drug: str) -> bool:
    """A warning for most patients, or critical for some. What is a warning in titration alone (blood pressure) is not worth a card everywhere."""
    settled, others = _severities(drug)
    return bool(settled & {"warning", "critical"}) or "critical" in others


def _is_harmless(drug: str) -> bool:
    """It is known, and no class of it ever draws a card."""
    return not any(alerting_classes_of(id) for id in drugs_by_name(drug))


@pytest.mark.parametrize("drug", _DRUGS)
def test_what_was_not_read_is_said_beside_what_would_be_warned_of_and_never_beside_what_is_harmless(
    drug: str,
) -> None:
    unread = card(failed=("statements",), drafts=(order(drug),), counts=_COUNT)
    if _is_harmless(drug):
        assert unread is None
    if _is_warned_of(drug) and not drug.startswith(_ONLY_WITHOUT_A_LAXATIVE):
        assert unread is not None
    # The other half of each pair: read to its end, nothing of it is said.
    assert card(drafts=(order(drug),), counts=_COUNT) is None


def test_the_pairs_are_of_both_kinds() -> None:
    assert sum(map(_is_harmless, _DRUGS)) > 100
    assert sum(_is_warned_of(drug) for drug in _DRUGS) > 50
