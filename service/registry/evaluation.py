"""Patients evaluated: where each stands, what must be done, and what becomes of the alerts, written in the caller's transaction.

The sweep does it for a batch; a statement, a merge or an enrolment does it for its patient at once.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace
from sqlalchemy import Connection, bindparam, insert, select, update

from service.alerts.case import remembered
from service.alerts.facts.patient import PatientSnapshot
from service.alerts.say.finding import SEVERITY_RANK, Evidence, FaultObserver, Finding
from service.alerts.say.seen import Seen
from service.options.site import Site
from service.options.weighed import Weighed
from service.registry import attention, outbox, people
from service.registry.patient_alerts import Change, LiveAlert, alertable, changes
from service.registry.roster import NotRegistered, flags_of
from service.registry.standing import columns_of, standing_of
from service.store.roster_tables import Alert, AlertEvent, RegisteredPatient
from service.store.times import aware

_patients = RegisteredPatient.__table__  # type: ignore[attr-defined]
_alerts = Alert.__table__  # type: ignore[attr-defined]
_events = AlertEvent.__table__  # type: ignore[attr-defined]
log = logging.getLogger("service.registry")
#: What an evaluation needs of a patient's row.
NEEDED = (
    _patients.c.id,
    _patients.c.patient_id,
    _patients.c.facts,
    _patients.c.facts_at,
    _patients.c.attention,
    _patients.c.attention_since,
)
#: A site whose patients are read every night has not read one who was not read for so long.
_STALE = timedelta(hours=36)
#: Columns of an alert that follow its finding at every evaluation.
_SAYS = ("summary", "seen", "evidence")
#: Whose course nobody watches any more, though the row is still there.
DEAD = "dead"


class Evaluated(Struct):
    """What an evaluation did."""

    changes: list[Change] = field(default_factory=list)
    #: Patients that could not be evaluated: their alerts stay as they are.
    unreadable: int = 0


def reevaluate(connection: Connection, site: Site, patient: int, as_of: datetime, by: str) -> Evaluated:
    """Evaluate one patient of the roster (row id) now; one who was taken off is left alone. Raises NotRegistered."""
    row = connection.execute(select(*NEEDED, _patients.c.state).where(_patients.c.id == patient)).first()
    if row is None:
        raise NotRegistered("there is no such patient in the registry of this site")
    if row.state == "unenrolled":
        return Evaluated()
    return evaluate(connection, site, [row], as_of, by=by)


def evaluate(
    connection: Connection,
    site: Site,
    rows: Sequence[Any],
    as_of: datetime,
    *,
    by: str = "sweep",
    on_fault: FaultObserver | None = None,
) -> Evaluated:
    """Evaluate patients.

    Args:
        connection: database, in a transaction.
        site: the site.
        rows: the patients, with the columns ``NEEDED``; all of the site, none taken off.
        as_of: the moment of the question.
        by: who caused it, for the history of the alerts.
        on_fault: told of rules that failed.
    """
    done = Evaluated()
    if not rows:
        return done
    ids = [row.id for row in rows]
    live = _live_alerts(connection, ids)
    flags = flags_of(connection, ids)
    at = as_of.astimezone(UTC)
    standings: list[dict[str, Any]] = []
    lasting: list[dict[str, Any]] = []
    untold: list[outbox.Told] = []
    for row in rows:
        alerts = live.get(row.id, ())
        try:
            snapshot = replace(
                remembered.load(row.facts), hook="sweep", flags=flags.get(row.id, ()), zone=site.zone
            )
            asked = Weighed(snapshot, site, as_of, on_fault=on_fault)
            findings = asked.findings if not snapshot.deceased else []
            standing = standing_of(asked.case)
            wanted = alertable(findings)
            seen = Seen(snapshot, wanted.values())
            for f in wanted.values():
                seen(f)
        except (
            Exception
        ) as error:  # facts of another version, or a fault: one patient must not stop the others
            log.error("a patient of %s could not be evaluated: %s", site.name, type(error).__name__)
            done.unreadable += 1
            _cannot_tell(connection, row, at)
            continue
        changed = changes(alerts, findings, seen, as_of, site.due_again_after)
        if snapshot.deceased:
            changed = [replace(c, note="the patient has died") for c in changed]
        for change in changed:
            finding = wanted.get((change.code, change.subject))
            _apply(connection, site, row, change, finding, seen, at, by)
        done.changes += changed
        touched = {c.alert: c.what for c in changed}
        for alert in alerts:
            finding = wanted.get((alert.code, alert.subject))
            if finding is None:
                continue
            if alert.id not in touched and (alert.seen, alert.summary) != (seen(finding), finding.summary):
                lasting.append({"row": alert.id, **_says(finding, seen, "new_")})
            if alert.state != "closed" or touched.get(alert.id) in ("raised", "reopened"):
                untold.append(outbox.Told(alert.id, row.patient_id, finding))
        handed = {
            (a.code, a.subject)
            for a in alerts
            if a.state == "in-hand" and touched.get(a.id) not in ("raised", "rewritten", "reopened")
        }
        today = snapshot.day(as_of)
        unread = not snapshot.deceased and _is_unread(site, snapshot, aware(row.facts_at), as_of)
        now = attention.attention_of(wanted.values(), standing.next_due, today, handed=handed, unread=unread)
        since = attention.since(row.attention, aware(row.attention_since), now, at)
        columns = columns_of(standing) | {"attention": now, "attention_since": since}
        standings.append({"row": row.id} | {f"new_{name}": value for name, value in columns.items()})
    if lasting:
        # Days go by and the sentence with them, on the same evidence: that is no event.
        connection.execute(
            update(_alerts)
            .where(_alerts.c.id == bindparam("row"))
            .values({name: bindparam(f"new_{name}") for name in _SAYS}),
            lasting,
        )
    outbox.tell_what_is_open(connection, site, untold, at)
    if standings:
        names = [name.removeprefix("new_") for name in standings[0] if name != "row"]
        connection.execute(
            update(_patients)
            .where(_patients.c.id == bindparam("row"))
            .values({name: bindparam(f"new_{name}") for name in names}),
            standings,
        )
    return done


def _cannot_tell(connection: Connection, row: Any, at: datetime) -> None:
    """A patient nobody can judge; a class that is graver stays."""
    now = min(row.attention, attention.CANNOT_TELL)
    since = attention.since(row.attention, aware(row.attention_since), now, at)
    connection.execute(
        update(_patients).where(_patients.c.id == row.id).values(attention=now, attention_since=since)
    )


def _is_unread(site: Site, snapshot: PatientSnapshot, read_at: datetime | None, as_of: datetime) -> bool:
    """Orders or counts were never read, or a site that reads every night has not read them lately."""
    if "unavailable" in (snapshot.state("counts"), snapshot.state("medications")) and not (
        snapshot.measurements.get("anc") and snapshot.medications
    ):
        return True
    reads = site.options.backend is not None and bool(site.fhir_server)
    return reads and read_at is not None and as_of - read_at > _STALE


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
    patient: Any,
    change: Change,
    finding: Finding | None,
    seen: Seen,
    at: datetime,
    by: str,
) -> None:
    """Write one change with its history and what is to be told to the EHR."""
    rank = SEVERITY_RANK[change.severity]
    says = _says(finding, seen) if finding is not None else {"summary": change.summary}
    if change.alert is None:
        created = connection.execute(
            insert(_alerts).values(
                patient=patient.id,
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
            by=by[:200],
            note=change.note,
        )
    )
    number = int(event.inserted_primary_key[0])  # type: ignore[index]
    outbox.tell(connection, site, alert, number, patient.patient_id, change, finding, at)
