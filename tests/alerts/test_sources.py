"""Where numbers come from: every one cites a section, and what nobody has read says so (clinical.md, clinical-reference.md L)."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from service.alerts.policy.check import cited, unconfirmed
from service.alerts.policy.parts.values import Limit, Minimum, Value
from service.alerts.policy.policy import Policy, policy_by_id, policy_ids

#: What the specification marks [check] and the fact base lists as read nowhere, by policy ("" = every policy).
UNREAD = {
    "": [
        "fever.threshold",
        "eosinophils.early",
        "results.qtc_critical",
        "results.transaminase_factor",
        "results.weight_gain_percent",
        "myocarditis.heart_rate",
        "myocarditis.heart_rate_rise",
        "myocarditis.crp_raised",
        "monitoring[ecg]",
        "monitoring[liver]",
    ],
    "us-label-2025": [
        "missed_dose[one day missed]",
        "missed_dose[two days missed]",
        "dosing.once_daily_maximum",
        "dispensing.supply_by_interval",
    ],
    "us-rems-2023": ["missed_dose[one day missed]", "dispensing.supply_by_interval"],
    "us-rems-2015": ["dispensing.supply_by_interval"],
    "eu-smpc-2025": [
        "bands[general anc mild].sampling",
        "bands[ben anc ben-neutropenia].sampling",
        "bands[general anc moderate].sampling",
        "bands[general anc severe].sampling",
        "bands[ben anc ben-severe].sampling",
        "dispensing.requires_current_count",
        "interruption.new_course",
        "eosinophils.high",
        "platelets.low",
        "post_stop.every_days",
    ],
    "eu-classic": ["interruption.new_course"],
    "uk-smpc": [
        "bands[ben anc amber]",
        "bands[ben wbc red]",
        "start.ben_anc_minimum",
        "start.ben_wbc_minimum",
        "interruption.new_course",
    ],
    "au-2021": [
        "bands[general wbc amber]",
        "bands[general anc red]",
        "interruption.new_course",
        "interruption.extra.gap",
        "interruption.extra.weeks",
        "dosing.early_below",
        "dosing.elderly_rise_maximum",
    ],
    "ca-2020": [
        "interruption.new_course",
        "missed_dose[48 h or more]",
        "post_stop.window_days",
    ],
    "nz-classic": [
        "bands[general wbc amber]",
        "bands[general anc red]",
        "interruption.new_course",
        "interruption.extra.gap",
        "missed_dose[more than 48 h]",
        "eosinophils.high",
        "platelets.low",
    ],
    "jp-2023": [
        "missed_dose[48 h or more]",
        "dispensing.requires_current_count",
        "dispensing.supply_by_interval",
        "eosinophils.high",
        "platelets.low",
    ],
}
#: What was read since, in the primary text or a faithful copy, and lost its mark.
READ = {
    "us-rems-2015": ["missed_dose[two days missed]"],
    "eu-smpc-2025": [
        "bands[general anc mild]",
        "bands[general anc mild].recovery",
        "bands[ben anc ben-neutropenia].recovery",
        "interruption.exempt_after_days",
        "interactions.valproate",
        "dosing.once_daily_maximum",
        "dosing.seizure_caution_above",
    ],
    "uk-smpc": ["dosing.day_14_maximum", "dosing.elderly_from_years"],
    "ca-2020": [
        "bands[general wbc yellow]",
        "bands[general anc red]",
        "start.anc_minimum",
        "falling.wbc_fall",
        "falling.flu_like",
        "dispensing.requires_current_count",
        "dispensing.supply_by_interval",
    ],
    "au-2021": ["schedule[weekly]", "schedule[every 4 weeks]", "missed_dose[48 h or more]"],
    "nz-classic": [
        "start.anc_minimum",
        "schedule[weekly]",
        "dispensing.requires_current_count",
        "post_stop.window_days",
    ],
    "jp-2023": [
        "bands[general anc red]",
        "schedule[every 2 weeks]",
        "interruption.new_course",
        "dosing.daily_maximum",
    ],
}


@pytest.mark.parametrize("policy_id", policy_ids())
def test_what_nobody_has_read_says_so(policy_id: str) -> None:
    said = set(unconfirmed(policy_by_id(policy_id)))
    assert [path for path in UNREAD[""] + UNREAD.get(policy_id, []) if path not in said] == []


@pytest.mark.parametrize("policy_id", sorted(READ))
def test_what_was_read_lost_its_mark(policy_id: str) -> None:
    policy = policy_by_id(policy_id)
    written = {path for path, _ in cited(policy)}
    assert [path for path in READ[policy_id] if path in unconfirmed(policy)] == []
    assert [p for p in READ[policy_id] if p not in written and p != "dispensing.supply_by_interval"] == []


def _without_section(node: Any, path: str = "") -> list[str]:
    if isinstance(node, dict):
        here = [path] if node.get("source") and not node.get("section") else []
        return here + [
            p
            for key, child in node.items()
            if key != "sources"
            for p in _without_section(child, f"{path}.{key}")
        ]
    if isinstance(node, list | tuple):
        return [p for i, child in enumerate(node) for p in _without_section(child, f"{path}[{i}]")]
    return []


@pytest.mark.parametrize("policy_id", policy_ids())
def test_every_number_cites_a_section(policy_id: str) -> None:
    assert _without_section(msgspec.to_builtins(policy_by_id(policy_id))) == []


def test_numbers_cite_the_text_that_gives_them() -> None:
    """The MHRA names no share of the dose, the myocarditis protocol no eight weeks, the US label no four weeks after a stop."""
    us = policy_by_id("us-label-2025")
    assert us.dosing.smoking_stop_factor.source == "NHSGGC"
    assert us.myocarditis.window_days.source == us.fever.early_days.source == "UK-SmPC"
    assert us.levels.toxic.source == "LABS"
    assert us.post_stop.window_days.source == us.dispensing.supply_source == "SERVICE"


def _numbers(policy: Policy) -> list[tuple[str, Value | Limit | Minimum | None, str]]:
    """Every number that a sentence of the policy stands for, with that sentence."""
    start, falling, eosinophils, stop = policy.start, policy.falling, policy.eosinophils, policy.post_stop
    return [
        ("start, ANC", start.anc_minimum, start.says),
        ("start, WBC", start.wbc_minimum, start.says),
        ("start, ANC in BEN", start.ben_anc_minimum, start.says),
        ("start, WBC in BEN", start.ben_wbc_minimum, start.says),
        ("fall of the ANC", falling.anc_fall, falling.says),
        ("fall of the ANC to", falling.anc_below, falling.says),
        ("fall of the WBC", falling.wbc_fall, falling.says),
        ("fall of the WBC to", falling.wbc_below, falling.says),
        ("eosinophils", eosinophils.high, eosinophils.says),
        ("eosinophils, restart", eosinophils.restart_below, eosinophils.says),
        ("after a stop", stop.until_anc, stop.says),
        ("after a stop, BEN", stop.ben_until_anc, stop.says),
    ]


@pytest.mark.parametrize("policy_id", policy_ids())
def test_sentences_name_the_numbers_they_stand_for(policy_id: str) -> None:
    policy = policy_by_id(policy_id)
    assert [
        what
        for what, number, says in _numbers(policy)
        if number is not None and f"{number.value:g}" not in says
    ] == []
    for tier in policy.missed_dose:
        for share in (tier.percent_low, tier.percent_high, tier.single_mg):
            assert share is None or f"{share:g}" in tier.says, tier.name


@pytest.mark.parametrize("policy_id", policy_ids())
def test_bands_name_only_their_own_bounds(policy_id: str) -> None:
    policy = policy_by_id(policy_id)
    for band in policy.bands:
        bounds = {
            int(bound) - less
            for b in policy.bands_of(band.population, band.analyte)
            for bound in (b.at_least, b.below or 0)
            for less in (0, 1)
        }
        for text in (band.says, *band.steps):
            named = {int(n) for n in re.findall(r"(\d{3,5})(?:/µL| to )", text)}
            assert named <= bounds, (band.name, text)
        assert band.analyte.upper() in band.says
