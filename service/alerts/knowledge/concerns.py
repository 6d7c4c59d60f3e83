"""Problems on the list that are dangers under clozapine, and what each calls for (``knowledge/concerns.toml``)."""

from __future__ import annotations

from functools import cache

import msgspec
from msgspec import Struct

from service.alerts.knowledge.data_file import load
from service.alerts.say.finding import Severity


class Concern(Struct, frozen=True, forbid_unknown_fields=True):
    """What a kind of problem calls for while clozapine is taken or ordered; its id is the code of the finding."""

    #: Of ``knowledge/conditions.toml``.
    kinds: tuple[str, ...]
    severity: Severity
    #: At a start, of a problem that is older than the last weeks, or (``history``) over.
    before: Severity
    #: After the name of the problem, in the summary.
    now: str
    at_start: str
    later: str
    says: str
    steps: tuple[str, ...]
    source: str
    section: str = ""
    confirmed: bool = True
    #: The kind that also holds what is over.
    history: str = ""
    #: After the name of one of the last weeks that is closed already (with ``history``).
    just_over: str = ""
    #: In the first weeks of a course, with its own words.
    early: Severity | None = None
    now_early: str = ""
    #: What is done first then.
    steps_early: tuple[str, ...] = ()
    #: Clozapine is not given on: always, or in the first weeks.
    stops: bool = False
    stops_early: bool = False
    #: It may go on for years.
    lasts: bool = False
    #: Ids of ``knowledge/tests.toml``.
    orders: tuple[str, ...] = ()
    refer: str = ""


class _Concerns(Struct):
    concern: dict[str, Concern]


@cache
def concerns() -> dict[str, Concern]:
    """Every concern by the code of its finding."""
    return msgspec.convert(load("concerns.toml"), _Concerns).concern


@cache
def concerning_kinds() -> frozenset[str]:
    """Every kind of problem that a concern is about."""
    return frozenset(k for c in concerns().values() for k in (*c.kinds, c.history) if k)
