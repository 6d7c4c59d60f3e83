"""What is said more quietly than its class says it, and why (``knowledge/demotions.toml``): for the pages, and held against the data by a test."""

from __future__ import annotations

from functools import cache
from typing import Literal

import msgspec
from msgspec import Struct

from service.alerts.knowledge.data_file import load
from service.alerts.say.finding import Severity


class Demotion(Struct, frozen=True, forbid_unknown_fields=True, rename={"class_id": "class"}):
    """One judgement: a class, for some drugs or in a situation, is told more quietly."""

    class_id: str
    old: Severity
    new: Severity
    reason: str
    source: str
    #: Who asks for it: the audit of interactions, the grade of the reference table, or no source but the maintainers.
    basis: Literal["audit", "reference", "service"]
    drugs: tuple[str, ...] = ()
    situation: str = ""
    #: As information it is not told at an order.
    visits_only: bool = False
    #: It is about the stop of a drug of the class.
    stop: bool = False
    confirmed: bool = True


class _Demotions(Struct, forbid_unknown_fields=True):
    demotion: tuple[Demotion, ...]


@cache
def demotions() -> tuple[Demotion, ...]:
    """Every demotion, in the order of the data file."""
    return msgspec.convert(load("demotions.toml"), _Demotions).demotion
