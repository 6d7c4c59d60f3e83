"""What people do with alerts: list them, read their history, close them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, and_, insert, or_, select, update

from service.registry.roster_tables import Alert, AlertEvent, PatientFlag, RegisteredPatient

_alerts = Alert.__table__  # type: ignore[attr-defined]
_events = AlertEvent.__table__  # type: ignore[attr-defined]
_patients = RegisteredPatient.__table__  # type: ignore[attr-defined]
_flags = PatientFlag.__table__  # type: ignore[attr-defined]


def alerts(
    connection: Connection,
    *,
    sites: Sequence[str] | None,
    state: str = "open",
    after: tuple[int, int] | None = None,
    limit: int = 50,
) -> list[dict[str, Any]]:
    """One page of alerts, most severe first, then oldest.

    Args:
        connection: database.
        sites: only these sites; None = all.
        state: ``open`` | ``closed`` | ``resolved`` | ``all``.
        after: (severity rank, id) of the last row of the page before.
        limit: rows.
    """
    statement = select(_alerts, _patients.c.patient_id).join(_patients, _patients.c.id == _alerts.c.patient)
    if sites is not None:
        statement = statement.where(_alerts.c.site.in_(list(sites)))
    if state != "all":
        statement = statement.where(_alerts.c.state == state)
    if after is not None:
        rank, last = after
        statement = statement.where(
            or_(_alerts.c.severity_rank < rank, and_(_alerts.c.severity_rank == rank, _alerts.c.id > last))
        )
    statement = statement.order_by(_alerts.c.severity_rank.desc(), _alerts.c.id).limit(limit)
    return [dict(row._mapping) for row in connection.execute(statement)]


def site_of(connection: Connection, alert: int) -> str | None:
    """Site of an alert; None when there is no such one."""
    found = connection.execute(select(_alerts.c.site).where(_alerts.c.id == alert)).scalar_one_or_none()
    return str(found) if found is not None else None


def close_alert(connection: Connection, alert: int, by: str, note: str, at: datetime) -> int | None:
    """A person closes an open alert; returns the event's id, None when there is no such open one."""
    row = connection.execute(
        select(_alerts.c.severity, _alerts.c.summary).where(_alerts.c.id == alert, _alerts.c.state == "open")
    ).first()
    if row is None:
        return None
    moment = at.astimezone(UTC)
    changed = connection.execute(
        update(_alerts)
        .where(_alerts.c.id == alert, _alerts.c.state == "open")
        .values(state="closed", changed_at=moment)
    )
    if not changed.rowcount:
        return None
    event = connection.execute(
        insert(_events).values(
            alert=alert,
            at=moment,
            what="closed",
            severity=row.severity,
            summary=row.summary,
            by=by[:200],
            note=note[:500],
        )
    )
    return int(event.inserted_primary_key[0])  # type: ignore[index]


def history(connection: Connection, patient: int) -> list[dict[str, Any]]:
    """Everything that happened to a patient's alerts, newest first."""
    rows = connection.execute(
        select(_events, _alerts.c.code, _alerts.c.subject, _alerts.c.state)
        .join(_alerts, _alerts.c.id == _events.c.alert)
        .where(_alerts.c.patient == patient)
        .order_by(_events.c.id.desc())
        .limit(500)
    )
    return [dict(row._mapping) for row in rows]


def flags(connection: Connection, patient: int) -> list[dict[str, Any]]:
    """Every statement on a patient, withdrawn ones too."""
    rows = connection.execute(select(_flags).where(_flags.c.patient == patient).order_by(_flags.c.id))
    return [dict(row._mapping) for row in rows]
