"""The codes of findings and what is true of each, whoever finds it (``say/findings.toml``)."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Literal

import msgspec
from msgspec import Struct

#: Groups of hooks that ``hooks`` may name.
HOOK_GROUPS: dict[str, tuple[str, ...]] = {
    "orders": ("order-select", "order-sign", "medication-verify", "medication-refill"),
    "visits": ("patient-view", "encounter-start", "encounter-discharge"),
}


class FindingCode(Struct, frozen=True, forbid_unknown_fields=True):
    """What is true of every finding of one code.

    Args:
        topic: the heading of the documentation it stands under.
        title: its display on cards and in FHIR.
        means: one sentence.
        hooks: where it is told: names of hooks, or of groups of them.
        overrides: ids of the override-reason sets that its cards may offer (``knowledge/overrides.toml``): the first, unless the rule
            names another of them.
        stops: when critical it says that clozapine must stop or not be started.
        always_said: when critical no override silences it.
        told_as: resources that are written into the EHR for it, besides those that every finding may become.
        patient_sheet: its cards link to the policy's sheet for the patient: ``whole``, or the section that is about it.
    """

    topic: str
    title: str
    means: str
    hooks: tuple[str, ...]
    overrides: tuple[str, ...]
    stops: bool = False
    always_said: bool = False
    told_as: tuple[Literal["Task", "Flag"], ...] = ()
    patient_sheet: str = ""

    @property
    def hook_names(self) -> frozenset[str]:
        """The hooks at which it may be told."""
        return frozenset(name for hook in self.hooks for name in HOOK_GROUPS.get(hook, (hook,)))


class _Table(Struct, forbid_unknown_fields=True):
    urgent_first: tuple[str, ...]
    finding: dict[str, FindingCode]


@cache
def _table() -> _Table:
    text = (files("service.alerts.say") / "findings.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), _Table)


def finding_codes() -> dict[str, FindingCode]:
    """Every code, by topic, the gravest of a topic first."""
    return _table().finding


@cache
def urgency() -> dict[str, int]:
    """Code -> place among equally severe findings; those that are not in it come after all that are."""
    return {code: place for place, code in enumerate(_table().urgent_first)}


@cache
def stopping_codes() -> frozenset[str]:
    """Codes that, when critical, say that clozapine must stop or not be started."""
    return frozenset(code for code, entry in finding_codes().items() if entry.stops)


@cache
def codes_always_said() -> frozenset[str]:
    """Codes that, when critical, no override silences."""
    return frozenset(code for code, entry in finding_codes().items() if entry.always_said)


@cache
def title_of(code: str) -> str:
    """A code in words; one that is not known any more, of an earlier version, in its own."""
    entry = finding_codes().get(code)
    if entry is not None:
        return entry.title
    words = code.replace("-", " ")
    return words[:1].upper() + words[1:]


def patient_sheet_of(code: str) -> str:
    """The section of the sheet for the patient that cards of a finding link to, ``whole``, or ""."""
    entry = finding_codes().get(code)
    return entry.patient_sheet if entry is not None else ""


def reasons_of(code: str) -> str:
    """id of the override-reason set that a finding offers unless its rule names another."""
    entry = finding_codes().get(code)
    return entry.overrides[0] if entry is not None else "general"


def check_finding_codes(codes: Iterable[str]) -> None:
    """Codes that somebody names must exist. Raises ValueError with the nearest one."""
    known = finding_codes()
    for code in codes:
        if code not in known:
            near = difflib.get_close_matches(code, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else "; docs/findings.md lists them"
            raise ValueError(f"{code!r} is no finding code{hint}")
