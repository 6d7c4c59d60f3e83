"""The standard code beside ours: what kind of issue a finding is in HL7's v3-ActCode (``act_codes.toml``)."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files

import msgspec
from msgspec import Struct

ACT_CODES = "http://terminology.hl7.org/CodeSystem/v3-ActCode"


class _Act(Struct, forbid_unknown_fields=True):
    display: str
    findings: tuple[str, ...]


class ActCode(Struct, frozen=True):
    """A code of v3-ActCode."""

    code: str
    display: str


@cache
def act_codes() -> dict[str, ActCode]:
    """Finding code -> its kind. Raises ValueError for a finding of two kinds (a fault of the data)."""
    text = (files("service.operation") / "act_codes.toml").read_text(encoding="utf-8")
    found: dict[str, ActCode] = {}
    for code, act in msgspec.convert(tomllib.loads(text), dict[str, _Act]).items():
        for finding in act.findings:
            if finding in found:
                raise ValueError(f"{finding} is of two kinds: {found[finding].code} and {code}")
            found[finding] = ActCode(code, act.display)
    return found
