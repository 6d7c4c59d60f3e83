"""Requests that need the database: each waits a bounded time, and where one after the other waited in vain the next are told at once.

Hook calls need no database; this is for what does: the registry's routes, feedback.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnection

from service.ops.breaker import Breaker

#: Somebody looks at a screen; any statement of the registry takes milliseconds.
LIMIT_SECONDS = 3.0
_THREADS = 8
_AWAY = (OperationalError, InterfaceError, NoConnection)
Done = TypeVar("Done")


class DatabaseAway(Exception):
    """The database did not answer in time, or was left alone; nothing was changed."""


class _GivenUp(Exception):
    """Rolls back what nobody waits for any more."""


class Guard:
    """Runs work on the database in threads of its own.

    Args:
        engine: database.
        limit: seconds that a request waits.
        on_change: told when the database is left alone (True), and when it answers again (False).
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        engine: Engine,
        limit: float = LIMIT_SECONDS,
        on_change: Callable[[bool], None] = lambda left: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._limit = limit
        self._clock = clock
        self._breaker = Breaker(clock, on_change)
        self._threads = ThreadPoolExecutor(_THREADS, "database")

    @property
    def rests(self) -> bool:
        """Whether the database is left alone."""
        return self._breaker.rests

    async def transaction(self, work: Callable[[Connection], Done]) -> Done:
        """Do work in one transaction: all of it or, with DatabaseAway, nothing. Raises what the work raises, and SQLAlchemyError."""
        turn = threading.Lock()
        given_up = committing = False

        def done() -> Done:
            nonlocal committing
            with self._engine.begin() as connection:
                found = work(connection)
                with turn:
                    if given_up:
                        raise _GivenUp
                    committing = True
                return found

        def still_to_come() -> bool:
            nonlocal given_up
            with turn:
                given_up = not committing
                return committing

        return await self._run(done, still_to_come)

    async def run(self, work: Callable[[], Done]) -> Done:
        """Do work that may be done again: with DatabaseAway it may have been done. Raises what the work raises."""
        return await self._run(work, lambda: False)

    async def _run(self, work: Callable[[], Done], waits_on: Callable[[], bool]) -> Done:
        if not self._breaker.admits():
            raise DatabaseAway
        began = self._clock()
        under_way = asyncio.get_running_loop().run_in_executor(self._threads, work)
        # Whoever waited for it may be gone when it ends.
        under_way.add_done_callback(_seen)
        try:
            done, _ = await asyncio.wait({under_way}, timeout=self._limit)
            if not done and not waits_on():
                under_way.cancel()  # if it has not begun
                raise DatabaseAway
            found = await under_way
        except (DatabaseAway, *_AWAY):
            self._breaker.failed(began)
            raise
        except asyncio.CancelledError:
            waits_on()
            self._breaker.failed(began)
            raise
        except Exception:
            self._breaker.answered()  # what was asked cannot be done, which is an answer
            raise
        self._breaker.answered()
        return found

    def close(self) -> None:
        """Take no more."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _seen(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()
