"""One alert per patient and finding: how findings change the alerts of a patient. Pure; the sweep writes what it says."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Literal

from msgspec import Struct

from service.alerts.finding import SEVERITY_RANK, Finding

What = Literal["opened", "raised", "lowered", "due-again", "resolved", "reopened"]
#: Findings about one call's data, or that only mean something while an order is written.
_OF_A_CALL = frozenset({"data-unavailable", "medication-unrecognized", "dose-unreadable"})
#: The mildest severity that is worth somebody's attention between visits.
_LEAST = SEVERITY_RANK["warning"]
#: A sweep that begins a little earlier in the day than the one a week before (a busy minute, summer time) still counts as a week later.
_SLACK = timedelta(hours=12)


class LiveAlert(Struct, frozen=True):
    """An alert that is not resolved, as the database holds it."""

    id: int
    code: str
    subject: str
    severity: str
    state: str
    notified_at: datetime


class Change(Struct, frozen=True):
    """What happens to one alert. ``alert`` None: a new one is opened."""

    what: What
    code: str
    subject: str
    severity: str
    summary: str
    alert: int | None = None


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
    live: Iterable[LiveAlert], findings: Iterable[Finding], as_of: datetime, due_again_after: timedelta
) -> list[Change]:
    """What a new evaluation does to a patient's alerts.

    Args:
        live: the alerts that are not resolved.
        findings: what holds now.
        as_of: the moment of the evaluation.
        due_again_after: an open alert is brought up again after so long.

    An alert that a person closed stays closed while its finding lasts, unless the finding becomes more severe. While a rule
    fails nothing is resolved: its findings are missing because nobody looked.
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
        now, before = SEVERITY_RANK[finding.severity], SEVERITY_RANK[alert.severity]
        what: What | None = None
        if now > before:
            what = "reopened" if alert.state == "closed" else "raised"
        elif now < before:
            what = "lowered"
        elif alert.state == "open" and as_of - alert.notified_at >= due_again_after - _SLACK:
            what = "due-again"
        if what is not None:
            done.append(Change(what, alert.code, alert.subject, finding.severity, finding.summary, alert.id))
    done += [Change("opened", f.code, f.subject, f.severity, f.summary) for f in wanted.values()]
    return done
