"""What leaves the registry: alerts as FHIR resources in the EHR, or as signed webhooks; each told exactly once.

An item is written in the transaction of the alert's change and sent later. It carries a key as ``identifier``; a FHIR server
is asked to create conditionally (``If-None-Exist``), a webhook's receiver gets the key in a header: a repetition after a
crash between sending and noting it changes nothing.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import orjson
from sqlalchemy import Connection, Engine, insert, select, update

from service.alerts.finding import Finding
from service.fhir import notices
from service.registry.patient_alerts import Change
from service.registry.roster_tables import OutboxItem
from service.registry.watch import Watch

_items = OutboxItem.__table__  # type: ignore[attr-defined]
IDENTIFIER_SYSTEM = "https://clozapine-cds.example/alert"
#: Waiting time doubles from this on, up to a day; then the item is given up and shown in the metrics.
_FIRST_WAIT = timedelta(minutes=1)
_LONGEST_WAIT = timedelta(days=1)
_MOST_ATTEMPTS = 20
_RAISING = frozenset({"opened", "raised", "reopened", "due-again"})
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
    """Queue what a change of an alert means outside."""
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
            _put(connection, watch, alert, f"event-{event}", channel, "raise", told, at)
        elif change.what == "opened" and finding is not None:
            payload = notices.resource(channel, finding, patient_id, str(uuid4()), IDENTIFIER_SYSTEM, at)
            if payload is not None:
                _put(connection, watch, alert, f"alert-{alert}-{channel}", channel, "raise", payload, at)
        elif change.what == "resolved":
            raised = connection.execute(
                select(_items.c.id).where(
                    _items.c.alert == alert, _items.c.channel == channel, _items.c.action == "raise"
                )
            ).first()
            if raised is not None:
                _put(
                    connection,
                    watch,
                    alert,
                    f"alert-{alert}-{channel}-withdrawn",
                    channel,
                    "withdraw",
                    {},
                    at,
                )


def _put(
    connection: Connection,
    watch: Watch,
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
            site=watch.site,
            key=f"{watch.site[:40]}-{key}",
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

    The row stays locked while it is sent, so that no other replica sends it too.
    """
    done = {"sent": 0, "later": 0, "dead": 0}
    for _ in range(limit):
        with engine.begin() as connection:
            statement = (
                select(_items)
                .where(
                    _items.c.site == watch.site,
                    _items.c.state == "waiting",
                    _items.c.next_try_at <= now.astimezone(UTC),
                )
                .order_by(_items.c.next_try_at, _items.c.id)
                .limit(1)
            )
            if connection.dialect.name == "postgresql":
                statement = statement.with_for_update(skip_locked=True)
            item = connection.execute(statement).first()
            if item is None:
                break
            try:
                location = await _send(connection, watch, client, item, token, webhook_secret)
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
            connection.execute(
                update(_items).where(_items.c.id == item.id).values(attempts=item.attempts + 1, **values)
            )
    return done


class _Refused(Exception):
    """Not delivered; ``for_good`` when trying again cannot help."""

    def __init__(self, why: str, *, for_good: bool = False) -> None:
        super().__init__(why)
        self.for_good = for_good


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
            "Idempotency-Key": item.key,
            "X-Clozapine-CDS-Signature": f"sha256={signature}",
        }
        await _ask(client, "POST", watch.webhook, headers, body)
        return ""
    bearer = await token() if token is not None else ""
    headers = {"Content-Type": "application/fhir+json", "Accept": "application/fhir+json"}
    if bearer:
        headers["Authorization"] = f"Bearer {bearer}"
    base = watch.fhir_server.rstrip("/")
    if item.action == "raise":
        key = next(i["value"] for i in item.payload["identifier"])
        headers["If-None-Exist"] = f"identifier={IDENTIFIER_SYSTEM}|{key}"
        answer = await _ask(client, "POST", f"{base}/{item.channel}", headers, orjson.dumps(item.payload))
        return _location(answer, item.channel)
    raised = connection.execute(
        select(_items).where(
            _items.c.alert == item.alert, _items.c.channel == item.channel, _items.c.action == "raise"
        )
    ).first()
    if raised is None or raised.state == "dead":
        return ""  # it never arrived: nothing to withdraw
    if raised.state != "sent" or not raised.location:
        raise _Refused("what is to be withdrawn has not arrived yet")
    headers.pop("If-None-Exist", None)
    content = notices.withdrawn(raised.payload) | {"id": raised.location.rpartition("/")[2]}
    await _ask(client, "PUT", f"{base}/{raised.location}", headers, orjson.dumps(content))
    return str(raised.location)


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
    client: httpx.AsyncClient, method: str, url: str, headers: dict[str, str], body: bytes
) -> httpx.Response:
    try:
        answer = await client.request(method, url, headers=headers, content=body)
    except httpx.HTTPError as error:
        raise _Refused(f"could not be reached ({type(error).__name__})") from None
    if answer.is_success:
        return answer
    # A server that understood and refused will refuse again; overload and faults pass.
    raise _Refused(
        f"answered {answer.status_code}",
        for_good=400 <= answer.status_code < 500
        and answer.status_code not in (401, 403, 408, 409, 412, 423, 425, 429),
    )
