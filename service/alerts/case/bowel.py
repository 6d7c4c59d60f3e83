"""The bowel on the problem list: slow, or blocked."""

from __future__ import annotations

from service.alerts.case.case import Case
from service.alerts.facts.patient import Problem

#: Kinds of problems that say that the bowel is slow, but not blocked.
SLOW_BOWEL = ("bowel-hypomotility", "constipation")
#: The kind that says that it is blocked.
BLOCKED_BOWEL = "gi-obstruction"


def blocked_bowel(case: Case) -> tuple[Problem, ...]:
    """Ileus, megacolon, impaction or another obstruction that goes on."""
    return case.problems_of(BLOCKED_BOWEL)


def slow_bowel(case: Case) -> tuple[Problem, ...]:
    """Constipation or a slow bowel that goes on."""
    return case.problems_of(*SLOW_BOWEL)
