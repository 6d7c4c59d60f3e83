"""Keeping the audit trail without ever delaying or failing a call: calls on disk and in memory, and one writing thread."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import partial

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import InterfaceError, OperationalError, ProgrammingError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnection

from service.alerts.facts.patient import PatientSnapshot
from service.ops.troubles import Troubles
from service.trail.batch import Batch, Patients, line_of, read_again
from service.trail.call import Call, insert
from service.trail.spool import Spool
from service.trail.written import is_written, note_written

log = logging.getLogger("service.registry")

#: Calls kept in memory while the database is slow or away; beyond that new ones are dropped and counted.
_CAPACITY = 50_000
#: Calls of one transaction.
_BATCH = 2_000
#: Between two of them: many calls together cost far less than a few, and the calls being answered pay for it.
_PAUSE_SECONDS = 0.5
#: The database is away, busy or not yet upgraded: what waits is written later. Anything else lies in a record.
_AWAY = (OperationalError, InterfaceError, ProgrammingError, NoConnection)

#: (connection, site, facts, when they were known).
Remember = Callable[[Connection, str, PatientSnapshot, datetime], None]


class Recorder:
    """Writes calls in batches in a thread of its own, and what they tell of patients on clozapine into the roster.

    Args:
        engine: where to.
        remember: brings the roster up to date with the newest facts of a patient of a site; None = nobody is enrolled.
        spool: has calls on disk until the database has them; None = they are in memory only.
        on_drop: told how many records were lost: too many waited, or a record cannot be written at all.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        remember: Remember | None = None,
        spool: Spool | None = None,
        on_drop: Callable[[int], None] = lambda n: None,
    ) -> None:
        self._engine = engine
        self._troubles = Troubles(log)
        self._remember = remember
        self._spool = spool
        self._on_drop = on_drop
        #: The oldest first; only the last takes calls. Changed under ``_changed``, like all that follows.
        self._batches: deque[Batch] = deque()
        self._changed = threading.Condition()
        self._count = 0
        self._bytes = 0
        #: Calls that left, ever: into the database, or lost.
        self._left = 0
        self._trouble = ""
        #: Files that are gone, of which the database need not know any more.
        self._removed: list[str] = []
        self._closing = threading.Event()
        self._wake = threading.Event()
        if spool is not None:
            self._take_over(spool)
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> tuple[int, float]:
        """Calls that the database does not have yet, and for how many seconds the oldest of them has waited."""
        with self._changed:
            return self._count, time.monotonic() - self._batches[0].begun if self._batches else 0.0

    @property
    def trouble(self) -> str:
        """Why calls are in memory only; empty when they are on disk, or need not be."""
        return self._trouble

    def record(self, call: Call, facts: PatientSnapshot | None = None) -> None:
        """Keep one call, and what is to be remembered of its patient; never waits for the database, never raises.

        With a spool the call outlives this process from then on.
        """
        if self._remember is None:
            facts = None
        line = line_of(call, facts) if self._spool is not None else b""
        with self._changed:
            if self._count >= _CAPACITY:
                self._on_drop(1)
                return
            batch = self._open()
            self._write_to_disk(batch, line)
            batch.add(call, facts)
            self._count += 1

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until everything recorded so far is written; False when it takes longer than ``timeout`` seconds."""
        with self._changed:
            until = self._left + self._count
            self._wake.set()
            return self._changed.wait_for(lambda: self._left >= until, timeout)

    def close(self, timeout: float = 10.0) -> None:
        """Write what is queued and stop; what the database does not take is on disk for the next start."""
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout)
        count, _ = self.waiting
        if count and self._spool is not None and not self._trouble:
            log.warning("%d records wait on disk for the next start: the database did not take them", count)
        elif count:
            log.error("the database is away at shutdown: %d records are lost", count)
            self._on_drop(count)

    # -- on disk -------------------------------------------------------------------------------------------

    def _take_over(self, spool: Spool) -> None:
        """What processes left behind that ended before the database had it."""
        for file in spool.left_behind():
            try:
                batch = read_again(file, time.monotonic())
            except OSError as error:
                log.error("a file of the spool cannot be read: %s", type(error).__name__)
                continue
            self._batches.append(batch)
            self._count += len(batch.calls)
            self._bytes += file.size
        if self._count:
            log.warning("%d records of an earlier run are written now", self._count)

    def _open(self) -> Batch:
        """The batch that takes the next call."""
        if self._batches and not self._batches[-1].full and len(self._batches[-1].calls) < _BATCH:
            return self._batches[-1]
        file = None
        if self._spool is not None:
            try:
                file = self._spool.new()
            except OSError as error:
                self._in_memory_only(error)
        self._batches.append(Batch(time.monotonic(), file))
        return self._batches[-1]

    def _write_to_disk(self, batch: Batch, line: bytes) -> None:
        if batch.file is None or self._spool is None:
            return
        try:
            if self._bytes + len(line) > self._spool.limit:
                raise OSError("the limit of the spool is reached")
            batch.file.append(line)
        except OSError as error:
            self._in_memory_only(error)
            return
        self._bytes += len(line) + 1
        self._trouble = ""

    def _in_memory_only(self, error: OSError) -> None:
        if not self._trouble:
            log.error("calls cannot be kept on disk: %s", error.strerror or error)
        self._trouble = f"calls are kept in memory only: {error.strerror or error}"

    # -- to the database -----------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            self._wake.wait(_PAUSE_SECONDS)
            self._wake.clear()
            closing = self._closing.is_set()
            while self._batches:
                written = self._write()
                if closing and not written:
                    return
                if not closing and (not written or self._count < _BATCH):
                    break  # what came in meanwhile waits for the next time
            if closing:
                return

    def _write(self) -> bool:
        """Write the oldest batch; it is kept until the database has it."""
        with self._changed:
            batch = self._batches[0]
            batch.full = True
        if batch.file is not None:
            with suppress(OSError):  # it is about to be in the database, which has a better disk
                batch.file.sync()
        try:
            with self._engine.begin() as connection:
                if not (batch.again and self._is_written(connection, batch)):
                    insert(connection, batch.calls)
                    self._bring_up_to_date(connection, batch.patients)
                    self._note_written(connection, batch)
        except _AWAY as error:
            batch.again = True  # it may have been taken, and only the answer was lost
            return self._later(error)
        except Exception as error:
            # One record must not keep the others, and all that follow, from being written.
            log.error("calls could not be recorded together, trying each: %s", type(error).__name__)
            return self._write_each(batch)
        self._done(batch)
        return True

    def _write_each(self, batch: Batch) -> bool:
        try:
            while batch.patients:
                key = next(iter(batch.patients))
                self._tried(partial(self._bring_up_to_date, patients={key: batch.patients[key]}), "a patient")
                del batch.patients[key]
            while batch.calls:
                if not self._tried(partial(insert, calls=batch.calls[:1]), "a call"):
                    self._on_drop(1)
                with self._changed:
                    del batch.calls[0]
                    self._count -= 1
                    self._left += 1
            self._tried(partial(self._note_written, batch=batch), "a batch")
        except _AWAY as error:
            return self._later(error)
        self._done(batch)
        return True

    def _tried(self, write: Callable[[Connection], None], what: str) -> bool:
        """Write one thing by itself; False when it cannot be written at all. Raises what says that the database is away."""
        try:
            with self._engine.begin() as connection:
                write(connection)
        except _AWAY:
            raise
        except Exception as error:
            log.error("%s could not be recorded: %s", what, type(error).__name__)
            return False
        return True

    def _bring_up_to_date(self, connection: Connection, patients: Patients) -> None:
        if self._remember is not None:
            for (site, _), (at, facts) in patients.items():
                self._remember(connection, site, facts, at)

    def _is_written(self, connection: Connection, batch: Batch) -> bool:
        return batch.file is not None and is_written(connection, batch.file.name)

    def _note_written(self, connection: Connection, batch: Batch) -> None:
        if batch.file is not None:
            note_written(connection, batch.file.name, self._removed)

    def _later(self, error: SQLAlchemyError) -> bool:
        self._troubles.says("calls cannot be recorded, they wait", type(error).__name__)
        self._closing.wait(1.0)
        return False

    def _done(self, batch: Batch) -> None:
        self._troubles.says("calls cannot be recorded, they wait", "")
        self._removed = []
        if batch.file is not None:
            batch.file.remove()
            self._removed = [batch.file.name]
        with self._changed:
            self._batches.popleft()
            self._bytes -= batch.file.size if batch.file is not None else 0
            self._count -= len(batch.calls)
            self._left += len(batch.calls)
            self._changed.notify_all()
