"""The worklist: patients page by page, sorted by what must be done, then by who waits longest, then by when the next count is due."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Connection, literal, literal_column, select, tuple_

from service.registry import attention
from service.store.roster_tables import Alert, RegisteredPatient
from service.store.times import aware

_patients = RegisteredPatient.__table__  # type: ignore[attr-defined]
_alerts = Alert.__table__  # type: ignore[attr-defined]
Status = Literal["todo", "overdue", "due", "on", "stopped", "unenrolled", "dead", "all"]
STATUSES: tuple[Status, ...] = ("todo", "overdue", "due", "on", "stopped", "unenrolled", "dead", "all")
#: The worklist ``due`` looks so far ahead.
_SOON = timedelta(days=7)
#: Stands for "no count is due" in the order of the list.
_NO_DAY = date(9999, 12, 31)
_WATCHED = ("on", "stopped")
#: Columns of lists: what a person asks for.
_HIDDEN = ("facts", "swept_run", "sweeps")
_LISTED = [c for c in _patients.c if c.name not in _HIDDEN]
#: (class, since, due, id) of the last row of a page.
Place = tuple[int, datetime, date, int]
#: As the index has it: the list is read in its order and never sorted.
_due = literal_column("coalesce(registered_patient.next_due, '9999-12-31')", _patients.c.next_due.type)


def page(
    connection: Connection,
    *,
    sites: Sequence[str] | None,
    status: Status,
    today: date,
    after: Place | None = None,
    limit: int = 50,
) -> list[dict[str, Any]]:
    """One page of the worklist.

    Args:
        connection: database.
        sites: only these sites; None = all.
        status: ``todo`` (anything but up to date), ``overdue`` (the next count was due before today), ``due`` (or is within a week);
            both with those whose counts go on after a stop; ``on``, ``stopped``, ``unenrolled``, ``dead``, ``all``.
        today: date the due dates are compared with.
        after: where the page before ended (:func:`place_of`).
        limit: rows.
    """
    statement = select(*_LISTED)
    if sites is not None:
        statement = statement.where(_patients.c.site.in_(list(sites)))
    match status:
        case "todo":
            statement = statement.where(
                _patients.c.state.in_(_WATCHED), _patients.c.attention < attention.UP_TO_DATE
            )
        case "overdue":
            statement = statement.where(_patients.c.state.in_(_WATCHED), _patients.c.next_due < today)
        case "due":
            statement = statement.where(
                _patients.c.state.in_(_WATCHED), _patients.c.next_due <= today + _SOON
            )
        case "all":
            pass
        case _:
            statement = statement.where(_patients.c.state == status)
    keys = (_patients.c.attention, _patients.c.attention_since, _due, _patients.c.id)
    if after is not None:
        rank, since, due, last = after
        values = (rank, since.astimezone(UTC), due, last)
        place = [literal(value, key.type) for value, key in zip(values, keys, strict=True)]
        statement = statement.where(tuple_(*keys) > tuple_(*place))
    rows = [dict(row._mapping) for row in connection.execute(statement.order_by(*keys).limit(limit))]
    top = _top_alerts(connection, [row["id"] for row in rows])
    return [_shown(row, top.get(row["id"])) for row in rows]


def place_of(row: dict[str, Any]) -> Place:
    """Where a row stands in the order of the list."""
    since = aware(row["attention_since"])
    assert since is not None
    return row["attention_rank"], since, row["next_due"] or _NO_DAY, row["id"]


def _shown(row: dict[str, Any], top: dict[str, Any] | None) -> dict[str, Any]:
    """A row with zones, and its class in a word."""
    shown = {k: aware(v) if isinstance(v, datetime) else v for k, v in row.items()}
    rank = int(row["attention"])
    return shown | {
        "attention": attention.WORDS.get(rank, "up-to-date"),
        "attention_rank": rank,
        "alert": top,
    }


def _top_alerts(connection: Connection, patients: list[int]) -> dict[int, dict[str, Any]]:
    """The gravest alert of each patient that is not over, and how many more there are."""
    if not patients:
        return {}
    found: dict[int, dict[str, Any]] = {}
    for row in connection.execute(
        select(
            _alerts.c.patient,
            _alerts.c.id,
            _alerts.c.code,
            _alerts.c.severity,
            _alerts.c.state,
            _alerts.c.summary,
            _alerts.c.hand_by,
            _alerts.c.hand_until,
        )
        .where(_alerts.c.patient.in_(patients), _alerts.c.state.in_(("open", "in-hand")))
        .order_by(_alerts.c.severity_rank.desc(), _alerts.c.id)
    ):
        if row.patient in found:
            found[row.patient]["more"] += 1
            continue
        said = {k: v for k, v in row._mapping.items() if k != "patient"}
        found[row.patient] = said | {"hand_until": aware(row.hand_until), "more": 0}
    return found
