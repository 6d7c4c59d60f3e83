"""The sweep: every registered patient evaluated once per run, alerts opened, raised, brought up again and resolved.

One batch of patients is one transaction: their evaluation, their alerts, the history and the outbox are written together or
not at all. A worker that dies takes its transaction with it, so nothing is lost and nothing is done twice; its patients
are simply not done yet, and the next worker that asks for work gets them. On PostgreSQL workers skip each other's
patients (``FOR UPDATE SKIP LOCKED``); SQLite has one writer at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, Engine, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from service.alerts.say.finding import FaultObserver
from service.options.site import Site
from service.registry import people
from service.registry.evaluation import NEEDED, evaluate
from service.registry.patient_alerts import Change
from service.store.roster_tables import RegisteredPatient, SweepRun
from service.store.times import aware

_patients = RegisteredPatient.__table__  # type: ignore[attr-defined]
_runs = SweepRun.__table__  # type: ignore[attr-defined]
_BATCH = 200
#: A patient may be held for a moment by a call or another worker, or by one that dies: looked for again so often (seconds apart).
_LOOKS = 10
_PAUSE_SECONDS = 0.5
#: The dead are let go by the sweep, too: what is open of them ends.
_WATCHED = ("on", "stopped", "dead")


class Summary(Struct):
    """What a worker did in a run."""

    run: int
    patients: int = 0
    #: Patients that could not be evaluated: their alerts stay as they are.
    unreadable: int = 0
    #: Rules that failed, counted per patient: nothing is resolved for such a patient.
    faults: int = 0
    changes: dict[str, int] = {}

    def count(self, change: Change) -> None:
        """Add one change."""
        self.changes[change.what] = self.changes.get(change.what, 0) + 1


def start_run(engine: Engine, site: str, planned_for: datetime, as_of: datetime) -> int:
    """The run planned for a moment: begun by the first replica that asks, shared by the others."""
    planned = planned_for.astimezone(UTC)
    try:
        with engine.begin() as connection:
            created = connection.execute(
                insert(_runs).values(site=site, planned_for=planned, as_of=as_of.astimezone(UTC))
            )
            return int(created.inserted_primary_key[0])  # type: ignore[index]
    except IntegrityError:
        with engine.connect() as connection:
            found = connection.execute(
                select(_runs.c.id).where(_runs.c.site == site, _runs.c.planned_for == planned)
            ).scalar_one()
            return int(found)


def remaining(engine: Engine, site: str, run: int) -> int:
    """Patients of the site that the run has not evaluated."""
    with engine.connect() as connection:
        return int(
            connection.execute(
                select(func.count())
                .select_from(_patients)
                .where(_patients.c.site == site, _patients.c.swept_run < run, _patients.c.state.in_(_WATCHED))
            ).scalar_one()
        )


def sweep(
    engine: Engine,
    site: Site,
    run: int,
    *,
    batch: int = _BATCH,
    on_batch: Callable[[int], None] = lambda n: None,
    on_fault: FaultObserver | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Summary:
    """Work on a run until no patient is left for this worker.

    Args:
        engine: database.
        site: the site.
        run: id from :func:`start_run`; its ``as_of`` is the moment of every evaluation, so that all workers ask the same question.
        batch: patients per transaction.
        on_batch: told how many patients a batch held.
        on_fault: told of rules that failed.
        stop: asked between batches.
    """
    with engine.connect() as connection:
        as_of = aware(connection.execute(select(_runs.c.as_of).where(_runs.c.id == run)).scalar_one())
    assert as_of is not None
    summary = Summary(run)

    def failed(rule: str, fault: Exception) -> None:
        summary.faults += 1
        if on_fault is not None:
            on_fault(rule, fault)

    with engine.begin() as connection:
        people.give_back(connection, site, as_of)
    looks = 0
    while not stop():
        with engine.begin() as connection:
            done = _batch(connection, site, run, as_of, batch, summary, failed)
        if done:
            looks = 0
            on_batch(done)
            continue
        looks += 1
        if looks > _LOOKS or not remaining(engine, site.name, run):
            break
        time.sleep(_PAUSE_SECONDS)
    if not remaining(engine, site.name, run):
        with engine.begin() as connection:
            connection.execute(
                update(_runs)
                .where(_runs.c.id == run, _runs.c.finished_at.is_(None))
                .values(finished_at=as_of.astimezone(UTC))
            )
    return summary


def _claim(connection: Connection, site: str, run: int, size: int) -> Sequence[Any]:
    statement = (
        select(*NEEDED)
        .where(_patients.c.site == site, _patients.c.swept_run < run, _patients.c.state.in_(_WATCHED))
        .order_by(_patients.c.swept_run, _patients.c.id)
        .limit(size)
    )
    if connection.dialect.name == "postgresql":
        statement = statement.with_for_update(skip_locked=True)
    else:
        # Take the write lock before reading, so that a second process cannot read the same patients.
        connection.execute(text("UPDATE sweep_run SET id = id WHERE id = :run"), {"run": run})
    return connection.execute(statement).all()


def _batch(
    connection: Connection,
    site: Site,
    run: int,
    as_of: datetime,
    size: int,
    summary: Summary,
    on_fault: FaultObserver | None,
) -> int:
    rows = _claim(connection, site.name, run, size)
    if not rows:
        return 0
    done = evaluate(connection, site, rows, as_of, on_fault=on_fault)
    summary.unreadable += done.unreadable
    for change in done.changes:
        summary.count(change)
    connection.execute(
        update(_patients)
        .where(_patients.c.id.in_([row.id for row in rows]))
        .values(
            swept_run=run,
            swept_at=as_of.astimezone(UTC),
            sweeps=_patients.c.sweeps + 1,
            policy=site.policy.id,
        )
    )
    summary.patients += len(rows)
    return len(rows)
