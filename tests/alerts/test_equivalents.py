"""Chlorpromazine equivalents: every row of the sources, and what the rows make of a dose."""

from __future__ import annotations

import pytest

from service.alerts.knowledge.classes import has_class
from service.alerts.knowledge.drugs import drugs
from service.alerts.knowledge.equivalents import (
    all_equivalents,
    equivalents,
    methods,
    unclear_depots,
)
from service.alerts.policy.policy import policy_by_id, policy_ids
from service.alerts.rules.causes import SIGNS


def test_the_table_holds_both_methods_whole() -> None:
    by_method = {key: [e for e in all_equivalents() if e.source == key] for key in methods()}
    assert {key: len(rows) for key, rows in by_method.items()} == {"Gardner2010": 46, "Leucht2016": 66}
    assert all(e.equals == 600 for e in by_method["Gardner2010"])
    assert all(e.equals == 100 and e.every_days == 1 for e in by_method["Leucht2016"])


@pytest.mark.parametrize(
    ("drug", "form", "mg_per_day", "consensus", "ddd"),
    [
        ("chlorpromazine", "oral", 600, 600, 600),
        ("olanzapine", "oral", 20, 600, 601),
        ("risperidone", "oral", 6, 600, 359),
        ("haloperidol", "oral", 10, 600, 375),
        ("quetiapine", "oral", 750, 600, 563),
        ("thiothixene", "oral", 30, 600, 300),
        ("haloperidol", "depot", 150 / 28, 600, 487),
        ("zuclopenthixol", "depot", 200 / 14, 600, 286),
        ("fluphenazine", "depot", 25 / 14, 600, 541),
    ],
)
def test_a_dose_by_both_methods(
    drug: str, form: str, mg_per_day: float, consensus: float, ddd: float
) -> None:
    found = equivalents(drug, form)  # type: ignore[arg-type]
    assert [e.source for e in found] == ["Gardner2010", "Leucht2016"]
    assert [e.chlorpromazine(mg_per_day) for e in found] == pytest.approx([consensus, ddd], abs=1)


def test_what_no_table_has_equals_nothing() -> None:
    assert equivalents("cariprazine", "oral") == ()
    assert equivalents("aripiprazole", "depot") == ()
    assert [e.source for e in equivalents("lurasidone", "oral")] == ["Leucht2016"]


def test_a_depot_whose_weight_may_be_that_of_a_salt_is_not_converted() -> None:
    assert "paliperidone" in unclear_depots()
    assert equivalents("paliperidone", "depot") == ()
    assert equivalents("paliperidone", "oral")


def test_a_drug_of_the_table_that_the_service_knows_is_an_antipsychotic() -> None:
    known = {e.drug for e in all_equivalents()} & set(drugs()) - {"clozapine"}
    assert len(known) > 20
    others = {d for d in known if not has_class(d, "antipsychotic")}
    assert others <= {"acepromazine", "prochlorperazine", "droperidol", "promazine", "tiapride"}


@pytest.mark.parametrize("policy_id", policy_ids())
def test_the_checklist_names_signs_that_the_rules_look_for(policy_id: str) -> None:
    items = policy_by_id(policy_id).pathway.checklist
    assert {sign for item in items for sign in item.signs} == set(SIGNS)
