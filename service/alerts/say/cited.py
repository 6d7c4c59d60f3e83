"""Where something stands, in words: under a card, and within a line of it."""

from __future__ import annotations

from functools import cache
from typing import Literal

from service.alerts.say.finding import Citation
from service.alerts.say.language import english
from service.alerts.say.sentence import Param, Sentence, Term


def cited(citation: Citation) -> Sentence:
    """A citation by itself, with a warning when the number was not confirmed against the primary text."""
    section = citation.section
    sort = "label" if not section else "section" if section[:1].isdigit() else "part"
    return Sentence(f"citation.{sort}{_unconfirmed(citation)}", _parts(citation))


def cited_in_line(citation: Citation) -> Sentence:
    """The same within a line, short."""
    sort = "line" if citation.section else "line-label"
    return Sentence(f"citation.{sort}{_unconfirmed(citation)}", _parts(citation))


@cache
def own(part: Literal["unchecked", "fault"]) -> Citation:
    """This service as the source of what it says of itself: what it could not check, or that it failed."""
    words = english()
    return Citation(words.plain(Sentence("citation.own")), words.plain(Sentence(f"citation.own-{part}")))


def _unconfirmed(citation: Citation) -> str:
    return "" if citation.confirmed else "-unconfirmed"


def _parts(citation: Citation) -> dict[str, Param]:
    parts: dict[str, Param] = {"label": Term("source", citation.label, citation.label)}
    if citation.section:
        parts["section"] = Term("source", f"{citation.label}/{citation.section}", citation.section)
    return parts
