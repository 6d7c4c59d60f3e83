"""What changes for a patient between two policies, stated as the specification states it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from service.alerts.policy.diff import BASIS, OTHERS, policy_diff
from service.alerts.policy.pieces import pieces, stretches
from service.alerts.policy.policy import Policy, load_policy, policy_by_id, policy_ids


def changes(one: str, other: str) -> dict[tuple[str, str], tuple[str, str]]:
    """(topic, situation) -> (before, after)."""
    found = policy_diff(policy_by_id(one), policy_by_id(other))
    said = {(c.topic, c.situation): (c.before, c.after) for c in found}
    assert len(said) == len(found), "one situation is told twice"
    return said


@pytest.mark.parametrize("policy_id", policy_ids())
def test_nothing_changes_between_a_policy_and_itself(policy_id: str) -> None:
    assert changes(policy_id, policy_id) == {}


#: Each policy with its parent and with the next one: every pair of them would grow with the square.
_PAIRS = sorted(
    {(p, parent) for p in policy_ids() if (parent := policy_by_id(p).inherits) in policy_ids()}
    | set(pairwise(policy_ids()))
)


@pytest.mark.parametrize(("one", "other"), _PAIRS)
def test_two_policies_differ_and_every_change_is_one(one: str, other: str) -> None:
    forth, back = changes(one, other), changes(other, one)
    assert forth
    assert back == {key: (after, before) for key, (before, after) in forth.items()}


@pytest.mark.parametrize(
    ("one", "other", "topic", "situation", "before", "after"),
    [
        ("us-label-2025", "uk-smpc", "Blood counts", "ANC 1 to < 1.5 ×10⁹/L", "continue", "stop for good"),
        ("us-label-2025", "eu-smpc-2025", "Blood counts", "ANC 0.5 to < 1 ×10⁹/L", "interrupt", "stop for good"),
        ("eu-classic", "eu-smpc-2025", "Blood counts", "ANC 1 to < 1.5 ×10⁹/L", "stop for good", "continue"),
        ("eu-classic", "eu-smpc-2025", "Blood counts", "WBC 2 to < 3 ×10⁹/L", "stop for good", "not judged"),
        ("uk-smpc", "ca-2020", "Blood counts", "WBC exactly 3.5 ×10⁹/L", "continue", "continue, count twice"),
        ("uk-smpc", "ca-2020", "Blood counts", "ANC 0.5 to < 1 ×10⁹/L", "stop for good, count daily", "stop for good if confirmed within 24 h"),
        ("us-label-2025", "uk-smpc", "Start", "ANC needed to start", "≥ 1.5", "≥ 2"),
        ("au-2021", "uk-smpc", "Start", "WBC needed to start", "> 3.5", "≥ 3.5"),
        ("us-label-2025", "uk-smpc", "Schedule", "weeks 19 to 26, counts normal", "weekly", "every 2 weeks"),
        ("eu-classic", "eu-smpc-2025", "Schedule", "week 105 on, counts normal", "every 4 weeks", "once a year"),
        ("us-label-2025", "eu-smpc-2025", "Schedule", "week 53 on, counts normal, after a neutropenia", "monthly", "every 4 weeks"),
        ("us-label-2025", "uk-smpc", "Missed doses", "exactly 48 h since the last dose", "25 %", "same dose"),
        ("us-rems-2015", "us-rems-2023", "Missed doses", "48 to < 72 h since the last dose", "restart at 12.5 mg", "25 %"),
        ("us-label-2025", "uk-smpc", "Breaks", "break of > 3 to < 28 days", "schedule as before", "from week 19 on: every 7 days for 6 weeks"),
        ("au-2021", "uk-smpc", "Breaks", "break of exactly 28 days", "from week 19 on", "as a new patient"),
        ("us-rems-2015", "us-label-2025", "Dispensing", "current blood count", "required", "not required"),
        ("uk-smpc", "eu-smpc-2025", "Dispensing", "current blood count", "required", "required, not confirmed: national rules decide"),
        ("us-label-2025", "eu-smpc-2025", "Dosing", "older patients", "from 65 years", "from 60 years: 12.5 mg on day 1, rises of at most 25 mg"),
        ("us-label-2025", "eu-smpc-2025", "Dosing", "seizures", "warning without an anticonvulsant above 600", "caution above 450 mg/day"),
        ("us-label-2025", "eu-smpc-2025", "Dosing", "highest dose at first", "450 mg/day before day 14", "300 mg/day before day 14"),
        ("us-label-2025", "jp-2023", "Dosing", "later steps", "at most 100 mg, 2 times a week", "at most 100 mg, 2 times a week, 4 days apart"),
        ("eu-classic", "eu-smpc-2025", "Breaks", "break of ≥ 28 days", "as a new patient, weekly", "as a new patient, weekly; treated 104 weeks without neutropenia"),
        ("uk-smpc", "jp-2023", "Blood counts", "ANC < 1 ×10⁹/L", "stop for good", "stop, again only with the approval"),
        ("au-2021", "uk-smpc", "Dispensing", "days' supply", "at most 7 / 28 days, by interval, never beyond the next count", "at most 7 / 14 / 28 days"),
        ("us-label-2025", "uk-smpc", "Other counts", "eosinophils > 3 ×10⁹/L", "check for myocarditis", "stop, restart only below 1 "),
        ("us-label-2025", "uk-smpc", "Interactions", "drug that can depress the bone marrow", "warning", "contraindicated"),
        ("eu-classic", "eu-smpc-2025", "After stopping", "counts after clozapine was stopped", "at the interval before", "every 7 days"),
    ],
)  # fmt: skip
def test_what_changes(one: str, other: str, topic: str, situation: str, before: str, after: str) -> None:
    said = changes(one, other)[topic, situation]
    assert said[0].startswith(before)
    assert said[1].startswith(after)


def test_a_tail_that_stays_the_same_is_not_told() -> None:
    said = changes("us-rems-2015", "us-label-2025")
    assert {topic for topic, _ in said} == {"Missed doses", "Dispensing", OTHERS, BASIS}


def test_a_file_of_a_site_is_compared_like_a_shipped_policy(tmp_path: Path) -> None:
    path = tmp_path / "ours.toml"
    path.write_text(
        'id = "ours"\ntitle = "Ours"\njurisdiction = "US"\ninherits = "us-label-2025"\nvalid_from = 2026-01-01\nsummary = "x"\n'
        '[start]\nanc_minimum = { value = 2000, unit = "cells/µL", source = "SERVICE" }\n'
    )
    found = policy_diff(policy_by_id("us-label-2025"), load_policy(path))
    assert [(c.situation, c.before, c.after) for c in found if c.topic != BASIS] == [
        ("ANC needed to start", "≥ 1.5 ×10⁹/L", "≥ 2 ×10⁹/L"),
        (
            "start.says",
            policy_by_id("us-label-2025").start.says,
            policy_by_id("us-label-2025").start.says.replace("least 1500/µL", "least 2000/µL"),
        ),
    ]
    assert [(c.situation, c.before, c.after) for c in found if c.situation == "start.anc_minimum"] == [
        ("start.anc_minimum", "US-PI 2.1", "SERVICE")
    ]


def ours(tmp_path: Path, text: str) -> Policy:
    """A site's policy that inherits from the US label."""
    path = tmp_path / "ours.toml"
    path.write_text(
        'id = "ours"\ntitle = "Ours"\njurisdiction = "US"\ninherits = "us-label-2025"\nvalid_from = 2025-02-24\n'
        'summary = "x"\n' + text
    )
    return load_policy(path)


