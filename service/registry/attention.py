"""What must be done about a patient, as a class by which lists are sorted: the worst first, whoever waits longest before the others."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, date, datetime, timedelta

from service.alerts.say.finding import Finding
from service.alerts.say.silence import must_stop

#: In the order of the list.
STOP, ACT, IN_HAND, LONG_OVERDUE, OVERDUE, CANNOT_TELL, DUE_TODAY, DUE_SOON, UP_TO_DATE = range(1, 10)
#: The classes in words, as the API and the command line give them.
WORDS = {
    STOP: "stop",
    ACT: "act",
    IN_HAND: "in-hand",
    LONG_OVERDUE: "long-overdue",
    OVERDUE: "overdue",
    CANNOT_TELL: "cannot-tell",
    DUE_TODAY: "due-today",
    DUE_SOON: "due-soon",
    UP_TO_DATE: "up-to-date",
}
#: Counts that are late have classes of their own.
LATE_COUNTS = frozenset({"anc-overdue", "anc-missing", "anc-post-stop"})
_SOON = timedelta(days=7)
#: The moment of rows that nobody has judged yet; some zones are behind it.
_NEVER = datetime(1970, 1, 2, tzinfo=UTC)


def attention_of(
    findings: Iterable[Finding],
    next_due: date | None,
    today: date,
    *,
    handed: Collection[tuple[str, str]] = (),
    unread: bool = False,
) -> int:
    """The class of a patient.

    Args:
        findings: what holds now.
        next_due: when the next count is due; None when none is.
        today: the day of the question.
        handed: code and subject of the alerts that somebody has in hand.
        unread: the record could not be read, or not since the site's limit, or a source that decides is missing.
    """
    best = UP_TO_DATE
    for finding in findings:
        if finding.code in LATE_COUNTS:
            best = min(best, LONG_OVERDUE if finding.severity == "critical" else OVERDUE)
        elif finding.severity == "critical":
            grave = STOP if must_stop(finding.code, finding.severity) else ACT
            best = min(best, IN_HAND if (finding.code, finding.subject) in handed else grave)
    if unread:
        best = min(best, CANNOT_TELL)
    if next_due is not None:
        if next_due < today:
            best = min(best, OVERDUE)
        elif next_due == today:
            best = min(best, DUE_TODAY)
        elif next_due <= today + _SOON:
            best = min(best, DUE_SOON)
    return best


def since(before: int | None, since_before: datetime | None, now: int, at: datetime) -> datetime:
    """Since when a patient is in a class: the moment it changed."""
    judged = since_before is not None and since_before > _NEVER
    return since_before if before == now and judged and since_before is not None else at
