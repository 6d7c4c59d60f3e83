"""What became of the cards: fired, accepted, overridden by reason, time to response (contract "Registry, sweep, feedback")."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from statistics import median
from typing import Any

from sqlalchemy import Connection, and_, select

from service.store.tables import CardFeedback, CardShown
from service.store.times import aware

_cards = CardShown.__table__  # type: ignore[attr-defined]
_feedback = CardFeedback.__table__  # type: ignore[attr-defined]
DIMENSIONS = ("code", "site", "hook", "week", "policy", "severity", "user_type")


def _week(at: datetime) -> str:
    year, week, _ = at.isocalendar()
    return f"{year}-W{week:02}"


class _Row:
    """Counts of one group."""

    def __init__(self) -> None:
        self.fired = 0
        self.accepted = 0
        self.overridden = 0
        self.reasons: dict[str, int] = {}
        self.seconds: list[float] = []

    def document(self) -> dict[str, Any]:
        answered = self.accepted + self.overridden
        return {
            "fired": self.fired,
            "accepted": self.accepted,
            "overridden": self.overridden,
            "unanswered": self.fired - answered,
            "overrideRate": round(self.overridden / answered, 4) if answered else None,
            "reasons": dict(sorted(self.reasons.items(), key=lambda r: (-r[1], r[0]))),
            "medianSecondsToResponse": round(median(self.seconds), 1) if self.seconds else None,
        }


def alerts(
    connection: Connection,
    *,
    since: datetime,
    until: datetime,
    sites: Sequence[str] | None,
    by: Sequence[str] = ("code",),
) -> list[dict[str, Any]]:
    """Cards fired in a period and what became of them, grouped.

    Args:
        connection: database.
        since: start of the period (inclusive).
        until: end of the period (exclusive).
        sites: only these sites; None = all.
        by: one or more of :data:`DIMENSIONS`.
    """
    statement = (
        select(
            _cards.c.uuid,
            _cards.c.at,
            *(_cards.c[name] for name in DIMENSIONS if name != "week"),
            _feedback.c.outcome,
            _feedback.c.outcome_at,
            _feedback.c.reason_code,
            _feedback.c.reason_display,
        )
        # Only what the card's own site reports counts.
        .outerjoin(_feedback, and_(_feedback.c.card == _cards.c.uuid, _feedback.c.site == _cards.c.site))
        .where(_cards.c.at >= since.astimezone(UTC), _cards.c.at < until.astimezone(UTC))
        # Of several reports on one card the newest counts (cds-hooks checklist F5).
        .order_by(_cards.c.uuid, _feedback.c.outcome_at.desc(), _feedback.c.id.desc())
        .execution_options(yield_per=1000)
    )
    if sites is not None:
        statement = statement.where(_cards.c.site.in_(list(sites)))
    groups: dict[tuple[str, ...], _Row] = {}
    last = None
    for row in connection.execute(statement):
        if row.uuid == last:
            continue
        last = row.uuid
        at = aware(row.at)
        assert at is not None
        key = tuple(_week(at) if name == "week" else str(row._mapping[name]) for name in by)
        group = groups.setdefault(key, _Row())
        group.fired += 1
        if row.outcome is None:
            continue
        if row.outcome == "accepted":
            group.accepted += 1
        else:
            group.overridden += 1
            reason = row.reason_code or row.reason_display or "no reason given"
            group.reasons[reason] = group.reasons.get(reason, 0) + 1
        answered = aware(row.outcome_at)
        if answered is not None and answered >= at:
            group.seconds.append((answered - at).total_seconds())
    return [
        {**dict(zip(by, key, strict=True)), **group.document()}
        for key, group in sorted(groups.items(), key=lambda g: (-g[1].fired, g[0]))
    ]
