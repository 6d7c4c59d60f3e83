"""Whether the patient may be pregnant, as the problem list and tests tell."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from service.alerts.case.case import Case
from service.alerts.case.onset import latest_known
from service.alerts.facts.patient import CodedResult, Problem


class Pregnancy(Struct, frozen=True):
    """What speaks for a pregnancy, and what was tested last.

    Args:
        problems: pregnancies on the list that may go on.
        positive: the newest test or recorded status, if it is positive and still holds.
        tested: the newest one that can be read, whatever it says.
        outlasted: one on the list is older than a pregnancy lasts, and nobody closed it.
    """

    problems: tuple[Problem, ...]
    positive: CodedResult | None
    tested: CodedResult | None
    outlasted: bool
    #: Since when the record knows of it, by its newest entry or the first positive test; None: an entry has no date.
    since: datetime | None


def pregnancy_now(case: Case) -> Pregnancy | None:
    """A pregnancy that may go on; None when neither the problem list nor a test speaks for one."""
    carried = case.policy.pregnancy_test.carried_days.value
    # One without a status is over when its time has passed; one called active is not.
    problems = tuple(
        p
        for p in case.problems_of("pregnancy")
        if not _over_since(case, p.onset)
        and (p.clinical_status or p.onset is None or case.days_since(p.onset) <= carried)
    )
    tested = _known_test(case)
    positive = tested if tested is not None and _is_positive(case, tested) else None
    if not problems and positive is None:
        return None
    outlasted = any(p.onset is not None and case.days_since(p.onset) > carried for p in problems)
    return Pregnancy(problems, positive, tested, outlasted, _known_since(case, problems, positive))


def _known_since(case: Case, problems: tuple[Problem, ...], positive: CodedResult | None) -> datetime | None:
    """The newest entry of the list, or the first of the positive tests that follow each other: one that confirms another is no news."""
    listed = latest_known(case, problems)
    if problems and listed is None:
        return None
    first = positive.at if positive is not None else None
    for test in case.coded("pregnancy-test", "pregnancy-status"):
        if first is None or test.at is None or test.at > first or test.value not in ("positive", "negative"):
            continue
        if not _is_positive(case, test):
            break
        first = test.at
    return max((at for at in (listed, first) if at is not None), default=None)


def _over_since(case: Case, at: datetime | None) -> bool:
    """A birth or another end of a pregnancy is on record since."""
    if at is None:
        return False
    ends = [p.onset for p in case.problems_of("pregnancy-ended", history=True) if p.onset is not None]
    return any(at < end <= case.as_of for end in ends)


def _known_test(case: Case) -> CodedResult | None:
    """The newest pregnancy test or recorded status that can be read: one that cannot does not take back the one before it."""
    return next(
        (
            t
            for t in case.coded("pregnancy-test", "pregnancy-status")
            if t.value in ("positive", "negative") and t.at is not None
        ),
        None,
    )


def _is_positive(case: Case, test: CodedResult) -> bool:
    if test.value != "positive" or test.at is None or _over_since(case, test.at):
        return False
    return case.days_since(test.at) <= case.policy.pregnancy_test.carried_days.value
