"""The words of a policy name its numbers: a site that changes one changes both."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from service.alerts.evaluate import evaluate
from service.alerts.policy.policy import (
    POLICY_FILES,
    Policy,
    PolicyError,
    load_policy,
    policy_by_id,
    policy_ids,
)
from tests.alerts.vignette import facts_of, practice_of, rows
from tests.data import NOW

_HEAD = 'id = "ours"\ntitle = "Ours"\njurisdiction = "US"\ninherits = "{parent}"\nvalid_from = 2025-02-24\nsummary = "x"\n'
#: Numbers of the literature, said and read by no rule.
_OF_THE_LITERATURE = re.compile(
    r"Seizures: 3 to 4 .*|50–70 % within a week|\{steady_state_days\} to 7 days|\btables? \d|21 months|30 to 40 mg"
)


def ours(tmp_path: Path, text: str, parent: str = "us-label-2025") -> Policy:
    path = tmp_path / "ours.toml"
    path.write_text(_HEAD.format(parent=parent) + text)
    return load_policy(path)


@pytest.mark.parametrize("name", ["common", *policy_ids()])
def test_no_text_of_a_shipped_policy_repeats_a_number(name: str) -> None:
    """Notes, titles and summaries tell of the document; what stands on a card names its numbers."""

    def texts(node: object, key: str) -> list[str]:
        if isinstance(node, str):
            return [node] if key.endswith(("says", "steps", "label")) and key != "label" else []
        if isinstance(node, list):
            return [t for item in node for t in texts(item, key)]
        return [t for k, child in node.items() for t in texts(child, k)] if isinstance(node, dict) else []

    content = tomllib.loads((POLICY_FILES / f"{name}.toml").read_text())
    for text in texts(content, ""):
        left = re.sub(r"\{[^}]*\}", "", _OF_THE_LITERATURE.sub("", text))
        assert not re.search(r"\d", left), text


_TEXT_OF = {
    "crp_stop": '[myocarditis]\ncrp_stop = { value = 80, unit = "mg/L", source = "SERVICE" }',
    "platelets": '[platelets]\nlow = { value = 75000, unit = "cells/µL", source = "SERVICE" }',
    "eosinophils": '[eosinophils]\nhigh = { value = 2500, unit = "cells/µL", source = "SERVICE" }',
}


@pytest.mark.parametrize(
    ("change", "result", "code", "says", "never"),
    [
        ("crp_stop", "CRP 90 mg/L 1 d ago", "myocarditis-suspected", "CRP over 80 mg/L", "100 mg/L"),
        ("platelets", "platelets 60 10*3/uL 1 d ago", "thrombocytopenia", "below 75 000/µL", "50 000"),
        ("eosinophils", "eosinophils 2.7 10*3/uL 1 d ago", "eosinophilia", "above 2500/µL", "3000"),
    ],
)
def test_the_card_of_a_changed_number_says_the_changed_number(
    tmp_path: Path, change: str, result: str, code: str, says: str, never: str
) -> None:
    row = {"on": ["clozapine 300 mg since 20 d"], "counts": ["ANC 3.0 10*3/uL 1 d ago", result]}
    found = [f for f in evaluate(facts_of(row), ours(tmp_path, _TEXT_OF[change]), NOW) if f.code == code]
    assert len(found) == 1
    text = " ".join((found[0].summary, *found[0].policy_says, *found[0].suggested))
    assert says in text
    assert never not in text


@pytest.mark.parametrize(
    ("parent", "text", "where", "said"),
    [
        ("us-label-2025", '[interruption]\nnew_course = { value = 21, comparator = ">=", source = "SERVICE" }', "interruption", "break of 21 days or more"),
        ("uk-smpc", '[interruption]\nnew_course = { value = 21, comparator = ">=", source = "SERVICE" }', "interruption", "break of 3 weeks or more"),
        ("uk-smpc", '[interruption]\nnew_course = { value = 30, comparator = ">=", source = "SERVICE" }', "interruption", "break of 30 days or more"),
        ("us-label-2025", '[post_stop]\nuntil_anc = { value = 2000, source = "SERVICE" }', "post_stop", "until the ANC is 2000/µL"),
        ("uk-smpc", '[start]\nwbc_minimum = { value = 4000, source = "SERVICE" }', "start", "WBC of at least 4000/µL"),
        ("us-label-2025", '[start]\nsays = "At least {anc_minimum}/µL, {dosing.daily_maximum} mg at most, {schedule.weekly.until_day:weeks} {bands.mild.below:last}"', "start", "At least 1500/µL, 900 mg at most, 26 weeks 1499"),
        ("us-label-2025", '[start]\nsays = "{dosing.late_steps_per_week:times} {start.ben_baseline_counts:words} {platelets.low:spaced} {post_stop.window_days:days}"', "start", "twice two 50 000 28 days"),
    ],
)  # fmt: skip
def test_texts_are_filled_with_the_numbers_that_apply(
    tmp_path: Path, parent: str, text: str, where: str, said: str
) -> None:
    assert said in getattr(ours(tmp_path, text, parent), where).says


def test_a_band_says_the_numbers_of_its_own_ladder() -> None:
    bands = {b.name: b for b in policy_by_id("us-label-2025").bands if b.population == "general"}
    assert "ANC 500 to 999/µL" in bands["moderate"].says
    assert "three times weekly until 1500/µL" in bands["severe"].steps[1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[start]\nsays = "at least {anc_minimun}/µL"', r"start\.says: \{anc_minimun\} in the text is no number of this policy"),
        ('[start]\nsays = "{anc_minimum:giga}"', r"start\.says: \{anc_minimum:giga\} in the text cannot be said so, expected one of"),
        ('[start]\nsays = "{sources.US-PI.title}, {start}"', r"\{start\} in the text is no number"),
        ('[start]\nsays = "{dispensing.requires_current_count}"', "is no number"),
    ],
)  # fmt: skip
def test_a_text_that_names_what_is_not_there_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(PolicyError, match=expected):
        ours(tmp_path, text)


_ROWS = {name: row for name, _, row in rows()}


@pytest.mark.parametrize(
    ("vignette", "parent", "changed", "said"),
    [
        ("supply-without-length: ends tomorrow, at a visit", "us-label-2025", "", "A gap of 2 days or more needs"),
        ("supply-without-length: ends tomorrow, at a visit", "uk-smpc", "", "A gap of more than 2 days needs"),
        (
            "chart-at-home: the supply has run out since", "uk-smpc",
            '[interruption.extra]\nevery_days = { value = 14, unit = "d", source = "SERVICE" }', "blood counts every 14 days until",
        ),
        (
            "chart-at-home: the supply has run out since", "uk-smpc",
            '[interruption.extra]\nevery_days = { value = 14, unit = "d", source = "SERVICE" }', "counts every two weeks for 6 weeks",
        ),
        (
            "dose-rules: day 8, 100 to 151 mg/day", "us-label-2025",
            '[dosing]\nearly_days = { value = 21, unit = "d", source = "SERVICE" }', "First 21 days: rise",
        ),
        (
            "monitoring: no level by day 28", "us-label-2025",
            '[pathway]\nlevels_apart_days = { value = 10, unit = "d", source = "SERVICE" }', "two troughs 10 days or more apart",
        ),
        (
            "pathway: three antipsychotics", "us-label-2025",
            '[pathway]\nadherence_sources = { value = 3, source = "SERVICE" }', "Show by 3 sources",
        ),
    ],
)  # fmt: skip
def test_what_a_rule_says_names_the_numbers_of_its_policy(
    vignette: str, parent: str, changed: str, said: str, tmp_path: Path
) -> None:
    """Cards spoke of two days, weekly counts, two weeks and two sources, whatever the policy said."""
    row = _ROWS[vignette]
    findings = evaluate(facts_of(row), ours(tmp_path, changed, parent), NOW, practice_of(row))
    assert said in "\n".join(line for f in findings for line in (f.summary, *f.policy_says, *f.suggested))


def test_a_sites_policy_is_read_with_the_notes_of_the_one_it_changes(tmp_path: Path) -> None:
    assert ours(tmp_path, "").notes == policy_by_id("us-label-2025").notes != ()
    path = tmp_path / "own.toml"
    path.write_text(_HEAD.format(parent="us-label-2025") + 'notes = ["Agreed by the pharmacy."]\n')
    assert load_policy(path).notes == ("Agreed by the pharmacy.",)


@pytest.mark.parametrize("name", policy_ids())
def test_no_text_of_a_band_says_how_often_by_itself(name: str) -> None:
    """How often to count in a band is a value of it: its words are made from that."""
    content = tomllib.loads((POLICY_FILES / f"{name}.toml").read_text())
    written = [
        f"{band['name']}: {text}"
        for band in (*content.get("bands", ()), {"name": "falling"} | content.get("falling", {}))
        if band.get("every_days")
        for key in ("every_label", "title", "steps", "says")
        for text in ([band[key]] if isinstance(band.get(key), str) else band.get(key, ()))
        if re.search(r"\b(?<!three times )(twice weekly|daily)\b", text)
    ]
    assert not written


@pytest.mark.parametrize(
    ("days", "label"), [(1, "daily"), (2, "four times weekly"), (5, "twice weekly"), (7, "weekly")]
)
def test_a_band_that_is_counted_more_often_says_so(tmp_path: Path, days: int, label: str) -> None:
    text = (POLICY_FILES / "us-label-2025.toml").read_text()
    path = tmp_path / "us-label-2025.toml"
    path.write_text(text.replace("every_days = 3\n", f"every_days = {days}\n"))
    mild = next(b for b in load_policy(path).bands if b.name == "mild" and b.population == "general")
    assert mild.every_label == label
    assert any(f"ANC {label} until" in step for step in mild.steps)
