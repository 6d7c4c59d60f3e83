"""Problems the rules ask for, recognised by code or by whole words (``knowledge/conditions.toml``)."""

from __future__ import annotations

import re
import tomllib
from functools import cache, lru_cache
from importlib.resources import files

import msgspec
from msgspec import Struct

from service.alerts.finding import Severity

_ICD10 = (
    "http://hl7.org/fhir/sid/icd-10",
    "http://hl7.org/fhir/sid/icd-10-cm",
    "http://hl7.org/fhir/sid/icd-10-gm",
)
_SNOMED = "http://snomed.info/sct"


class Contraindication(Struct, frozen=True, forbid_unknown_fields=True):
    """A problem that speaks against clozapine: how much, by region (``policy.interactions.severity_region``), and who says so."""

    title: str
    us: Severity
    eu: Severity
    source: str
    section: str = ""
    confirmed: bool = True


class ConditionKind(Struct, frozen=True, forbid_unknown_fields=True):
    """How one kind of problem is recognised."""

    text: tuple[str, ...] = ()
    icd10: tuple[str, ...] = ()
    snomed: tuple[str, ...] = ()
    contraindication: Contraindication | None = None
    #: Only what goes on now: "history of ileus" is none.
    active_only: bool = False
    #: Words that, anywhere in the text, deny it.
    without: tuple[str, ...] = ()


class _Guards(Struct):
    before: tuple[str, ...]
    #: Words that put a problem into the past.
    past: tuple[str, ...]


class _Conditions(Struct):
    guards: _Guards
    kind: dict[str, ConditionKind]


@cache
def _conditions() -> _Conditions:
    text = (files("service.alerts") / "knowledge" / "conditions.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), _Conditions)


@cache
def contraindications() -> dict[str, Contraindication]:
    """Kinds of problems that speak against clozapine."""
    return {
        key: kind.contraindication
        for key, kind in _conditions().kind.items()
        if kind.contraindication is not None
    }


@lru_cache(maxsize=4096)
def kinds_by_code(system: str, code: str) -> tuple[str, ...]:
    """Kinds a coded problem belongs to."""
    if system == _SNOMED:
        return tuple(key for key, kind in _conditions().kind.items() if code in kind.snomed)
    if system in _ICD10:
        return tuple(
            key for key, kind in _conditions().kind.items() if any(code.startswith(p) for p in kind.icd10)
        )
    return ()


def _either(words: tuple[str, ...]) -> str:
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))


@cache
def _patterns() -> tuple[tuple[str, re.Pattern[str], re.Pattern[str] | None], ...]:
    guards = _conditions().guards
    return tuple(
        (
            key,
            re.compile(
                rf"(?:(?P<guard>\b(?:{_either(guards.before)}))\W+)?(?:(?P<past>\b(?:{_either(guards.past)}))\W+)?"
                rf"\b(?:{_either(kind.text)})\b",
                re.IGNORECASE,
            ),
            re.compile(rf"\b(?:{_either(kind.without)})\b", re.IGNORECASE) if kind.without else None,
        )
        for key, kind in _conditions().kind.items()
        if kind.text
    )


def _says(text: str, kind: ConditionKind, pattern: re.Pattern[str], without: re.Pattern[str] | None) -> bool:
    if without is not None and without.search(text):
        return False
    return any(
        m.group("guard") is None and not (kind.active_only and m.group("past"))
        for m in pattern.finditer(text)
    )


@lru_cache(maxsize=4096)
def kinds_by_text(text: str) -> tuple[str, ...]:
    """Kinds named in a problem's text, unless a guard word denies them or, for what must go on now, puts them into the past."""
    known = _conditions().kind
    return tuple(key for key, pattern, without in _patterns() if _says(text, known[key], pattern, without))
