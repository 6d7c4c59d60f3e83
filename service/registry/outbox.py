"""What is to leave the registry: alerts as FHIR resources for the EHR, or as events for a webhook; each told exactly once.

An item is written in the transaction of the alert's change and sent later (``delivery``); what was not told while a site was in shadow
mode, or a channel off, is told with the next evaluation (:func:`tell_what_is_open`). It carries a key as ``identifier``.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from msgspec import Struct
from sqlalchemy import ColumnElement, Connection, and_, insert, select, update

from service.alerts.say.finding import Finding
from service.fhir import notices
from service.options.site import Site
from service.registry.patient_alerts import Change
from service.store.roster_tables import Alert, AlertEvent, OutboxItem, RegisteredPatient

log = logging.getLogger("service.registry")
_items = OutboxItem.__table__  # type: ignore[attr-defined]
_alerts = Alert.__table__  # type: ignore[attr-defined]
_events = AlertEvent.__table__  # type: ignore[attr-defined]
_patients = RegisteredPatient.__table__  # type: ignore[attr-defined]
IDENTIFIER_SYSTEM = "https://clozapine-cds.example/alert"
#: Changes of an alert after which its notice in the EHR says something else.
_CHANGING = frozenset({"raised", "lowered", "rewritten", "reopened"})
#: Those after which a notice that was completed or deleted is written anew: there is more to do than was done.
_RENEWING = frozenset({"raised", "rewritten", "reopened"})
#: Events that a notice in the EHR tells; a webhook is told of every one.
_NOTICED = frozenset({"opened", *_CHANGING})


class Told(Struct, frozen=True):
    """An alert that is not over, with the finding it stands for."""

    alert: int
    patient_id: str
    finding: Finding


def tell(
    connection: Connection,
    site: Site,
    alert: int,
    event: int,
    patient_id: str,
    change: Change,
    finding: Finding | None,
    at: datetime,
) -> None:
    """Queue what a change of an alert means outside. In shadow mode nothing new is told; what was told before is withdrawn all the same."""
    if change.what == "resolved":
        withdraw(connection, site.name, alert, event, at)
        if "webhook" not in site.channels or change.code in site.options.shadow_codes:
            _drop(connection, alert, _items.c.channel == "webhook")  # nobody would hear how it ended
    if change.code in site.options.shadow_codes:
        return
    for channel in site.channels:
        if channel == "webhook":
            said = (change.what, change.code, change.severity, change.summary)
            _say(connection, site, alert, event, patient_id, said, at)
        elif change.what in _NOTICED and finding is not None:
            known = change.what != "opened" and raised(connection, alert, channel) is not None
            _notify(
                connection, site, channel, alert, event, patient_id, change.what, finding, at, known=known
            )


def tell_what_is_open(connection: Connection, site: Site, alerts: Sequence[Told], at: datetime) -> None:
    """Queue what of alerts that are not over was never told on a channel, or was told as it no longer is.

    That is so after shadow mode, and when a channel is switched on: every alert is told once, with what holds now.
    """
    alerts = [a for a in alerts if a.finding.code not in site.options.shadow_codes]
    if not alerts or not site.channels:
        return
    ids = [a.alert for a in alerts]
    happened: dict[int, list[tuple[int, str]]] = {}
    for row in connection.execute(
        select(_events.c.alert, _events.c.id, _events.c.what)
        .where(_events.c.alert.in_(ids))
        .order_by(_events.c.id)
    ):
        happened.setdefault(row.alert, []).append((row.id, row.what))
    told: dict[tuple[int, str], int] = {}
    for row in connection.execute(
        select(_items.c.alert, _items.c.channel, _items.c.key, _items.c.event).where(
            _items.c.alert.in_(ids), _items.c.action != "withdraw", _items.c.state != "dropped"
        )
    ):
        key = (row.alert, row.channel)
        told[key] = max(told.get(key, 0), _event_of(row))
    for a in alerts:
        for channel in site.channels:
            events = [e for e in happened[a.alert] if channel == "webhook" or e[1] in _NOTICED]
            last = told.get((a.alert, channel))
            if last is not None and events[-1][0] <= max(last, events[0][0]):
                continue
            event, what = events[-1][0], "opened" if last is None else events[-1][1]
            if channel == "webhook":
                said = (what, a.finding.code, a.finding.severity, a.finding.summary)
                _say(connection, site, a.alert, event, a.patient_id, said, at)
            else:
                known = last is not None
                _notify(
                    connection, site, channel, a.alert, event, a.patient_id, what, a.finding, at, known=known
                )


def _event_of(item: Any) -> int:
    """The event that an item tells; an older version wrote it into the key alone, and not at all when it told an alert's opening."""
    if item.event is not None:
        return int(item.event)
    last = item.key.rpartition("-")[2]
    return int(last) if last.isdecimal() else 0


