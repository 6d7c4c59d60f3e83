"""What is to be read from an EHR because something there changed: kept until it was read, each once however often it is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from service.options.site import Site
from service.results.delivery import Delivery
from service.store.roster_tables import RegisteredPatient
from service.store.subscription_tables import ToRead
from service.store.times import aware

What = Literal["patient", "resource", "changes"]
_table = ToRead.__table__  # type: ignore[attr-defined]
_patients = RegisteredPatient.__table__  # type: ignore[attr-defined]
#: The rest of a panel comes within a moment; one patient is not read more often than so.
_GATHER = timedelta(seconds=1)
_APART = timedelta(seconds=10)
#: Whoever reads something is given so long; then another may.
_LEASE = timedelta(seconds=120)
_PAUSES = (timedelta(seconds=10), timedelta(seconds=30), timedelta(minutes=2), timedelta(minutes=10))
#: What could not be read for so long is left to the sweep.
_GIVEN_UP = timedelta(hours=24)


def can_read(site: Site) -> bool:
    """Whether the service may read this EHR by itself."""
    return bool(site.fhir_server) and site.options.backend is not None


def ask(
    connection: Connection,
    site: str,
    what: What,
    ref: str,
    at: datetime,
    *,
    since: datetime | None = None,
    after: timedelta = _GATHER,
) -> None:
    """Have something read soon; what waits already is read once."""
    moment = at.astimezone(UTC)
    where = (_table.c.site == site, _table.c.what == what, _table.c.ref == ref)
    if connection.execute(update(_table).where(*where).values(asks=_table.c.asks + 1)).rowcount:
        return
    due = moment + after
    if what == "patient":
        read = connection.execute(
            select(_patients.c.refreshed_at).where(_patients.c.site == site, _patients.c.patient_id == ref)
        ).scalar()
        if read is not None and (last := aware(read)) is not None and last <= moment:
            due = max(due, last.astimezone(UTC) + _APART)
    try:
        with connection.begin_nested():
            connection.execute(
                insert(_table).values(
                    site=site,
                    what=what,
                    ref=ref,
                    since=since.astimezone(UTC) if since is not None else None,
                    asks=1,
                    tries=0,
                    first_asked_at=moment,
                    next_try_at=due,
                )
            )
    except IntegrityError:  # another asked at this moment
        connection.execute(update(_table).where(*where).values(asks=_table.c.asks + 1))


def ask_for_patients_of(connection: Connection, site: Site, delivery: Delivery, at: datetime) -> None:
    """What came may not be all: the record of everybody of whom something was taken is read, where it can be."""
    if not can_read(site):
        return
    for patient_id in dict.fromkeys(
        p.patient_id for p in delivery.parts if p.fate == "taken" and p.patient_id
    ):
        ask(connection, site.name, "patient", patient_id, at)


def ask_for_everybody(connection: Connection, site: str, at: datetime) -> int:
    """Read every patient who is watched; returns how many."""
    found = connection.execute(
        select(_patients.c.patient_id).where(
            _patients.c.site == site, _patients.c.state.in_(("on", "stopped"))
        )
    ).scalars()
    everybody = list(found)
    for patient_id in everybody:
        ask(connection, site, "patient", patient_id, at)
    return len(everybody)


def claim(connection: Connection, sites: Iterable[str], now: datetime, limit: int) -> list[Any]:
    """What is due at these sites, whoever waits longest first; nobody else reads it meanwhile."""
    moment = now.astimezone(UTC)
    due = connection.execute(
        select(_table)
        .where(_table.c.site.in_(list(sites)), _table.c.next_try_at <= moment)
        .order_by(_table.c.next_try_at, _table.c.id)
        .limit(limit)
    ).all()
    return [
        row
        for row in due
        if connection.execute(
            update(_table)
            .where(_table.c.id == row.id, _table.c.next_try_at == row.next_try_at)
            .values(next_try_at=moment + _LEASE)
        ).rowcount
    ]


def was_read(connection: Connection, rows: Sequence[Any], now: datetime) -> None:
    """These were read; what was asked for again meanwhile is read again."""
    for row in rows:
        if not connection.execute(
            delete(_table).where(_table.c.id == row.id, _table.c.asks == row.asks)
        ).rowcount:
            connection.execute(
                update(_table)
                .where(_table.c.id == row.id)
                .values(
                    tries=0, first_asked_at=now.astimezone(UTC), next_try_at=(now + _APART).astimezone(UTC)
                )
            )


def was_not_read(connection: Connection, rows: Sequence[Any], now: datetime) -> int:
    """These could not be read: later again; returns how many were given up and are left to the sweep."""
    given_up = 0
    for row in rows:
        first = aware(row.first_asked_at)
        if first is not None and now - first >= _GIVEN_UP:
            connection.execute(delete(_table).where(_table.c.id == row.id))
            given_up += 1
            continue
        pause = _PAUSES[min(row.tries, len(_PAUSES) - 1)]
        connection.execute(
            update(_table)
            .where(_table.c.id == row.id)
            .values(tries=_table.c.tries + 1, next_try_at=(now + pause).astimezone(UTC))
        )
    return given_up


def waiting(connection: Connection) -> tuple[int, datetime | None]:
    """(how much is to be read, since when the oldest waits)."""
    row = connection.execute(
        select(func.count(), func.min(_table.c.first_asked_at)).select_from(_table)
    ).one()
    return int(row[0]), aware(row[1])
