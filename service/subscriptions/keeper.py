"""The keeper: a thread that looks at the Subscriptions of all sites every five minutes, and keeps them."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from datetime import datetime

import httpx
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from service.ops.troubles import Troubles
from service.options.site import Site
from service.registry.scheduler import TokenSource, alone
from service.results.hints import can_read
from service.subscriptions import kept
from service.subscriptions.keeping import Kept, keep

log = logging.getLogger("service.subscriptions")
_EVERY_SECONDS = 300.0
#: The service must answer before an EHR is asked to tell it something.
_FIRST_SECONDS = 5.0


async def keep_at(
    engine: Engine,
    site: Site,
    new_client: Callable[[str], httpx.AsyncClient],
    source: TokenSource,
    now: datetime,
) -> Kept:
    """One look at one site; of several replicas one at a time. Raises SQLAlchemyError."""
    async with alone(engine, f"subscriptions {site.name}"), new_client(site.name) as client:
        return await keep(engine, site, client, source(client), now)


class Keeper:
    """Keeps the Subscriptions.

    Args:
        engine: database.
        sites: all sites by name.
        clock: the moment.
        new_client: makes an HTTP client that reaches the addresses of a site (name) only.
        tokens: how the service proves itself to the EHR of a site; None = it cannot.
        on_look: told of what was found: site, and what.
    """

    def __init__(
        self,
        engine: Engine,
        sites: Callable[[], Mapping[str, Site]],
        clock: Callable[[], datetime],
        new_client: Callable[[str], httpx.AsyncClient],
        tokens: Callable[[Site], TokenSource | None],
        on_look: Callable[[str, str], None] = lambda site, found: None,
    ) -> None:
        self._engine = engine
        self._sites = sites
        self._clock = clock
        self._new_client = new_client
        self._tokens = tokens
        self._on_look = on_look
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="subscriptions", daemon=True)
        self._troubles = Troubles(log)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Stop."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(10)

    @property
    def trouble(self) -> str:
        """What is wrong with which Subscription; empty when all is well. Raises SQLAlchemyError."""
        with self._engine.connect() as connection:
            found = kept.troubles(connection)
        known = self._sites()
        return "; ".join(f"{site}: {why}" for site, why in found if site in known)

    def _run(self) -> None:
        wait = _FIRST_SECONDS
        while not self._closing.wait(wait):
            self.look()
            wait = _EVERY_SECONDS

    def look(self) -> None:
        """Look at every site that may be read."""
        for name, site in sorted(self._sites().items()):
            source = self._tokens(site) if can_read(site) else None
            if source is None or self._closing.is_set():
                continue
            try:
                done = asyncio.run(keep_at(self._engine, site, self._new_client, source, self._clock()))
            except SQLAlchemyError as error:
                self._troubles.says(f"the Subscriptions of {name} cannot be kept", type(error).__name__)
                continue
            self._troubles.says(f"the Subscriptions of {name} cannot be kept", "; ".join(done.troubles))
            for found in done.found.values():
                self._on_look(name, found)
