"""The words around a finding – headings, the source, what does not fit – come from the catalogue, every one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from service.alerts.facts.patient import FromRegistry
from service.alerts.say import cards
from service.alerts.say.finding import Citation, Evidence, Finding
from service.alerts.say.language import Language, english

_MARK = "¤"


@pytest.fixture
def marked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every text of the catalogue begins with a mark."""
    templates = {
        id: ((f"{_MARK}{template[0][0]}", template[0][1]), *template[1:])
        for id, template in english().templates.items()
    }
    foreign = Language("xx", templates, english().forms)
    monkeypatch.setattr(cards, "english", lambda: foreign)
    remembered = (cards.heading, cards.source_text)
    for function in remembered:
        function.cache_clear()
    yield
    for function in remembered:
        function.cache_clear()


def _finding(n: int = 0, **more: object) -> Finding:
    content: dict[str, object] = {
        "code": "weight-gain", "severity": "info", "subject": f"s-{n}", "summary": "1", "why": ("2",) * 30, "policy_says": ("3",),
        "suggested": ("4",), "unchecked": ("5",), "citation": Citation("6", "7", confirmed=False), **more,
    }  # fmt: skip
    return Finding(**content)  # type: ignore[arg-type]


def _unmarked(text: str) -> list[str]:
    """Lines that neither bear the mark nor are a line of the finding."""
    lines = [line.lstrip("-* ").removeprefix("1. ") for line in text.split("\n")]
    return [line for line in lines if line and _MARK not in line and not line.isdigit()]


@pytest.mark.parametrize(
    "more", [{"evidence": (Evidence("8", "9"),)}, {"missing": ("8",)}, {"citation": Citation("6", "5.1")}, {"citation": Citation("6")}]
)  # fmt: skip
def test_the_frame_of_a_card(marked: None, more: dict[str, object]) -> None:
    assert _unmarked(cards.detail_of(_finding(**more), [FromRegistry(("counts",))])) == []


def test_what_does_not_fit_is_named_in_words_of_the_catalogue(marked: None) -> None:
    last = cards.cards_of([_finding(n) for n in range(4)], "patient-view", limit=2)[-1]
    assert last.summary.startswith(_MARK)
    assert _unmarked(last.detail) == []


def test_a_card_that_failed_is_told_in_words_of_the_catalogue(marked: None) -> None:
    told = cards.not_shown("weight-gain", "info", "weight")
    for text in (told.summary, *told.why, *told.suggested, *told.missing):
        assert text.startswith(_MARK)
