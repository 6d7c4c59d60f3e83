"""A change of the smoking status (clinical.md 2.4): tobacco smoke induces CYP1A2."""

from __future__ import annotations

from datetime import date

from msgspec import Struct

from service.alerts.case.case import Case
from service.alerts.facts.patient import CodedResult

_ANSWERS = ("current", "former", "never")


class SmokingChange(Struct, frozen=True):
    """The patient stopped or began to smoke lately, or is admitted to a smoke-free ward."""

    stopped: bool
    changed: CodedResult
    before: CodedResult
    day: date
    admission: bool = False


def smoking_change(case: Case) -> SmokingChange | None:
    """The change of the smoking status within the policy's days; None when there is none."""
    known = [c for c in case.coded("smoking") if c.at is not None and c.value in _ANSWERS]
    admitted = case.hook == "encounter-start" and case.practice.smoke_free_wards
    if admitted and known and known[0].value == "current":
        return SmokingChange(True, known[0], known[0], case.today, admission=True)
    if len(known) < 2:
        return None
    # Of two answers of one moment that contradict each other the one that asks for caution holds: the level rises after a stop.
    stopped = not all(smokes(c) for c in known if c.at == known[0].at)
    before = next((c for c in known if smokes(c) is stopped and c.at != known[0].at), None)
    if before is None:
        return None
    # The change lies between the last answer of the old kind and the first of the new kind.
    changed = next(
        c
        for c in reversed(known)
        if before.at is not None and c.at is not None and c.at > before.at and smokes(c) is not stopped
    )
    assert changed.at is not None
    if not 0 <= case.days_since(changed.at) <= case.policy.interactions.smoking_within_days.value:
        return None
    return SmokingChange(stopped, changed, before, case.snapshot.day(changed.at))


def smokes(answer: CodedResult) -> bool:
    """Whether an answer is that of a smoker."""
    return answer.value == "current"
