"""What could not be read, in words: every source has its names, and a summary that does not fit is said shorter."""

from __future__ import annotations

from typing import get_args

import pytest
from msgspec.structs import replace

from service.alerts.case.lost import NEEDED
from service.alerts.evaluate import evaluate
from service.alerts.facts.patient import ReadProblem, SourceName
from service.alerts.facts.reason import because
from service.alerts.policy.policy import policy_by_id
from service.alerts.rules.data_unavailable import _WHERE
from service.alerts.say.finding import Citation
from service.alerts.say.found import Found, told
from service.alerts.say.language import english
from service.alerts.say.sentence import Record, sentence
from service.alerts.say.wording import SUMMARY_LIMIT, capital
from tests.alerts.vignette import facts_of
from tests.data import NOW

SOURCES: tuple[SourceName, ...] = get_args(SourceName)


def _words(id: str) -> str:
    ((text, name),) = english().templates[id]
    assert not name
    return text


@pytest.mark.parametrize(
    "key", [*SOURCES, *(f"{s}-part" for s in NEEDED), *(part for _, part in _WHERE.values()), "record-part", "some-records"]
)  # fmt: skip
def test_a_source_that_was_not_read_has_its_names(key: str) -> None:
    short = _words(f"source-short.{key}")
    assert _words(f"source-first.{key}") == capital(short)
    if key.removesuffix("-part") in NEEDED or key in SOURCES:
        assert _words(f"source.{key}").startswith(short)


def test_every_part_of_a_call_has_a_name() -> None:
    assert set(_WHERE) == {*SOURCES, "draftOrders"}
    for name, _ in _WHERE.values():
        assert _words(name)[0].isupper()


def _found(label: str) -> Found:
    return Found(
        code="c",
        severity="info",
        subject="s",
        summary=sentence("data-unavailable.low-count", count=Record(label, short=200), what=Record("x")),
        shorter=sentence("data-unavailable.low-count-short", count=Record("y")),
        citation=Citation("This service"),
    )


def test_a_summary_that_does_not_fit_is_said_shorter() -> None:
    room = SUMMARY_LIMIT - len(". Is clozapine taken? x could not be read.")
    fits, too_long = told(_found("a" * room), english()), told(_found("a" * (room + 1)), english())
    assert fits.summary == "a" * room + ". Is clozapine taken? x could not be read."
    assert too_long.summary == "y. Is clozapine taken? Part of the medication record could not be read."


def test_a_failed_source_of_each_kind_is_named() -> None:
    facts = facts_of({"on": ["clozapine 300 mg since 500 d"], "counts": ["ANC 3.0 10*3/uL 2 d ago"]})
    for lost in SOURCES:
        asked = replace(facts, sources={**dict.fromkeys(SOURCES, "complete"), lost: "unavailable"})
        (said,) = [f for f in evaluate(asked, policy_by_id("us-label-2025"), NOW) if f.subject == "data"]
        assert said.severity == ("warning" if lost in NEEDED else "info")
        assert _words(f"source-short.{lost}") in said.summary
        assert said.unchecked == (_words(f"source.{lost}"),)


def test_a_cause_names_three_records_and_counts_the_rest() -> None:
    facts = facts_of({"on": ["clozapine 300 mg since 500 d"], "counts": ["ANC 3.0 10*3/uL 2 d ago"]})
    for several, line in ((3, "(O/0, O/1, O/2)"), (5, "(O/0, O/1, O/2 and 2 more)")):
        problems = tuple(
            ReadProblem("labs", f"O/{n}", because("reading.in-words", text="left out"))
            for n in range(several)
        )
        asked = replace(facts, read_problems=problems)
        (said,) = [f for f in evaluate(asked, policy_by_id("us-label-2025"), NOW) if f.subject == "data"]
        assert said.why[-1] == f"Other laboratory results {line} – left out"
