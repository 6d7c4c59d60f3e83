"""``POST /fhir/$process-results``: results of one or many patients, as integration engines make them of HL7 v2 messages."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from cds_hooks.body import read_body
from cds_hooks.errors import ProtocolError
from cds_hooks.limits import Shares, TookTooLong
from service.operation.issues import Issue, outcome
from service.ops.troubles import Troubles
from service.options.site import Site
from service.registry.access import Access, Client
from service.results import hints, inbox
from service.results.answer import answer_to
from service.results.delivery import Delivery, NotADelivery, read_delivery
from service.store.guard import DatabaseAway, Guard
from service.trail import acts

PATH = "/fhir/$process-results"
log = logging.getLogger("service.results")
#: A Bundle that an engine makes of a message, or of a day's messages.
_MOST_BYTES = 5 * 2**20
_BYTES_PER_SECOND = 5_000.0
#: From its head to its answer; the database has a limit of its own.
_SECONDS = 60.0
#: Deliveries at once, of all sites together; each is held in memory.
_AT_ONCE = 16
#: Deliveries that are read at once.
_THREADS = 2
_FHIR = "application/fhir+json"


class ProcessResults:
    """The route.

    Args:
        database: the database, given up where it hangs.
        access: whose token may send; the role ``sender`` suffices.
        site_named: gives a site by name, None for an unknown one.
        default_site: the site meant when a request names none.
        clock: the moment.
        stored: called after something was stored.
        sharers: how many sites there are.
        on_refused: told the status of every request that was refused.
    """

    def __init__(
        self,
        database: Guard,
        access: Access,
        site_named: Callable[[str], Site | None],
        default_site: str,
        clock: Callable[[], datetime],
        stored: Callable[[], None] = lambda: None,
        *,
        sharers: Callable[[], int] = lambda: 1,
        on_refused: Callable[[int], None] = lambda status: None,
    ) -> None:
        self._database = database
        self._access = access
        self._site_named = site_named
        self._default_site = default_site
        self._clock = clock
        self._stored = stored
        self._on_refused = on_refused
        self._places = Shares(_AT_ONCE, sharers)
        #: Of its own: deliveries of one site wait for no others' work.
        self._threads = ThreadPoolExecutor(_THREADS, "deliveries")
        self._troubles = Troubles(log)

    def routes(self) -> list[BaseRoute]:
        """For the application."""
        return [Route(PATH, self.answer, methods=["POST"])]

    async def answer(self, request: Request) -> Response:
        """An answer for each entry, once all is stored. Raises HTTPException."""
        client: Client | None = None
        try:
            client = await self._access.client(request)
            self._access.check_role(client, "sender")
            site = self._site(request, client)
        except HTTPException as refusal:
            await self._note_refusal(client, refusal.status_code)
            raise
        try:
            with self._places.of(site.name):
                async with asyncio.timeout(_SECONDS):
                    return await self._taken(request, site, client)
        except ProtocolError as error:
            return _refused(error.status, error.code, str(error), error.headers)
        except TimeoutError:
            late = TookTooLong(_SECONDS)
            return _refused(late.status, late.code, str(late), late.headers)

    async def _taken(self, request: Request, site: Site, client: Client) -> Response:
        """The answer to a delivery that was let in. Raises ProtocolError for a body that cannot be read."""
        body = await read_body(request.scope, request.receive, _MOST_BYTES, _BYTES_PER_SECOND)
        try:
            delivery = await asyncio.get_running_loop().run_in_executor(
                self._threads, read_delivery, body, site.options.fhir_servers
            )
            document = await self._database.transaction(
                lambda connection: self._take(connection, site, client, delivery)
            )
        except NotADelivery as error:
            return _refused(422, "invalid", str(error))
        except (SQLAlchemyError, DatabaseAway):
            text = "The database cannot be used now; nothing was stored. Send it again."
            return _refused(503, "transient", text, {"Retry-After": "5"})
        self._stored()
        return _said(200, document)

    async def _note_refusal(self, client: Client | None, status: int) -> None:
        """Count and note a refusal, as the registry does; of very many wrong tokens only the count is kept."""
        self._on_refused(status)
        if status == 429:
            return
        who, role = (client.name, client.role) if client is not None else ("", "")
        try:
            await self._database.transaction(
                lambda connection: acts.note(connection, self._clock(), who, role, "results", status=status)
            )
        except (SQLAlchemyError, DatabaseAway) as error:
            self._troubles.says("refused deliveries could not be noted", type(error).__name__)
        else:
            self._troubles.says("refused deliveries could not be noted", "")

    def _site(self, request: Request, client: Client) -> Site:
        name = request.query_params.get("site") or (
            client.sites[0] if len(client.sites) == 1 else self._default_site
        )
        if not name:
            raise HTTPException(400, "site: name the site, there are several.")
        if not client.sees(name):
            raise HTTPException(403, "The token does not cover this site.")
        site = self._site_named(name)
        if site is None:
            raise HTTPException(404, "site: there is no such site.")
        return site

    def _take(self, connection: Connection, site: Site, client: Client, delivery: Delivery) -> Any:
        now = self._clock()
        new = inbox.take(connection, site.name, "push", delivery, now)
        hints.ask_for_patients_of(connection, site, delivery, now)
        rows = len(delivery.parts)
        acts.note(connection, now, client.name, client.role, "results", site=site.name, rows=rows)
        log.info("%d entries arrived at %s, %d deliveries are new", rows, site.name, new)
        return answer_to(delivery)


def _refused(status: int, code: str, text: str, headers: dict[str, str] | None = None) -> Response:
    return _said(status, outcome([Issue("error", code, text)]), headers)


def _said(status: int, document: Any, headers: dict[str, str] | None = None) -> Response:
    return Response(
        orjson.dumps(document), status, {"Cache-Control": "no-store", **(headers or {})}, media_type=_FHIR
    )
