"""One alert per patient and finding: how findings change the alerts of a patient. Pure; the sweep writes what it says."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Literal

from msgspec import Struct

from service.alerts.say.finding import SEVERITY_RANK, Finding
from service.alerts.say.silence import must_stop

What = Literal["opened", "raised", "lowered", "rewritten", "due-again", "resolved", "reopened"]
#: Findings about one call's data, or that only mean something while an order is written.
_OF_A_CALL = frozenset({"data-unavailable", "medication-unrecognized", "dose-unreadable"})
#: The mildest severity that is worth somebody's attention between visits.
_LEAST = SEVERITY_RANK["warning"]
#: A sweep that begins a little earlier in the day than the one a week before (a busy minute, summer time) still counts as a week later.
_SLACK = timedelta(hours=12)
#: Nobody keeps a finding in hand for longer without stating anew that it is.
LONGEST_HAND = timedelta(hours=24)


class LiveAlert(Struct, frozen=True):
    """An alert that is not resolved, as the database holds it. ``seen``: what it rests on, empty when an older version wrote it."""

    id: int
    code: str
    subject: str
    severity: str
    state: str
    notified_at: datetime
    seen: str = ""
    summary: str = ""


class Change(Struct, frozen=True):
    """What happens to one alert. ``alert`` None: a new one is opened. ``note``: why, where the event does not say it."""

    what: What
    code: str
    subject: str
    severity: str
    summary: str
    alert: int | None = None
    note: str = ""


def alertable(findings: Iterable[Finding]) -> dict[tuple[str, str], Finding]:
    """Findings that are kept as alerts, by code and subject; the most severe of two alike."""
    kept: dict[tuple[str, str], Finding] = {}
    for f in findings:
        if f.code in _OF_A_CALL or SEVERITY_RANK[f.severity] < _LEAST:
            continue
        key = (f.code, f.subject)
        if key not in kept or SEVERITY_RANK[f.severity] > SEVERITY_RANK[kept[key].severity]:
            kept[key] = f
    return kept


def changes(
    live: Iterable[LiveAlert],
    findings: Iterable[Finding],
    seen: Callable[[Finding], str],
    as_of: datetime,
    due_again_after: timedelta,
) -> list[Change]:
    """What a new evaluation does to a patient's alerts.

    Args:
        live: the alerts that are not resolved.
        findings: what holds now.
        seen: tells what a finding rests on (``service.alerts.say.seen``).
        as_of: the moment of the evaluation.
        due_again_after: an open alert is brought up again after so long.

    An alert that a person closed stays closed, and one that somebody has in hand stays so until that time is over, while the
    finding lasts on the same evidence and is not more severe; an open one is rewritten when its evidence is new. A finding at
    which clozapine must stop is never closed. While a rule fails nothing is resolved: its findings are missing because nobody
    looked.
    """
    findings = list(findings)
    wanted = alertable(findings)
    looked = not any(f.code == "data-unavailable" and f.subject.startswith("rule:") for f in findings)
    done: list[Change] = []
    for alert in live:
        finding = wanted.pop((alert.code, alert.subject), None)
        if finding is None:
            if looked:
                done.append(Change("resolved", alert.code, alert.subject, alert.severity, "", alert.id))
            continue
        found = _changed(alert, finding, seen, as_of, due_again_after)
        if found is not None:
            what, note = found
            done.append(
                Change(what, alert.code, alert.subject, finding.severity, finding.summary, alert.id, note)
            )
    done += [Change("opened", f.code, f.subject, f.severity, f.summary) for f in wanted.values()]
    return done


def _changed(
    alert: LiveAlert,
    finding: Finding,
    seen: Callable[[Finding], str],
    as_of: datetime,
    due_again_after: timedelta,
) -> tuple[What, str] | None:
    """What happens to an alert whose finding lasts, and why; None = nothing."""
    now, before = SEVERITY_RANK[finding.severity], SEVERITY_RANK[alert.severity]
    # An alert of an older version does not say what it rests on: what it rests on now is taken for that.
    new = alert.seen != "" and alert.seen != seen(finding)
    if now > before:
        return ("reopened" if alert.state == "closed" else "raised"), ""
    if alert.state in ("closed", "in-hand") and new:
        return "reopened", "new evidence"
    if alert.state == "closed" and must_stop(finding.code, finding.severity):
        return "reopened", "clozapine must stop: this cannot be closed"
    if now < before:
        return "lowered", ""
    if new:
        return "rewritten", "new evidence"
    if alert.state == "open" and as_of - alert.notified_at >= due_again_after - _SLACK:
        return "due-again", ""
    return None
