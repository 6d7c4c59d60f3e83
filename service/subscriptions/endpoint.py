"""``/fhir/notify/{site}/{key}``: where EHRs tell of what changed. Answered 204 once it is stored, and then only.

A sender that gets anything else tells again, so every answer but 204 means that nothing was kept.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from cds_hooks.body import read_body
from cds_hooks.errors import ProtocolError
from service.options.site import Site
from service.registry.wrong_tokens import WrongTokens
from service.results import hints, inbox
from service.results.delivery import NotADelivery
from service.store.guard import DatabaseAway, Guard
from service.store.times import aware
from service.subscriptions import kept
from service.subscriptions.notification import Notification, read_notification

PATH = "/fhir/notify/{site}/{key}"
log = logging.getLogger("service.subscriptions")
_MOST_BYTES = 2**20
_BYTES_PER_SECOND = 5_000.0
_KEY = re.compile(r"[A-Za-z0-9_-]{20,64}")
#: An event that overtook another may be followed by it.
_GAP_WAIT = timedelta(seconds=30)
#: Of notifications without content one search is enough.
_UNNAMED_WAIT = timedelta(seconds=2)
_METHODS = ["POST", "PUT", "DELETE"]


class _Stranger(Exception):
    """Nobody who may tell something here."""


class Notify:
    """The routes.

    Args:
        database: the database, given up where it hangs.
        site_named: gives a site by name, None for an unknown one.
        clock: the moment.
        wrong: slows and counts wrong tokens.
        stored: called after something was stored.
        on_told: told what was told: event, handshake, heartbeat, status, stranger, refused, gap.
    """

    def __init__(
        self,
        database: Guard,
        site_named: Callable[[str], Site | None],
        clock: Callable[[], datetime],
        wrong: WrongTokens,
        stored: Callable[[], None] = lambda: None,
        on_told: Callable[[str], None] = lambda kind: None,
    ) -> None:
        self._database = database
        self._site_named = site_named
        self._clock = clock
        self._wrong = wrong
        self._stored = stored
        self._on_told = on_told

    def routes(self) -> list[BaseRoute]:
        """For the application; with and without a slash, for none of them is ever redirected."""
        paths = (
            PATH,
            PATH + "/",
            PATH + "/{type}",
            PATH + "/{type}/{resource}",
            PATH + "/{type}/{resource}/",
        )
        return [Route(path, self.answer, methods=_METHODS) for path in paths]

    async def answer(self, request: Request) -> Response:
        """204 once it is stored."""
        try:
            return await self._answer(request)
        except _Stranger:
            self._on_told("stranger")
            if not await self._wrong.one():
                return Response(status_code=429, headers={"Retry-After": "60"})
            return Response(status_code=401, headers={"WWW-Authenticate": "Bearer"})
        except ProtocolError as error:
            self._on_told("refused")
            return Response(status_code=error.status, headers=error.headers)
        except NotADelivery as why:
            self._on_told("refused")
            return Response(str(why), 422, media_type="text/plain")
        except (SQLAlchemyError, DatabaseAway):
            self._on_told("refused")
            return Response(status_code=503, headers={"Retry-After": "5"})

    async def _answer(self, request: Request) -> Response:
        given = request.path_params
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        site = self._site_named(given["site"])
        if site is None or not _KEY.fullmatch(given["key"]) or scheme.lower() != "bearer":
            raise _Stranger
        now = self._clock()

        def known(connection: Connection) -> bool:
            return kept.let_in(connection, site.name, given["key"], token.strip(), now) is not None

        # Before anything of the body is read: a stranger costs one look.
        if not await self._database.transaction(known):
            raise _Stranger
        body = await read_body(request.scope, request.receive, _MOST_BYTES, _BYTES_PER_SECOND)
        told = await asyncio.to_thread(
            read_notification,
            request.method,
            given.get("type", ""),
            given.get("resource", ""),
            body,
            site.options.fhir_servers,
        )
        gap = await self._database.transaction(
            lambda connection: self._keep(connection, site, given["key"], token.strip(), told, now)
        )
        self._on_told(told.kind)
        if gap:
            self._on_told("gap")
        self._stored()
        return Response(status_code=204)

    def _keep(
        self, connection: Connection, site: Site, key: str, token: str, told: Notification, now: datetime
    ) -> bool:
        """Store it all; True where events are missing."""
        row = kept.let_in(connection, site.name, key, token, now)
        if row is None:  # withdrawn at this moment
            raise _Stranger
        before = aware(row.told_at) or aware(row.made_at)
        gap = kept.told(connection, row, now, told.numbers, told.status, told.kind, told.total)
        if told.delivery is not None:
            inbox.take(connection, site.name, "notify", told.delivery, now)
            hints.ask_for_patients_of(connection, site, told.delivery, now)
        if not hints.can_read(site):
            if told.refs or told.unnamed or told.patients or gap:
                log.warning("%s: it tells of changes that cannot be read: it has no backend", site.name)
            return gap
        for ref in dict.fromkeys(told.refs):
            hints.ask(connection, site.name, "resource", ref, now)
        for patient_id in dict.fromkeys(told.patients):
            hints.ask(connection, site.name, "patient", patient_id, now)
        if told.unnamed or gap:
            after = _GAP_WAIT if gap and not told.unnamed else _UNNAMED_WAIT
            for search in searches_of(site, row.criteria):
                hints.ask(connection, site.name, "changes", search, now, since=before, after=after)
        return gap


def searches_of(site: Site, criteria: str) -> tuple[str, ...]:
    """What is searched where something was not told: the criteria, or what the events of a topic are about."""
    return (criteria,) if "://" not in criteria else site.options.subscription_criteria
