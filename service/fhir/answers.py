"""Observations whose answer is a code or words: smoking, Duffy phenotype, pregnancy (clinical.md 2.4, 2.7, 3.3)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache

from service.alerts.facts.patient import NOT_UNDERSTOOD, CodedResult
from service.alerts.facts.record_text import NAME, to_read, to_show
from service.alerts.knowledge.code_systems import SNOMED, canonical
from service.alerts.knowledge.codes import CodedKind, coded_by_loinc, coded_by_snomed, coded_kinds
from service.fhir.loinc import is_loinc
from service.fhir.modifiers import is_modified
from service.fhir.resources import CodeableConcept, Coding, Observation
from service.fhir.times import Moment

_FINAL = ("final", "amended", "corrected")


@lru_cache(maxsize=4096)
def _duffy_null(text: str) -> bool:
    folded = text.lower().replace(" ", "").replace("−", "-")
    wanted = (t.lower().replace(" ", "").replace("−", "-") for t in coded_kinds()["duffy-null"].text)
    return any(t in folded for t in wanted)


def _says_duffy_null(title: str, answer: str) -> bool:
    """True when the answer says the phenotype or the genotype; a question that names it still has to be answered with yes."""
    known = coded_kinds()["duffy-null"]
    if any(re.search(rf"\b{word}\b", answer, re.IGNORECASE) for word in known.without):
        return False
    if _duffy_null(title):
        return _duffy_null(answer) or known.words.get(_folded(answer)) == "yes"
    return _duffy_null(f"{title} {answer}")


@lru_cache(maxsize=4096)
def _names_duffy(text: str) -> bool:
    folded = text.lower()
    return "duffy" in folded or "fy(" in folded.replace(" ", "") or "ackr1" in folded or "rs2814778" in folded


#: An amount that follows the words of an answer: "(1-9 cigs/day)", "(less than one cigarette/day)".
_AMOUNT = re.compile(r"(?<!\s)\s*+\([^()]*\b(?:day|week|daily)\b[^()]*\)")


@lru_cache(maxsize=4096)
def _folded(answer: str) -> str:
    """An answer in lower case, without accents, without SNOMED CT's word for what it is, an amount per day and a full stop."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", answer.lower()) if not unicodedata.combining(c))
    plain = plain.replace("’", "'").strip().removesuffix("(finding)").removesuffix("(qualifier value)")
    return _AMOUNT.sub("", plain).rstrip(" .")


def text_of(concept: CodeableConcept | None) -> str:
    if concept is None:
        return ""
    return concept.text or next((c.display for c in concept.coding or () if c.display), "") or ""


def answer_of(o: Observation, moment_of: Callable[[Observation], Moment | None]) -> CodedResult | None:
    """The answer of an Observation whose code is known, or that names the Duffy phenotype; None for any other, and for one that does not count."""
    code = o.code
    if code is None or o.status not in (*_FINAL, "unknown"):
        return None
    for coding in code.coding or ():
        known = _asked(coding)
        if known is not None:
            concept = o.valueCodeableConcept
            value = _value(o, known[1], coding)
            if concept is None and not _said(o):
                concept = code  # the finding stands in the place of the question
            return _result(o, known[0], value, text_of(concept) or _said(o) or value, moment_of(o))
    title = to_read(text_of(code), NAME)
    if title is None or o.status not in _FINAL or is_modified(o) or not _names_duffy(title):
        return None
    answer = to_read(_said(o) or text_of(o.valueCodeableConcept), NAME)
    if answer is None or not _says_duffy_null(title, answer):
        return None
    return _result(o, "duffy-null", "yes", f"{title}: {answer}", moment_of(o))


def _asked(coding: Coding) -> tuple[str, CodedKind] | None:
    """(id, kind) of the question that a code asks, or answers by itself."""
    code = (coding.code or "").strip()
    if not code:
        return None
    if is_loinc(coding.system) and (known := coded_by_loinc().get(code)) is not None:
        return known
    if code not in coded_by_snomed() or canonical(coding.system or "") != SNOMED:
        return None
    return coded_by_snomed()[code]


def _value(o: Observation, known: CodedKind, question: Coding) -> str:
    if is_modified(o) or o.status not in _FINAL:
        return NOT_UNDERSTOOD
    concept = o.valueCodeableConcept
    codings = (concept.coding or ()) if concept is not None else ()
    if concept is None and not _said(o) and (answer := known.answers.get((question.code or "").strip())):
        return answer
    sent = [*(c.display for c in codings), concept.text if concept is not None else None, _said(o)]
    said = [to_read(text, NAME) for text in sent if text]
    return next((a for c in codings if (a := known.answers.get((c.code or "").strip()))), None) or next(
        (known.words[words] for text in said if text and (words := _folded(text)) in known.words),
        NOT_UNDERSTOOD if any(said) or codings else "unknown",
    )


def _said(o: Observation) -> str:
    """The answer in words; ``valueBoolean`` is yes or no, and a number (of cigarettes a day) stays one."""
    if o.valueString:
        return o.valueString
    if isinstance(o.valueBoolean, bool):
        return "yes" if o.valueBoolean else "no"
    quantity = o.valueQuantity
    number = quantity.value if quantity is not None else o.valueInteger
    unit = (quantity.unit or quantity.code or "") if quantity is not None else ""
    return f"{number} {unit}".strip() if number is not None else ""


def _result(o: Observation, kind: str, value: str, raw: str, moment: Moment | None) -> CodedResult:
    return CodedResult(
        kind=kind,
        value=value,
        at=moment.at if moment else None,
        ref=f"Observation/{o.id}",
        raw=to_show(raw),
        date_only=moment.date_only if moment else False,
    )
