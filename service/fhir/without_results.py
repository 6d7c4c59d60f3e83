"""Panels and reports whose results did not come: a heading whose members were not sent, a report in words, as a document, or empty.

What such a one says nobody knows here. Of a blood count it is named where one is due or missing; of a troponin or a clozapine level it is shown
as a result that cannot be used; of any other test it bears on no rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct

from service.alerts.facts.patient import Measurement, UnusableResult
from service.alerts.facts.reason import Reason, because
from service.alerts.facts.record_text import NAME, to_read
from service.alerts.knowledge.codes import kinds_by_loinc
from service.alerts.knowledge.conditions import kinds_by_code, kinds_by_text
from service.alerts.knowledge.test_words import is_panel_of_counts, kind_by_words
from service.fhir.loinc import is_loinc
from service.fhir.queries import CBC_PANELS
from service.fhir.resources import CodeableConcept, DiagnosticReport, Observation
from service.fhir.times import Moment

_COUNTS = frozenset({"anc", "wbc"})
#: Kinds that are shown as not usable where a report of them holds no result.
_SHOWN = frozenset({"troponin", "clozapine-level"})
#: What a conclusion says of neutrophils.
_LOW = frozenset({"neutropenia", "agranulocytosis-history", "neutropenic-fever"})
_NOT_SENT = because("unread.results-not-sent")
_IN_WORDS = because("unread.results-in-words")
_NOTHING = because("unread.no-results")
#: The time of what names none: older than any count.
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class Holder(Struct, frozen=True):
    """A panel or report that says of which kind its results are, and when they were taken."""

    source: str
    ref: str
    #: ``anc``, ``wbc``, ``troponin``, ``clozapine-level``.
    kind: str
    why: Reason
    at: Moment | None
    #: Results that it names, as :attr:`Measurement.ref` does.
    members: frozenset[str]
    #: Its words say that neutrophils are low.
    low: bool = False


def kind_of(code: CodeableConcept | None) -> str:
    """Kind of the results of a panel or report, by its code or its title; empty for any that no rule asks for."""
    for coding in (code.coding or ()) if code is not None else ():
        value = (coding.code or "").strip()
        if is_loinc(coding.system):
            if value in CBC_PANELS:
                return "anc"
            kind = kinds_by_loinc().get(value)
            if kind is not None and kind.id in _COUNTS | _SHOWN:
                return kind.id
    for title in _titles(code):
        if is_panel_of_counts(title):
            return "anc"
        if (named := kind_by_words(title)) in _COUNTS | _SHOWN:
            return named
    return ""


def _titles(code: CodeableConcept | None) -> list[str]:
    if code is None:
        return []
    sent = (code.text, *(c.display for c in code.coding or ()))
    return [read for text in sent if text and (read := to_read(text, NAME))]


def holder_of(
    held: Observation | DiagnosticReport, source: str, ref: str, members: Iterable[str], at: Moment | None
) -> Holder | None:
    """A panel or report that may hold a result a rule asks for; None for any other."""
    kind, named = kind_of(held.code), frozenset(members)
    if isinstance(held, Observation):
        return Holder(source, ref, kind, _NOT_SENT if named else _NOTHING, at, named) if kind else None
    low = not _LOW.isdisjoint(_concluded(held))
    if not kind and not low:
        return None
    in_words = bool(held.conclusion or held.conclusionCode or len(held.presentedForm) > len(b"[]"))
    why = _IN_WORDS if in_words else _NOT_SENT if named else _NOTHING
    return Holder(source, ref, kind or "anc", why, at, named, low)


def _concluded(report: DiagnosticReport) -> set[str]:
    """Kinds of problems that the conclusion of a report names."""
    found: set[str] = set()
    if isinstance(report.conclusion, str) and (read := to_read(report.conclusion, NAME)):
        found |= set(kinds_by_text(read))
    codes: Any = report.conclusionCode
    try:
        concepts = msgspec.convert(codes or [], list[CodeableConcept])
    except msgspec.ValidationError:
        return found
    for concept in concepts:
        for title in _titles(concept):
            found |= set(kinds_by_text(title))
        for coding in concept.coding or ():
            found |= set(kinds_by_code(coding.system or "", (coding.code or "")[:NAME]))
    return found


def has_results(
    holder: Holder,
    measurements: Mapping[str, Sequence[Measurement]],
    unusable: Sequence[UnusableResult],
) -> bool:
    """A result of the kind came: one that the holder names, or one of the same day."""
    wanted = _COUNTS if holder.kind in _COUNTS else {holder.kind}
    inside = f"{holder.ref}#"
    day = holder.at.at.date() if holder.at is not None else None
    zone = holder.at.at.tzinfo if holder.at is not None else None
    read: list[Measurement | UnusableResult] = [m for kind in wanted for m in measurements.get(kind, ())]
    for result in (*read, *(u for u in unusable if u.kind in wanted)):
        if result.ref in holder.members or result.ref == holder.ref or result.ref.startswith(inside):
            return True
        if zone is not None and result.at is not None and result.at.astimezone(zone).date() == day:
            return True
    return False
