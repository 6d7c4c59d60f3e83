"""Dosage instructions as sent: decoded and read once, however often the same order comes in.

An order is sent again with every hook of its session and at every renewal, byte for byte; only the bytes are remembered, for no patient.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Raw, Struct

from service.alerts.facts import Dose
from service.fhir.dosage import read_dose
from service.fhir.strength import Strength

_REMEMBERED = 4096
_any = msgspec.json.Decoder()


class Sig(Struct, frozen=True):
    """What a record's dosage elements say besides the dose."""

    lines: tuple[Any, ...]
    route: str = ""
    #: boundsPeriod of every line, as sent: (start, end); None for a line without.
    bounds: tuple[tuple[Any, Any] | None, ...] = ()
    #: Any line has a boundsPeriod.
    is_bounded: bool = False


def _get(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


def _route(lines: tuple[Any, ...]) -> str:
    """Route as text, from the first line that names one."""
    for line in lines:
        route = _get(line, "route")
        if isinstance(route, dict):
            codings = route.get("coding")
            displays = (
                [str(c.get("display") or c.get("code") or "") for c in codings if isinstance(c, dict)]
                if isinstance(codings, list)
                else []
            )
            return " ".join([str(route.get("text") or ""), *displays]).strip()
    return ""


@lru_cache(maxsize=_REMEMBERED)
def _sig(content: bytes) -> Sig:
    try:
        decoded = _any.decode(content)
    except (msgspec.DecodeError, RecursionError):
        return Sig(("unreadable",))
    lines = tuple(decoded) if isinstance(decoded, list) else () if decoded is None else (decoded,)
    bounds = tuple(
        (period.get("start"), period.get("end"))
        if isinstance(period := _get(_get(_get(line, "timing"), "repeat"), "boundsPeriod"), dict)
        else None
        for line in lines
    )
    return Sig(lines, _route(lines), bounds, any(bounds))


@lru_cache(maxsize=_REMEMBERED)
def _dose(content: bytes, strength: Strength, lower: bool) -> Dose:
    return read_dose(list(_sig(content).lines), strength, lower=lower)


def sig_of(raw: Raw) -> Sig:
    """The dosage elements of a record."""
    return _sig(bytes(raw)) if len(raw) else Sig(())


def dose_of(raw: Raw, strength: Strength, *, draft: bool = False) -> Dose:
    """The dose that a record's dosage elements come to: where they contradict themselves the higher of a draft, the lower of the record."""
    return _dose(bytes(raw), strength, not draft) if len(raw) else read_dose(None, strength)
