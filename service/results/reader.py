"""The reader: a thread that reads from the EHRs what they, or an engine, said has changed."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Collection, Mapping
from datetime import datetime

import httpx
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from service.fhir.client import FetchFailed
from service.ops.troubles import Troubles
from service.options.site import Site
from service.results import hints
from service.results.rereading import MOST_IN_A_ROUND, Reread, Token, reread

log = logging.getLogger("service.results")
_LOOK_SECONDS = 1.0
#: While the oldest that waits is older, health says so.
_LATE_SECONDS = 900
TokenSource = Callable[[httpx.AsyncClient], Token]


class Reader:
    """Reads what ``hints`` holds.

    Args:
        engine: database.
        sites: all sites by name.
        clock: the moment.
        new_client: makes an HTTP client that reaches the addresses of a site (name) only.
        tokens: how the service proves itself to the EHR of a site; None = it cannot.
        wake: something was put into the inbox.
        tell: sends what waits in the outbox of a site, now.
        on_read: told of every round that did something.
    """

    def __init__(
        self,
        engine: Engine,
        sites: Callable[[], Mapping[str, Site]],
        clock: Callable[[], datetime],
        new_client: Callable[[str], httpx.AsyncClient],
        tokens: Callable[[Site], TokenSource | None],
        *,
        wake: Callable[[], None] = lambda: None,
        tell: Callable[[str], None] = lambda site: None,
        on_read: Callable[[Reread], None] = lambda done: None,
    ) -> None:
        self._engine = engine
        self._sites = sites
        self._clock = clock
        self._new_client = new_client
        self._tokens = tokens
        self._inbox = wake
        self._tell = tell
        self._on_read = on_read
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)
        self._troubles = Troubles(log)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Stop; what is under way is read again by the next."""
        self._closing.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(10)

    @property
    def trouble(self) -> str:
        """What is wrong with the reading; empty when all is well. Raises SQLAlchemyError."""
        with self._engine.connect() as connection:
            rows, oldest = hints.waiting(connection)
        late = oldest is not None and (self._clock() - oldest).total_seconds() > _LATE_SECONDS
        return (
            f"{rows} changes wait to be read from the EHR, the oldest since {oldest:%Y-%m-%d %H:%M} UTC"
            if late
            else ""
        )

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self.round()
            except SQLAlchemyError as error:
                self._troubles.says("what changed at the EHRs cannot be read", type(error).__name__)
            except Exception as error:  # a round that fails is made again
                self._troubles.says("what changed at the EHRs cannot be read", type(error).__name__)
            else:
                self._troubles.says("what changed at the EHRs cannot be read", "")
            self._wake.wait(_LOOK_SECONDS)

    def round(self) -> None:
        """Read what is due, a bounded number at each site. Raises SQLAlchemyError."""
        for name, site in sorted(self._sites().items()):
            if self._closing.is_set() or not hints.can_read(site):
                continue
            with self._engine.begin() as connection:
                rows = hints.claim(connection, [name], self._clock(), MOST_IN_A_ROUND)
            if not rows:
                continue
            done = asyncio.run(self._site(site, rows))
            if done.stored:
                self._inbox()
            if done.changed:
                self._tell(name)
            self._on_read(done)

    async def _site(self, site: Site, rows: Collection[object]) -> Reread:
        now = self._clock()
        source = self._tokens(site)
        assert source is not None  # can_read
        async with self._new_client(site.name) as client:
            token = source(client)
            try:
                await token()
            except FetchFailed as why:
                log.warning("%s: what changed cannot be read: %s", site.name, why)
                with self._engine.begin() as connection:
                    given_up = hints.was_not_read(connection, list(rows), now)
                return Reread(failed=len(rows), given_up=given_up)
            return await reread(self._engine, site, list(rows), client, token, now)
