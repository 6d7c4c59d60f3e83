"""A number that can be changed without any patient being told something else is no number: a sample; ``make mutations`` tries all."""

from __future__ import annotations

import pytest

from service.alerts.policy.policy import policy_ids
from tools.mutations import (
    CODE,
    KNOWLEDGE,
    NO_PATIENT_SHOWS,
    STEPS,
    Mutation,
    Patients,
    is_noticed,
    mutations,
    of_file,
)

_ALL = mutations(["common", *policy_ids(), CODE, KNOWLEDGE])
#: Every so many changes, from all over.
_EACH = 45


@pytest.fixture(scope="module")
def patients() -> Patients:
    return Patients()


@pytest.mark.parametrize("mutation", [m for m in _ALL if not m.reason][::_EACH], ids=lambda m: m.written)
def test_some_patient_is_told_something_else(mutation: Mutation, patients: Patients) -> None:
    assert is_noticed(mutation, patients)


def test_a_change_that_nobody_notices_is_reported(patients: Patients) -> None:
    """The interval of an Australian supply limit only finds its row: the stated reason holds."""
    row = next(m for m in _ALL if m.name == "au-2021: dispensing.supply_by_interval.0.0")
    assert row.reason
    assert not is_noticed(row, patients)


def test_reasons_and_steps_are_of_numbers_that_exist() -> None:
    names = {m.name for m in _ALL}
    for known in (*NO_PATIENT_SHOWS, *STEPS):
        assert any(name.startswith(known) for name in names), known


def test_both_sides_of_a_limit_between_two_bands_move() -> None:
    limit = next(m for m in of_file("uk-smpc") if len(m.places) > 1)
    assert {place[-1] for place in limit.places} == {"at_least", "below"}