@pytest.mark.parametrize(
    ("text", "situation", "before", "after"),
    [
        ('[dosing]\nduplicate_factor = { value = 3, source = "SERVICE" }', "dosing.duplicate_factor", "2", "3"),
        ('[levels]\ntoxic = { value = 800, unit = "ng/mL", source = "SERVICE" }', "levels.toxic", "1000 ng/mL", "800 ng/mL"),
        ('[results]\nqtc_critical = { value = 480, source = "SERVICE" }', "results.qtc_critical", "500 ms", "480"),
        ('[falling]\nsays = "something else"', "falling.says", "A fall of the ANC by half", "something else"),
        ('[[monitoring]]\nid = "ecg"\ntitle = "ECG"\nkinds = ["ecg"]\nsource = "TRS-C"', "monitoring.weight", "id weight; title weight", "–"),
    ],
)  # fmt: skip
def test_what_no_clinical_word_tells_is_named_by_its_path(
    tmp_path: Path, text: str, situation: str, before: str, after: str
) -> None:
    changed = policy_diff(policy_by_id("us-label-2025"), ours(tmp_path, text))
    found = {c.situation: c for c in changed if c.topic == OTHERS}
    assert found[situation].before.startswith(before)
    assert found[situation].after.startswith(after)


def test_a_source_alone_and_a_confirmation_alone_are_named_too(tmp_path: Path) -> None:
    one = policy_by_id("us-label-2025")
    said = {
        (c.topic, c.situation): c.after
        for text in (
            '[dosing]\ndaily_maximum = { value = 900, unit = "mg/d", source = "SERVICE", section = "formulary" }',
            "[fever]\nthreshold = { confirmed = true }",
        )
        for c in policy_diff(one, ours(tmp_path, text))
    }
    assert said[BASIS, "dosing.daily_maximum"] == "SERVICE formulary"
    assert said[BASIS, "fever.threshold"] == "US-PI 5.1, severe neutropenia"
    assert (OTHERS, "dosing.daily_maximum") not in said