def tell_act(connection: Connection, site: Site, alert: int, event: int, what: str, at: datetime) -> None:
    """Tell the webhook what a person, or the clock, did to an alert; closing it withdraws what was written into the EHR."""
    row = connection.execute(
        select(_alerts, _patients.c.patient_id)
        .join(_patients, _patients.c.id == _alerts.c.patient)
        .where(_alerts.c.id == alert)
    ).one()
    if what in ("closed", "resolved"):
        withdraw(connection, site.name, alert, event, at)
    if "webhook" in site.channels and row.code not in site.options.shadow_codes:
        said = (what, row.code, row.severity, row.summary)
        _say(connection, site, alert, event, row.patient_id, said, at)


def tell_closed(connection: Connection, site: Site, alert: int, event: int, at: datetime) -> None:
    """A person closed an alert."""
    tell_act(connection, site, alert, event, "closed", at)


def withdraw(connection: Connection, site: str, alert: int, event: int, at: datetime) -> None:
    """Queue the withdrawal of everything that was written into the EHR for an alert; what still waits is not written at all."""
    _drop(connection, alert, and_(_items.c.channel != "webhook", _items.c.action != "withdraw"))
    rows = connection.execute(
        select(_items.c.channel, _items.c.action)
        .where(_items.c.alert == alert, _items.c.channel != "webhook")
        .order_by(_items.c.id)
    ).all()
    newest = {row.channel: row.action for row in rows}
    for channel in dict.fromkeys(row.channel for row in rows if row.action == "raise"):
        if newest[channel] != "withdraw":
            key = f"alert-{alert}-{channel}-withdrawn-{event}"
            _put(connection, site, alert, event, key, channel, "withdraw", {}, at)


def _drop(connection: Connection, alert: int, which: ColumnElement[bool]) -> None:
    connection.execute(
        update(_items)
        .where(_items.c.alert == alert, _items.c.state == "waiting", which)
        .values(state="dropped")
    )


def _say(
    connection: Connection,
    site: Site,
    alert: int,
    event: int,
    patient_id: str,
    said: tuple[str, str, str, str],
    at: datetime,
) -> None:
    """Queue an event for the webhook; ``said``: what happened, code, severity, summary."""
    payload = notices.webhook(alert, event, site.name, patient_id, *said, at)
    _put(connection, site.name, alert, event, f"event-{event}", "webhook", "raise", payload, at)


def _notify(
    connection: Connection,
    site: Site,
    channel: str,
    alert: int,
    event: int,
    patient_id: str,
    what: str,
    finding: Finding,
    at: datetime,
    *,
    known: bool,
) -> None:
    """Queue a notice for the EHR, or what is to be changed on the one that it has (``known``)."""
    try:
        payload = notices.resource(
            channel, finding, patient_id, str(uuid4()), IDENTIFIER_SYSTEM, site.links.finding_system, at
        )
    except ValueError as error:  # a notice that cannot be built must not stop the sweep of the site
        log.error("%s: no %s for %s (%s)", site.name, channel, finding.code, type(error).__name__)
        return
    if payload is None:
        return
    key = f"alert-{alert}-{channel}-{event}"
    if not known:
        _put(connection, site.name, alert, event, key, channel, "raise", payload, at)
        return
    # Whole where it may have to be written anew, else the elements alone that follow the finding.
    told = payload if what in _RENEWING else notices.changed(payload)
    _put(connection, site.name, alert, event, key, channel, "change", told, at)


def _put(
    connection: Connection,
    site: str,
    alert: int,
    event: int,
    key: str,
    channel: str,
    action: str,
    payload: dict[str, Any],
    at: datetime,
) -> None:
    connection.execute(
        insert(_items).values(
            alert=alert,
            event=event,
            site=site,
            key=f"{site[:40]}-{key}",
            channel=channel,
            action=action,
            payload=payload,
            state="waiting",
            attempts=0,
            next_try_at=at.astimezone(UTC),
            last_error="",
            location="",
        )
    )


def merged(connection: Connection, patient: int, into: str) -> None:
    """What waits for alerts of a patient (row id) is told of the record that this one was merged into (FHIR id)."""
    own = select(_alerts.c.id).where(_alerts.c.patient == patient)
    waiting = (
        select(_items.c.id, _items.c.payload)
        .where(_items.c.alert.in_(own), _items.c.state.in_(("waiting", "dead")))
        .with_for_update()  # one that is being sent is waited for
    )
    for row in connection.execute(waiting).all():
        connection.execute(
            update(_items).where(_items.c.id == row.id).values(payload=notices.renamed(row.payload, into))
        )


def raised(connection: Connection, alert: int, channel: str, before: int | None = None) -> Any:
    """The item by which an alert was told last on a channel (before an item); None when it was not."""
    statement = select(_items).where(
        _items.c.alert == alert,
        _items.c.channel == channel,
        _items.c.action == "raise",
        _items.c.state != "dropped",
    )
    if before is not None:
        statement = statement.where(_items.c.id < before)
    return connection.execute(statement.order_by(_items.c.id.desc()).limit(1)).first()
