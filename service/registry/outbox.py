"""What leaves the registry: alerts as FHIR resources in the EHR, or as signed webhooks; each told exactly once.

An item is written in the transaction of the alert's change and sent later. It carries a key as ``identifier``; a FHIR server
is asked to create conditionally (``If-None-Exist``), a webhook's receiver gets the key in a header: a repetition after a
crash between sending and noting it changes nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import orjson
from sqlalchemy import Connection, Engine, Select, and_, insert, or_, select, update
from sqlalchemy.exc import SQLAlchemyError

from service.alerts.finding import Finding
from service.fhir import notices
from service.fhir.client import FetchFailed
from service.registry.patient_alerts import Change
from service.registry.roster_tables import Alert, OutboxItem, RegisteredPatient
from service.registry.watch import Watch

log = logging.getLogger("service.registry")
_items = OutboxItem.__table__  # type: ignore[attr-defined]
_alerts = Alert.__table__  # type: ignore[attr-defined]
_patients = RegisteredPatient.__table__  # type: ignore[attr-defined]
IDENTIFIER_SYSTEM = "https://clozapine-cds.example/alert"
#: Waiting time doubles from this on, up to a day; then the item is given up and shown in the metrics.
_FIRST_WAIT = timedelta(minutes=1)
_LONGEST_WAIT = timedelta(days=1)
_MOST_ATTEMPTS = 20
#: Changes of an alert after which its notice in the EHR says something else.
_CHANGING = frozenset({"raised", "lowered", "reopened"})
#: Gives the bearer token for the site's FHIR server.
TokenFor = Callable[[], Awaitable[str]]


def tell(
    connection: Connection,
    watch: Watch,
    alert: int,
    event: int,
    patient_id: str,
    change: Change,
    finding: Finding | None,
    at: datetime,
) -> None:
    """Queue what a change of an alert means outside. In shadow mode nothing new is told; what was told before is withdrawn all the same."""
    if change.what == "resolved":
        withdraw(connection, watch.site, alert, at)
    if change.code in watch.shadow_codes:
        return
    for channel in watch.channels:
        if channel == "webhook":
            told = notices.webhook(
                alert,
                event,
                watch.site,
                patient_id,
                change.what,
                change.code,
                change.severity,
                change.summary,
                at,
            )
            _put(connection, watch.site, alert, f"event-{event}", channel, "raise", told, at)
        elif change.what in ("opened", *_CHANGING) and finding is not None:
            try:
                payload = notices.resource(channel, finding, patient_id, str(uuid4()), IDENTIFIER_SYSTEM, at)
            except ValueError as error:  # a notice that cannot be built must not stop the sweep of the site
                log.error("%s: no %s for %s (%s)", watch.site, channel, change.code, type(error).__name__)
                continue
            if payload is None:
                continue
            if change.what == "opened":
                _put(connection, watch.site, alert, f"alert-{alert}-{channel}", channel, "raise", payload, at)
            elif _raised(connection, alert, channel) is not None:
                key = f"alert-{alert}-{channel}-{event}"
                _put(connection, watch.site, alert, key, channel, "change", notices.changed(payload), at)


def tell_closed(connection: Connection, watch: Watch, alert: int, event: int, at: datetime) -> None:
    """Tell the webhook that a person closed an alert."""
    row = connection.execute(
        select(_alerts, _patients.c.patient_id)
        .join(_patients, _patients.c.id == _alerts.c.patient)
        .where(_alerts.c.id == alert)
    ).one()
    if "webhook" in watch.channels and row.code not in watch.shadow_codes:
        told = notices.webhook(
            alert, event, watch.site, row.patient_id, "closed", row.code, row.severity, row.summary, at
        )
        _put(connection, watch.site, alert, f"event-{event}", "webhook", "raise", told, at)


def withdraw(connection: Connection, site: str, alert: int, at: datetime) -> None:
    """Queue the withdrawal of everything that was written into the EHR for an alert."""
    raised = connection.execute(
        select(_items.c.channel).where(
            _items.c.alert == alert, _items.c.action == "raise", _items.c.channel != "webhook"
        )
    ).scalars()
    for channel in raised.all():
        _put(connection, site, alert, f"alert-{alert}-{channel}-withdrawn", channel, "withdraw", {}, at)


def _put(
    connection: Connection,
    site: str,
    alert: int,
    key: str,
    channel: str,
    action: str,
    payload: dict[str, Any],
    at: datetime,
) -> None:
    connection.execute(
        insert(_items).values(
            alert=alert,
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


async def deliver(
    engine: Engine,
    watch: Watch,
    client: httpx.AsyncClient,
    now: datetime,
    *,
    token: TokenFor | None = None,
    webhook_secret: str = "",
    limit: int = 100,
) -> dict[str, int]:
    """Send what is due, one item per transaction; returns how many were ``sent``, put off (``later``) or given up (``dead``).

    The row stays locked while it is sent, so that no other replica sends it too. What concerns one alert is told in its order:
    nothing overtakes an earlier notice that waits. A receiver that cannot be reached is left alone until the next delivery.
    """
    done = {"sent": 0, "later": 0, "dead": 0}
    away: set[bool] = set()
    for _ in range(limit):
        with engine.begin() as connection:
            statement = _next(watch, now, away)
            if connection.dialect.name == "postgresql":
                statement = statement.with_for_update(skip_locked=True)
            item = connection.execute(statement).first()
            if item is None:
                break
            if (until := _held_until(connection, item, now)) is not None:
                connection.execute(
                    update(_items).where(_items.c.id == item.id).values(next_try_at=until.astimezone(UTC))
                )
                continue
            try:
                try:
                    location = await _send(connection, watch, client, item, token, webhook_secret)
                except _Refused:
                    raise
                except FetchFailed as error:
                    raise _Refused(str(error), away=True) from None
                except SQLAlchemyError:
                    raise
                except Exception as error:  # one item must not keep all that follow from being sent
                    raise _Refused(f"could not be sent ({type(error).__name__})") from None
                values: dict[str, Any] = {
                    "state": "sent",
                    "sent_at": now.astimezone(UTC),
                    "location": location,
                    "last_error": "",
                }
                done["sent"] += 1
            except _Refused as why:
                dead = item.attempts + 1 >= _MOST_ATTEMPTS or why.for_good
                wait = min(_FIRST_WAIT * 2 ** min(item.attempts, 12), _LONGEST_WAIT)
                values = {
                    "state": "dead" if dead else "waiting",
                    "next_try_at": (now + wait).astimezone(UTC),
                    "last_error": str(why)[:200],
                }
                done["dead" if dead else "later"] += 1
                if why.away:
                    away.add(item.channel == "webhook")
            connection.execute(
                update(_items).where(_items.c.id == item.id).values(attempts=item.attempts + 1, **values)
            )
    return done


def _next(watch: Watch, now: datetime, away: set[bool]) -> Select[Any]:
    """What is to be sent next: in shadow mode, or on a channel that was switched off, withdrawals alone."""
    new = _items.c.channel.in_(watch.channels)
    if watch.shadow_codes:
        quiet = select(_alerts.c.id).where(_alerts.c.code.in_(sorted(watch.shadow_codes)))
        new = and_(new, _items.c.alert.not_in(quiet))
    statement = (
        select(_items)
        .where(
            _items.c.site == watch.site,
            _items.c.state == "waiting",
            _items.c.next_try_at <= now.astimezone(UTC),
            or_(_items.c.action == "withdraw", new),
        )
        .order_by(_items.c.next_try_at, _items.c.id)
        .limit(1)
    )
    if True in away:
        statement = statement.where(_items.c.channel != "webhook")
    if False in away:
        statement = statement.where(_items.c.channel == "webhook")
    return statement


def _held_until(connection: Connection, item: Any, now: datetime) -> datetime | None:
    """When an item may go that must not overtake an earlier one of its alert; None = now."""
    earlier = connection.execute(
        select(_items.c.next_try_at).where(
            _items.c.alert == item.alert,
            _items.c.channel == item.channel,
            _items.c.state == "waiting",
            _items.c.id < item.id,
        )
    ).scalars()
    waits = [moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC) for moment in earlier]
    # One that is due is being sent by another replica, or is held back itself.
    return max(*waits, now + _FIRST_WAIT) if waits else None


class _Refused(Exception):
    """Not delivered; ``for_good`` when trying again cannot help, ``away`` when nobody answered at all."""

    def __init__(
        self, why: str, *, for_good: bool = False, away: bool = False, status: int | None = None
    ) -> None:
        super().__init__(why)
        self.status = status
        self.for_good = for_good
        self.away = away


async def _send(
    connection: Connection,
    watch: Watch,
    client: httpx.AsyncClient,
    item: Any,
    token: TokenFor | None,
    webhook_secret: str,
) -> str:
    if item.channel == "webhook":
        body = orjson.dumps(item.payload)
        signature = hmac.new(webhook_secret.encode(), body, hashlib.sha256).hexdigest()
        headers = {
            "Content-Type": "application/json",
            # A site's name may hold letters that no header takes.
            "Idempotency-Key": quote(item.key, safe=" "),
            "X-Clozapine-CDS-Signature": f"sha256={signature}",
        }
        await _ask(client, "POST", watch.webhook, headers, body)
        return ""
    if not watch.fhir_server:
        raise _Refused("the site has no fhir_servers any more", away=True)
    bearer = await token() if token is not None else ""
    headers = {"Content-Type": "application/fhir+json", "Accept": "application/fhir+json"}
    if bearer:
        headers["Authorization"] = f"Bearer {bearer}"
    base = watch.fhir_server.rstrip("/")
    if item.action == "raise":
        headers["If-None-Exist"] = f"identifier={_identifier(item.payload)}"
        answer = await _ask(client, "POST", f"{base}/{item.channel}", headers, orjson.dumps(item.payload))
        return _location(answer, item.channel)
    raised = _raised(connection, item.alert, item.channel)
    if raised is None:
        return ""
    if raised.state != "sent":  # given up; whoever sets both to waiting again has it told and changed
        raise _Refused("the notice it is about was given up", for_good=True)
    told = notices.ended(item.channel) if item.action == "withdraw" else item.payload
    return await _change(client, base, raised, headers, told)


def _raised(connection: Connection, alert: int, channel: str) -> Any:
    """The item by which an alert was told on a channel; None when it was not."""
    return connection.execute(
        select(_items).where(_items.c.alert == alert, _items.c.channel == channel, _items.c.action == "raise")
    ).first()


def _identifier(payload: dict[str, Any]) -> str:
    return f"{IDENTIFIER_SYSTEM}|{next(i['value'] for i in payload['identifier'])}"


async def _change(
    client: httpx.AsyncClient, base: str, raised: Any, headers: dict[str, str], told: dict[str, Any]
) -> str:
    """Change elements of a notice in the EHR, and leave alone what people made of it; returns where it is."""
    if not raised.location:  # the server did not tell where it put it
        url = f"{base}/{raised.channel}?identifier={quote(_identifier(raised.payload))}"
        await _ask(client, "PUT", url, headers, orjson.dumps(raised.payload | told))
        return ""
    url = f"{base}/{raised.location}"
    content = raised.payload | {"id": raised.location.rpartition("/")[2]}
    try:
        found = await _ask(client, "GET", url, {k: v for k, v in headers.items() if k != "Content-Type"})
    except _Refused as why:
        if why.status in (404, 410):
            return str(raised.location)  # somebody deleted it: it must not come back
        if why.status not in (401, 403, 405):  # with the right to write alone, it is written as it was
            raise
    else:
        content = _same(found, content)
        if found.headers.get("etag"):
            headers = headers | {"If-Match": found.headers["etag"]}
    if not notices.over(content):
        await _ask(client, "PUT", url, headers, orjson.dumps(content | told))
    return str(raised.location)


def _same(found: httpx.Response, known: dict[str, Any]) -> dict[str, Any]:
    """The resource as the EHR holds it now; as it was told when the answer is something else."""
    try:
        content = orjson.loads(found.content)
    except orjson.JSONDecodeError:
        return known
    same = isinstance(content, dict) and content.get("resourceType") == known["resourceType"]
    return content if same else known


def _location(answer: httpx.Response, channel: str) -> str:
    """``Type/id`` of what was created (or was there already)."""
    header = answer.headers.get("location", "")
    parts = header.split("/")
    if channel in parts and len(parts) > parts.index(channel) + 1:
        return f"{channel}/{parts[parts.index(channel) + 1]}"
    try:
        identifier = orjson.loads(answer.content).get("id", "")
    except (orjson.JSONDecodeError, AttributeError):
        identifier = ""
    return f"{channel}/{identifier}" if identifier else ""


async def _ask(
    client: httpx.AsyncClient, method: str, url: str, headers: dict[str, str], body: bytes | None = None
) -> httpx.Response:
    try:
        answer = await client.request(method, url, headers=headers, content=body)
    except httpx.HTTPError as error:
        raise _Refused(f"could not be reached ({type(error).__name__})", away=True) from None
    if answer.is_success:
        return answer
    # A server that understood and refused will refuse again; overload and faults pass.
    raise _Refused(
        f"answered {answer.status_code}",
        status=answer.status_code,
        for_good=400 <= answer.status_code < 500
        and answer.status_code not in (401, 403, 408, 409, 412, 423, 425, 429),
    )
