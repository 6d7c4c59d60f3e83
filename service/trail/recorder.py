"""Keeping the audit trail without ever delaying or failing a call: a bounded queue and one writing thread."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from itertools import islice

from msgspec import Struct
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import InterfaceError, OperationalError, ProgrammingError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnection

from service.alerts.facts.patient import PatientSnapshot
from service.ops.troubles import Troubles
from service.store.rows import RowInsert
from service.store.tables import CardShown, HookCall

log = logging.getLogger("service.registry")

#: Calls kept in memory while the database is slow or away; beyond that new ones are dropped and counted.
_CAPACITY = 50_000
#: Calls of one transaction.
_BATCH = 2_000
#: Between two of them: many calls together cost far less than a few, and the calls being answered pay for it.
_PAUSE_SECONDS = 0.5
#: The database is away, busy or not yet upgraded: what waits is written later. Anything else lies in a record.
_AWAY = (OperationalError, InterfaceError, ProgrammingError, NoConnection)


class Call(Struct, frozen=True):
    """What is kept of one hook call."""

    at: datetime
    site: str
    service: str
    hook: str
    hook_instance: str
    user: str
    policy: str
    seconds: float
    resources: dict[str, int]
    #: (code, severity, subject)
    findings: list[tuple[str, str, str]]
    #: (uuid, code, severity, suggestion uuids, subject)
    cards: list[tuple[str, str, str, list[str], str]]
    #: The patient as a keyed hash.
    patient_key: str = ""
    #: What the call counts as, whatever was sent.
    status: int = 200
    #: The sums of the ledger: what was given, read, irrelevant, not understood.
    ledger: dict[str, int] = {}
    #: What the cards showed (``service.alerts.say.seen``), by uuid.
    seen: dict[str, str] = {}


#: (site, patient id) -> when the facts were known, and they.
_Patients = dict[tuple[str, str], tuple[datetime, PatientSnapshot]]
#: (connection, site, facts, when they were known).
Remember = Callable[[Connection, str, PatientSnapshot, datetime], None]


class Recorder:
    """Writes calls in batches in a thread of its own, and what they tell of patients on clozapine into the roster.

    Args:
        engine: where to.
        remember: brings the roster up to date with the newest facts of a patient of a site; None = nobody is enrolled.
        on_drop: told how many records were lost because the queue was full.
        on_queue: told how many are waiting.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        remember: Remember | None = None,
        on_drop: Callable[[int], None] = lambda n: None,
        on_queue: Callable[[int], None] = lambda n: None,
    ) -> None:
        self._engine = engine
        self._troubles = Troubles(log)
        self._remember = remember
        self._on_drop = on_drop
        self._on_queue = on_queue
        self._queue: deque[Call] = deque()
        self._patients: _Patients = {}
        self._patients_lock = threading.Lock()
        self._closing = threading.Event()
        self._wake = threading.Event()
        #: Calls that have left the queue, ever; changed and waited for under ``_written``.
        self._left = 0
        self._written = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def record(self, call: Call, facts: PatientSnapshot | None = None) -> None:
        """Queue one call, and what is to be remembered of its patient; never waits for the database, never raises."""
        if len(self._queue) >= _CAPACITY:
            self._on_drop(1)
            return
        if facts is not None and self._remember is not None:
            # Of several calls on one patient the last one knows most; the others' facts need not be kept until then.
            with self._patients_lock:
                self._patients[call.site, facts.patient_id] = call.at, facts
        self._queue.append(call)

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until everything queued so far is written; False when it takes longer than ``timeout`` seconds."""
        with self._written:
            until = self._left + len(self._queue)
            self._wake.set()
            return self._written.wait_for(lambda: self._left >= until, timeout)

    def close(self, timeout: float = 10.0) -> None:
        """Write what is queued and stop."""
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            self._wake.wait(_PAUSE_SECONDS)
            self._wake.clear()
            closing = self._closing.is_set()
            while self._queue or self._patients:
                written = self._write()
                if closing and not written:
                    log.error("the database is away at shutdown: %d records are lost", len(self._queue))
                    return
                if not closing and (not written or max(len(self._queue), len(self._patients)) < _BATCH):
                    break  # what came in meanwhile waits for the next time
            if closing:
                return

    def _write(self) -> bool:
        """Write one batch; the queue keeps it until the database has it."""
        batch = list(self._queue)[:_BATCH]
        size = len(batch)
        # After the calls: what the batch's own calls tell is among them.
        with self._patients_lock:
            patients = dict(islice(self._patients.items(), _BATCH))
        try:
            with self._engine.begin() as connection:
                _insert(connection, batch)
                self._bring_up_to_date(connection, patients)
        except _AWAY as error:
            return self._later(error)
        except Exception as error:
            # One record must not keep the others, and all that follow, from being written.
            log.error("calls could not be recorded together, trying each: %s", type(error).__name__)
            return self._write_each(size, patients)
        self._done(size, patients)
        return True

    def _write_each(self, size: int, patients: _Patients) -> bool:
        try:
            for key, known in patients.items():
                self._tried(partial(self._bring_up_to_date, patients={key: known}), "a patient")
                self._done(0, {key: known})
            for _ in range(size):
                if not self._tried(partial(_insert, calls=[self._queue[0]]), "a call"):
                    self._on_drop(1)
                self._done(1, {})
        except _AWAY as error:
            return self._later(error)
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

    def _bring_up_to_date(self, connection: Connection, patients: _Patients) -> None:
        if self._remember is not None:
            for (site, _), (at, facts) in patients.items():
                self._remember(connection, site, facts, at)

    def _later(self, error: SQLAlchemyError) -> bool:
        self._troubles.says("calls cannot be recorded, they wait", type(error).__name__)
        self._on_queue(len(self._queue))
        self._closing.wait(1.0)
        return False

    def _done(self, size: int, patients: _Patients) -> None:
        self._troubles.says("calls cannot be recorded, they wait", "")
        with self._written:
            for _ in range(size):
                self._queue.popleft()
            self._left += size
            with self._patients_lock:
                for key, known in patients.items():
                    if self._patients.get(key) is known:  # no later call has told more since
                        del self._patients[key]
            self._written.notify_all()
        self._on_queue(len(self._queue))


_CALLS = RowInsert(
    HookCall,
    (
        "at", "site", "service", "hook", "hook_instance", "user_reference", "policy", "milliseconds", "resources", "findings", "status", "ledger",
    ),
)  # fmt: skip
_CARDS = RowInsert(
    CardShown,
    (
        "uuid", "hook_instance", "at", "site", "code", "severity", "suggestions", "hook", "policy", "user_type", "subject", "patient_key", "seen",
    ),
)  # fmt: skip


def _insert(connection: Connection, calls: list[Call]) -> None:
    _CALLS.into(connection, [_call_row(c) for c in calls])
    _CARDS.into(connection, [row for c in calls for row in _card_rows(c)])


def _call_row(c: Call) -> tuple[object, ...]:
    return (
        c.at.astimezone(UTC),
        c.site,
        c.service,
        c.hook,
        c.hook_instance[:200],
        c.user[:200],
        c.policy,
        round(c.seconds * 1000, 3),
        c.resources,
        [[code, severity] for code, severity, _ in c.findings],
        c.status,
        c.ledger or None,
    )


def _card_rows(c: Call) -> list[tuple[object, ...]]:
    at, instance, user_type = c.at.astimezone(UTC), c.hook_instance[:200], c.user.split("/")[0][:60]
    return [
        (
            uuid, instance, at, c.site, code, severity, suggestions, c.hook, c.policy, user_type, subject[:300], c.patient_key, c.seen.get(uuid, ""),
        )
        for uuid, code, severity, suggestions, subject in c.cards
    ]  # fmt: skip
