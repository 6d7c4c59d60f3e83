"""HTTP for the registry: the worklist, one patient's timeline, flags, alerts, analytics (contract "Registry, sweep, feedback")."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any

import msgspec
import orjson
from msgspec import Struct
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from service.alerts.case import remembered
from service.alerts.case.case import Case
from service.alerts.evaluate import evaluate_case
from service.alerts.facts.patient import ClinicianFlag, PatientSnapshot
from service.alerts.facts.record_text import NAME, VALUE, RecordText, to_read
from service.registry import outbox, people, roster
from service.registry.access import Access, Client, Role
from service.registry.watch import Watch
from service.trail import analytics

_MOST_ROWS = 500
#: A body is a few sentences of a person.
_MOST_BYTES = 65_536
_BODY_SECONDS = 10.0
#: Characters of a statement, a note, a name: as many as are kept.
_STATEMENT, _NOTE, _WHO = NAME, 400, VALUE
#: Numbers of rows, and what a page begins after, are smaller.
_LARGEST = 2**31
#: At the ends of the calendar no zone could be applied.
_YEARS = (1900, 2999)
_STATUSES = ("overdue", "due", "on", "stopped", "unenrolled", "all")
_STATES = ("open", "in-hand", "closed", "resolved", "all")
Handler = Callable[[Request, Client, Connection], Any]


class FlagBody(Struct, forbid_unknown_fields=True):
    """Body of ``POST /registry/patients/{id}/flags``."""

    kind: str
    text: str = ""
    #: The clinician; by default the name of the token.
    by: str = ""
    continueAt: float | None = None
    #: A date (to its end) or a moment, ISO 8601.
    expires: str | None = None


class NoteBody(Struct, forbid_unknown_fields=True):
    """Body of ``POST /alerts/{id}/close``."""

    note: str
    by: str = ""


class HandBody(Struct, forbid_unknown_fields=True):
    """Body of ``POST /alerts/{id}/hand``."""

    #: A moment, ISO 8601; without a zone it is the site's.
    until: str
    reason: str
    by: str = ""


class MergeBody(Struct, forbid_unknown_fields=True):
    """Body of ``POST /registry/patients/{id}/merge``."""

    into: str


class RegistryApi:
    """The routes.

    Args:
        engine: database.
        access: who may do what.
        watch: gives a site by name, None for an unknown one.
        default_site: the site meant when a request names none.
        clock: the moment.
        changed: called after flags changed, so that the next call knows them.
    """

    def __init__(
        self,
        engine: Engine,
        access: Access,
        watch: Callable[[str], Watch | None],
        default_site: str,
        clock: Callable[[], datetime],
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.engine = engine
        self.access = access
        self.watch = watch
        self.default_site = default_site
        self.clock = clock
        self.changed = changed

    def routes(self) -> list[BaseRoute]:
        """For the application."""
        one = "/registry/patients/{id}"
        return [
            Route("/registry/patients", self._route(self.patients), methods=["GET"]),
            Route(one, self._route(self.patient), methods=["GET"]),
            Route(one, self._route(self.delete, "admin"), methods=["DELETE"]),
            Route(f"{one}/flags", self._route(self.add_flag, "clinician"), methods=["POST"]),
            Route(f"{one}/flags/{{flag:int}}", self._route(self.withdraw, "clinician"), methods=["DELETE"]),
            Route(f"{one}/unenrol", self._route(self.unenrol, "admin"), methods=["POST"]),
            Route(f"{one}/enrol", self._route(self.enrol, "admin"), methods=["POST"]),
            Route(f"{one}/merge", self._route(self.merge, "admin"), methods=["POST"]),
            Route("/alerts", self._route(self.alerts), methods=["GET"]),
            Route("/alerts/{alert:int}/close", self._route(self.close, "clinician"), methods=["POST"]),
            Route("/alerts/{alert:int}/hand", self._route(self.take_in_hand, "clinician"), methods=["POST"]),
            Route("/analytics/alerts", self._route(self.analytics), methods=["GET"]),
        ]

    def _route(self, handler: Handler, role: Role = "viewer") -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            client = self.access.client(request, role)
            _check_path(request)
            request.state.body = await _body_of(request) if request.method == "POST" else b""

            def work() -> Any:
                with self.engine.begin() as connection:
                    return handler(request, client, connection)

            try:
                document = await asyncio.to_thread(work)
            except roster.NotRegistered:
                raise HTTPException(404, "There is no such patient in the registry of this site.") from None
            except SQLAlchemyError:
                raise HTTPException(
                    503, "The database is away; nothing was changed. Try again.", {"Retry-After": "30"}
                ) from None
            if request.method != "GET":
                await asyncio.to_thread(self._tell_changed)
            body = orjson.dumps(document, option=orjson.OPT_UTC_Z, default=str)
            return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})

        return answer

    def _tell_changed(self) -> None:
        try:
            self.changed()
        except SQLAlchemyError:
            return  # it is read again within seconds

    # -- reading a request ------------------------------------------------------------------------------------

    def _site(self, request: Request, client: Client) -> str:
        site = request.query_params.get("site") or (
            client.sites[0] if len(client.sites) == 1 else self.default_site
        )
        if not site:
            raise HTTPException(400, "site: name the site, there are several.")
        if not client.sees(site):
            raise HTTPException(403, "The token does not cover this site.")
        return site

    def _watch(self, site: str) -> Watch:
        watch = self.watch(site)
        if watch is None:
            raise HTTPException(404, "site: there is no such site.")
        return watch

    def _zone(self, request: Request, client: Client) -> tzinfo:
        """Time zone of the site asked for; UTC when a list covers several."""
        own = client.sites[0] if len(client.sites) == 1 else self.default_site
        watch = self.watch(request.query_params.get("site") or own)
        return watch.zone if watch is not None else UTC

    @staticmethod
    def _choice(request: Request, name: str, known: tuple[str, ...], default: str) -> str:
        value = request.query_params.get(name, default)
        if value not in known:
            raise HTTPException(400, f"{name}: one of {', '.join(known)} is expected.")
        return value

    @staticmethod
    def _limit(request: Request) -> int:
        text = request.query_params.get("limit", "50")
        if not text.isdecimal() or len(text) > 4 or not 1 <= int(text) <= _MOST_ROWS:
            raise HTTPException(400, f"limit: a number from 1 to {_MOST_ROWS} is expected.")
        return int(text)

    @staticmethod
    def _cursor(request: Request, read: Callable[[Any], Any]) -> tuple[Any, int] | None:
        """Where the page before ended; ``read`` turns its first value into what it was."""
        text = request.query_params.get("cursor")
        if text is None:
            return None
        try:
            cursor = orjson.loads(base64.urlsafe_b64decode(text.encode()))
            if not isinstance(cursor, list) or len(cursor) != 2 or type(cursor[1]) is not int:
                raise ValueError("shape")
            if abs(cursor[1]) >= _LARGEST:
                raise ValueError("range")
            return read(cursor[0]), cursor[1]
        except (ValueError, TypeError, OverflowError):
            raise HTTPException(
                400, "cursor: use the value of 'next' of the page before, unchanged."
            ) from None

    @staticmethod
    def _next(rows: list[Any], limit: int, *values: Any) -> str | None:
        if len(rows) < limit:
            return None
        return base64.urlsafe_b64encode(orjson.dumps(values, default=str)).decode()

    @staticmethod
    def _body(request: Request, wanted: type[Any]) -> Any:
        try:
            return msgspec.json.decode(request.state.body, type=wanted)
        except msgspec.DecodeError as error:
            raise HTTPException(400, f"The body cannot be used: {error}.") from None

    # -- patients ---------------------------------------------------------------------------------------------

    def patients(self, request: Request, client: Client, connection: Connection) -> Any:
        """The worklist, what is due first."""
        status = self._choice(request, "status", _STATUSES, "on")
        limit = self._limit(request)
        by_due = status in ("overdue", "due", "on")
        cursor = self._cursor(request, _due if by_due else lambda _: "")
        rows = roster.page(
            connection,
            sites=self.access.sites(client, request.query_params.get("site")),
            status=status,  # type: ignore[arg-type]
            today=self.clock().astimezone(self._zone(request, client)).date(),
            after=cursor,
            limit=limit,
        )
        listed = [{k: v for k, v in row.items() if k not in ("swept_run", "sweeps")} for row in rows]
        return {
            "patients": listed,
            "next": self._next(rows, limit, rows[-1]["next_due"], rows[-1]["id"]) if rows else None,
        }

    def patient(self, request: Request, client: Client, connection: Connection) -> Any:
        """One patient: standing, what holds now, doses, counts, flags, history."""
        site = self._site(request, client)
        watch = self._watch(site)
        row = roster.find(connection, site, request.path_params["id"])
        found = {k: v for k, v in row._mapping.items() if k not in ("facts", "swept_run", "sweeps")}
        try:
            snapshot = remembered.load(row.facts)
        except msgspec.ValidationError:
            return found | {"unreadable": "stored by another version; it is read anew at the next visit"}
        flags = roster.flags_of(connection, [row.id]).get(row.id, ())
        case = Case(
            msgspec.structs.replace(snapshot, flags=flags, zone=watch.zone), watch.policy, self.clock()
        )
        return found | {
            "findings": [
                {"code": f.code, "severity": f.severity, "summary": f.summary} for f in evaluate_case(case)
            ],
            "doses": _doses(snapshot),
            "counts": [
                {
                    "kind": m.kind,
                    "value": m.value,
                    "unit": "cells/µL",
                    "at": m.at,
                    "reference": m.ref,
                    "asSent": m.raw,
                }
                for kind in ("anc", "wbc")
                for m in case.series(kind)
            ],
            "flags": people.flags(connection, row.id),
            "history": people.history(connection, row.id),
        }

    def add_flag(self, request: Request, client: Client, connection: Connection) -> Any:
        """Keep a clinician's statement."""
        body: FlagBody = self._body(request, FlagBody)
        site = self._site(request, client)
        row = roster.find(connection, site, request.path_params["id"])
        if body.kind not in ("ben", "deviation"):
            raise HTTPException(400, "kind: ben (benign ethnic neutropenia) or deviation is expected.")
        if body.kind == "deviation" and (
            body.continueAt is None or body.expires is None or not body.text.strip()
        ):
            raise HTTPException(
                400, "A deviation needs continueAt (cells/µL), expires and a text that says what was agreed."
            )
        if body.continueAt is not None and not 0 < body.continueAt < 10_000:
            raise HTTPException(400, "continueAt: a count in cells/µL is expected, such as 900.")
        by = _text("by", body.by or client.name, _WHO)
        text = _text("text", body.text, _STATEMENT)
        expires = self._expiry(body.expires, self._watch(site).zone)
        flag = ClinicianFlag(body.kind, by, self.clock(), text, body.continueAt, expires)
        return {"id": roster.add_flag(connection, row.id, flag)}

    def _expiry(self, text: str | None, zone: tzinfo) -> datetime | None:
        if text is None:
            return None
        moment = _moment(text, zone)
        if moment is None:
            raise HTTPException(400, "expires: an ISO 8601 date is expected, such as 2027-06-30.")
        if _is_day(text):
            moment += timedelta(days=1)  # an agreement until a day holds on that day
        if moment <= self.clock():
            raise HTTPException(400, "expires: a moment in the future is expected.")
        return moment

    def withdraw(self, request: Request, client: Client, connection: Connection) -> Any:
        """Withdraw a statement."""
        row = roster.find(connection, self._site(request, client), request.path_params["id"])
        if not roster.withdraw_flag(
            connection, row.id, request.path_params["flag"], client.name, self.clock()
        ):
            raise HTTPException(404, "There is no such flag in force on this patient.")
        return {"withdrawn": request.path_params["flag"]}

    def unenrol(self, request: Request, client: Client, connection: Connection) -> Any:
        """Take a patient off the roster."""
        site = self._site(request, client)
        roster.unenrol(
            connection, site, request.path_params["id"], client.name, self.clock(), self.watch(site)
        )
        return {"state": "unenrolled"}

    def enrol(self, request: Request, client: Client, connection: Connection) -> Any:
        """Watch a patient again who was taken off."""
        site = self._site(request, client)
        policy = self._watch(site).policy
        state = roster.enrol_anew(connection, site, request.path_params["id"], policy, self.clock())
        return {"state": state}

    def merge(self, request: Request, client: Client, connection: Connection) -> Any:
        """Two records turned out to be one patient's."""
        site = self._site(request, client)
        body: MergeBody = self._body(request, MergeBody)
        watch = self._watch(site)
        try:
            roster.merge(
                connection, site, request.path_params["id"], body.into, watch.policy, self.clock(), watch
            )
        except ValueError as error:
            raise HTTPException(400, f"{error}.") from None
        return {"merged": True}

    def delete(self, request: Request, client: Client, connection: Connection) -> Any:
        """Delete everything known of a patient; the proof is the answer."""
        proof = roster.forget(
            connection, self._site(request, client), request.path_params["id"], client.name, self.clock()
        )
        return msgspec.structs.asdict(proof)

    # -- alerts -----------------------------------------------------------------------------------------------

    def alerts(self, request: Request, client: Client, connection: Connection) -> Any:
        """Alerts, most severe first."""
        state = self._choice(request, "state", _STATES, "open")
        limit = self._limit(request)
        cursor = self._cursor(request, _rank)
        rows = people.alerts(
            connection,
            sites=self.access.sites(client, request.query_params.get("site")),
            now=self.clock(),
            state=state,
            after=cursor,
            limit=limit,
        )
        return {
            "alerts": rows,
            "next": self._next(rows, limit, rows[-1]["severity_rank"], rows[-1]["id"]) if rows else None,
        }

    def close(self, request: Request, client: Client, connection: Connection) -> Any:
        """A person closes an alert."""
        body: NoteBody = self._body(request, NoteBody)
        note = _text("note", body.note, _NOTE)
        if not note:
            raise HTTPException(400, "note: say why the alert is closed.")
        by = _text("by", body.by or client.name, _WHO)
        alert, watch = self._alert(request, client, connection)
        try:
            event = people.close_alert(connection, alert, by, note, self.clock())
        except people.NotClosable as error:
            raise HTTPException(409, str(error)) from None
        if event is None:
            raise HTTPException(409, "The alert is not open any more, or says something else by now.")
        if watch is not None:
            outbox.tell_closed(connection, watch, alert, event, self.clock())
        return {"state": "closed"}

    def take_in_hand(self, request: Request, client: Client, connection: Connection) -> Any:
        """A person has an alert in hand until a moment."""
        body: HandBody = self._body(request, HandBody)
        reason = _text("reason", body.reason, _NOTE)
        if not reason:
            raise HTTPException(400, "reason: say what is being done.")
        by = _text("by", body.by or client.name, _WHO)
        alert, watch = self._alert(request, client, connection)
        until = self._until(body.until, watch.zone if watch is not None else UTC)
        try:
            event = people.take_in_hand(connection, alert, by, until, reason, self.clock())
        except people.NotClosable as error:
            raise HTTPException(400, str(error)) from None
        if event is None:
            raise HTTPException(409, "The alert is not open any more, or says something else by now.")
        if watch is not None:
            outbox.tell_act(connection, watch, alert, event, "in-hand", self.clock())
        return {"state": "in-hand", "by": by, "until": until}

    def _alert(self, request: Request, client: Client, connection: Connection) -> tuple[int, Watch | None]:
        """The alert that is meant, and its site."""
        alert = request.path_params["alert"]
        site = people.site_of(connection, alert)
        if site is None or not client.sees(site):
            raise HTTPException(404, "There is no such alert.")
        return alert, self.watch(site)

    @staticmethod
    def _until(text: str, zone: tzinfo) -> datetime:
        moment = None if _is_day(text) else _moment(text, zone)
        if moment is None:
            raise HTTPException(400, "until: a moment is expected (ISO 8601), such as 2026-11-27T20:00:00Z.")
        return moment

    def analytics(self, request: Request, client: Client, connection: Connection) -> Any:
        """Cards fired, accepted and overridden."""
        until = self._day(request, client, "until") or self.clock() + timedelta(days=1)
        since = self._day(request, client, "since") or until - timedelta(days=91)
        by = tuple(part for part in request.query_params.get("by", "code").split(",") if part)
        unknown = [part for part in by if part not in analytics.DIMENSIONS]
        if unknown or not by:
            raise HTTPException(
                400,
                f"by: one or more of {', '.join(analytics.DIMENSIONS)} are expected, separated by commas.",
            )
        sites = self.access.sites(client, request.query_params.get("site"))
        rows = analytics.alerts(connection, since=since, until=until, sites=sites, by=by)
        return {"since": since, "until": until, "by": by, "alerts": rows}

    def _day(self, request: Request, client: Client, name: str) -> datetime | None:
        text = request.query_params.get(name)
        if text is None:
            return None
        moment = _moment(text, self._zone(request, client))
        if moment is None:
            raise HTTPException(400, f"{name}: an ISO 8601 date is expected, such as 2026-11-01.")
        return moment


