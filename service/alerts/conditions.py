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


class _Guards(Struct):
    before: tuple[str, ...]


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


@cache
def _patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    guards = "|".join(re.escape(g) for g in sorted(_conditions().guards.before, key=len, reverse=True))
    return tuple(
        (
            key,
            re.compile(
                rf"(?:(?P<guard>\b(?:{guards}))\W+)?\b(?:{'|'.join(re.escape(t) for t in kind.text)})\b",
                re.IGNORECASE,
            ),
        )
        for key, kind in _conditions().kind.items()
        if kind.text
    )


@lru_cache(maxsize=4096)
def kinds_by_text(text: str) -> tuple[str, ...]:
    """Kinds named in a problem's text, unless a guard word denies them."""
    return tuple(
        key for key, pattern in _patterns() if any(m.group("guard") is None for m in pattern.finditer(text))
    )
