"""Which policy was in force on a day."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from service.alerts.policy.history import policy_in_force
from service.alerts.policy.policy import PolicyError, policy_by_id, policy_ids


@pytest.mark.parametrize(
    ("asked", "on", "expected"),
    [
        ("us-label-2025", date(2025, 2, 23), "us-rems-2023"),
        ("us-label-2025", date(2023, 5, 19), "us-rems-2023"),
        ("us-label-2025", date(2023, 5, 18), "us-rems-2015"),
        ("us-rems-2023", date(2018, 1, 1), "us-rems-2015"),
        ("us-label-2025", date(2025, 2, 24), "us-label-2025"),
        ("us-rems-2015", date(2025, 2, 24), "us-label-2025"),
        ("us-rems-2015", date(2026, 11, 21), "us-label-2025"),
        ("us-rems-2015", date(2018, 1, 1), "us-rems-2015"),
        ("eu-smpc-2025", date(2025, 9, 7), "eu-classic"),
        ("eu-smpc-2025", date(2025, 9, 8), "eu-smpc-2025"),
        ("eu-classic", date(2026, 1, 1), "eu-smpc-2025"),
        ("uk-smpc", date(2026, 1, 31), "uk-smpc"),
    ],
)
def test_the_policy_of_the_day(asked: str, on: date, expected: str) -> None:
    assert policy_in_force(asked, on).id == expected


def test_before_the_first_of_its_line_nothing_is_guessed() -> None:
    with pytest.raises(PolicyError, match="was in force on 2015-01-01: 'us-rems-2015' begins on"):
        policy_in_force("us-label-2025", date(2015, 1, 1))
    with pytest.raises(PolicyError, match="unknown policy"):
        policy_in_force("mars-2030", date(2026, 1, 1))


@pytest.mark.parametrize("policy_id", policy_ids())
def test_successions_are_without_gap_and_overlap(policy_id: str) -> None:
    policy = policy_by_id(policy_id)
    earlier = next((p for p in map(policy_by_id, policy_ids()) if p.superseded_by == policy_id), None)
    if earlier is not None:
        before = policy.valid_from - timedelta(days=1)
        assert policy_in_force(policy_id, before) == earlier
        assert policy_in_force(earlier.id, policy.valid_from) == policy
    assert policy_in_force(policy_id, policy.valid_from) == policy


def test_a_shipped_policy_bears_the_name_of_its_file() -> None:
    for policy_id in policy_ids():
        assert policy_by_id(policy_id).id == policy_id
