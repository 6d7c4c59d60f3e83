"""The roster: enrolling, finding, flagging, merging and deleting patients (contract "Registry")."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import Any, Literal

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, Row, and_, delete, func, insert, or_, select, update

from service.alerts import remembered
from service.alerts.case import Case
from service.alerts.facts import ClinicianFlag, PatientSnapshot
from service.alerts.policy import Policy
from service.registry.roster_tables import Alert, PatientFlag, RegisteredPatient
from service.registry.standing import Standing, standing_of

Status = Literal["overdue", "due", "on", "stopped", "unenrolled", "all"]
_patients = RegisteredPatient.__table__  # type: ignore[attr-defined]
_flags = PatientFlag.__table__  # type: ignore[attr-defined]
_alerts = Alert.__table__  # type: ignore[attr-defined]
#: Columns of lists: everything but the facts.
_LISTED = [c for c in _patients.c if c.name != "facts"]


class NotRegistered(LookupError):
    """The patient is not in the registry of the site."""


class Deletion(Struct, frozen=True):
    """Proof that a patient was deleted: what went, and a hash of whom."""

    site: str
    patient_hash: str
    deleted_at: datetime
    deleted_by: str
    rows: dict[str, int]


def aware(moment: datetime | None) -> datetime | None:
    """SQLite gives back naive times; everything is stored in UTC."""
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment


def _columns(standing: Standing) -> dict[str, Any]:
    return {
        "state": standing.state,
        "course_start": standing.course_start,
        "stopped_at": standing.stopped_at,
        "last_anc": standing.last_anc,
        "last_anc_at": standing.last_anc_at.astimezone(UTC) if standing.last_anc_at is not None else None,
        "interval_days": standing.interval_days,
        "next_due": standing.next_due,
    }


def enrol(
    connection: Connection,
    site: str,
    policy: Policy,
    snapshot: PatientSnapshot,
    as_of: datetime,
    by: str = "hook",
    reread: Collection[str] = frozenset(),
) -> int | None:
    """Remember what a call or a refresh knows of a patient on clozapine; returns the row id. ``reread``: see ``remembered.update``.

    A patient who is not on clozapine is not enrolled (None), but one who is registered is kept up to date, also when
    clozapine has stopped. Patients who were taken off the roster by a person stay off.
    """
    kept = remembered.facts_to_keep(snapshot)
    row = connection.execute(
        select(_patients.c.id, _patients.c.facts, _patients.c.state).where(
            _patients.c.site == site, _patients.c.patient_id == snapshot.patient_id
        )
    ).first()
    if row is not None:
        if row.state == "unenrolled":
            return None
        with suppress(
            msgspec.ValidationError
        ):  # facts of an older version: what the call knows replaces them
            kept = remembered.update(remembered.load(row.facts), kept, reread)
    case = Case(kept, policy, as_of)
    if row is None and not case.on_clozapine:
        return None
    values = {
        **_columns(standing_of(case)),
        "policy": policy.id,
        "facts": remembered.dump(kept),
        "facts_at": as_of.astimezone(UTC),
    }
    if row is not None:
        connection.execute(update(_patients).where(_patients.c.id == row.id).values(**values))
        return int(row.id)
    created = connection.execute(
        insert(_patients).values(
            site=site,
            patient_id=snapshot.patient_id,
            enrolled_at=as_of.astimezone(UTC),
            enrolled_by=by[:200],
            swept_run=0,
            sweeps=0,
            **values,
        )
    )
    return int(created.inserted_primary_key[0])  # type: ignore[index]


def find(connection: Connection, site: str, patient_id: str) -> Row[Any]:
    """The row of a patient. Raises NotRegistered."""
    row = connection.execute(
        select(_patients).where(_patients.c.site == site, _patients.c.patient_id == patient_id)
    ).first()
    if row is None:
        raise NotRegistered("there is no such patient in the registry of this site")
    return row


def facts_of(
    connection: Connection, site: str, patient_id: str
) -> tuple[PatientSnapshot, datetime, date | None] | None:
    """What the registry knows of a patient, as of when, and since when the course lasts; None when it knows nothing."""
    row = connection.execute(
        select(_patients.c.facts, _patients.c.facts_at, _patients.c.course_start).where(
            _patients.c.site == site, _patients.c.patient_id == patient_id, _patients.c.state != "unenrolled"
        )
    ).first()
    if row is None:
        return None
    try:
        known_at = aware(row.facts_at)
        assert known_at is not None
        return remembered.load(row.facts), known_at, row.course_start
    except msgspec.ValidationError:
        return None


def page(
    connection: Connection,
    *,
    sites: Sequence[str] | None,
    status: Status,
    today: Any,
    after: tuple[str, int] | None = None,
    limit: int = 50,
) -> list[dict[str, Any]]:
    """One page of the worklist, what is due first.

    Args:
        connection: database.
        sites: only these sites; None = all.
        status: ``overdue`` (the next count was due before today), ``due`` (within a week too), ``on``, ``stopped``, ``unenrolled``, ``all``.
        today: date the due dates are compared with.
        after: (next_due, id) of the last row of the page before.
        limit: rows.
    """
    statement = select(*_LISTED)
    if sites is not None:
        statement = statement.where(_patients.c.site.in_(list(sites)))
    state = "on" if status in ("overdue", "due", "on") else status
    if status != "all":
        statement = statement.where(_patients.c.state == state)
    if status == "overdue":
        statement = statement.where(_patients.c.next_due < today)
    by_due = status in ("overdue", "due", "on")
    if by_due:
        if after is not None:
            due = datetime.fromisoformat(after[0]).date()
            statement = statement.where(
                or_(_patients.c.next_due > due, and_(_patients.c.next_due == due, _patients.c.id > after[1]))
            )
        statement = statement.order_by(_patients.c.next_due, _patients.c.id)
    else:
        if after is not None:
            statement = statement.where(_patients.c.id > after[1])
        statement = statement.order_by(_patients.c.id)
    return [dict(row._mapping) for row in connection.execute(statement.limit(limit))]


def flags_of(connection: Connection, patients: Sequence[int]) -> dict[int, tuple[ClinicianFlag, ...]]:
    """Flags in force or expired, but not withdrawn, by row id."""
    if not patients:
        return {}
    found: dict[int, list[ClinicianFlag]] = {}
    rows = connection.execute(
        select(_flags).where(_flags.c.patient.in_(list(patients)), _flags.c.withdrawn_at.is_(None))
    )
    for row in rows:
        at = aware(row.at)
        assert at is not None
        found.setdefault(row.patient, []).append(
            ClinicianFlag(row.kind, row.stated_by, at, row.text, row.continue_at, aware(row.expires))
        )
    return {patient: tuple(flags) for patient, flags in found.items()}


def add_flag(connection: Connection, patient: int, flag: ClinicianFlag) -> int:
    """Keep a clinician's statement."""
    created = connection.execute(
        insert(_flags).values(
            patient=patient,
            kind=flag.kind,
            stated_by=flag.by[:200],
            at=flag.at.astimezone(UTC),
            text=flag.text[:500],
            continue_at=flag.continue_at,
            expires=flag.expires.astimezone(UTC) if flag.expires is not None else None,
            withdrawn_by="",
        )
    )
    return int(created.inserted_primary_key[0])  # type: ignore[index]