def _check_path(request: Request) -> None:
    """Refuse what can be no row's number, no patient's id and no site's name. Raises HTTPException 404 and 400."""
    for value in request.path_params.values():
        if value >= _LARGEST if isinstance(value, int) else "\0" in value:
            raise HTTPException(404, "There is nothing of this number or id.")
    if any("\0" in value for value in request.query_params.values()):
        raise HTTPException(400, "No parameter may hold a NUL character.")


async def _body_of(request: Request) -> bytes:
    """The body. Raises HTTPException 413 and 408."""
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for part in request.stream():
                size += len(part)
                if size > _MOST_BYTES:
                    raise HTTPException(413, f"The body is larger than {_MOST_BYTES} bytes.")
                parts.append(part)
    except TimeoutError:
        raise HTTPException(408, f"The body was not complete after {_BODY_SECONDS:g} s.") from None
    return b"".join(parts)


def _text(name: str, text: str, limit: int) -> RecordText:
    """What a person wrote, on one line. Raises HTTPException when it is longer than is kept."""
    read = to_read(text, limit)
    if read is None:
        raise HTTPException(400, f"{name}: at most {limit} characters are expected.")
    return read


def _is_day(text: str) -> bool:
    """Whether an ISO 8601 text is a date alone, in any of its forms."""
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _moment(text: str, zone: tzinfo) -> datetime | None:
    """An ISO 8601 date or moment, in a zone when it names none; None when it is none, or of no year that matters."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if not _YEARS[0] <= moment.year <= _YEARS[1]:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)


def _due(text: Any) -> str:
    return date.fromisoformat(text).isoformat()


def _rank(number: Any) -> int:
    if type(number) is not int or abs(number) >= _LARGEST:
        raise ValueError("rank")
    return number


def _doses(snapshot: PatientSnapshot) -> list[dict[str, Any]]:
    """Every record of clozapine, newest first."""
    records = [m for m in snapshot.medications if "clozapine" in m.drugs]
    undated = datetime.min.replace(tzinfo=UTC)
    dated = sorted(records, key=lambda m: m.start or m.authored or undated, reverse=True)
    return [
        {
            "record": m.role, "reference": m.ref, "status": m.status, "start": m.start, "end": m.end, "daysSupply": m.days_supply,
            "notTaken": m.not_taken, "mgPerDay": m.dose.mg_per_day if m.dose is not None else None, "label": m.label,
        }
        for m in dated
    ]  # fmt: skip
