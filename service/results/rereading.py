"""Reading what changed at an EHR as soon as it says that something did: one resource, what changed of a patient, or what a search finds.

Each round reads a bounded number, some side by side. What is read is judged as if it had been pushed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson
from msgspec import Struct, field
from sqlalchemy import Engine, select

from service.fhir.client import FetchFailed, FhirServer
from service.fhir.gather import gather
from service.options.site import Site
from service.registry.evaluation import reevaluate
from service.registry.refresh import keep, queries_of
from service.results import hints, inbox
from service.results.delivery import Delivery, NotADelivery, Part, read_delivery
from service.store.roster_tables import RegisteredPatient
from service.store.times import aware

log = logging.getLogger("service.results")
_patients = RegisteredPatient.__table__  # type: ignore[attr-defined]
#: An EHR's server has other work too: so much in a round, so much at once.
MOST_IN_A_ROUND = 40
_SIDE_BY_SIDE = 4
_SECONDS = 30.0
#: Pages of one search; what is more is read patient by patient.
_MOST_PAGES = 20
#: Clocks differ, and indexes are late.
_BEFORE = timedelta(minutes=10)
_GONE = (404, 410)

Token = Callable[[], Awaitable[str]]


class Reread(Struct):
    """What a round did."""

    read: int = 0
    failed: int = 0
    given_up: int = 0
    #: Something was put into the inbox.
    stored: bool = False
    #: Alerts changed.
    changed: bool = False

    @property
    def outcomes(self) -> dict[str, int]:
        """How many of each outcome."""
        found = {"read": self.read, "failed": self.failed, "given up": self.given_up}
        return {name: count for name, count in found.items() if count}


class _Round(Struct):
    engine: Engine
    site: Site
    client: httpx.AsyncClient
    token: Token
    now: datetime
    done: Reread = field(default_factory=Reread)

    async def server(self) -> FhirServer:
        return FhirServer(self.site.fhir_server, self.client, await self.token())


async def reread(
    engine: Engine, site: Site, rows: Sequence[Any], client: httpx.AsyncClient, token: Token, now: datetime
) -> Reread:
    """Read what these rows (``hints.claim``) ask for at one site. Raises SQLAlchemyError.

    Args:
        engine: database.
        site: the site.
        rows: what is asked for.
        client: HTTP client.
        token: gives the bearer token.
        now: the moment.
    """
    here = _Round(engine, site, client, token, now)
    turn = asyncio.Semaphore(_SIDE_BY_SIDE)
    work = {"resource": _resource, "changes": _changes, "patient": _patient}

    async def one(row: Any) -> bool:
        async with turn:
            try:
                async with asyncio.timeout(_SECONDS * 2):
                    await work[row.what](here, row)
            except (FetchFailed, TimeoutError, NotADelivery, _NotRead) as why:
                log.warning("%s: what was told of could not be read: %s", site.name, type(why).__name__)
                return False
            return True

    found = await asyncio.gather(*(one(row) for row in rows))
    with engine.begin() as connection:
        hints.was_read(connection, [r for r, fine in zip(rows, found, strict=True) if fine], now)
        bad = [r for r, fine in zip(rows, found, strict=True) if not fine]
        here.done.given_up = hints.was_not_read(connection, bad, now)
    here.done.read, here.done.failed = len(rows) - len(bad), len(bad)
    if here.done.given_up:
        log.error("%s: %d readings were given up; the sweep reads them", site.name, here.done.given_up)
    return here.done


class _NotRead(Exception):
    """The EHR did not answer for what matters."""


async def _resource(here: _Round, row: Any) -> None:
    """One resource: what it says now is judged; one that is gone is taken away."""
    try:
        body = await (await here.server()).get(row.ref)
    except FetchFailed as why:
        if why.reason.params.get("status") not in _GONE:
            raise
        await asyncio.to_thread(_take, here, Delivery("", [Part(0, ref=row.ref)]), gone=True)
        return
    await asyncio.to_thread(_take, here, read_delivery(body, here.site.options.fhir_servers), beside=True)


def _take(here: _Round, delivery: Delivery, *, gone: bool = False, beside: bool = False) -> None:
    """Have it judged; ``beside``: what else changed of its patient is read, too – a report names results that are not in it."""
    with here.engine.begin() as connection:
        if inbox.take(connection, here.site.name, "notify", delivery, here.now, gone=gone):
            here.done.stored = True
        if beside:
            hints.ask_for_patients_of(connection, here.site, delivery, here.now)


async def _changes(here: _Round, row: Any) -> None:
    """What a search finds that changed since; where it finds too much or is refused, every patient who is watched is read."""
    server = await here.server()
    since = aware(row.since) or here.now - timedelta(days=1)
    stamp = (since - _BEFORE).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    query = f"{row.ref}{_joint(row.ref)}_lastUpdated=ge{stamp}&_count=100"
    pages = 0
    try:
        while query:
            if pages >= _MOST_PAGES:
                raise _NotRead
            body = await server.get(query)
            pages += 1
            await asyncio.to_thread(_take, here, read_delivery(body, here.site.options.fhir_servers))
            query = _next(body)
    except (FetchFailed, NotADelivery, _NotRead) as why:
        if (
            isinstance(why, FetchFailed)
            and not pages
            and why.reason.params.get("status") not in (400, 403, 422, 501)
        ):
            raise
        log.warning(
            "%s: what changed could not be searched for; its patients are read one by one", here.site.name
        )
        with here.engine.begin() as connection:
            hints.ask_for_everybody(connection, here.site.name, here.now)


def _joint(search: str) -> str:
    return "" if search.endswith("?") else "&" if "?" in search else "?"


def _next(body: bytes) -> str:
    links = orjson.loads(body).get("link")
    for link in links if isinstance(links, list) else ():
        if isinstance(link, dict) and link.get("relation") == "next" and isinstance(link.get("url"), str):
            return str(link["url"])
    return ""


async def _patient(here: _Round, row: Any) -> None:
    """What changed of one patient since the last reading; it adds to what is known and takes nothing away but what it corrects."""
    known = await asyncio.to_thread(_row_of, here, row.ref)
    if known is None:
        return
    server = await here.server()
    last = aware(known.refreshed_at)
    gathered = await gather({}, queries_of(row.ref, last), server, _SECONDS)
    if (
        last is not None and gathered.state("counts") == "unavailable"
    ):  # a server that does not know _lastUpdated
        gathered = await gather({}, queries_of(row.ref, None), server, _SECONDS)
    if "unavailable" in (gathered.state("counts"), gathered.state("medications")):
        raise _NotRead

    def keep_and_judge() -> None:
        keep(here.engine, here.site, known, gathered, here.now, whole=False)
        with here.engine.begin() as connection:
            if reevaluate(connection, here.site, known.id, here.now, by="results").changes:
                here.done.changed = True

    await asyncio.to_thread(keep_and_judge)


def _row_of(here: _Round, patient_id: str) -> Any:
    with here.engine.connect() as connection:
        return connection.execute(
            select(_patients.c.id, _patients.c.patient_id, _patients.c.refreshed_at).where(
                _patients.c.site == here.site.name,
                _patients.c.patient_id == patient_id,
                _patients.c.state.in_(("on", "stopped")),
            )
        ).first()
