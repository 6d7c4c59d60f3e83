"""Reading registered patients anew from the EHR before a sweep: what changed since the last time, with the sweep's own credentials."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from msgspec import Struct
from sqlalchemy import Engine, or_, select, update

from service.fhir import snapshot as fhir_snapshot
from service.fhir.client import FetchFailed, FhirServer
from service.fhir.gather import Gathered, gather
from service.fhir.queries import QUERIES
from service.registry.roster import aware, enrol
from service.registry.roster_tables import RegisteredPatient
from service.registry.watch import Watch

_patients = RegisteredPatient.__table__  # type: ignore[attr-defined]
#: Patients read side by side: an EHR's server has other work too.
_SIDE_BY_SIDE = 4
_DEADLINE_SECONDS = 30.0
_BATCH = 50
#: Results written while the last refresh ran may carry an earlier stamp.
OVERLAP = timedelta(hours=1)


class Refreshed(Struct):
    """What a refresh did."""

    patients: int = 0
    failed: int = 0


async def refresh(
    engine: Engine,
    watch: Watch,
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
        watch: the site; its ``fhir_server`` is read.
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
                select(_patients.c.id, _patients.c.patient_id, _patients.c.refreshed_at)
                .where(
                    _patients.c.site == watch.site,
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
        bearer = await token() if token is not None else ""
        server = FhirServer(watch.fhir_server, client, bearer)
        await _read_all(engine, watch, server, rows, now, done, on_patient)


async def _read_all(
    engine: Engine,
    watch: Watch,
    server: FhirServer,
    rows: Sequence[Any],
    now: datetime,
    done: Refreshed,
    on_patient: Callable[[], None],
) -> None:
    turn = asyncio.Semaphore(_SIDE_BY_SIDE)

    async def one(row: Any) -> tuple[Any, Gathered] | None:
        async with turn:
            since = aware(row.refreshed_at)
            try:
                gathered = await gather({}, _queries(row.patient_id, since), server, _DEADLINE_SECONDS)
            except FetchFailed:
                return None
            return row, gathered

    for read in await asyncio.gather(*(one(row) for row in rows)):
        if read is None or all(d.state == "unavailable" for d in read[1].sources.values()):
            done.failed += 1
        else:
            row, gathered = read
            await asyncio.to_thread(keep, engine, watch, row, gathered, now, whole=row.refreshed_at is None)
            done.patients += 1
        on_patient()


def keep(engine: Engine, watch: Watch, row: Any, gathered: Gathered, now: datetime, *, whole: bool) -> None:
    """Put what was read of one patient into the registry. ``whole``: everything was asked for, not only what changed."""
    if not whole:
        # Only what changed was asked for: it adds to what is known and replaces nothing but itself.
        for data in gathered.sources.values():
            if data.state == "complete":
                data.state = "incomplete"
    snapshot = fhir_snapshot.build(
        patient_id=row.patient_id, hook="sweep", zone=watch.zone, gathered=gathered
    )
    with engine.begin() as connection:
        enrol(connection, watch.site, watch.policy, snapshot, now, by="refresh")
        connection.execute(
            update(_patients).where(_patients.c.id == row.id).values(refreshed_at=now.astimezone(UTC))
        )


def _queries(patient_id: str, since: datetime | None) -> dict[str, str | None]:
    """The searches of the hook calls for one patient; after the first time only for what changed."""
    filled = {key: query.replace("{{context.patientId}}", patient_id) for key, query in QUERIES.items()}
    if since is None:
        return dict(filled)
    stamp = (since - OVERLAP).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        key: f"{query}&_lastUpdated=ge{stamp}" if "?" in query else query for key, query in filled.items()
    }
