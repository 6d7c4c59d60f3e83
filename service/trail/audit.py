"""The audit trail out: one FHIR AuditEvent per call (who, what, which kinds of data, what was found, how long), and its retention."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, and_, delete, func, select

from service.store.roster_tables import Alert, OutboxItem, Silence
from service.store.tables import CardFeedback, CardShown, HookCall, RegistryAct
from service.trail import acts, audit_event

_calls = HookCall.__table__  # type: ignore[attr-defined]
_cards = CardShown.__table__  # type: ignore[attr-defined]
_feedback = CardFeedback.__table__  # type: ignore[attr-defined]
_alerts = Alert.__table__  # type: ignore[attr-defined]
_items = OutboxItem.__table__  # type: ignore[attr-defined]
_acts: Any = RegistryAct.__table__  # type: ignore[attr-defined]
_silences = Silence.__table__  # type: ignore[attr-defined]
_EXECUTE = "E"


def event(row: Any) -> dict[str, Any]:
    """One call as an AuditEvent. It names no patient: a call is known by its hookInstance."""
    facts = {
        "hookInstance": row.hook_instance,
        "policy": row.policy,
        "milliseconds": f"{row.milliseconds:g}",
        **{f"resources.{key}": str(count) for key, count in sorted(row.resources.items())},
        **{f"ledger.{key.replace(' ', '-')}": str(count) for key, count in (row.ledger or {}).items()},
    }
    # Two findings may have one code: each is listed.
    details = [*facts.items(), *((f"finding.{code}", severity) for code, severity in row.findings)]
    who: dict[str, Any] = {"requestor": True, "who": {"identifier": {"value": row.site}}, "name": row.site}
    agents = [who]
    if row.user_reference:
        agents = [{**who, "requestor": False}, {"requestor": True, "who": {"reference": row.user_reference}}]
    return {
        "resourceType": "AuditEvent",
        "id": f"call-{row.id}",
        "type": audit_event.REST,
        "subtype": [{"system": "https://cds-hooks.hl7.org", "code": row.hook}],
        "action": _EXECUTE,
        "recorded": audit_event.recorded(row.at),
        **audit_event.outcome(row.status, "The call could not be judged"),
        "agent": agents,
        "source": {"observer": {"display": "clozapine-cds"}, "site": row.site},
        "entity": [
            {
                "what": {"display": row.service},
                "detail": [{"type": key, "valueString": value} for key, value in details if value],
            }
        ],
    }


def events(
    connection: Connection, since: datetime, until: datetime, site: str | None = None
) -> Iterator[bytes]:
    """NDJSON lines of the calls of a period, oldest first. Raises ValueError when one is not valid R4 (a fault of this service)."""
    statement = select(_calls)
    if site is not None:
        statement = statement.where(_calls.c.site == site)
    return audit_event.lines(connection, _calls, statement, since, until, event)


def registry_events(
    connection: Connection, since: datetime, until: datetime, site: str | None = None, patient_key: str = ""
) -> Iterator[bytes]:
    """The same of what was done in the registry: requests and commands, refused ones too; ``patient_key``: to one patient only.

    What was refused before it reached a site (a wrong token) belongs to none and is told where no site is asked for.
    """
    statement = select(_acts)
    if site is not None:
        statement = statement.where(_acts.c.site == site)
    if patient_key:
        statement = statement.where(_acts.c.patient_key == patient_key)
    return audit_event.lines(connection, _acts, statement, since, until, acts.event)


def prune(engine: Engine, now: datetime, keep_days: int) -> int:
    """Forget calls, cards, feedback and acts in the registry older than so many days, overrides that ended and webhooks told before; returns how many calls."""
    before = (now - timedelta(days=keep_days)).astimezone(UTC)
    with engine.begin() as connection:
        connection.execute(delete(_feedback).where(_feedback.c.received_at < before))
        connection.execute(delete(_silences).where(_silences.c.until < before))
        # What was told last of an alert that is not over is kept, so that it is not told once more.
        last = (
            select(func.max(_items.c.id))
            .join(_alerts, _alerts.c.id == _items.c.alert)
            .where(_items.c.channel == "webhook", _alerts.c.state != "resolved")
            .group_by(_items.c.alert)
        )
        told = and_(
            _items.c.channel == "webhook",
            _items.c.state == "sent",
            _items.c.sent_at < before,
            _items.c.id.not_in(last),
        )
        connection.execute(delete(_items).where(told))
        connection.execute(delete(_cards).where(_cards.c.at < before))
        connection.execute(delete(_acts).where(_acts.c.at < before))
        return int(connection.execute(delete(_calls).where(_calls.c.at < before)).rowcount)
