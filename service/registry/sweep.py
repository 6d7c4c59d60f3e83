"""The sweep: every registered patient evaluated once per run, alerts opened, raised, brought up again and resolved.

One batch of patients is one transaction: their evaluation, their alerts, the history and the outbox are written together or
not at all. A worker that dies takes its transaction with it, so nothing is lost and nothing is done twice; its patients
are simply not done yet, and the next worker that asks for work gets them. On PostgreSQL workers skip each other's
patients (``FOR UPDATE SKIP LOCKED``); SQLite has one writer at a time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import Connection, Engine, bindparam, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from service.alerts.case import remembered
from service.alerts.say.finding import SEVERITY_RANK, Evidence, FaultObserver, Finding
from service.alerts.say.seen import Seen
from service.options.site import Site
from service.options.weighed import Weighed
from service.registry import outbox, people
from service.registry.patient_alerts import Change, LiveAlert, alertable, changes
from service.registry.roster import flags_of
from service.registry.standing import standing_of
from service.store.roster_tables import Alert, AlertEvent, RegisteredPatient, SweepRun
from service.store.times import aware

_patients = RegisteredPatient.__table__  # type: ignore[attr-defined]
_alerts = Alert.__table__  # type: ignore[attr-defined]
_events = AlertEvent.__table__  # type: ignore[attr-defined]
_runs = SweepRun.__table__  # type: ignore[attr-defined]
log = logging.getLogger("service.registry")
_BATCH = 200
#: A patient may be held for a moment by a call or another worker, or by one that dies: looked for again so often (seconds apart).
_LOOKS = 10
_PAUSE_SECONDS = 0.5
_WATCHED = ("on", "stopped")


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
        select(_patients.c.id, _patients.c.patient_id, _patients.c.facts)
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
    done = {"swept_run": run, "swept_at": as_of.astimezone(UTC), "sweeps": _patients.c.sweeps + 1}
    _evaluate(connection, site, rows, as_of, summary, on_fault, done)
    return len(rows)


def evaluate_now(
    connection: Connection,
    site: Site,
    patient: int,
    as_of: datetime,
    summary: Summary,
    on_fault: FaultObserver | None = None,
) -> None:
    """Evaluate one patient (row id) outside of a run, because something about him changed."""
    rows = connection.execute(
        select(_patients.c.id, _patients.c.patient_id, _patients.c.facts).where(
            _patients.c.id == patient, _patients.c.state.in_(_WATCHED)
        )
    ).all()
    if rows:
        _evaluate(connection, site, rows, as_of, summary, on_fault, {})


def _evaluate(
    connection: Connection,
    site: Site,
    rows: Sequence[Any],
    as_of: datetime,
    summary: Summary,
    on_fault: FaultObserver | None,
    done: dict[str, Any],
) -> None:
    """Findings, alerts, history, outbox and standing of these patients; ``done``: columns that say that a run had them."""
    ids = [row.id for row in rows]
    live = _live_alerts(connection, ids)
    flags = flags_of(connection, ids)
    at = as_of.astimezone(UTC)
    standings: list[dict[str, Any]] = []
    unread: list[dict[str, Any]] = []
    lasting: list[dict[str, Any]] = []
    untold: list[outbox.Told] = []
    for row in rows:
        try:
            snapshot = replace(
                remembered.load(row.facts), hook="sweep", flags=flags.get(row.id, ()), zone=site.zone
            )
            asked = Weighed(snapshot, site, as_of, on_fault=on_fault)
            findings = asked.findings
            standing = standing_of(asked.case)
            wanted = alertable(findings)
            seen = Seen(snapshot, wanted.values())
            for f in wanted.values():
                seen(f)
        except (
            Exception
        ) as error:  # facts of another version, or a fault: one patient must not stop the others' sweep
            log.error("a patient of %s could not be evaluated: %s", site.name, type(error).__name__)
            summary.unreadable += 1
            unread.append({"row": row.id})
            continue
        alerts = live.get(row.id, ())
        changed = changes(alerts, findings, seen, as_of, site.due_again_after)
        for change in changed:
            finding = wanted.get((change.code, change.subject))
            _apply(connection, site, row.id, row.patient_id, change, finding, seen, at)
            summary.count(change)
        touched = {c.alert: c.what for c in changed}
        for alert in alerts:
            finding = wanted.get((alert.code, alert.subject))
            if finding is None:
                continue
            if alert.id not in touched and (alert.seen, alert.summary) != (seen(finding), finding.summary):
                lasting.append({"row": alert.id, **_says(finding, seen, "new_")})
            if alert.state != "closed" or touched.get(alert.id) in ("raised", "reopened"):
                untold.append(outbox.Told(alert.id, row.patient_id, finding))
        standings.append(
            {
                "row": row.id,
                "new_state": standing.state,
                "new_start": standing.course_start,
                "new_stopped": standing.stopped_at,
                "new_interval": standing.interval_days,
                "new_due": standing.next_due,
                "new_anc": standing.last_anc,
                "new_anc_at": standing.last_anc_at.astimezone(UTC) if standing.last_anc_at else None,
            }
        )
    if lasting:
        # Days go by and the sentence with them, on the same evidence: that is no event.
        connection.execute(
            update(_alerts)
            .where(_alerts.c.id == bindparam("row"))
            .values({name: bindparam(f"new_{name}") for name in _SAYS}),
            lasting,
        )
    outbox.tell_what_is_open(connection, site, untold, at)
    done = {**done, "policy": site.policy.id}
    if standings:
        connection.execute(
            update(_patients)
            .where(_patients.c.id == bindparam("row"))
            .values(
                state=bindparam("new_state"),
                course_start=bindparam("new_start"),
                stopped_at=bindparam("new_stopped"),
                interval_days=bindparam("new_interval"),
                next_due=bindparam("new_due"),
                last_anc=bindparam("new_anc"),
                last_anc_at=bindparam("new_anc_at"),
                **done,
            ),
            standings,
        )
    if unread:
        connection.execute(update(_patients).where(_patients.c.id == bindparam("row")).values(**done), unread)
    summary.patients += len(rows)


#: Columns of an alert that follow its finding at every evaluation.
_SAYS = ("summary", "seen", "evidence")


def _says(finding: Finding, seen: Seen, prefix: str = "") -> dict[str, Any]:
    """What an alert says of its finding."""
    values = (finding.summary, seen(finding), [_fact(e) for e in finding.evidence])
    return {f"{prefix}{name}": value for name, value in zip(_SAYS, values, strict=True)}


def _fact(evidence: Evidence) -> dict[str, Any]:
    at = evidence.at.astimezone(UTC).isoformat() if evidence.at is not None else None
    return {"reference": evidence.ref, "text": evidence.text, "at": at}


def _live_alerts(connection: Connection, ids: Sequence[int]) -> dict[int, list[LiveAlert]]:
    found: dict[int, list[LiveAlert]] = {}
    rows = connection.execute(
        select(
            _alerts.c.id,
            _alerts.c.patient,
            _alerts.c.code,
            _alerts.c.subject,
            _alerts.c.severity,
            _alerts.c.state,
            _alerts.c.notified_at,
            _alerts.c.seen,
            _alerts.c.summary,
        ).where(_alerts.c.patient.in_(ids), _alerts.c.state != "resolved")
    )
    for row in rows:
        notified = aware(row.notified_at)
        assert notified is not None
        found.setdefault(row.patient, []).append(
            LiveAlert(row.id, row.code, row.subject, row.severity, row.state, notified, row.seen, row.summary)
        )
    return found


def _apply(
    connection: Connection,
    site: Site,
    patient: int,
    patient_id: str,
    change: Change,
    finding: Finding | None,
    seen: Seen,
    at: datetime,
) -> None:
    """Write one change with its history and what is to be told to the EHR."""
    rank = SEVERITY_RANK[change.severity]
    says = _says(finding, seen) if finding is not None else {"summary": change.summary}
    if change.alert is None:
        created = connection.execute(
            insert(_alerts).values(
                patient=patient,
                site=site.name,
                code=change.code,
                subject=change.subject[:300],
                severity=change.severity,
                severity_rank=rank,
                **says,
                policy=site.policy.id,
                state="open",
                opened_at=at,
                notified_at=at,
                changed_at=at,
            )
        )
        alert = int(created.inserted_primary_key[0])  # type: ignore[index]
    else:
        alert = change.alert
        values: dict[str, Any] = {"changed_at": at}
        if change.what == "resolved":
            values |= {"state": "resolved", **people.NOBODY}
        else:
            values |= {"severity": change.severity, "severity_rank": rank, **says}
            if change.what != "lowered":
                values["notified_at"] = at
            if change.what in ("raised", "rewritten", "reopened"):
                values |= {"state": "open", **people.NOBODY}
        connection.execute(update(_alerts).where(_alerts.c.id == alert).values(**values))
    event = connection.execute(
        insert(_events).values(
            alert=alert,
            at=at,
            what=change.what,
            severity=change.severity,
            summary=change.summary,
            by="sweep",
            note=change.note,
        )
    )
    number = int(event.inserted_primary_key[0])  # type: ignore[index]
    outbox.tell(connection, site, alert, number, patient_id, change, finding, at)
