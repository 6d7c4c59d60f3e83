"""The inbox: what arrived is written down before its sender is told so, judged in order per patient, and given up only by name.

Repetition is harmless: what arrives twice is one row, and a row whose judging dies is judged again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Engine, func, insert, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from service.results.delivery import Delivery, Part, by_patient, key_of, packed
from service.store.result_tables import InboxItem, PushedVersion
from service.store.roster_tables import RegisteredPatient
from service.store.times import aware

_inbox = InboxItem.__table__  # type: ignore[attr-defined]
_versions = PushedVersion.__table__  # type: ignore[attr-defined]
_patients = RegisteredPatient.__table__  # type: ignore[attr-defined]
#: A fault that may pass is tried again after so long; then the row is put aside.
_PAUSES = (
    timedelta(seconds=1),
    timedelta(seconds=5),
    timedelta(seconds=30),
    timedelta(minutes=2),
    timedelta(minutes=10),
)
#: Values in one statement.
_IN_ONE = 500
#: Characters of a patient's rows that are judged in one go; the rest follows.
_MOST_HELD = 10_000_000
_NOT_WATCHED = "The registry of this site watches no such patient."


def take(
    connection: Connection, site: str, source: str, delivery: Delivery, at: datetime, *, gone: bool = False
) -> int:
    """Write down what a delivery holds of watched patients; returns how many rows are new.

    The parts are told what became of them: a part of a patient who is not watched becomes ``unknown patient``. However many patients
    a delivery is of, the database is asked a few times: others wait for it.
    ``gone``: the EHR itself says that what is deleted is there no more; it leaves whoever has it, however it was learned.
    """
    _find_the_deleted(connection, site, delivery, gone)
    by_id = dict(by_patient(delivery))
    watched = _watched(connection, site, by_id)
    rows = []
    for patient_id, parts in by_id.items():
        if patient_id not in watched and not _may_begin(parts):
            for part in parts:
                part.fate, part.why = "unknown patient", _NOT_WATCHED
            continue
        rows.append(_row(site, source, patient_id, parts, at))
    return _put(connection, site, rows)


def _find_the_deleted(connection: Connection, site: str, delivery: Delivery, gone: bool) -> None:
    """Whose the resources are that are to be deleted: a pushed one is known by its reference alone."""
    deleted = [part for part in delivery.parts if part.fate == "taken" and part.resource is None]
    owners: dict[str, str] = {}
    for some in _in_pieces({part.ref for part in deleted}):
        found = connection.execute(
            select(_versions.c.resource, _versions.c.patient_id).where(
                _versions.c.site == site, _versions.c.resource.in_(some)
            )
        )
        owners |= {row.resource: row.patient_id for row in found}
    for part in deleted:
        if part.ref not in owners and gone:
            holder = connection.execute(
                select(_patients.c.patient_id).where(
                    _patients.c.site == site, _patients.c.facts.contains(f'"{part.ref}"', autoescape=True)
                )
            ).scalar()
            owners |= {part.ref: holder} if holder is not None else {}
        if part.ref in owners:
            part.patient_id = owners[part.ref]
        else:
            part.fate, part.why = (
                "irrelevant",
                "It was never pushed here; a reading of the EHR sees its deletion.",
            )


def _watched(connection: Connection, site: str, patient_ids: Iterable[str]) -> set[str]:
    """Those of some patients whom the registry of a site watches."""
    found: set[str] = set()
    for some in _in_pieces(patient_ids):
        found |= set(
            connection.execute(
                select(_patients.c.patient_id).where(
                    _patients.c.site == site,
                    _patients.c.patient_id.in_(some),
                    _patients.c.state.in_(("on", "stopped")),
                )
            ).scalars()
        )
    return found


def _in_pieces(values: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """What fits into one statement."""
    rest = iter(sorted(values))
    while piece := tuple(islice(rest, _IN_ONE)):
        yield piece


def _may_begin(parts: Sequence[Part]) -> bool:
    """A patient nobody watches may be on clozapine by what is sent: the judging tells."""
    return any(p.ref.startswith("Medication") for p in parts)


def _row(site: str, source: str, patient_id: str, parts: list[Part], at: datetime) -> dict[str, Any]:
    moment = at.astimezone(UTC)
    return {
        "site": site,
        "source": source,
        "event_key": key_of(patient_id, parts),
        "patient_id": patient_id,
        "body": packed(parts),
        "received_at": moment,
        "state": "waiting",
        "tries": 0,
        "next_try_at": moment,
        "why": "",
    }


def _put(connection: Connection, site: str, rows: list[dict[str, Any]]) -> int:
    """Add rows but those that came before; how many were new."""
    came: set[str] = set()
    for some in _in_pieces(row["event_key"] for row in rows):
        came |= set(
            connection.execute(
                select(_inbox.c.event_key).where(_inbox.c.site == site, _inbox.c.event_key.in_(some))
            ).scalars()
        )
    new = [row for row in rows if row["event_key"] not in came]
    if new:
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        # Another process may be adding the same.
        connection.execute(
            dialect.insert(_inbox).on_conflict_do_nothing(index_elements=["site", "event_key"]), new
        )
    return len(new)


def next_patients(
    connection: Connection, now: datetime, limit: int, without: Collection[str] = ()
) -> list[tuple[str, str]]:
    """(site, patient) of what is to be judged, whoever has waited longest first; ``without``: sites that are left out."""
    rows = connection.execute(
        select(_inbox.c.site, _inbox.c.patient_id, func.min(_inbox.c.id))
        .where(
            _inbox.c.state == "waiting",
            _inbox.c.next_try_at <= now.astimezone(UTC),
            _inbox.c.site.not_in(list(without)),
        )
        .group_by(_inbox.c.site, _inbox.c.patient_id)
        .order_by(func.min(_inbox.c.id))
        .limit(limit)
    )
    return [(row[0], row[1]) for row in rows]


def hold(connection: Connection, site: str, patient_id: str) -> Sequence[Any]:
    """What waits of a patient, in the order it came, held until the transaction ends; empty where another worker has it.

    Much that waits comes in parts: an engine that was away sends days at once.
    """
    waits = (_inbox.c.site == site, _inbox.c.patient_id == patient_id, _inbox.c.state == "waiting")
    if connection.dialect.name == "postgresql":
        # One lock for all rows of the patient: of two workers that share them, neither would see the whole.
        key = f"clozapine-cds inbox {site} {patient_id}"
        ask = text("SELECT pg_try_advisory_xact_lock(hashtextextended(:key, 0))")
        if not connection.execute(ask, {"key": key}).scalar_one():
            return ()
    else:
        connection.execute(update(_inbox).where(_inbox.c.id < 0).values(why=""))
    held: list[int] = []
    most = _MOST_HELD
    for row in connection.execute(
        select(_inbox.c.id, func.length(_inbox.c.body).label("size")).where(*waits).order_by(_inbox.c.id)
    ).all():
        most -= row.size
        if held and (most < 0 or len(held) == _IN_ONE):
            break
        held.append(row.id)
    return connection.execute(select(_inbox).where(_inbox.c.id.in_(held)).order_by(_inbox.c.id)).all()


def is_older(connection: Connection, site: str, part: dict[str, Any]) -> bool:
    """Whether a newer version of the resource was judged before; else this one is noted as the newest."""
    known = connection.execute(
        select(_versions).where(_versions.c.site == site, _versions.c.resource == part["ref"])
    ).first()
    version, updated = part["version"], part["updated"]
    moment = datetime.fromisoformat(updated).astimezone(UTC) if updated else None
    if known is not None:
        if known.version is not None and version is not None:
            if version < known.version:
                return True
        elif moment is not None and (last := aware(known.updated)) is not None and moment < last:
            return True
    return False


def note_version(connection: Connection, site: str, patient_id: str, part: dict[str, Any]) -> None:
    """Remember which version of a resource counts."""
    values = {
        "patient_id": patient_id,
        "version": part["version"],
        "updated": datetime.fromisoformat(part["updated"]).astimezone(UTC) if part["updated"] else None,
    }
    where = (_versions.c.site == site, _versions.c.resource == part["ref"])
    if not connection.execute(update(_versions).where(*where).values(**values)).rowcount:
        connection.execute(insert(_versions).values(site=site, resource=part["ref"], **values))


def judged(connection: Connection, ids: Sequence[int], state: str, at: datetime, why: str = "") -> None:
    """These rows are done, and hold nothing any more."""
    connection.execute(
        update(_inbox)
        .where(_inbox.c.id.in_(list(ids)))
        .values(state=state, body="", judged_at=at.astimezone(UTC), why=why[:200])
    )


def try_again(engine: Engine, ids: Sequence[int], why: str, at: datetime) -> bool:
    """Judging failed: later again, or aside once that was tried often enough. True when they were put aside.

    What is put aside keeps its body: somebody must look at it.
    """
    aside = False
    with engine.begin() as connection:
        for row in connection.execute(
            select(_inbox.c.id, _inbox.c.tries).where(_inbox.c.id.in_(list(ids)))
        ).all():
            over = row.tries >= len(_PAUSES)
            aside = aside or over
            values: dict[str, Any] = {"tries": row.tries + 1, "why": why[:200]}
            values |= (
                {"state": "aside"} if over else {"next_try_at": (at + _PAUSES[row.tries]).astimezone(UTC)}
            )
            connection.execute(update(_inbox).where(_inbox.c.id == row.id).values(**values))
    return aside


def waiting(connection: Connection) -> tuple[int, datetime | None, int]:
    """(rows that wait, since when the oldest does, rows put aside)."""
    row = connection.execute(
        select(func.count(), func.min(_inbox.c.received_at)).where(_inbox.c.state == "waiting")
    ).one()
    aside = connection.execute(select(func.count()).where(_inbox.c.state == "aside")).scalar_one()
    return int(row[0]), aware(row[1]), int(aside)
