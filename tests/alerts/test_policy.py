"""Policies as data: sound, cited, and checked when they are not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args, get_type_hints

import pytest
from msgspec import Struct

from service.alerts.policy.check import problems, unconfirmed
from service.alerts.policy.parts.values import Limit, Minimum, Value
from service.alerts.policy.policy import Policy, PolicyError, load_policy, policy_by_id, policy_ids
from service.alerts.policy.prose import filled
from service.alerts.policy.reference import confirmed_words, reference_only, reference_words
from service.alerts.policy.said_interval import differs, said_interval

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
            f'[[bands]]\nname = "a"\ntitle = "a"\nfinding = "blood-count-amber"\nseverity = "warning"\nevery_days = 3\n{_BAND}',
            "must be the normal one",
        ),
        (f'[[bands]]\nname = "a"\ntitle = "a"\nrechallenge = "never"\n{_BAND}', "must be the normal one"),
        (
            f'[[bands]]\nname = "a"\ntitle = "a"\n{_BAND}[[bands]]\nname = "b"\ntitle = "b"\n{_BAND}'.replace(
                'name = "b"\ntitle = "b"\nsays = "x"\nsource = "US-PI"\npopulation = "general"\nanalyte = "anc"',
                'name = "b"\ntitle = "b"\nsays = "x"\nsource = "US-PI"\npopulation = "ben"\nanalyte = "wbc"',
            ),
            "benign ethnic neutropenia alone",
        ),
        (
            '[[schedule]]\nlabel = "weekly"\nevery_days = 7\nsource = "US-PI"\nuntil_day = 30\n',
            "nothing applies from day 30",
        ),
        (
            '[[schedule]]\nlabel = "every 2 weeks"\nevery_days = 7\nsource = "US-PI"\n',
            "'every 2 weeks' says another interval than its every_days, 7",
        ),
        (
            f'[[bands]]\nname = "a"\ntitle = "a"\nevery_days = 3\nevery_label = "weekly"\n{_BAND}',
            "'a' says 'weekly' (every_label), but every_days is 3",
        ),
        (
            f'[[bands]]\nname = "a"\ntitle = "a"\nconfirmed_every_days = 14\nconfirmed_every_label = "weekly for 4 weeks"\n{_BAND}',
            "'a' says 'weekly for 4 weeks' (confirmed_every_label), but confirmed_every_days is 14",
        ),
        (
            '[platelets]\nlow = { value = 50000, source = "NOWHERE" }\nsays = "x"\n',
            "'NOWHERE' is not in [sources]",
        ),
        ("valid_to = 2025-01-01\n", "valid_to"),
        (
            f'[[bands]]\nname = "a"\ntitle = "a"\nbelow = 1600\n{_BAND}[[bands]]\nname = "b"\ntitle = "b"\nat_least = 1600\nlower_bound_belongs = false\n{_BAND}',
            "exactly 1600 is in no band",
        ),
        (
            f'[[bands]]\nname = "a"\ntitle = "a"\nbelow = 1600\nupper_bound_belongs = true\n{_BAND}[[bands]]\nname = "b"\ntitle = "b"\nat_least = 1600\n{_BAND}',
            "overlap at exactly 1600",
        ),
        (
            f'[[bands]]\nname = "a"\ntitle = "a"\nfinding = "blood-count-red"\nseverity = "critical"\nevery_days = 1\nstop_when_confirmed = true\n{_BAND}',
            "stops when confirmed",
        ),
        (
            '[start]\nanc_minimum = { value = 1200, source = "US-PI" }\n',
            "treatment could start at 1200 in the band 'mild'",
        ),
        (
            '[start]\nwbc_minimum = { value = 3500, source = "US-PI" }\n',
            "minimum to start, but no band judges this count",
        ),
        (
            '[start]\ninherit = false\nanc_minimum = { value = 1500, source = "US-PI" }\n',
            "belong together",
        ),
        (
            '[[schedule]]\nlabel = "weekly"\nevery_days = 7\nsource = "US-PI"\nneeds_no_neutropenia = true\n',
            "nothing applies after a neutropenia",
        ),
        (
            '[[schedule]]\nlabel = "a"\nevery_days = 7\nsource = "US-PI"\nuntil_day = 30\n[[schedule]]\nlabel = "b"\nevery_days = 7\nsource = "US-PI"\nuntil_day = 30\n',
            "'b' cannot be reached",
        ),
        (
            'missed_dose_says = "x"\n[[missed_dose]]\nname = "a"\ngap = { value = 48, comparator = ">", source = "US-PI" }\nsingle_mg = 12.5\nsays = "x"\nseverity = "warning"\nsource = "US-PI"\n'
            '[[missed_dose]]\nname = "b"\ngap = { value = 48, comparator = ">=", source = "US-PI" }\nsingle_mg = 12.5\nsays = "x"\nseverity = "warning"\nsource = "US-PI"\n',
            "'a' cannot be reached",
        ),
        (
            '[interruption.extra]\ngap = { value = 720, comparator = ">", source = "US-PI" }\nafter_day = { value = 126, source = "US-PI" }\n'
            'every_days = { value = 7, source = "US-PI" }\nweeks = { value = 6, source = "US-PI" }\nsays = "x"\n',
            "interruption.extra: it cannot be reached",
        ),
        (
            '[dispensing]\nsupply_source = "US-PI"\nsupply_by_interval = [[7, 7], [21, 21]]\n',
            "no phase or band counts every 21 days",
        ),
        (
            '[dispensing]\nsupply_source = "US-PI"\nsupply_by_interval = [[7, 7], [14, 14]]\n',
            "nothing is said for a count every 30 days",
        ),
        ('[dispensing]\nsupply_source = "NOWHERE"\n', "'NOWHERE' is not in [sources]"),
        (
            '[falling]\nwbc_below = { value = 4000, source = "US-PI" }\n',
            "wbc_below needs wbc_fall",
        ),
        (
            '[eosinophils]\nrestart_below = { value = 4000, source = "US-PI" }\n',
            "restart_below is above high",
        ),
        ('valid_to = 2027-01-01\nsuperseded_by = "mars-2030"\n', "'mars-2030' is not a shipped policy"),
        (
            'valid_to = 2027-01-01\nsuperseded_by = "us-label-2025"\n',
            "is valid from 2025-02-24, this policy to 2027-01-01",
        ),
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


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        ("[myocarditis]\ncrp_stop = { value = 80 }\n", "myocarditis.crp_stop", 'without its source.*unit = "mg/L"'),
        ('[myocarditis]\ncrp_stop = { value = 80, unit = "mg/L" }\n', "myocarditis.crp_stop", "without its source"),
        ('[myocarditis]\ncrp_stop = { unit = "mg/dL" }\n', "myocarditis.crp_stop", "without its source"),
        ("[myocarditis]\ncrp_stop = 80\n", "myocarditis.crp_stop", "without its source"),
        ('[interruption]\nnew_course = { comparator = ">" }\n', "interruption.new_course", "without its source"),
        ("[dispensing]\nrequires_current_count = { value = true }\n", "dispensing.requires_current_count", "without its source"),
        ("[dispensing]\nsupply_by_interval = [[7, 7]]\n", "dispensing.supply_by_interval", "supply_source"),
        ('[myocarditis]\ncrp_stop = { value = 8, unit = "mg/dL", source = "SERVICE" }\n', "myocarditis.crp_stop", "'mg/dL' is foreign here, expected 'mg/L'"),
        ('[myocarditis]\ntroponin_stop_factor = { value = 2, unit = "ng/L", source = "SERVICE" }\n', "myocarditis.troponin_stop_factor", "expected none"),
        ('[myocarditis]\ncrp_stop = { value = 8, source = "SERVICE" }\n', "myocarditis.crp_stop", "8 is out of bounds, expected 20 to 300 mg/L"),
        ('[myocarditis]\ncrp_stop = { value = -5, unit = "mg/L", source = "SERVICE" }\n', "myocarditis.crp_stop", "out of bounds"),
        ('[dosing]\ndaily_maximum = { value = 9, unit = "mg/d", source = "SERVICE" }\n', "dosing.daily_maximum", "expected 100 to 1200 mg/d"),
        ('[start]\nanc_minimum = { value = 1.5, source = "SERVICE" }\n', "start.anc_minimum", "expected 500 to 5000 cells/µL"),
        (f'[[bands]]\nname = "a"\ntitle = "a"\nat_least = 1.5\n{_BAND}', r"bands\[general anc a\].at_least", "expected 0, or 100 to 20000 cells/µL"),
        ('[[schedule]]\nlabel = "weekly"\nevery_days = 700\nsource = "US-PI"\n', r"schedule\[weekly\].every_days", "expected 0 to 400 d"),
        ("[dispensing]\nsupply_source = 'US-PI'\nsupply_by_interval = [[7, 700]]\n", "dispensing.supply_by_interval", "700 is out of bounds"),
        ('[platelets]\nlow = { value = nan, source = "US-PI" }\n', "platelets.low", "nan is out of bounds"),
    ],
)  # fmt: skip
def test_a_value_without_source_of_a_foreign_unit_or_out_of_bounds_is_refused(
    tmp_path: Path, text: str, key: str, expected: str
) -> None:
    path = tmp_path / "ours.toml"
    path.write_text(BASE + text)
    with pytest.raises(PolicyError, match=f"ours.toml: {key}: .*{expected}"):
        load_policy(path)


def test_a_site_may_confirm_and_remark_an_inherited_value(tmp_path: Path) -> None:
    path = tmp_path / "ours.toml"
    path.write_text(
        BASE + '[fever]\nthreshold = { confirmed = true, note = "read in our copy of the label" }\n'
    )
    shipped, ours = policy_by_id("us-label-2025").fever.threshold, load_policy(path).fever.threshold
    assert not shipped.confirmed
    assert ours.confirmed
    assert (ours.value, ours.source, ours.section) == (shipped.value, shipped.source, shipped.section)


def _number_fields(kind: object, path: str, seen: set[object]) -> Iterator[tuple[str, bool]]:
    """(path, has a quantity) of every field of a policy that holds a number."""
    if kind in seen or not (isinstance(kind, type) and issubclass(kind, Struct)):
        return
    seen.add(kind)
    for field, hint in get_type_hints(kind, include_extras=True).items():
        text = str(hint)
        if not field.startswith("_") and (
            "Quantity(" in text or re.search(r"\b(int|float)\b|parts\.(Value|Limit|Minimum)\b", text)
        ):
            yield f"{path}.{field}", "Quantity(" in text
        for part in (hint, *get_args(hint)):
            yield from _number_fields(part, f"{path}.{field}", seen)


def test_every_number_of_a_policy_has_a_unit_and_bounds() -> None:
    found = dict(_number_fields(Policy, "policy", {Value, Limit, Minimum}))
    assert len(found) > 120
    assert [path for path, bounded in found.items() if not bounded] == []


@pytest.mark.parametrize("parent", ["mars-2030", "../common", "ours"])
def test_an_unknown_parent_lists_the_known_ones(tmp_path: Path, parent: str) -> None:
    path = tmp_path / "ours.toml"
    path.write_text(BASE.replace("us-label-2025", parent))
    with pytest.raises(
        PolicyError, match=r"ours\.toml: inherits: unknown policy .*expected one of common, .*uk-smpc"
    ):
        load_policy(path)


def test_unknown_policy_names_the_known() -> None:
    with pytest.raises(PolicyError, match="us-label-2025"):
        policy_by_id("mars-2030")


@pytest.mark.parametrize("policy_id", policy_ids())
def test_every_abnormal_band_of_a_shipped_policy_says_what_to_do(policy_id: str) -> None:
    for band in policy_by_id(policy_id).bands:
        assert bool(band.finding) == bool(band.steps) == bool(band.every_days)
        assert band.treatment == "continue" or band.severity == "critical"


@pytest.mark.parametrize(
    ("policy_id", "path"),
    [
        ("us-rems-2015", "dispensing.supply_by_interval"),
        ("eu-smpc-2025", "bands[general anc mild].sampling"),
        ("eu-smpc-2025", "dispensing.requires_current_count"),
        ("uk-smpc", "bands[ben anc red]"),
        ("ca-2020", "interruption.new_course"),
        ("nz-classic", "bands[general wbc red]"),
        ("au-2021", "interruption.extra.gap"),
    ],
)
def test_what_no_primary_text_confirmed_is_marked(policy_id: str, path: str) -> None:
    assert path in unconfirmed(policy_by_id(policy_id))


def test_a_table_that_does_not_inherit_starts_empty() -> None:
    assert policy_by_id("us-label-2025").falling.anc_fall_percent is not None
    assert policy_by_id("ca-2020").falling.anc_fall_percent is None


@pytest.mark.parametrize(
    ("policy_id", "analyte", "count", "band"),
    [
        ("ca-2020", "wbc", 3500, "yellow"),
        ("ca-2020", "wbc", 3500.5, "green"),
        ("ca-2020", "wbc", 1999.9, "red"),
        ("ca-2020", "anc", 2000, "green"),
        ("uk-smpc", "wbc", 3500, "green"),
        ("uk-smpc", "anc", 1999.9, "amber"),
        ("uk-smpc", "anc", 0, "red-hematology"),
    ],
)
def test_which_side_of_a_band_a_count_is_on(
    policy_id: str, analyte: Literal["anc", "wbc"], count: float, band: str
) -> None:
    found = policy_by_id(policy_id).band("general", analyte, count)
    assert found is not None
    assert found.name == band


@pytest.mark.parametrize(
    ("policy_id", "parts"),
    [
        ("us-label-2025", ("restart",)),
        ("us-rems-2015", ()),
        ("eu-smpc-2025", ("bands", "restart")),
        ("ca-2020", ("restart",)),
        ("nz-classic", ("bands", "restart")),
        ("jp-2023", ("restart",)),
    ],
)
def test_what_is_open_makes_a_policy_reference_only(policy_id: str, parts: tuple[str, ...]) -> None:
    policy = policy_by_id(policy_id)
    assert reference_only(policy) == parts
    assert bool(reference_words(policy)) == bool(parts)


_CONFIRMED = """
[[confirmations]]
parts = ["restart"]
by = "A. Berg, chief pharmacist"
on = 2026-12-01
text = "US label 6/2025, section 2.6"
"""


def test_a_site_confirms_a_part(tmp_path: Path) -> None:
    path = tmp_path / "ours.toml"
    path.write_text(BASE + _CONFIRMED)
    ours = load_policy(path)
    assert reference_only(ours) == ()
    assert all(tier.confirmed and tier.gap.confirmed for tier in ours.missed_dose)
    assert not ours.fever.threshold.confirmed
    assert "A. Berg, chief pharmacist on 2026-12-01" in confirmed_words(ours.confirmations[0])
    assert problems(ours) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [('["restart"]', '["dosing"]'), ('["restart"]', "[]"), ("A. Berg, chief pharmacist", "")],
)
def test_a_confirmation_names_a_part_and_a_person(tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / "ours.toml"
    path.write_text(BASE + _CONFIRMED.replace(old, new))
    with pytest.raises(PolicyError, match="confirmations"):
        load_policy(path)


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
        if path.name == "asked.py":
            continue  # which rules are asked: no rule, and its sizes of memory are not clinical
        numbers = {
            n.value
            for n in ast.walk(ast.parse(path.read_text()))
            if isinstance(n, ast.Constant) and type(n.value) in (int, float)
        }
        assert numbers <= allowed, f"{path.name}: {numbers - allowed}"


@pytest.mark.parametrize(
    ("label", "days"),
    [
        ("daily", (1, 1)), ("weekly", (7, 7)), ("every 2 weeks", (14, 14)), ("every two weeks", (14, 14)), ("every other day", (2, 2)),
        ("monthly", (28, 31)), ("every 12 weeks", (84, 84)), ("once a year", (364, 366)), ("every 10 days", (10, 10)), ("Every month", (28, 31)),
        ("twice weekly", (3, 6)), ("three times a week", (2, 3)), ("weekly for 4 weeks", (7, 7)), ("wöchentlich", None), ("as before", None),
    ],
)  # fmt: skip
def test_an_interval_in_words_is_understood(label: str, days: tuple[float, float] | None) -> None:
    assert said_interval(label) == days


@pytest.mark.parametrize("days", range(1, 61))
@pytest.mark.parametrize("form", ["weekly", "often", "days", "weeks"])
def test_what_the_prose_makes_of_a_number_says_that_number(form: str, days: int) -> None:
    named = {"days": "every {n:days}", "weeks": "every {n:weeks}"}.get(form, f"{{n:{form}}}")
    label = filled({"n": days, "label": named})["label"]
    assert said_interval(label) is not None
    assert not differs(label, days), label