def _numbers(node: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Paths of all numbers of a policy as plain data."""
    if isinstance(node, dict):
        for key, child in node.items():
            yield from _numbers(child, (*path, key))
    elif isinstance(node, list):
        for index, child in enumerate(node):
            yield from _numbers(child, (*path, index))
    elif isinstance(node, int | float) and not isinstance(node, bool):
        yield path


@pytest.mark.parametrize("policy_id", ["us-label-2025", "uk-smpc"])
def test_a_change_of_any_number_is_a_change(policy_id: str) -> None:
    policy = policy_by_id(policy_id)
    content = json.loads(msgspec.json.encode(policy))
    paths = list(_numbers(content))
    assert len(paths) > 150
    for path in paths:
        changed = json.loads(json.dumps(content))
        node = changed
        for step in path[:-1]:
            node = node[step]
        node[path[-1]] += 1
        assert policy_diff(policy, msgspec.convert(changed, Policy)), path


def test_pieces_cover_the_number_line_once() -> None:
    cut = pieces([48, 72, 48])
    for number in (0, 1, 47.9, 48, 48.1, 71, 72, 73, 1000):
        holding = [
            p
            for p in cut
            if (p.lower < number or (p.lower == number and p.lower_belongs))
            and (p.upper is None or number < p.upper or (number == p.upper and p.upper_belongs))
        ]
        assert len(holding) == 1, number


@pytest.mark.parametrize(
    ("limits", "over", "expected"),
    [
        ([48], lambda h: h >= 48, ["< 48 h", "≥ 48 h"]),
        ([48], lambda h: h > 48, ["≤ 48 h", "> 48 h"]),
        ([48, 72], lambda h: (h > 48) + (h >= 72), ["≤ 48 h", "> 48 to < 72 h", "≥ 72 h"]),
        ([48], lambda h: h == 48, ["< 48 h", "exactly 48 h", "> 48 h"]),
    ],
)
def test_stretches_say_which_side_a_bound_is_on(
    limits: list[float], over: object, expected: list[str]
) -> None:
    assert callable(over)
    assert [piece.text(" h") for piece, _ in stretches(limits, over)] == expected
