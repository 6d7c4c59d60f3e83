"""Used client tokens, shared by all replicas through the database (cds-hooks checklist T3)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from sqlalchemy import Connection, Engine, delete, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from cds_hooks.token_use import MemoryReplays
from service.ops.troubles import Troubles
from service.store.tables import SeenToken

log = logging.getLogger("service.registry")

#: A database that does not answer in this time is left alone for the pause; calls go on meanwhile (seconds).
_PATIENCE = 0.25
_PAUSE_AFTER_FAULT = 5.0
_PURGE_EVERY = 60.0
_table: Any = SeenToken.__table__  # type: ignore[attr-defined]


class DatabaseReplays:
    """Tokens in the table ``seen_token``: its primary key lets a token in once, whichever replica it comes to.

    While the database is away a call is not refused – an order would go unchecked because a table is not there – but counted by
    ``on_fault``; the process's own memory, asked first, still knows the tokens it saw itself.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        on_fault: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._own = MemoryReplays()
        self._troubles = Troubles(log)
        self._engine = engine
        self._on_fault = on_fault
        self._clock = clock
        self._pause_until = float("-inf")
        self._purged_at = clock()
        # Threads of its own: a database that hangs must not take those of health checks and feedback.
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="seen-tokens")
        # An embedded database takes a token in less time than a thread needs to wake up.
        self._embedded = engine.dialect.name == "sqlite" and engine.url.database not in (None, "", ":memory:")
        self._here: Connection | None = None
        insert = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
        self._insert = (
            insert(_table).on_conflict_do_nothing(index_elements=["token_id"]).returning(_table.c.token_id)
        )

    async def first_use(self, token_id: str, expires_at: float, now: float) -> bool:
        """See :class:`cds_hooks.token_use.Replays`."""
        if not await self._own.first_use(token_id, expires_at, now):
            return False
        at = self._clock()
        if at < self._pause_until:
            self._on_fault()
            return True
        purge = at - self._purged_at >= _PURGE_EVERY
        if purge:
            self._purged_at = at
        elif self._embedded:
            try:
                return self._remember_here(token_id, expires_at)
            except SQLAlchemyError:
                # Another writer is at work, or worse: a thread waits for it, or finds out.
                self._leave()
        try:
            async with asyncio.timeout(_PATIENCE):
                first = await asyncio.get_running_loop().run_in_executor(
                    self._threads, self._remember, token_id, expires_at, now if purge else None
                )
            self._troubles.says("used tokens cannot be shared between replicas", "")
            return first
        except (TimeoutError, SQLAlchemyError) as error:
            self._pause_until = self._clock() + _PAUSE_AFTER_FAULT
            self._troubles.says("used tokens cannot be shared between replicas", type(error).__name__)
            self._on_fault()
            return True

    def _remember_here(self, token_id: str, expires_at: float) -> bool:
        """Write without leaving the event loop, and never wait in it. Raises SQLAlchemyError."""
        if self._here is None:
            here = self._engine.connect()
            here.detach()  # its settings must not come back into the pool
            with here.begin():
                here.execute(text("PRAGMA busy_timeout=0"))
                here.execute(text("PRAGMA wal_autocheckpoint=0"))  # the writers in threads do that
            self._here = here
        with self._here.begin():
            added = self._here.execute(self._insert, {"token_id": token_id, "expires_at": expires_at})
            return added.first() is not None

    def _leave(self) -> None:
        here, self._here = self._here, None
        if here is not None:
            with suppress(SQLAlchemyError):
                here.close()

    def _remember(self, token_id: str, expires_at: float, purge_before: float | None) -> bool:
        with self._engine.begin() as connection:
            if purge_before is not None:
                connection.execute(delete(_table).where(_table.c.expires_at < purge_before))
            added = connection.execute(self._insert, {"token_id": token_id, "expires_at": expires_at})
            return added.first() is not None

    def close(self) -> None:
        """Stop the threads and close the connection of the event loop."""
        self._leave()
        self._threads.shutdown(wait=False, cancel_futures=True)
