"""Clozapine by name (clinical specification 3.4): whole words, in the languages of its makers, never a metabolite."""

from __future__ import annotations

import pytest

from service.alerts.knowledge.drug_names import drugs_by_name


@pytest.mark.parametrize(
    "name",
    [
        "cloZAPine ODT",
        "Clozaril® 25 mg",
        "apo-clozapine",
        "Clozapin 100 mg",
        "Clozapina",
        "clozapine100mg",
        "Clozapine,25mg",
    ],
)
def test_clozapine_is_recognised(name: str) -> None:
    assert drugs_by_name(name) == ("clozapine",)


@pytest.mark.parametrize(
    "name",
    [
        "clozapine-N-oxide",
        "Clozapine N-oxide",
        "norclozapine",
        "N-desmethylclozapine",
        "olanzapine",
        "clotiapine",
        "clozapinex",
    ],
)
def test_other_drugs_and_metabolites_are_not(name: str) -> None:
    assert "clozapine" not in drugs_by_name(name)
