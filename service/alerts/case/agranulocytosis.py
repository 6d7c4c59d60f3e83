"""An agranulocytosis on the problem list that may be going on: it came under clozapine, and no count since speaks against it."""

from __future__ import annotations

from service.alerts.case.case import Case
from service.alerts.case.onset import in_course
from service.alerts.facts.patient import Problem

#: Kind of problem (``knowledge/conditions.toml``); it counts also when it is over.
AGRANULOCYTOSIS = "agranulocytosis-history"


def agranulocytosis_now(case: Case) -> tuple[Problem, ...]:
    """Severe neutropenia on the list, dated in the present course, without a later count in a band that lets clozapine go on.

    One without a date, or from before the course, is history. A low count that is there speaks for itself.
    """
    return tuple(
        p
        for p in case.problems_of(AGRANULOCYTOSIS)
        if p.onset is not None and in_course(case, p) and not _is_refuted(case, p)
    )


def _is_refuted(case: Case, p: Problem) -> bool:
    assert p.onset is not None, "only dated problems are asked about"
    began = case.snapshot.day(p.onset)
    return any(
        m.at is not None
        and case.snapshot.day(m.at) > began
        and (band := case.band_of(m)) is not None
        and band.treatment == "continue"
        for m in case.series("anc")
    )
