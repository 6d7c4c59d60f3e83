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
from msgspec import Struct
from sqlalchemy import Connection, Engine, Select, and_, or_, select, update
from sqlalchemy.exc import SQLAlchemyError

from service.fhir import notices
from service.fhir.bounded import Answer, BodyRefused, ask
from service.fhir.client import FetchFailed
from service.fhir.references import is_id
from service.options.site import Site
from service.registry.outbox import IDENTIFIER_SYSTEM, raised
from service.store.roster_tables import Alert, OutboxItem, RegisteredPatient

_items = OutboxItem.__table__  # type: ignore[attr-defined]
_alerts = Alert.__table__  # type: ignore[attr-defined]
_patients = RegisteredPatient.__table__  # type: ignore[attr-defined]
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
                    told = await _send(connection, site, client, item, token)
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
                    "action": told.action,
                    "sent_at": now.astimezone(UTC),
                    "location": told.location,
                    "base_url": told.base_url,
                    # As it was sent: a merge may have rewritten it meanwhile (an embedded database holds no row).
                    "payload": item.payload,
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


class _Done(Struct, frozen=True):
    """What was done (a change may have become a new notice), where that is, and on which FHIR server."""

    action: str
    location: str = ""
    base_url: str = ""


async def _send(
    connection: Connection,
    site: Site,
    client: httpx.AsyncClient,
    item: Any,
    token: TokenFor | None,
) -> _Done:
    """Send one item."""
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
        return _Done(item.action)
    if not site.fhir_server:
        raise _Refused("the site has no fhir_servers any more", away=True)
    bearer = await token() if token is not None else ""
    headers = {"Content-Type": "application/fhir+json", "Accept": "application/fhir+json"}
    if bearer:
        headers["Authorization"] = f"Bearer {bearer}"
    ehr = _Ehr(client, site, headers, _patient_now(connection, item.alert))
    if item.action == "raise":
        return _Done("raise", await ehr.create(item), ehr.base)
    if item.action == "withdraw":
        return _Done("withdraw", *await _withdraw(connection, ehr, item))
    last = raised(connection, item.alert, item.channel, before=item.id)
    if last is None:
        return _Done("change")
    whole = "resourceType" in item.payload
    if last.state == "sent":
        there, location, base = await ehr.change(last, notices.changed(item.payload))
        if there or not whole:
            return _Done("change", location, base)
    elif not whole:  # given up; whoever sets both to waiting again has it told and changed
        raise _Refused(_GIVEN_UP, for_good=True)
    return _Done("raise", await ehr.create(item), ehr.base)


def _patient_now(connection: Connection, alert: int) -> str:
    """The patient of an alert, who may have been merged into another since a notice was written."""
    found = connection.execute(
        select(_patients.c.patient_id)
        .join(_alerts, _alerts.c.patient == _patients.c.id)
        .where(_alerts.c.id == alert)
    ).scalar()
    return str(found or "")


async def _withdraw(connection: Connection, ehr: _Ehr, item: Any) -> tuple[str, str]:
    """End every notice that was written for an alert on a channel; returns where the last one is."""
    rows = connection.execute(
        select(_items)
        .where(_items.c.alert == item.alert, _items.c.channel == item.channel, _items.c.id < item.id)
        .order_by(_items.c.id)
    ).all()
    place = ("", "")
    for row in rows:
        if row.state == "dropped" and "resourceType" in row.payload:
            # It may have been written all the same, when the process died between sending and noting it.
            await ehr.end_if_there(row)
        elif row.action == "raise" and row.state == "sent":
            _, *found = await ehr.change(row, notices.ended(item.channel))
            place = (found[0], found[1])
    if any(row.action == "raise" and row.state not in ("sent", "dropped") for row in rows):
        raise _Refused(
            _GIVEN_UP, for_good=True
        )  # whoever sets both to waiting again has it told and withdrawn
    return place


