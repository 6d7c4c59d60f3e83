"""The cards of one answer agree: no dose that another card forbids, no count that is there, no step of a treatment that is over, nothing twice."""

from __future__ import annotations

from typing import Any

import pytest

from cds_hooks import Card
from service.judge import judge
from tests.alerts.vignette import request_of
from tests.data import NOW

TAKEN = ["clozapine 300 mg since 500 d"]
COUNTED = ["ANC 3.4 10*3/uL every 28 d from 480 d to 3 d"]
#: Charted until six weeks ago, under an order that is still listed.
LEFT_OFF = {"on": TAKEN, "given": ["every 24 h from 1200 h to 1008 h 300 mg"], "counts": COUNTED}


def cards_of(row: dict[str, Any], policy: str = "us-label-2025") -> dict[str, Card]:
    cards = judge(request_of(row), policy=policy, as_of=NOW).cards
    assert all(len(card.summary) < 140 for card in cards)
    return {card.source.topic.code: card for card in cards if card.source.topic is not None}


def labels(card: Card) -> list[str]:
    return [suggestion.label for suggestion in card.suggestions]


@pytest.mark.parametrize("policy", ["us-label-2025", "uk-smpc", "jp-2023"])
@pytest.mark.parametrize("inhibitors", [["ciprofloxacin"], ["ciprofloxacin", "fluvoxamine"]])
def test_no_third_of_a_dose_that_a_gap_forbids(policy: str, inhibitors: list[str]) -> None:
    cards = cards_of(LEFT_OFF | {"draft": inhibitors}, policy)
    assert "restart at 12.5 mg" in cards["missed-dose-retitrate"].summary
    interaction = cards["interaction-cyp1a2-strong-inhibitor"]
    assert "after missed doses: restart small" in interaction.summary
    assert "100 mg/day" not in interaction.summary + (interaction.detail or "")


def test_without_a_gap_a_third_is_named() -> None:
    cards = cards_of({"on": TAKEN, "counts": COUNTED, "draft": ["ciprofloxacin"]})
    assert "300 mg → 100 mg/day" in cards["interaction-cyp1a2-strong-inhibitor"].summary


@pytest.mark.parametrize(("days", "asks"), [(7, False), (8, True)])
def test_a_restart_asks_for_no_count_that_is_there(days: int, asks: bool) -> None:
    row = {"on": ["clozapine 300 mg from 500 d to 60 d"], "draft": ["clozapine 12.5 mg"]}
    cards = cards_of(row | {"counts": [f"ANC 3.4 10*3/uL {days} d ago"]})
    restart = cards["interruption-restart-monitoring"]
    assert any("CBC" in label for card in cards.values() for label in labels(card)) == asks
    assert ("at most 7 days old" in (restart.detail or "")) != asks
    assert ("baseline-count-too-old" in cards) == asks


@pytest.mark.parametrize("policy", ["eu-smpc-2025", "uk-smpc", "ca-2020"])
def test_no_restart_is_planned_where_the_policy_allows_none(policy: str) -> None:
    row = {
        "on": ["clozapine 300 mg from 500 d to 60 d"],
        "draft": ["clozapine 12.5 mg"],
        "counts": ["ANC 0.4 10*3/uL 60 d ago", "WBC 2.0 10*3/uL 60 d ago", "ANC 3.4 10*3/uL 3 d ago", "WBC 6.0 10*3/uL 3 d ago"],
    }  # fmt: skip
    cards = cards_of(row, policy)
    assert "allows no rechallenge" in cards["rechallenge-caution"].summary
    assert "interruption-restart-monitoring" not in cards


@pytest.mark.parametrize(
    ("policy", "said"),
    [("us-label-2025", "close it on the problem list"), ("uk-smpc", "does not allow another try")],
)
def test_an_agranulocytosis_that_may_go_on_is_not_weighed(policy: str, said: str) -> None:
    row = {"on": TAKEN, "draft": ["clozapine 300 mg"], "problems": ["agranulocytosis since 2 d"], "counts": COUNTED}  # fmt: skip
    card = cards_of(row, policy)["rechallenge-caution"]
    assert "stop clozapine, do not renew it; count now" in card.summary
    assert "Order CBC with differential" in labels(card)
    assert said in (card.detail or "")
    assert "benefit outweighs the risk." not in (card.detail or "").split("**Suggested**")[1]


def test_a_policy_without_another_try_says_so_of_the_problem_list_too() -> None:
    row = {"on": [], "draft": ["clozapine 12.5 mg"], "problems": ["agranulocytosis (resolved)"], "counts": COUNTED}  # fmt: skip
    assert "allows no rechallenge" in cards_of(row, "uk-smpc")["rechallenge-caution"].summary
    assert "only if the benefit outweighs" in cards_of(row)["rechallenge-caution"].summary


def test_only_one_card_asks_for_a_level() -> None:
    row = {
        "hook": "patient-view",
        "on": ["clozapine 300 mg since 500 d", "fluvoxamine from 300 d to 4 d"],
        "problems": ["pneumonia since 2 d"],
        "counts": COUNTED,
    }
    cards = cards_of(row)
    stopped = cards["interaction-inhibitor-stopped"]
    assert "level-suggested" not in cards
    assert "A level is worth taking for another reason, too: pneumonia." in (stopped.detail or "")
    assert not any("No clozapine level" in card.summary for card in cards.values())
    alone = cards_of(row | {"on": TAKEN})
    assert "pneumonia" in alone["level-suggested"].summary


def test_a_count_that_is_overdue_after_a_recovery_is_asked_for_once() -> None:
    counts = ["ANC 3.4 10*3/uL 31 d ago", "ANC 0.7 10*3/uL 19 d ago", "ANC 1.6 10*3/uL 8 d ago"]
    cards = cards_of({"hook": "patient-view", "on": TAKEN, "counts": counts})
    assert "anc-recheck-after-recovery" not in cards
    assert "4 more weekly counts before the usual interval." in (cards["anc-overdue"].detail or "")


def test_a_fever_that_was_counted_says_what_to_do() -> None:
    counts = ["ANC 3.4 10*3/uL 0.5 d ago", "temperature 38.5 Cel 1 d ago"]
    card = cards_of({"hook": "patient-view", "on": TAKEN, "counts": counts})["fever"]
    assert card.summary.endswith("under clozapine, counted since: look for the cause.")


def test_an_early_pericarditis_has_the_stop_among_its_steps() -> None:
    row = {"hook": "patient-view", "problems": ["pericarditis since 2 d"], "counts": COUNTED}
    early = cards_of(row | {"on": ["clozapine 100 mg since 55 d"]})["pericarditis"]
    late = cards_of(row | {"on": ["clozapine 100 mg since 57 d"]})["pericarditis"]
    assert "1. Stop clozapine until a myocarditis is ruled out." in (early.detail or "")
    assert "Stop clozapine" not in (late.detail or "")


def test_a_count_after_a_stop_is_offered_on_the_day_it_is_due() -> None:
    row = {"hook": "encounter-discharge", "on": ["clozapine 300 mg from 500 d to 5 d"]}
    due = cards_of(row | {"counts": ["ANC 0.4 10*3/uL 5 d ago", "ANC 0.8 10*3/uL 1 d ago"]})["anc-post-stop"]
    assert "not recovered, next count on 2026-11-20, daily." in due.summary
    assert labels(due) == ["Order CBC with differential"]
    taken = cards_of(row | {"counts": ["ANC 0.4 10*3/uL 5 d ago", "ANC 0.8 10*3/uL 0.1 d ago"]})
    assert labels(taken["anc-post-stop"]) == []
