"""What people do with alerts: list them, read their history, close them, take them in hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, insert, or_, select, update

from service.alerts.say.silence import must_stop
from service.options.site import Site
from service.registry import outbox
from service.registry.patient_alerts import LONGEST_HAND
from service.store.roster_tables import Alert, AlertEvent, PatientFlag, RegisteredPatient

_alerts = Alert.__table__  # type: ignore[attr-defined]
_events = AlertEvent.__table__  # type: ignore[attr-defined]
_patients = RegisteredPatient.__table__  # type: ignore[attr-defined]
_flags = PatientFlag.__table__  # type: ignore[attr-defined]
#: What lists show of an alert: all but the hash of what it rests on.
_LISTED = [c for c in _alerts.c if c.name != "seen"]
#: Columns of an alert that nobody has in hand.
NOBODY: dict[str, Any] = {"hand_by": "", "hand_until": None, "hand_reason": ""}
#: Not over and not closed: somebody has to do something.
_TO_DO = ("open", "in-hand")


class NotClosable(ValueError):
    """What a person may not do with an alert; the message says why and what to do instead."""


def _aware(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment


def alerts(
    connection: Connection,
    *,
    sites: Sequence[str] | None,
    now: datetime,
    state: str = "open",
    after: tuple[int, int] | None = None,
    limit: int = 50,
) -> list[dict[str, Any]]:
    """One page of alerts, most severe first, then oldest.

    Args:
        connection: database.
        sites: only these sites; None = all.
        now: the moment; who had an alert in hand until then has it no more.
        state: ``open`` (those in hand are still open) | ``in-hand`` | ``closed`` | ``resolved`` | ``all``.
        after: (severity rank, id) of the last row of the page before.
        limit: rows.
    """
    # When the record was read last: an alert is as new as that.
    read_at = (_patients.c.facts_at.label("record_read_at"), _patients.c.refreshed_at.label("unchanged_at"))
    statement = select(*_LISTED, _patients.c.patient_id, *read_at).join(
        _patients, _patients.c.id == _alerts.c.patient
    )
    if sites is not None:
        statement = statement.where(_alerts.c.site.in_(list(sites)))
    if state == "open":
        statement = statement.where(_alerts.c.state.in_(_TO_DO))
    elif state == "in-hand":
        statement = statement.where(_alerts.c.state == "in-hand", _alerts.c.hand_until > now.astimezone(UTC))
    elif state != "all":
        statement = statement.where(_alerts.c.state == state)
    if after is not None:
        rank, last = after
        statement = statement.where(
            or_(_alerts.c.severity_rank < rank, and_(_alerts.c.severity_rank == rank, _alerts.c.id > last))
        )
    statement = statement.order_by(_alerts.c.severity_rank.desc(), _alerts.c.id).limit(limit)
    return [_row(row._mapping, now) for row in connection.execute(statement)]


def _row(found: Any, now: datetime) -> dict[str, Any]:
    row: dict[str, Any] = {
        name: _aware(value) if isinstance(value, datetime) else value for name, value in found.items()
    }
    unchanged = row.pop("unchanged_at")
    if unchanged is not None and unchanged > row["record_read_at"]:
        row["record_read_at"] = unchanged
    until = _aware(row["hand_until"])
    if row["state"] == "in-hand" and until is not None and until <= now:
        row["state"] = "open"
    return row


def site_of(connection: Connection, alert: int) -> str | None:
    """Site of an alert; None when there is no such one."""
    found = connection.execute(select(_alerts.c.site).where(_alerts.c.id == alert)).scalar_one_or_none()
    return str(found) if found is not None else None


def close_alert(
    connection: Connection, alert: int, by: str, note: str, at: datetime, entered_by: str = ""
) -> int | None:
    """A person closes an open alert; returns the event's id, None when there is no such open one.

    Raises NotClosable for a finding at which clozapine must stop.
    """
    row = _to_do(connection, alert)
    if row is None:
        return None
    if must_stop(row.code, row.severity):
        raise NotClosable(
            "Clozapine must stop while this finding holds: it cannot be closed. Take it in hand until a moment "
            f"within {_hours(LONGEST_HAND)} hours; it ends by itself when the finding is gone."
        )
    values = {"state": "closed", **NOBODY}
    return _record(connection, row, "closed", values, by, note, at, entered_by=entered_by)


def take_in_hand(
    connection: Connection,
    alert: int,
    by: str,
    until: datetime,
    reason: str,
    at: datetime,
    entered_by: str = "",
) -> int | None:
    """A person has an open alert in hand until a moment; returns the event's id, None when there is no such open one.

    It stays on the lists, with who and until when. It is open again when the time is over, and at once when its evidence is new.
    Raises NotClosable when ``until`` is past or too far off.
    """
    if until <= at:
        raise NotClosable("until: a moment in the future is expected.")
    if until - at > LONGEST_HAND:
        raise NotClosable(
            f"until: at most {_hours(LONGEST_HAND)} hours from now; whoever needs longer takes it in hand anew."
        )
    row = _to_do(connection, alert)
    if row is None:
        return None
    moment = until.astimezone(UTC)
    values = {
        "state": "in-hand",
        "hand_by": by[:200],
        "hand_until": moment,
        "hand_reason": reason[:500],
    }
    note = f"until {moment:%Y-%m-%d %H:%M} UTC: {reason}"
    return _record(connection, row, "in-hand", values, by, note, at, entered_by=entered_by)


def give_back(connection: Connection, site: Site, now: datetime) -> int:
    """Open the alerts of a site again that somebody had in hand until now, and tell it; returns how many."""
    over = and_(_alerts.c.state == "in-hand", _alerts.c.hand_until <= now.astimezone(UTC))
    rows = connection.execute(select(_alerts).where(_alerts.c.site == site.name, over)).all()
    given = 0
    for row in rows:
        values = {"state": "open", "notified_at": now.astimezone(UTC), **NOBODY}
        note = f"the time in hand is over ({row.hand_by})"
        event = _record(connection, row, "reopened", values, "clock", note, now, over)
        if event is not None:
            outbox.tell_act(connection, site, row.id, event, "reopened", now)
            given += 1
    return given


def _hours(time: timedelta) -> int:
    return int(time.total_seconds() // 3600)


def _to_do(connection: Connection, alert: int) -> Row[Any] | None:
    return connection.execute(
        select(_alerts).where(_alerts.c.id == alert, _alerts.c.state.in_(_TO_DO))
    ).first()


def _record(
    connection: Connection,
    row: Row[Any],
    what: str,
    values: dict[str, Any],
    by: str,
    note: str,
    at: datetime,
    still: ColumnElement[bool] | None = None,
    entered_by: str = "",
) -> int | None:
    """Change an alert and write it into its history; None when it is not what it was any more (another one was first)."""
    moment = at.astimezone(UTC)
    condition = still if still is not None else _alerts.c.state.in_(_TO_DO)
    # What it says may have changed since it was read: who closes 800 has not seen 400.
    same = and_(_alerts.c.seen == row.seen, _alerts.c.severity == row.severity)
    changed = connection.execute(
        update(_alerts).where(_alerts.c.id == row.id, condition, same).values(changed_at=moment, **values)
    )
    if not changed.rowcount:
        return None
    event = connection.execute(
        insert(_events).values(
            alert=row.id,
            at=moment,
            what=what,
            severity=row.severity,
            summary=row.summary,
            by=by[:200],
            entered_by=entered_by[:200],
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
