"""A change of the smoking status (clinical.md 2.4): tobacco smoke induces CYP1A2."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta

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
    #: Of an answer that names only a month or a year: it was given before this day.
    until: date | None = None
    #: The latest that the newer answer may have been given.
    at: datetime | None = None
    admission: bool = False
    #: False when the newer answer names no day and the older one may be of a later one.
    in_order: bool = True


def smoking_change(case: Case) -> SmokingChange | None:
    """The change of the smoking status within the policy's days; None when there is none."""
    known = newest_first(case, [c for c in case.coded("smoking") if c.value in _ANSWERS])
    admitted = case.hook == "encounter-start" and case.practice.smoke_free_wards
    if admitted and known and known[0].value == "current":
        return SmokingChange(True, known[0], known[0], case.today, admission=True)
    if len(known) < 2:
        return None
    # Of two answers of one moment that contradict each other the one that asks for caution holds: the level rises after a stop.
    at = [_counts_from(case, c) for c in known]
    stopped = not all(smokes(c) for c, moment in zip(known, at, strict=True) if moment == at[0])
    before = next((i for i, c in enumerate(known) if smokes(c) is stopped and at[i] != at[0]), None)
    if before is None:
        return None
    # The change lies between the last answer of the old kind and the first of the new kind.
    changed = next(c for c in reversed(known[:before]) if smokes(c) is not stopped)
    latest = latest_of(case, changed)
    if not 0 <= case.days_since(latest) <= case.policy.interactions.smoking_within_days.value:
        return None
    assert changed.at is not None
    until = case.snapshot.day(changed.until) if changed.until is not None else None
    return SmokingChange(
        stopped,
        changed,
        known[before],
        case.snapshot.day(changed.at),
        until,
        latest,
        in_order=changed.until is None or latest_of(case, known[before]) <= changed.at,
    )


def newest_first(case: Case, answers: Iterable[CodedResult]) -> list[CodedResult]:
    """Dated answers. One that names only a month or a year may be of any of its days: that of a smoker counts as the oldest of them and any
    other as the newest, so that no stop is overlooked."""
    return sorted((c for c in answers if c.at is not None), key=lambda c: _counts_from(case, c), reverse=True)


def _counts_from(case: Case, answer: CodedResult) -> datetime:
    assert answer.at is not None
    return answer.at if smokes(answer) else latest_of(case, answer)


def latest_of(case: Case, answer: CodedResult) -> datetime:
    """The latest moment of a dated answer: of a month or a year its last day, today at the latest."""
    assert answer.at is not None
    if answer.until is None:
        return answer.at
    return max(answer.at, min(answer.until - timedelta(days=1), case.as_of))


def smokes(answer: CodedResult) -> bool:
    """Whether an answer is that of a smoker."""
    return answer.value == "current"
