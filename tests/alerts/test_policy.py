"""Policies as data: sound, cited, and checked when they are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.alerts.policy import PolicyError, load_policy, policy_by_id, policy_ids
from service.alerts.policy_check import problems, unconfirmed

BASE = 'id = "ours"\ntitle = "Ours"\njurisdiction = "US"\ninherits = "us-label-2025"\nvalid_from = 2026-01-01\nsummary = "x"\n'


@pytest.mark.parametrize("policy_id", policy_ids())
def test_shipped_policies_are_sound(policy_id: str) -> None:
    assert problems(policy_by_id(policy_id)) == []


def test_a_site_overrides_single_values(tmp_path: Path) -> None:
    path = tmp_path / "ours.toml"
    path.write_text(
        BASE
        + '[dosing]\ndaily_maximum = { value = 600, unit = "mg/d", source = "SERVICE", section = "our formulary" }\n'
    )
    ours = load_policy(path)
    assert ours.dosing.daily_maximum.value == 600
    assert ours.dosing.first_day_maximum == policy_by_id("us-label-2025").dosing.first_day_maximum
    assert problems(ours) == []


_BAND = 'says = "x"\nsource = "US-PI"\npopulation = "general"\nanalyte = "anc"\ntreatment = "continue"\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f'[[bands]]\nname = "a"\ntitle = "a"\nat_least = 1500\n{_BAND}', "below 1500 are in no band"),
        (
            f'[[bands]]\nname = "a"\ntitle = "a"\nbelow = 1000\n{_BAND}[[bands]]\nname = "b"\ntitle = "b"\nat_least = 1500\n{_BAND}',
            "from 1000 to 1500",
        ),
        (
            f'[[bands]]\nname = "a"\ntitle = "a"\nbelow = 1600\n{_BAND}[[bands]]\nname = "b"\ntitle = "b"\nat_least = 1500\n{_BAND}',
            "overlap at 1500",
        ),
        (f'[[bands]]\nname = "a"\ntitle = "a"\nbelow = 1600\n{_BAND}', "1600 and more"),
        (
            '[[schedule]]\nlabel = "weekly"\nevery_days = 7\nsource = "US-PI"\nuntil_day = 30\n',
            "nothing applies from day 30",
        ),
        (
            '[platelets]\nlow = { value = 50000, source = "NOWHERE" }\nsays = "x"\n',
            "'NOWHERE' is not in [sources]",
        ),
        ("valid_to = 2025-01-01\n", "valid_to"),
    ],
)
def test_validation_finds(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "ours.toml"
    path.write_text(BASE + text)
    assert any(expected in problem for problem in problems(load_policy(path)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("not toml", "not valid TOML"),
        ("[platelets]\nlow = 50000\n", "platelets.low"),
        ('[platelets]\nlow = { value = "x", source = "US-PI" }\n', "platelets.low.value"),
        ("[platlets]\nlow = 1\n", "platlets"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "ours.toml"
    path.write_text(BASE + text)
    with pytest.raises(PolicyError, match=expected):
        load_policy(path)


def test_unknown_policy_names_the_known() -> None:
    with pytest.raises(PolicyError, match="us-label-2025"):
        policy_by_id("mars-2030")


def test_unconfirmed_values_are_listed() -> None:
    open_values = unconfirmed(policy_by_id("us-label-2025"))
    assert any("one day missed" in path for path in open_values)
    assert not any(path.startswith("bands") for path in open_values)


def test_no_clinical_number_stands_in_a_rule() -> None:
    import ast

    allowed = {
        0,
        1,
        2,
        3,
        4,
        5,
        8,
        10,
        30,
        40,
        60,
        70,
        80,
        100,
        120,
        24.0,
        86400,
        3600,
        12.5,
        48,
        0.5,
        1.001,
        9999,
        -1,
        256,
    }
    for path in (Path(__file__).parents[2] / "service" / "alerts" / "rules").glob("*.py"):
        numbers = {
            n.value
            for n in ast.walk(ast.parse(path.read_text()))
            if isinstance(n, ast.Constant) and type(n.value) in (int, float)
        }
        assert numbers <= allowed, f"{path.name}: {numbers - allowed}"