def withdraw_flag(connection: Connection, patient: int, flag: int, by: str, at: datetime) -> bool:
    """Withdraw a statement; False when there is no such one in force."""
    changed = connection.execute(
        update(_flags)
        .where(_flags.c.id == flag, _flags.c.patient == patient, _flags.c.withdrawn_at.is_(None))
        .values(withdrawn_at=at.astimezone(UTC), withdrawn_by=by[:200])
    )
    return bool(changed.rowcount)


def unenrol(connection: Connection, site: str, patient_id: str) -> None:
    """Take a patient off the roster; nothing is forgotten, nothing is watched. Raises NotRegistered."""
    row = find(connection, site, patient_id)
    connection.execute(
        update(_patients).where(_patients.c.id == row.id).values(state="unenrolled", next_due=None)
    )


def merge(connection: Connection, site: str, gone: str, into: str, policy: Policy, as_of: datetime) -> None:
    """The EHR merged two records: facts, flags and alerts of ``gone`` go to ``into``. Raises NotRegistered."""
    old, new = find(connection, site, gone), find(connection, site, into)
    try:
        kept = remembered.load(new.facts)
        other = remembered.load(old.facts)
    except msgspec.ValidationError as error:
        raise NotRegistered("the stored facts are of another version: refresh the patients first") from error
    together = remembered.join(kept, other)
    connection.execute(update(_flags).where(_flags.c.patient == old.id).values(patient=new.id))
    taken = {
        (a.code, a.subject)
        for a in connection.execute(
            select(_alerts.c.code, _alerts.c.subject).where(
                _alerts.c.patient == new.id, _alerts.c.state != "resolved"
            )
        )
    }
    for a in connection.execute(select(_alerts).where(_alerts.c.patient == old.id)).all():
        if a.state == "resolved" or (a.code, a.subject) not in taken:
            connection.execute(update(_alerts).where(_alerts.c.id == a.id).values(patient=new.id))
    standing = standing_of(Case(together, policy, as_of))
    connection.execute(
        update(_patients)
        .where(_patients.c.id == new.id)
        .values(facts=remembered.dump(together), facts_at=as_of.astimezone(UTC), **_columns(standing))
    )
    connection.execute(delete(_patients).where(_patients.c.id == old.id))


def forget(connection: Connection, site: str, patient_id: str, by: str, at: datetime) -> Deletion:
    """Delete a patient with flags, alerts, history and outbox; returns the proof. Raises NotRegistered."""
    row = find(connection, site, patient_id)
    counts = {
        "flags": _count(connection, _flags, _flags.c.patient == row.id),
        "alerts": _count(connection, _alerts, _alerts.c.patient == row.id),
    }
    connection.execute(delete(_alerts).where(_alerts.c.patient == row.id))
    connection.execute(delete(_flags).where(_flags.c.patient == row.id))
    gone = connection.execute(delete(_patients).where(_patients.c.id == row.id)).rowcount
    digest = hashlib.sha256(f"{site}|{patient_id}".encode()).hexdigest()
    return Deletion(site, digest, at, by, {"patients": gone, **counts})


def _count(connection: Connection, table: Any, condition: Any) -> int:
    return int(connection.execute(select(func.count()).select_from(table).where(condition)).scalar_one())
