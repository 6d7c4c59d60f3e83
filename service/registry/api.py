"""HTTP for the registry: the worklist, one patient's timeline, flags, alerts, analytics (contract "Registry, sweep, feedback")."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import msgspec
import orjson
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from service.alerts.case import remembered
from service.alerts.facts.patient import ClinicianFlag, PatientSnapshot
from service.ops.troubles import Troubles
from service.options.site import Site
from service.options.weighed import Weighed
from service.registry import dispensing, evaluation, outbox, people, roster, statements, worklist
from service.registry.access import Access, Client, Role
from service.registry.requests import (
    LARGEST,
    NOTE,
    STATEMENT,
    WHO,
    FlagBody,
    HandBody,
    MergeBody,
    NoteBody,
    body_as,
    body_of,
    check_path,
    check_query,
    choice,
    cursor_after,
    cursor_of,
    is_day,
    limit_of,
    moment_of,
    place_in_list,
    rank_of,
    text_of,
)
from service.store.guard import DatabaseAway, Guard
from service.trail import acts, analytics
from service.trail.acts import Act

_STATES = ("open", "in-hand", "closed", "resolved", "all")
log = logging.getLogger("service.registry")
Handler = Callable[[Request, Client, Connection], Any]


class RegistryApi:
    """The routes.

    Args:
        database: where the registry is.
        access: who may do what.
        site_named: gives a site by name, None for an unknown one.
        default_site: the site meant when a request names none.
        clock: the moment.
        changed: called after flags changed, so that the next call knows them.
        on_refused: told the status of every request that was refused.
    """

    def __init__(
        self,
        database: Guard,
        access: Access,
        site_named: Callable[[str], Site | None],
        default_site: str,
        clock: Callable[[], datetime],
        changed: Callable[[], None] = lambda: None,
        on_refused: Callable[[int], None] = lambda status: None,
    ) -> None:
        self.database = database
        self.access = access
        self.site_named = site_named
        self.default_site = default_site
        self.clock = clock
        self.changed = changed
        self._on_refused = on_refused
        self._troubles = Troubles(log)

    def routes(self) -> list[BaseRoute]:
        """For the application."""
        one = "/registry/patients/{id}"
        return [
            Route(
                "/registry/patients",
                self._route("list", self.patients, takes=("status", "limit", "cursor")),
                methods=["GET"],
            ),
            Route(one, self._route("view", self.patient), methods=["GET"]),
            Route(one, self._route("delete", self.delete, "admin"), methods=["DELETE"]),
            Route(f"{one}/dispensing", self._route("dispensing", self.dispensing), methods=["GET"]),
            Route(f"{one}/flags", self._route("flag", self.add_flag, "clinician"), methods=["POST"]),
            Route(
                f"{one}/flags/{{flag:int}}",
                self._route("withdraw-flag", self.withdraw, "clinician"),
                methods=["DELETE"],
            ),
            Route(f"{one}/unenrol", self._route("unenrol", self.unenrol, "admin"), methods=["POST"]),
            Route(f"{one}/enrol", self._route("enrol", self.enrol, "admin"), methods=["POST"]),
            Route(f"{one}/merge", self._route("merge", self.merge, "admin"), methods=["POST"]),
            Route(
                "/alerts",
                self._route("alerts", self.alerts, takes=("state", "limit", "cursor")),
                methods=["GET"],
            ),
            Route(
                "/alerts/{alert:int}/close", self._route("close", self.close, "clinician"), methods=["POST"]
            ),
            Route(
                "/alerts/{alert:int}/hand",
                self._route("hand", self.take_in_hand, "clinician"),
                methods=["POST"],
            ),
            Route(
                "/analytics/alerts",
                self._route("analytics", self.analytics, takes=("since", "until", "by")),
                methods=["GET"],
            ),
        ]

    def _route(
        self, act: Act, handler: Handler, role: Role = "viewer", takes: tuple[str, ...] = ()
    ) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            client: Client | None = None
            try:
                client = await self.access.client(request)
                document = await self._done(request, client, act, handler, role, takes)
            except HTTPException as refusal:
                await self._refused(request, client, act, refusal.status_code)
                raise
            if request.method != "GET":
                await self._tell_changed()
            # Every moment of the database is UTC; the embedded one does not say so.
            body = orjson.dumps(document, option=orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC, default=str)
            return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})

        return answer

    async def _done(
        self,
        request: Request,
        client: Client,
        act: Act,
        handler: Handler,
        role: Role,
        takes: tuple[str, ...],
    ) -> Any:
        """Do what is asked and note it, both or neither. Raises HTTPException."""
        self.access.check_role(client, role)
        check_path(request)
        check_query(request, ("site", *takes))
        request.state.body = await body_of(request) if request.method == "POST" else b""

        def work(connection: Connection) -> Any:
            document = handler(request, client, connection)
            self._note(connection, request, client, act, 200, document)
            return document

        try:
            return await self.database.transaction(work)
        except roster.NotRegistered:
            raise HTTPException(404, "There is no such patient in the registry of this site.") from None
        except (SQLAlchemyError, DatabaseAway):
            raise HTTPException(
                503, "The database is away; nothing was changed. Try again.", {"Retry-After": "30"}
            ) from None

    async def _refused(self, request: Request, client: Client | None, act: Act, status: int) -> None:
        """Count and note a refusal; of very many wrong tokens only the count is kept."""
        self._on_refused(status)
        if status == 429:
            return

        def work(connection: Connection) -> None:
            self._note(connection, request, client, act, status)

        try:
            await self.database.transaction(work)
        except (SQLAlchemyError, DatabaseAway) as error:
            self._troubles.says("refused requests to the registry could not be noted", type(error).__name__)
        else:
            self._troubles.says("refused requests to the registry could not be noted", "")

    def _note(
        self,
        connection: Connection,
        request: Request,
        client: Client | None,
        act: Act,
        status: int,
        document: Any = None,
    ) -> None:
        """Write who asked for what. Raises SQLAlchemyError."""
        patient, alert = request.path_params.get("id"), request.path_params.get("alert")
        asked = getattr(request.state, "site", "") or request.query_params.get("site", "")
        if not asked and patient:  # refused before it was asked which
            own = client.sites if client is not None else ()
            asked = own[0] if len(own) == 1 else self.default_site
        site = asked if asked and self.site_named(asked) is not None else ""
        found = document if isinstance(document, dict) else {}
        listed = next(
            (found[name] for name in ("patients", "alerts") if isinstance(found.get(name), list)), None
        )
        acts.note(
            connection,
            self.clock(),
            client.name if client is not None else "",
            client.role if client is not None else "",
            act,
            site=site,
            patient_key=roster.key_of(connection, site, patient) if patient and site else "",
            alert=alert if isinstance(alert, int) and alert < LARGEST else None,
            rows=len(listed) if listed is not None else None,
            status=status,
        )

    async def _tell_changed(self) -> None:
        try:
            await self.database.run(self.changed)
        except (SQLAlchemyError, DatabaseAway):
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
        request.state.site = site
        return site

    def _known(self, site: str) -> Site:
        known = self.site_named(site)
        if known is None:
            raise HTTPException(404, "site: there is no such site.")
        return known

    def _zone(self, request: Request, client: Client) -> tzinfo:
        """Time zone of the site asked for; UTC when a list covers several."""
        own = client.sites[0] if len(client.sites) == 1 else self.default_site
        known = self.site_named(request.query_params.get("site") or own)
        return known.zone if known is not None else UTC

    # -- patients ---------------------------------------------------------------------------------------------

    def patients(self, request: Request, client: Client, connection: Connection) -> Any:
        """The worklist, what must be done first."""
        status = choice(request, "status", worklist.STATUSES, "on")
        limit = limit_of(request)
        rows = worklist.page(
            connection,
            sites=self.access.sites(client, request.query_params.get("site")),
            status=status,  # type: ignore[arg-type]
            today=self.clock().astimezone(self._zone(request, client)).date(),
            after=place_in_list(request),
            limit=limit,
        )
        return {
            "patients": rows,
            "next": cursor_after(rows, limit, *worklist.place_of(rows[-1])) if rows else None,
        }

    def patient(self, request: Request, client: Client, connection: Connection) -> Any:
        """One patient: standing, what holds now, doses, counts, flags, history."""
        site = self._site(request, client)
        known = self._known(site)
        row = roster.find(connection, site, request.path_params["id"])
        found = {k: v for k, v in row._mapping.items() if k not in ("facts", "swept_run", "sweeps")}
        try:
            snapshot = remembered.load(row.facts)
        except msgspec.ValidationError:
            return found | {"unreadable": "stored by another version; it is read anew at the next visit"}
        flags = roster.flags_of(connection, [row.id]).get(row.id, ())
        asked = Weighed(msgspec.structs.replace(snapshot, flags=flags, zone=known.zone), known, self.clock())
        return found | {
            "findings": [
                {"code": f.code, "severity": f.severity, "summary": f.summary} for f in asked.findings
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
                for m in asked.case.series(kind)
            ],
            "flags": people.flags(connection, row.id),
            "history": people.history(connection, row.id),
        }

    def dispensing(self, request: Request, client: Client, connection: Connection) -> Any:
        """May clozapine be handed out now, for how many days at most, and why not."""
        known = self._known(self._site(request, client))
        return dispensing.answer_of(connection, known, request.path_params["id"], self.clock())

    def add_flag(self, request: Request, client: Client, connection: Connection) -> Any:
        """Keep a clinician's statement; what stood before it and what stands now."""
        body: FlagBody = body_as(request, FlagBody)
        site = self._site(request, client)
        known = self._known(site)
        row = roster.find(connection, site, request.path_params["id"])
        try:
            details, since = statements.details_of(
                body.kind, body.details, self.clock(), lambda text: moment_of(text, known.zone)
            )
        except statements.NotStated as error:
            raise HTTPException(400, str(error)) from None
        if body.kind == "deviation" and (
            body.continueAt is None or body.expires is None or not body.text.strip()
        ):
            raise HTTPException(
                400, "A deviation needs continueAt (cells/µL), expires and a text that says what was agreed."
            )
        if body.continueAt is not None and not 0 < body.continueAt < 10_000:
            raise HTTPException(400, "continueAt: a count in cells/µL is expected, such as 900.")
        by = text_of("by", body.by or client.name, WHO)
        text = text_of("text", body.text, STATEMENT)
        expires = self._expiry(body.expires, known.zone)
        flag = ClinicianFlag(body.kind, by, self.clock(), text, body.continueAt, expires, since)
        return statements.state(connection, known, row.id, flag, details, client.name, self.clock())

    def _expiry(self, text: str | None, zone: tzinfo) -> datetime | None:
        if text is None:
            return None
        moment = moment_of(text, zone)
        if moment is None:
            raise HTTPException(400, "expires: an ISO 8601 date is expected, such as 2027-06-30.")
        if is_day(text):
            moment += timedelta(days=1)  # an agreement until a day holds on that day
        if moment <= self.clock():
            raise HTTPException(400, "expires: a moment in the future is expected.")
        return moment

    def withdraw(self, request: Request, client: Client, connection: Connection) -> Any:
        """Withdraw a statement; what stood before and what stands now."""
        site = self._site(request, client)
        row = roster.find(connection, site, request.path_params["id"])
        done = statements.withdraw(
            connection, self._known(site), row.id, request.path_params["flag"], client.name, self.clock()
        )
        if done is None:
            raise HTTPException(404, "There is no such flag in force on this patient.")
        return done

    def unenrol(self, request: Request, client: Client, connection: Connection) -> Any:
        """Take a patient off the roster."""
        site = self._site(request, client)
        roster.unenrol(
            connection, site, request.path_params["id"], client.name, self.clock(), self.site_named(site)
        )
        return {"state": "unenrolled"}

    def enrol(self, request: Request, client: Client, connection: Connection) -> Any:
        """Watch a patient again who was taken off."""
        site = self._site(request, client)
        known = self._known(site)
        patient = request.path_params["id"]
        state = roster.enrol_anew(connection, site, patient, known.policy, self.clock())
        row = roster.find(connection, site, patient)
        evaluation.reevaluate(connection, known, row.id, self.clock(), client.name)
        return {"state": state}

    def merge(self, request: Request, client: Client, connection: Connection) -> Any:
        """Two records turned out to be one patient's."""
        site = self._site(request, client)
        body: MergeBody = body_as(request, MergeBody)
        known = self._known(site)
        try:
            roster.merge(
                connection, site, request.path_params["id"], body.into, known.policy, self.clock(), known
            )
        except ValueError as error:
            raise HTTPException(400, f"{error}.") from None
        row = roster.find(connection, site, body.into)
        evaluation.reevaluate(connection, known, row.id, self.clock(), client.name)
        return {"merged": True, "state": row.state}

    def delete(self, request: Request, client: Client, connection: Connection) -> Any:
        """Delete everything known of a patient; the proof is the answer."""
        proof = roster.forget(
            connection, self._site(request, client), request.path_params["id"], client.name, self.clock()
        )
        return msgspec.structs.asdict(proof)

    # -- alerts -----------------------------------------------------------------------------------------------

    def alerts(self, request: Request, client: Client, connection: Connection) -> Any:
        """Alerts, most severe first."""
        state = choice(request, "state", _STATES, "open")
        limit = limit_of(request)
        cursor = cursor_of(request, rank_of)
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
            "next": cursor_after(rows, limit, rows[-1]["severity_rank"], rows[-1]["id"]) if rows else None,
        }

    def close(self, request: Request, client: Client, connection: Connection) -> Any:
        """A person closes an alert."""
        body: NoteBody = body_as(request, NoteBody)
        note = text_of("note", body.note, NOTE)
        if not note:
            raise HTTPException(400, "note: say why the alert is closed.")
        by = text_of("by", body.by or client.name, WHO)
        alert, known = self._alert(request, client, connection)
        try:
            event = people.close_alert(connection, alert, by, note, self.clock(), client.name)
        except people.NotClosable as error:
            raise HTTPException(409, str(error)) from None
        if event is None:
            raise HTTPException(409, "The alert is not open any more, or says something else by now.")
        if known is not None:
            outbox.tell_closed(connection, known, alert, event, self.clock())
        return {"state": "closed"}

    def take_in_hand(self, request: Request, client: Client, connection: Connection) -> Any:
        """A person has an alert in hand until a moment."""
        body: HandBody = body_as(request, HandBody)
        reason = text_of("reason", body.reason, NOTE)
        if not reason:
            raise HTTPException(400, "reason: say what is being done.")
        by = text_of("by", body.by or client.name, WHO)
        alert, known = self._alert(request, client, connection)
        until = self._until(body.until, known.zone if known is not None else UTC)
        try:
            event = people.take_in_hand(connection, alert, by, until, reason, self.clock(), client.name)
        except people.NotClosable as error:
            raise HTTPException(400, str(error)) from None
        if event is None:
            raise HTTPException(409, "The alert is not open any more, or says something else by now.")
        if known is not None:
            outbox.tell_act(connection, known, alert, event, "in-hand", self.clock())
        return {"state": "in-hand", "by": by, "until": until}

    def _alert(self, request: Request, client: Client, connection: Connection) -> tuple[int, Site | None]:
        """The alert that is meant, and its site."""
        alert = request.path_params["alert"]
        site = people.site_of(connection, alert)
        if site is None or not client.sees(site):
            raise HTTPException(404, "There is no such alert.")
        request.state.site = site
        return alert, self.site_named(site)

    @staticmethod
    def _until(text: str, zone: tzinfo) -> datetime:
        moment = None if is_day(text) else moment_of(text, zone)
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
        moment = moment_of(text, self._zone(request, client))
        if moment is None:
            raise HTTPException(400, f"{name}: an ISO 8601 date is expected, such as 2026-11-01.")
        return moment


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
