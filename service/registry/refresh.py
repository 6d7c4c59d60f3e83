"""Reading registered patients anew from the EHR before a sweep: what changed since the last time, with the sweep's own credentials."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec
from msgspec import Struct
from sqlalchemy import Engine, or_, select, update
from sqlalchemy.exc import DataError, SQLAlchemyError

from service.fhir import snapshot as fhir_snapshot
from service.fhir.client import FhirServer
from service.fhir.gather import Gathered, gather
from service.fhir.queries import QUERIES
from service.fhir.references import base_of, is_id
from service.fhir.resources import Patient, Resource
from service.options.site import Site
from service.registry.moved import forget_elsewhere, owned
from service.registry.roster import enrol, facts_of
from service.store.roster_tables import RegisteredPatient
from service.store.times import aware

log = logging.getLogger("service.registry")
_patients = RegisteredPatient.__table__  # type: ignore[attr-defined]
#: Columns that tell what is to be read of a patient.
READING = (_patients.c.refreshed_at, _patients.c.read_whole_at)
#: Patients read side by side: an EHR's server has other work too.
_SIDE_BY_SIDE = 4
_DEADLINE_SECONDS = 30.0
_BATCH = 50
#: Results written while the last refresh ran may carry an earlier stamp.
OVERLAP = timedelta(hours=1)
#: What an EHR deletes is not among what changed: so often everything is read.
WHOLE_EVERY = timedelta(days=7)


class Refreshed(Struct):
    """What a refresh did: patients read, of these some in part only, and patients who could not be read."""

    patients: int = 0
    failed: int = 0
    partly: int = 0


@contextmanager
def costing_itself(site: Site, done: Refreshed) -> Iterator[None]:
    """One patient is read: what cannot be read or stored of one keeps no other from being read."""
    try:
        yield
    except SQLAlchemyError as error:
        if not isinstance(error, DataError):  # what cannot be stored of one is no fault of the database
            raise
        log.error("a patient of %s could not be stored: %s", site.name, type(error).__name__)
        done.failed += 1
    except Exception as error:
        log.error("a patient of %s could not be read anew: %s", site.name, type(error).__name__)
        done.failed += 1
    else:
        done.patients += 1


async def refresh(
    engine: Engine,
    site: Site,
    client: httpx.AsyncClient,
    now: datetime,
    *,
    token: Callable[[], Awaitable[str]] | None = None,
    older_than: timedelta = timedelta(hours=12),
    on_patient: Callable[[], None] = lambda: None,
) -> Refreshed:
    """Read every patient of the site whose facts are older than so long; those that fail keep what is known.

    Args:
        engine: database.
        site: the site; its ``fhir_server`` is read.
        client: HTTP client.
        now: the moment.
        token: gives the bearer token; None = the server is open.
        older_than: patients refreshed since then are left alone, which makes a second run go on where the first stopped.
        on_patient: told of each patient that is done.
    """
    done = Refreshed()
    due_before = (now - older_than).astimezone(UTC)
    last_id = 0
    while True:
        with engine.connect() as connection:
            rows = connection.execute(
                select(_patients.c.id, _patients.c.patient_id, *READING)
                .where(
                    _patients.c.site == site.name,
                    _patients.c.state.in_(("on", "stopped")),
                    _patients.c.id > last_id,
                    or_(_patients.c.refreshed_at.is_(None), _patients.c.refreshed_at < due_before),
                )
                .order_by(_patients.c.id)
                .limit(_BATCH)
            ).all()
        if not rows:
            return done
        last_id = rows[-1].id
        if token is not None:
            await token()  # without one nothing can be read: that is no fault of a patient

        async def server() -> FhirServer:
            return FhirServer(site.fhir_server, client, await token() if token is not None else "")

        await read_each(engine, site, server, rows, now, done, on_patient)


async def read_each(
    engine: Engine,
    site: Site,
    new_server: Callable[[], Awaitable[FhirServer]],
    rows: Sequence[Any],
    now: datetime,
    done: Refreshed,
    on_patient: Callable[[], None] = lambda: None,
) -> None:
    """Read patients one by one, some side by side; ``new_server`` gives the EHR with a token that is good now."""
    turn = asyncio.Semaphore(_SIDE_BY_SIDE)
    faults: Counter[str] = Counter()

    async def one(row: Any) -> tuple[Any, Gathered, bool] | None:
        async with turn:
            whole = whole_is_due(row, now)
            since = None if whole else aware(row.refreshed_at)
            try:
                server = await new_server()  # a token may end while a batch is read
                gathered = await gather({}, queries_of(row.patient_id, since), server, _DEADLINE_SECONDS)
                if not whole and _unread(gathered):  # a server that does not know _lastUpdated, for one
                    whole = True
                    gathered = await gather({}, queries_of(row.patient_id, None), server, _DEADLINE_SECONDS)
            except Exception as error:
                faults[type(error).__name__] += 1
                return None
            return None if _gone(gathered, whole=whole) else (row, gathered, whole)

    owners: dict[str, str] = {}
    for read in await asyncio.gather(*(one(row) for row in rows)):
        if read is None:
            done.failed += 1
        else:
            row, gathered, whole = read
            await _keep_one(engine, site, row, gathered, whole, now, done)
            if not whole:
                resources = (r for d in gathered.sources.values() for r in d.resources)
                owners |= owned(resources, row.patient_id, base_of(site.fhir_server))
        on_patient()
    await asyncio.to_thread(forget_elsewhere, engine, site, owners, now)
    for kind, many in faults.items():  # one line for the EHR that is away, not one for each of its patients
        log.warning("%d patients of %s could not be read anew: %s", many, site.name, kind)


async def _keep_one(
    engine: Engine, site: Site, row: Any, gathered: Gathered, whole: bool, now: datetime, done: Refreshed
) -> None:
    with costing_itself(site, done):
        all_read = await asyncio.to_thread(keep, engine, site, row, gathered, now, whole=whole)
        done.partly += not all_read


def whole_is_due(row: Any, now: datetime) -> bool:
    """True when everything is to be read of a patient, not only what changed."""
    whole_at = aware(row.read_whole_at)
    return row.refreshed_at is None or whole_at is None or now - whole_at >= WHOLE_EVERY


def _unread(gathered: Gathered) -> list[str]:
    return [source for source, data in gathered.sources.items() if data.state == "unavailable"]


def _gone(gathered: Gathered, *, whole: bool) -> bool:
    """Nothing could be read, or the EHR has no such patient any more: deleted, or merged into another.

    An empty answer for such a patient is not taken for the end of treatment.
    """
    data = gathered.sources.values()
    if all(d.state == "unavailable" for d in data):
        return True
    if any(merged_away(r) for d in data for r in d.resources):
        return True
    return whole and gathered.state("patient") == "unavailable" and not any(d.resources for d in data)


def merged_away(resource: Resource) -> bool:
    """True for a Patient whom the EHR replaced by another one (``link.type`` = replaced-by)."""
    if type(resource) is not Patient or not len(resource.link):
        return False
    try:
        return any(
            link.type == "replaced-by" for link in msgspec.json.decode(resource.link, type=list[_Link])
        )
    except (msgspec.DecodeError, RecursionError):
        return False


class _Link(Struct):
    """``Patient.link``."""

    type: str = ""


def keep(
    engine: Engine,
    site: Site,
    row: Any,
    gathered: Gathered,
    now: datetime,
    *,
    whole: bool,
    deleted: frozenset[str] = frozenset(),
) -> bool:
    """Put what was read of one patient into the registry; True when nothing is missing that could be read before.

    Args:
        engine: database.
        site: the site.
        row: the patient (id, patient_id).
        gathered: what was read.
        now: the moment.
        whole: everything was asked for, not only what changed.
        deleted: references of resources that the EHR deleted.

    While something is missing, the next reading asks for it from the same moment on.
    """
    with engine.begin() as connection:
        before = facts_of(connection, site.name, row.patient_id)
        once_read = (
            {s for s, state in before[0].sources.items() if state != "unavailable"} if before else set()
        )
        all_read = not any(
            data.state != "complete" and (source in once_read or data.state == "incomplete")
            for source, data in gathered.sources.items()
        )
        if not whole:
            # Only what changed was asked for: it adds to what is known and replaces nothing but itself.
            for data in gathered.sources.values():
                if data.state == "complete":
                    data.state = "incomplete"
        snapshot = fhir_snapshot.build(
            patient_id=row.patient_id,
            hook="sweep",
            zone=site.zone,
            gathered=gathered,
            maps=site.maps,
        )
        reread = {
            f"{type(r).__name__}/{r.id}" for d in gathered.sources.values() for r in d.resources if r.id
        }
        enrol(connection, site.name, site.policy, snapshot, now, by="refresh", reread=reread | deleted)
        if all_read:
            connection.execute(
                update(_patients).where(_patients.c.id == row.id).values(**read_at(now, whole=whole))
            )
    return all_read


def read_at(now: datetime, *, whole: bool) -> dict[str, datetime]:
    """The columns that say when a patient was read."""
    at = now.astimezone(UTC)
    return {"refreshed_at": at} | ({"read_whole_at": at} if whole else {})


def queries_of(patient_id: str, since: datetime | None) -> dict[str, str | None]:
    """The searches of the hook calls for one patient; after the first time only for what changed.

    Raises ValueError for an id that is none: it would become part of a query that is put with this service's own token.
    """
    if not is_id(patient_id):
        raise ValueError("the patient's id is no FHIR id")
    filled = {key: query.replace("{{context.patientId}}", patient_id) for key, query in QUERIES.items()}
    if since is None:
        return dict(filled)
    stamp = (since - OVERLAP).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        key: f"{query}&_lastUpdated=ge{stamp}" if "?" in query else query for key, query in filled.items()
    }
