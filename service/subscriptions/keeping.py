"""Subscriptions made and kept at an EHR: made once, renewed before they end, put right where the EHR says error, off or something else.

What is there is found by the address that it tells at: it names this service and this site, and its key is known by its hash.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson
from msgspec import Struct, field
from sqlalchemy import Engine

from service.fhir.bounded import BodyRefused, ask
from service.fhir.client import FetchFailed, FhirServer
from service.fhir.references import is_id, read_reference
from service.options.site import Site
from service.results import hints
from service.store.times import aware
from service.subscriptions import kept
from service.subscriptions.endpoint import searches_of
from service.subscriptions.resource import RENEWED, AtEhr, read_subscription, subscription, wanted

log = logging.getLogger("service.subscriptions")
_MOST_PAGES = 20
#: A Subscription that is not activated by then never will be.
_PATIENCE = timedelta(minutes=2)
_FIRST_SEARCH = timedelta(days=1)
_BYTES = 1_000_000
_NEVER_ACTIVE = (
    "Subscription/{id} has been requested for {minutes} minutes and the EHR does not activate it: the channel rest-hook is not switched on "
    "there (HAPI FHIR: hapi.fhir.subscription.resthook_enabled)"
)


class Kept(Struct):
    """What a look at the EHR found and did, by criteria."""

    #: ``active``, ``requested``, ``made``, ``renewed``, ``unknown`` (it could not be told).
    found: dict[str, str] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)


class _Refused(Exception):
    """The EHR did not do it; ``sure``: it said so, and did not merely not answer."""

    def __init__(self, why: str, *, sure: bool) -> None:
        super().__init__(why)
        self.sure = sure


class _Ehr(Struct):
    site: Site
    client: httpx.AsyncClient
    token: Callable[[], Awaitable[str]]

    async def _server(self) -> FhirServer:
        return FhirServer(self.site.fhir_server, self.client, await self.token())

    async def all(self, prefix: str) -> list[AtEhr]:
        """What tells at addresses that begin so. Raises FetchFailed."""
        server, found, query = await self._server(), [], "Subscription?_count=100"
        for _ in range(_MOST_PAGES):
            content = _json(await server.get(query))
            for entry in _list(content.get("entry")):
                one = read_subscription(entry.get("resource")) if isinstance(entry, dict) else None
                if one is not None and one.endpoint.startswith(prefix):
                    found.append(one)
            links = [x for x in _list(content.get("link")) if isinstance(x, dict)]
            following = next((x.get("url") for x in links if x.get("relation") == "next"), None)
            if not isinstance(following, str):
                return found
            query = following
        raise FetchFailed("the EHR has too many Subscriptions to look through")

    async def put(self, content: dict[str, Any]) -> str:
        """Make it, or replace it where it has an id; returns the id. Raises _Refused."""
        place = f"Subscription/{content['id']}" if "id" in content else "Subscription"
        answer = await self._do("PUT" if "id" in content else "POST", place, content)
        made = read_subscription(_json(answer.content))
        if made is not None:
            return made.id
        target = read_reference(answer.headers.get("location"))
        return target.id if target.type == "Subscription" and is_id(target.id) else str(content.get("id", ""))

    async def delete(self, id: str) -> None:
        """Raises _Refused."""
        await self._do("DELETE", f"Subscription/{id}", None)

    async def _do(self, method: str, place: str, content: dict[str, Any] | None) -> Any:
        try:
            server = await self._server()
            headers = {
                "Content-Type": "application/fhir+json",
                "Accept": "application/fhir+json",
                "Authorization": f"Bearer {server.token}",
            }
            body = orjson.dumps(content) if content is not None else None
            answer = await ask(
                self.client,
                method,
                server.address(place),
                headers=headers,
                content=body,
                limit=_BYTES,
                done_anyhow=True,
            )
        except (httpx.HTTPError, httpx.InvalidURL, BodyRefused, FetchFailed) as error:
            raise _Refused(f"the EHR could not be asked ({type(error).__name__})", sure=False) from None
        if not answer.is_success and not (method == "DELETE" and answer.status in (404, 410)):
            raise _Refused(f"the EHR answered {answer.status}", sure=answer.status < 500)
        return answer


async def keep(
    engine: Engine, site: Site, client: httpx.AsyncClient, token: Callable[[], Awaitable[str]], now: datetime
) -> Kept:
    """Make and keep what a site is to be told of, and take away what is not wanted any more. Raises SQLAlchemyError.

    Args:
        engine: database.
        site: the site; without ``subscriptions`` what was made before is taken away.
        client: HTTP client.
        token: gives the bearer token.
        now: the moment.
    """
    done = Kept()
    with engine.connect() as connection:
        rows = [row for row in kept.of_site(connection, site.name) if row.managed]
    if not rows and not wanted(site):
        return done
    prefix = f"{site.links.fhir_url}/notify/{site.name}/"
    ehr = _Ehr(site, client, token)
    try:
        there = await ehr.all(prefix)
    except FetchFailed as why:
        sentence = f"Subscriptions at the EHR cannot be looked at: {why}"
        done.found = dict.fromkeys(wanted(site), "unknown")
        done.troubles = [sentence]
        for row in rows:
            _note(engine, row.id, trouble=sentence[:300])
        return done
    by_key = {kept.key_hash(one.endpoint.removeprefix(prefix).strip("/")): one for one in there}
    for criteria in wanted(site):
        mine = [row for row in rows if row.criteria == criteria]
        known = next((row for row in mine if row.key_sha256 in by_key), None)
        try:
            if known is None:
                await _make(engine, site, ehr, criteria, prefix, mine, now, done)
            else:
                await _look(engine, site, ehr, known, by_key[known.key_sha256], now, done)
        except _Refused as why:
            sentence = f"the Subscription to {criteria} could not be made or renewed: {why}"
            done.found[criteria] = "unknown"
            done.troubles.append(sentence)
            if known is not None:
                _note(engine, known.id, trouble=sentence[:300])
    await _tidy(engine, site, ehr, rows, by_key, done)
    return done


async def _make(
    engine: Engine,
    site: Site,
    ehr: _Ehr,
    criteria: str,
    prefix: str,
    before: list[Any],
    now: datetime,
    done: Kept,
) -> None:
    """None is there: make one, and read what came while there was none."""
    told = [at for row in before if (at := aware(row.told_at) or aware(row.made_at))]
    with engine.begin() as connection:
        for row in before:
            kept.forget(connection, site.name, row.id)
        # Before the EHR hears of it: it may say hello before it answers.
        made = kept.make(connection, site.name, criteria, now, managed=True)
        kept.stands(connection, made.id, trouble=f"the Subscription to {criteria} was not made yet"[:300])
    content = subscription(site, criteria, f"{prefix}{made.key}", made.token, now)
    try:
        identifier = await ehr.put(content)
    except _Refused as why:
        sentence = f"the Subscription to {criteria} could not be made: {why}"
        _note(engine, made.id, trouble=sentence[:300])
        raise
    with engine.begin() as connection:
        kept.stands(
            connection, made.id, resource_id=identifier, requested_at=now.astimezone(UTC),
            ends_at=_end(content), trouble="",
        )  # fmt: skip
        _search(connection, site, criteria, min(told, default=now - _FIRST_SEARCH), now)
    log.info("%s: a Subscription was made at the EHR", site.name)
    done.found[criteria] = "made"


async def _look(
    engine: Engine, site: Site, ehr: _Ehr, row: Any, there: AtEhr, now: datetime, done: Kept
) -> None:
    """One is there: as it should be, or put right."""
    ends = there.ends
    ended = ends is not None and ends <= now
    broken = there.status not in ("active", "requested") or there.criteria != row.criteria or ended
    until = aware(row.former_until)
    just_renewed = until is not None and now < until <= now + timedelta(hours=1)
    if broken and just_renewed:
        sentence = (
            f"Subscription/{there.id} is {there.status or 'not as it was made'} again after it was renewed"
        )
        _note(engine, row.id, status=there.status[:20], trouble=sentence)
        done.found[row.criteria] = there.status or "unknown"
        done.troubles.append(sentence)
        return
    if broken or ends is None or ends - now <= RENEWED:
        with engine.begin() as connection:
            token = kept.renew(connection, row.id, now)
        content = subscription(site, row.criteria, there.endpoint, token, now, there.id)
        try:
            await ehr.put(content)
        except _Refused as why:
            if why.sure:
                with engine.begin() as connection:
                    kept.refused_token(connection, row.id)
            raise
        with engine.begin() as connection:
            kept.has_token(connection, row.id, now)
            kept.stands(
                connection, row.id, status="requested", resource_id=there.id, requested_at=now.astimezone(UTC),
                ends_at=_end(content), trouble="",
            )  # fmt: skip
            if broken:
                _search(connection, site, row.criteria, aware(row.told_at) or aware(row.made_at) or now, now)
        log.info("%s: Subscription/%s was renewed (it was %s)", site.name, there.id, there.status)
        done.found[row.criteria] = "renewed"
        return
    since = (aware(row.requested_at) or now) if there.status == "requested" else None
    waited = now - since if since is not None else timedelta()
    sentence = (
        _NEVER_ACTIVE.format(id=there.id, minutes=int(waited.total_seconds() // 60))
        if waited > _PATIENCE
        else ""
    )
    _note(
        engine, row.id, status=there.status[:20], resource_id=there.id, ends_at=ends,
        requested_at=since.astimezone(UTC) if since is not None else None, trouble=sentence[:300],
    )  # fmt: skip
    done.found[row.criteria] = there.status
    if sentence:
        done.troubles.append(sentence)


async def _tidy(
    engine: Engine, site: Site, ehr: _Ehr, rows: list[Any], by_key: dict[str, AtEhr], done: Kept
) -> None:
    """Take away what is not wanted any more, and what tells here with a key that nobody knows."""
    with engine.connect() as connection:
        now_kept = kept.of_site(connection, site.name)
    wished = set(wanted(site))
    stays = {row.key_sha256 for row in now_kept if not row.managed or row.criteria in wished}
    for key, there in by_key.items():
        if key in stays:
            continue
        try:
            await ehr.delete(there.id)
        except _Refused as why:
            done.troubles.append(
                f"Subscription/{there.id} is not wanted any more and could not be deleted: {why}"
            )
            continue
        log.info("%s: Subscription/%s was deleted at the EHR", site.name, there.id)
        stays.add(key)
    with engine.begin() as connection:
        for row in rows:
            gone = row.key_sha256 not in by_key or row.key_sha256 in stays
            if row.criteria not in wished and gone:
                kept.forget(connection, site.name, row.id)


def _search(connection: Any, site: Site, criteria: str, since: datetime, now: datetime) -> None:
    for search in searches_of(site, criteria):
        hints.ask(connection, site.name, "changes", search, now, since=since)


def _note(engine: Engine, id: int, **values: Any) -> None:
    with engine.begin() as connection:
        kept.stands(connection, id, **values)


def _end(content: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(content["end"]).astimezone(UTC)


def _json(body: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
