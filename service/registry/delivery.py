"""Sending what waits in the outbox: to the EHR as FHIR resources, or to a webhook; put off when it cannot be reached, given up in the end.

A FHIR server is asked to create conditionally (``If-None-Exist``), a webhook's receiver gets the item's key in a header: a repetition
after a crash between sending and noting it changes nothing.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx
import orjson
from sqlalchemy import Connection, Engine, Select, and_, or_, select, update
from sqlalchemy.exc import SQLAlchemyError

from service.fhir import notices
from service.fhir.bounded import Answer, BodyRefused, ask
from service.fhir.client import FetchFailed
from service.fhir.references import is_id
from service.options.site import Site
from service.registry.outbox import IDENTIFIER_SYSTEM, raised
from service.store.roster_tables import Alert, OutboxItem

_items = OutboxItem.__table__  # type: ignore[attr-defined]
_alerts = Alert.__table__  # type: ignore[attr-defined]
#: Waiting time doubles from this on, up to a day; then the item is given up and shown in the metrics.
_FIRST_WAIT = timedelta(minutes=1)
_LONGEST_WAIT = timedelta(days=1)
_MOST_ATTEMPTS = 20
_GIVEN_UP = "the notice it is about was given up"
#: Gives the bearer token for the site's FHIR server.
TokenFor = Callable[[], Awaitable[str]]


async def deliver(
    engine: Engine,
    site: Site,
    client: httpx.AsyncClient,
    now: datetime,
    *,
    token: TokenFor | None = None,
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
            statement = _next(site, now, away)
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
                    action, location = await _send(connection, site, client, item, token)
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
                    "action": action,
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


def _next(site: Site, now: datetime, away: set[bool]) -> Select[Any]:
    """What is to be sent next: in shadow mode, or on a channel that was switched off, withdrawals alone."""
    new = _items.c.channel.in_(site.channels)
    if site.options.shadow_codes:
        quiet = select(_alerts.c.id).where(_alerts.c.code.in_(sorted(site.options.shadow_codes)))
        new = and_(new, _items.c.alert.not_in(quiet))
    statement = (
        select(_items)
        .where(
            _items.c.site == site.name,
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
    site: Site,
    client: httpx.AsyncClient,
    item: Any,
    token: TokenFor | None,
) -> tuple[str, str]:
    """Send one item; returns what was done (a change may have become a new notice) and where that is."""
    if item.channel == "webhook":
        body = orjson.dumps(item.payload)
        secret = site.options.webhook_secret.get_secret_value()
        signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        headers = {
            "Content-Type": "application/json",
            # A site's name may hold letters that no header takes.
            "Idempotency-Key": quote(item.key, safe=" "),
            "X-Clozapine-CDS-Signature": f"sha256={signature}",
        }
        await _ask(client, "POST", site.options.webhook, headers, body)
        return item.action, ""
    if not site.fhir_server:
        raise _Refused("the site has no fhir_servers any more", away=True)
    bearer = await token() if token is not None else ""
    headers = {"Content-Type": "application/fhir+json", "Accept": "application/fhir+json"}
    if bearer:
        headers["Authorization"] = f"Bearer {bearer}"
    base = site.fhir_server.rstrip("/")
    if item.action == "raise":
        return "raise", await _create(client, base, item, headers)
    if item.action == "withdraw":
        return "withdraw", await _withdraw(connection, client, base, item, headers)
    last = raised(connection, item.alert, item.channel, before=item.id)
    if last is None:
        return "change", ""
    whole = "resourceType" in item.payload
    if last.state == "sent":
        there, location = await _change(client, base, last, headers, notices.changed(item.payload))
        if there or not whole:
            return "change", location
    elif not whole:  # given up; whoever sets both to waiting again has it told and changed
        raise _Refused(_GIVEN_UP, for_good=True)
    return "raise", await _create(client, base, item, headers)


async def _withdraw(
    connection: Connection, client: httpx.AsyncClient, base: str, item: Any, headers: dict[str, str]
) -> str:
    """End every notice that was written for an alert on a channel; returns where the last one is."""
    rows = connection.execute(
        select(_items)
        .where(_items.c.alert == item.alert, _items.c.channel == item.channel, _items.c.id < item.id)
        .order_by(_items.c.id)
    ).all()
    location = ""
    for row in rows:
        if row.state == "dropped" and "resourceType" in row.payload:
            # It may have been written all the same, when the process died between sending and noting it.
            await _end_if_there(client, base, row, headers)
        elif row.action == "raise" and row.state == "sent":
            _, location = await _change(client, base, row, headers, notices.ended(item.channel))
    if any(row.action == "raise" and row.state not in ("sent", "dropped") for row in rows):
        raise _Refused(
            _GIVEN_UP, for_good=True
        )  # whoever sets both to waiting again has it told and withdrawn
    return location


async def _create(client: httpx.AsyncClient, base: str, item: Any, headers: dict[str, str]) -> str:
    """Create a notice, unless the EHR has it from an attempt whose answer was lost; returns where it is."""
    conditional = headers | {"If-None-Exist": f"identifier={_identifier(item.payload)}"}
    answer = await _ask(client, "POST", f"{base}/{item.channel}", conditional, orjson.dumps(item.payload))
    return _location(answer, item.channel)


async def _end_if_there(client: httpx.AsyncClient, base: str, item: Any, headers: dict[str, str]) -> None:
    asking = {k: v for k, v in headers.items() if k != "Content-Type"} | {"Cache-Control": "no-cache"}
    url = f"{base}/{item.channel}?identifier={quote(_identifier(item.payload))}"
    try:
        answer = await _ask(client, "GET", url, asking)
    except _Refused as why:
        if why.status in (
            400,
            403,
            404,
            405,
        ):  # a server that lets nobody look: then the notice is taken for not written
            return
        raise
    for found in _entries(answer):
        if _is_it(found, item.payload) and not notices.over(found):
            ended = orjson.dumps(found | notices.ended(item.channel))
            await _ask(client, "PUT", f"{base}/{item.channel}/{quote(found['id'], safe='')}", headers, ended)


def _is_it(found: dict[str, Any], payload: dict[str, Any]) -> bool:
    """True for the resource that was made of a payload: a server may have searched for less than it was asked."""
    own = {(i["system"], i["value"]) for i in payload["identifier"]}
    identifiers = found.get("identifier")
    has = (
        {(i.get("system"), i.get("value")) for i in identifiers if isinstance(i, dict)}
        if isinstance(identifiers, list)
        else set()
    )
    return isinstance(found.get("id"), str) and is_id(found["id"]) and not own.isdisjoint(has)


def _entries(answer: Answer) -> list[dict[str, Any]]:
    try:
        content = orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        return []
    entries = content.get("entry") if isinstance(content, dict) else None
    found = [e.get("resource") for e in entries if isinstance(e, dict)] if isinstance(entries, list) else []
    return [r for r in found if isinstance(r, dict)]


def _identifier(payload: dict[str, Any]) -> str:
    return f"{IDENTIFIER_SYSTEM}|{next(i['value'] for i in payload['identifier'])}"


async def _change(
    client: httpx.AsyncClient, base: str, raised: Any, headers: dict[str, str], told: dict[str, Any]
) -> tuple[bool, str]:
    """Change elements of a notice in the EHR, and leave alone what people made of it.

    Returns whether it is there and not over, and where.
    """
    if not raised.location:  # the server did not tell where it put it
        url = f"{base}/{raised.channel}?identifier={quote(_identifier(raised.payload))}"
        await _ask(client, "PUT", url, headers, orjson.dumps(raised.payload | told))
        return True, ""
    url = f"{base}/{raised.location}"
    content = raised.payload | {"id": raised.location.rpartition("/")[2]}
    try:
        found = await _ask(client, "GET", url, {k: v for k, v in headers.items() if k != "Content-Type"})
    except _Refused as why:
        if why.status in (404, 410):
            return False, str(raised.location)  # somebody deleted it: a mere change must not bring it back
        if why.status not in (401, 403, 405):  # with the right to write alone, it is written as it was
            raise
    else:
        content = _same(found, content)
        if found.headers.get("etag"):
            headers = headers | {"If-Match": found.headers["etag"]}
    if notices.over(content):
        return False, str(raised.location)
    await _ask(client, "PUT", url, headers, orjson.dumps(content | told))
    return True, str(raised.location)


def _same(found: Answer, known: dict[str, Any]) -> dict[str, Any]:
    """The resource as the EHR holds it now; as it was told when the answer is something else."""
    try:
        content = orjson.loads(found.content)
    except orjson.JSONDecodeError:
        return known
    same = isinstance(content, dict) and content.get("resourceType") == known["resourceType"]
    return content if same else known


def _location(answer: Answer, channel: str) -> str:
    """``Type/id`` of what was created (or was there already)."""
    header = answer.headers.get("location", "")
    parts = header.split("/")
    if channel in parts[:-1] and is_id(found := parts[parts.index(channel) + 1]):
        return f"{channel}/{found}"
    try:
        identifier = orjson.loads(answer.content).get("id", "")
    except (orjson.JSONDecodeError, AttributeError):
        identifier = ""
    return f"{channel}/{identifier}" if isinstance(identifier, str) and is_id(identifier) else ""


async def _ask(
    client: httpx.AsyncClient, method: str, url: str, headers: dict[str, str], body: bytes | None = None
) -> Answer:
    try:
        answer = await ask(client, method, url, headers=headers, content=body, done_anyhow=method != "GET")
    except httpx.HTTPError as error:
        raise _Refused(f"could not be reached ({type(error).__name__})", away=True) from None
    except BodyRefused as why:
        raise _Refused(f"its answer {why}") from None
    if answer.is_success:
        return answer
    # A server that understood and refused will refuse again; overload and faults pass.
    raise _Refused(
        f"answered {answer.status}",
        status=answer.status,
        for_good=400 <= answer.status < 500 and answer.status not in (401, 403, 408, 409, 412, 423, 425, 429),
    )