class _Ehr:
    """The FHIR servers of a site, as its notices are written to them.

    Nothing is changed that does not bear the notice's own identifier and name its patient: ``Task/1`` of another server, or of one that
    was set up anew, is somebody else's.

    Args:
        client: HTTP.
        site: the site; new notices go to the first of its ``fhir_servers``.
        headers: of what is written.
        patient: the alert's patient as the registry knows it now.
    """

    def __init__(self, client: httpx.AsyncClient, site: Site, headers: dict[str, str], patient: str) -> None:
        self._client = client
        self._listed = frozenset(url.rstrip("/") for url in site.options.fhir_servers)
        self._headers = headers
        self._asking = {k: v for k, v in headers.items() if k != "Content-Type"} | {
            "Cache-Control": "no-cache"
        }
        self._patient = patient
        self.base = site.fhir_server.rstrip("/")

    async def create(self, item: Any) -> str:
        """Create a notice, unless the EHR has it from an attempt whose answer was lost; returns where it is."""
        conditional = self._headers | {"If-None-Exist": f"identifier={_identifier(item.payload)}"}
        url = f"{self.base}/{item.channel}"
        answer = await _ask(self._client, "POST", url, conditional, orjson.dumps(item.payload))
        return _location(answer, item.channel)

    async def end_if_there(self, item: Any) -> None:
        """End whatever was written of an item that nobody noted as written."""
        for found in await self._found(self.base, item) or ():
            if not notices.over(found):
                await self._put(self.base, item.channel, found, notices.ended(item.channel))

    async def change(self, raised: Any, told: dict[str, Any]) -> tuple[bool, str, str]:
        """Change elements of a notice, and leave alone what people made of it.

        Returns whether it is there and not over, where, and on which server. Raises _Refused, also when it cannot be told which
        resource it is.
        """
        # A row of an older version does not say which server was told; what stands there is looked at in any case.
        same = not raised.base_url or raised.base_url in self._listed
        base = (raised.base_url or self.base) if same else self.base
        place = str(raised.location)
        if same and place:
            try:
                answer = await _ask(self._client, "GET", f"{base}/{place}", self._asking)
            except _Refused as why:
                if why.status in (404, 410):
                    return False, place, base  # somebody deleted it: a mere change must not bring it back
                if why.status not in (401, 403, 405):
                    raise
                return await self._unseen(base, raised, told)
            content = _content(answer)
            if self._is_own(content, raised.payload):
                return await self._changed(base, raised.channel, content, told, answer.headers.get("etag"))
        found = await self._found(base, raised)
        if found:
            return await self._changed(base, raised.channel, found[0], told)
        if not same:
            raise _Refused("the notice is on a FHIR server that is not among fhir_servers any more")
        if found is None:
            return await self._unseen(base, raised, told)
        if place:
            raise _Refused("what stands in its place is not the notice that was written", for_good=True)
        return False, "", base

    async def _changed(
        self, base: str, channel: str, content: dict[str, Any], told: dict[str, Any], etag: str | None = None
    ) -> tuple[bool, str, str]:
        place = f"{channel}/{content['id']}"
        if notices.over(content):
            return False, place, base
        await self._put(base, channel, content, told, etag)
        return True, place, base

    async def _put(
        self, base: str, channel: str, content: dict[str, Any], told: dict[str, Any], etag: str | None = None
    ) -> None:
        headers = self._headers | ({"If-Match": etag} if etag else {})
        url = f"{base}/{channel}/{quote(content['id'], safe='')}"
        await _ask(self._client, "PUT", url, headers, orjson.dumps(content | told))

    async def _unseen(self, base: str, raised: Any, told: dict[str, Any]) -> tuple[bool, str, str]:
        """With the right to write alone the server itself has to find the identifier (R4 http.html, "Conditional update")."""
        url = f"{base}/{raised.channel}?identifier={quote(_identifier(raised.payload))}"
        await _ask(self._client, "PUT", url, self._headers, orjson.dumps(raised.payload | told))
        return True, str(raised.location), base

    async def _found(self, base: str, item: Any) -> list[dict[str, Any]] | None:
        """What bears an item's identifier on a server; None where nobody may look."""
        url = f"{base}/{item.channel}?identifier={quote(_identifier(item.payload))}"
        try:
            answer = await _ask(self._client, "GET", url, self._asking)
        except _Refused as why:
            if why.status in (400, 401, 403, 404, 405):
                return None
            raise
        return [found for found in _entries(answer) if self._is_own(found, item.payload)]

    def _is_own(self, found: dict[str, Any], payload: dict[str, Any]) -> bool:
        """True for the resource that was made of a payload: its identifier, its patient (or the one whom that was merged into)."""
        if found.get("resourceType") != payload["resourceType"] or not is_id(str(found.get("id", ""))):
            return False
        own = {(i["system"], i["value"]) for i in payload["identifier"]}
        identifiers = found.get("identifier")
        if not isinstance(identifiers, list):
            return False
        has = {(i.get("system"), i.get("value")) for i in identifiers if isinstance(i, dict)}
        patient = notices.patient_of(found)
        return not own.isdisjoint(has) and patient in {notices.patient_of(payload), self._patient} - {""}


def _content(answer: Answer) -> dict[str, Any]:
    try:
        content = orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        return {}
    return content if isinstance(content, dict) else {}


def _entries(answer: Answer) -> list[dict[str, Any]]:
    entries = _content(answer).get("entry")
    found = [e.get("resource") for e in entries if isinstance(e, dict)] if isinstance(entries, list) else []
    return [r for r in found if isinstance(r, dict)]


def _identifier(payload: dict[str, Any]) -> str:
    return f"{IDENTIFIER_SYSTEM}|{next(i['value'] for i in payload['identifier'])}"


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
