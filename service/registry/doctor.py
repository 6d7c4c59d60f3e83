"""``registry doctor``: what in the registry contradicts itself. It reads only; each fault has a name, whom it concerns and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, Row, select

from service.alerts.case import remembered
from service.alerts.facts.patient import PatientSnapshot
from service.alerts.say.finding_codes import finding_codes
from service.alerts.say.silence import must_stop
from service.options.site import Site
from service.registry import attention
from service.registry.roster import case_of, read_last
from service.store.roster_tables import Alert, AlertEvent, OutboxItem, RegisteredPatient, SweepRun
from service.store.times import aware

_patients = RegisteredPatient.__table__  # type: ignore[attr-defined]
_alerts = Alert.__table__  # type: ignore[attr-defined]
_events = AlertEvent.__table__  # type: ignore[attr-defined]
_items = OutboxItem.__table__  # type: ignore[attr-defined]
_runs = SweepRun.__table__  # type: ignore[attr-defined]
_WATCHED = ("on", "stopped")
#: A moment that has come is acted on by the next delivery; longer than this it was not.
_LATE = timedelta(hours=1)
_BATCH = 200

#: name -> what it means and what to do.
FAULTS = {
    "alert-of-unwatched": "An alert is open of a patient nobody watches: enrol the patient, or unenrol again.",
    "alert-of-another-site": "An alert names another site than its patient: it is on the wrong list.",
    "alert-without-history": "An alert has no event: it was written by something else than this service.",
    "alert-without-notice": "An open alert was never told on a channel that is switched on: sweep again.",
    "attention-too-low": "A patient who must stop is not at the top of the list: sweep again.",
    "attention-too-high": "A patient stands at the top of the list without an open alert: sweep again.",
    "closed-though-stop": "An alert at which clozapine must stop is closed: sweep again, it opens.",
    "due-date-missing": "A patient on clozapine has no date for the next count: sweep again.",
    "facts-of-another": "The facts of a patient name another patient: delete the patient and read anew.",
    "facts-unreadable": "What is kept of a patient cannot be read: the next reading replaces it.",
    "hand-of-nobody": "An alert is in hand without a name or an end: take it in hand anew.",
    "hand-overrun": "An alert is still in hand though the time is over: is the scheduler running?",
    "history-broken": "The events of an alert do not begin with its opening, or go on after its end.",
    "history-disagrees": "The last event of an alert says something else than its state.",
    "last-count-disagrees": "The list shows another last count than the facts: sweep again.",
    "never-evaluated": "A watched patient was not evaluated lately: is the sweep running?",
    "notice-left-behind": "A notice stands in the EHR for an alert that is over: deliver, or withdraw it by hand.",
    "notice-stuck": "A notice was given up, or waits for days: see last_error in the outbox.",
    "patient-unread": "The record of a watched patient was not read lately: read again.",
    "result-of-two": "One result belongs to two patients: read both anew.",
    "start-after-counts": "Treatment is said to begin after the first count under it: correct the start.",
    "sweep-unfinished": "A sweep was begun and not finished: run it again with the same --planned-for.",
}  # fmt: skip


class Fault(Struct, frozen=True, order=True):
    """One contradiction: its name (:data:`FAULTS`), the patient or the run, and what was seen."""

    name: str
    subject: str
    seen: str = ""


def examine(connection: Connection, site: Site, now: datetime, days: int = 3) -> list[Fault]:
    """Everything in the registry of a site that contradicts itself.

    Args:
        connection: database.
        site: the site.
        now: the moment.
        days: a patient unread, or not evaluated, for longer is a fault; a notice that waits for longer, too.
    """
    limit = timedelta(days=days)
    found = [
        *_of_alerts(connection, site, now),
        *_of_notices(connection, site, now, limit),
        *_of_patients(connection, site, now, limit),
        *_of_runs(connection, site, now),
    ]
    return sorted(set(found))


def _of_alerts(connection: Connection, site: Site, now: datetime) -> Iterator[Fault]:
    rows = connection.execute(
        select(
            _alerts,
            _patients.c.patient_id,
            _patients.c.site.label("home"),
            _patients.c.state.label("watched"),
        )
        .join(_patients, _patients.c.id == _alerts.c.patient)
        .where(_patients.c.site == site.name)
    ).all()
    events: dict[int, list[str]] = {}
    for event in connection.execute(
        select(_events.c.alert, _events.c.what)
        .join(_alerts, _alerts.c.id == _events.c.alert)
        .join(_patients, _patients.c.id == _alerts.c.patient)
        .where(_patients.c.site == site.name)
        .order_by(_events.c.id)
    ):
        events.setdefault(event.alert, []).append(event.what)
    for row in rows:
        for name in _wrong_with(row, events.get(row.id, []), now):
            yield Fault(name, row.patient_id, f"alert {row.id}, {row.code}")


def _wrong_with(row: Row[Any], events: list[str], now: datetime) -> Iterator[str]:
    live = row.state != "resolved"
    if live and row.watched not in _WATCHED:
        yield "alert-of-unwatched"
    if row.site != row.home:
        yield "alert-of-another-site"
    if row.state == "closed" and must_stop(row.code, row.severity):
        yield "closed-though-stop"
    if row.state == "in-hand":
        until = aware(row.hand_until)
        if until is None or not row.hand_by:
            yield "hand-of-nobody"
        elif now - until > _LATE:
            yield "hand-overrun"
    if not events:
        yield "alert-without-history"
        return
    if events[0] != "opened" or "resolved" in events[:-1] or "opened" in events[1:]:
        yield "history-broken"
    if (events[-1] == "resolved") == live or (row.state == "closed") != _is_closed(events):
        yield "history-disagrees"


def _is_closed(events: list[str]) -> bool:
    """Closed, and since then nothing that opens it: lowering leaves it closed."""
    closed = False
    for what in events:
        closed = what == "closed" or (closed and what in ("lowered", "due-again"))
    return closed


def _of_notices(connection: Connection, site: Site, now: datetime, limit: timedelta) -> Iterator[Fault]:
    told: dict[int, dict[str, list[Any]]] = {}
    for item in connection.execute(
        select(_items.c.alert, _items.c.channel, _items.c.action, _items.c.state, _items.c.next_try_at)
        .where(_items.c.site == site.name, _items.c.state != "dropped")
        .order_by(_items.c.id)
    ):
        told.setdefault(item.alert, {}).setdefault(item.channel, []).append(item)
    alerts = connection.execute(
        select(
            _alerts.c.id,
            _alerts.c.code,
            _alerts.c.state,
            _patients.c.patient_id,
            _patients.c.state.label("watched"),
        )
        .join(_patients, _patients.c.id == _alerts.c.patient)
        .where(_alerts.c.site == site.name)
    ).all()
    for alert in alerts:
        own, where = told.get(alert.id, {}), f"alert {alert.id}, {alert.code}"
        if alert.state in ("open", "in-hand") and alert.watched in _WATCHED:
            for channel in site.channels:
                if channel not in own and _is_told(site, channel, alert.code):
                    yield Fault("alert-without-notice", alert.patient_id, f"{where}, {channel}")
        for name, items in own.items():
            over = alert.state in ("resolved", "closed")
            if over and name != "webhook" and items[-1].action != "withdraw":
                yield Fault("notice-left-behind", alert.patient_id, f"{where}, {name}")
            if any(_is_stuck(item, now, limit) for item in items):
                yield Fault("notice-stuck", alert.patient_id, f"{where}, {name}")


def _is_stuck(item: Any, now: datetime, limit: timedelta) -> bool:
    due = aware(item.next_try_at)
    return item.state == "dead" or (item.state == "waiting" and due is not None and now - due > limit)


def _is_told(site: Site, channel: str, code: str) -> bool:
    if code in site.options.shadow_codes:
        return False
    entry = finding_codes().get(code)
    return channel not in ("Task", "Flag") or (entry is not None and channel in entry.told_as)


def _of_patients(connection: Connection, site: Site, now: datetime, limit: timedelta) -> Iterator[Fault]:
    stops: dict[int, int] = {}
    grave: set[int] = set()
    for alert in connection.execute(
        select(_alerts.c.patient, _alerts.c.code, _alerts.c.severity, _alerts.c.state).where(
            _alerts.c.site == site.name, _alerts.c.state.in_(("open", "in-hand"))
        )
    ):
        if alert.state == "open" and must_stop(alert.code, alert.severity):
            stops[alert.patient] = stops.get(alert.patient, 0) + 1
        if alert.severity == "critical":
            grave.add(alert.patient)
    owners: dict[str, str] = {}
    last = 0
    while True:
        rows = connection.execute(
            select(_patients)
            .where(_patients.c.site == site.name, _patients.c.id > last, _patients.c.state.in_(_WATCHED))
            .order_by(_patients.c.id)
            .limit(_BATCH)
        ).all()
        if not rows:
            return
        last = rows[-1].id
        for row in rows:
            yield from _of_patient(connection, site, row, now, limit, owners)
            if row.id in stops and row.attention > attention.STOP:
                yield Fault("attention-too-low", row.patient_id, attention.WORDS.get(row.attention, ""))
            if row.attention in (attention.STOP, attention.ACT) and row.id not in grave:
                yield Fault("attention-too-high", row.patient_id, attention.WORDS[row.attention])


def _of_patient(
    connection: Connection, site: Site, row: Row[Any], now: datetime, limit: timedelta, owners: dict[str, str]
) -> Iterator[Fault]:
    read, swept = read_last(row), aware(row.swept_at)
    if read is not None and now - read > limit:
        yield Fault("patient-unread", row.patient_id, f"last read {read:%Y-%m-%d}")
    if swept is None or now - swept > limit:
        yield Fault("never-evaluated", row.patient_id)
    if row.state == "on" and row.next_due is None:
        yield Fault("due-date-missing", row.patient_id)
    try:
        facts = remembered.load(row.facts)
        newest = case_of(connection, row.id, facts, site.policy, now).anc.newest
    except msgspec.ValidationError:
        yield Fault("facts-unreadable", row.patient_id)
        return
    if facts.patient_id != row.patient_id:
        yield Fault("facts-of-another", row.patient_id)
    if (newest.value if newest is not None else None) != row.last_anc:
        yield Fault("last-count-disagrees", row.patient_id, f"list {row.last_anc}")
    first = _first_regular(facts, row)
    if first:
        yield Fault("start-after-counts", row.patient_id, f"start {row.course_start}, count {first}")
    for kind in ("anc", "wbc"):
        for m in facts.measurements.get(kind, ()):
            if "/" not in m.ref:
                continue
            other = owners.setdefault(m.ref, row.patient_id)
            if other != row.patient_id:
                yield Fault("result-of-two", row.patient_id, m.ref)


def _first_regular(facts: PatientSnapshot, row: Row[Any]) -> str:
    """The day of the first of several regular counts that lie before the start: they were taken under treatment."""
    if row.course_start is None:
        return ""
    days = sorted(facts.day(m.at) for m in facts.measurements.get("anc", ()) if m.at is not None)
    before = [day for day in days if day < row.course_start]
    weekly = sum(timedelta(days=5) <= b - a <= timedelta(days=9) for a, b in pairwise(before))
    return before[0].isoformat() if weekly >= _REGULAR else ""


#: So many weekly steps before the start are no baseline.
_REGULAR = 4


def _of_runs(connection: Connection, site: Site, now: datetime) -> Iterator[Fault]:
    for run in connection.execute(
        select(_runs.c.id, _runs.c.planned_for).where(
            _runs.c.site == site.name, _runs.c.finished_at.is_(None)
        )
    ):
        planned = aware(run.planned_for)
        if planned is not None and now - planned > timedelta(days=1):
            yield Fault("sweep-unfinished", f"run {run.id}", planned.astimezone(UTC).isoformat())
