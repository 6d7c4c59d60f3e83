"""The sheet for the patient: the numbers are those of its policy, what nobody has confirmed is marked, the words are plain."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from service.alerts.policy.patient_sheet import patient_sheet, sheet_sections
from service.alerts.policy.policy import Policy, policy_by_id, policy_ids
from service.alerts.say.finding_codes import finding_codes
from service.web.pages import patient_page


def _lines(policy: Policy, section: str) -> list[str]:
    return [line.says for s in patient_sheet(policy) if s.id == section for line in s.lines]


def _changed(policy_id: str, path: str, value: Any) -> Policy:
    content = json.loads(msgspec.json.encode(policy_by_id(policy_id)))
    *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    node = content
    for step in steps:
        node = node[step]
    assert last in node or isinstance(last, int)
    node[last] = value
    return msgspec.convert(content, Policy)


@pytest.mark.parametrize("policy_id", policy_ids())
def test_every_line_is_whole_and_says_where_it_comes_from(policy_id: str) -> None:
    policy = policy_by_id(policy_id)
    for section in patient_sheet(policy):
        assert section.lines, section.id
        for line in section.lines:
            assert line.says
            assert not re.search(r"[{}]|\bmg\b|None|\bnan\b", line.says), line.says  # it tells nobody a dose
            assert line.basis
            assert line.number_open == ("(not confirmed)" in "; ".join(line.basis)), line
    page = patient_page(policy)
    assert ("Your team checks this point with you" in page) == ("* Your team" in page or " *</li>" in page)


@pytest.mark.parametrize(
    ("policy_id", "path", "value", "section", "said"),
    [
        ("us-label-2025", "missed_dose.0.gap.value", 30, "missed-doses", "a whole day (30 hours or more since"),
        ("us-label-2025", "missed_dose.1.gap.value", 60, "missed-doses", "No clozapine for 60 hours or more?"),
        ("uk-smpc", "missed_dose.0.gap.value", 72, "missed-doses", "No clozapine for more than 3 days (72 hours)?"),
        ("uk-smpc", "missed_dose.0.gap.comparator", ">=", "missed-doses", "No clozapine for 2 days (48 hours) or more?"),
        ("uk-smpc", "interruption.new_course.value", 30, "missed-doses", "a break of 30 days or more"),
        ("uk-smpc", "interruption.new_course.comparator", ">", "missed-doses", "a break of more than 4 weeks"),
        ("uk-smpc", "interruption.extra.weeks.value", 5, "missed-doses", "weekly for 5 weeks"),
        ("uk-smpc", "interruption.extra.gap.value", 96, "missed-doses", "more than 4 days (96 hours)"),
        ("uk-smpc", "schedule.0.until_day", 140, "blood-tests", "For the first 20 weeks: weekly."),
        ("uk-smpc", "post_stop.window_days.value", 35, "blood-tests", "tests go on for 5 weeks"),
        ("uk-smpc", "fever.early_threshold.value", 37.5, "infection", "37.5 °C (99.5 °F) or more"),
        ("uk-smpc", "fever.after_stop_days.value", 21, "infection", "for 3 weeks after you stop"),
        ("uk-smpc", "monitoring.0.days", [14], "other-tests", "Blood test for your heart: before you start, in week 2."),
        ("uk-smpc", "monitoring.1.then_every_days", 182, "other-tests", "then every 26 weeks"),
    ],
)  # fmt: skip
def test_another_number_of_the_policy_is_another_number_on_the_sheet(
    policy_id: str, path: str, value: Any, section: str, said: str
) -> None:
    assert not any(said in line for line in _lines(policy_by_id(policy_id), section))
    assert any(said in line for line in _lines(_changed(policy_id, path, value), section))


@pytest.mark.parametrize(
    ("policy_id", "path", "value", "section", "word"),
    [
        ("uk-smpc", "dispensing.requires_current_count.value", False, "blood-tests", "No test, no tablets"),
        ("uk-smpc", "interruption.extra", None, "missed-doses", "weekly for 6 weeks"),
        ("eu-smpc-2025", "interruption.exempt_after_days", None, "missed-doses", "After long treatment"),
        ("us-label-2025", "missed_dose", [], "missed-doses", "No clozapine for"),
    ],
)  # fmt: skip
def test_what_a_policy_has_not_is_not_on_its_sheet(
    policy_id: str, path: str, value: Any, section: str, word: str
) -> None:
    assert any(word in line for line in _lines(policy_by_id(policy_id), section))
    assert not any(word in line for line in _lines(_changed(policy_id, path, value), section))


def test_a_test_of_a_site_s_own_is_named_as_its_policy_names_it() -> None:
    policy = policy_by_id("uk-smpc")
    own = replace(policy.monitoring[0], id="echo", title="echocardiogram", days=(), then_every_days=None)
    assert "echocardiogram: before you start." in _lines(replace(policy, monitoring=(own,)), "other-tests")


def test_a_number_nobody_confirmed_is_marked_until_the_site_has() -> None:
    policy = policy_by_id("us-label-2025")
    marked = "you need a smaller dose. *</li>"
    assert marked in patient_page(policy)
    assert "Reference only for restart" in patient_page(policy)
    tiers = tuple(replace(t, confirmed=True, gap=replace(t.gap, confirmed=True)) for t in policy.missed_dose)
    confirmed = patient_page(replace(policy, missed_dose=tiers))
    assert marked not in confirmed
    assert "Reference only" not in confirmed


def test_cards_link_to_sections_that_are_there() -> None:
    linked = {f.patient_sheet for f in finding_codes().values()} - {""}
    assert linked <= {"whole", *sheet_sections()}
    assert {"whole", "infection", "missed-doses", "smoking", "bowel", "blood-tests"} <= linked


def _syllables(word: str) -> int:
    return max(1, len(re.findall(r"[aeiouy]+", re.sub(r"e$", "", word.lower()))))


@pytest.mark.parametrize("policy_id", policy_ids())
def test_a_child_of_twelve_can_read_it(policy_id: str) -> None:
    """Flesch–Kincaid grade (Kincaid 1975); a syllable is a run of vowels, and a final e is silent."""
    text = " ".join(line.says for s in patient_sheet(policy_by_id(policy_id)) for line in s.lines)
    sentences = [words for part in re.split(r"[.!?:;]", text) if (words := re.findall(r"[A-Za-z’]+", part))]
    words = [word for sentence in sentences for word in sentence]
    grade = 0.39 * len(words) / len(sentences) + 11.8 * sum(map(_syllables, words)) / len(words) - 15.59
    assert grade < 6
    assert max(map(len, sentences)) <= 25


def test_what_holds_for_several_steps_of_the_schedule_is_said_once() -> None:
    lines = _lines(policy_by_id("eu-smpc-2025"), "blood-tests")
    said = [line for line in lines if "no count was ever low" in line]
    assert said == ["After that: once a year. Less often than every 4 weeks: only if no count was ever low."]


def test_fever_after_a_stop_is_watched_as_long_as_blood_is_tested() -> None:
    """Two weeks for the fever and four for the counts would be two answers to one question."""
    for policy_id in policy_ids():
        (line,) = [x for x in _lines(policy_by_id(policy_id), "infection") if "after you stop" in x]
        assert line.endswith("and longer while your blood tests go on.")
