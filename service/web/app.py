"""The application: builds everything and holds no rule."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.responses import Response
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cds_hooks import Feedback, HookRequest, Limits, ProtocolError, cds_routes, operation_outcome
from service.alerts.knowledge.catalogue import offered_reasons
from service.alerts.knowledge.drug_names import drugs_by_name
from service.alerts.knowledge.products import imported_release
from service.alerts.policy.policy import policy_ids
from service.alerts.policy.reference import reference_only
from service.aside.answers import Answers
from service.aside.aside import Aside
from service.conformance.routes import fhir_routes
from service.fhir.client import FhirServer
from service.fhir.terminology_server import TerminologyServer
from service.hooks.kept import Keeper
from service.hooks.pipeline import Answering, Pipeline
from service.hooks.recalled import Recalled, asking
from service.hooks.services import services
from service.hooks.unchecked import Unchecked
from service.hooks.warm import warm
from service.operation.endpoint import ClozapineCheck
from service.ops import garbage
from service.ops.health import Check, Health
from service.ops.logging import log_call
from service.ops.metrics import Metrics
from service.ops.siblings import EVERY_SECONDS, Siblings, families_of
from service.ops.stopping import Stopping
from service.ops.troubles import Troubles
from service.options.site import Site
from service.registry.access import Access, Client
from service.registry.api import RegistryApi
from service.registry.latest_facts import LatestFacts
from service.registry.roster import rememberer
from service.registry.wrong_tokens import WrongTokens
from service.results.endpoint import ProcessResults
from service.results.reader import Reader
from service.results.worker import Worker
from service.site.settings import Settings
from service.site.trust import Directory, authenticator, hooks_of
from service.store.database import engine_for, not_ready
from service.store.guard import DatabaseAway, Guard
from service.subscriptions.endpoint import Notify
from service.subscriptions.keeper import Keeper as SubscriptionKeeper
from service.terminology import terminology
from service.trail import feedback as feedback_store
from service.trail.recorder import Recorder
from service.trail.spool import Spool
from service.trail.used_tokens import DatabaseReplays
from service.web import operations
from service.web.browsers import OpenDoor, content_security_policy
from service.web.operations import Operators
from service.web.page_routes import add_pages
from service.web.schedulers import Schedulers, tokens_of

Clock = Callable[[], datetime]
#: What is logged of a hookInstance: a UUID, or what is as short and as plain.
_INSTANCE = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": content_security_policy(),
}
#: The trail is written every half second.
_LATE_SECONDS = 10.0
_OVER_TLS = {"Strict-Transport-Security": "max-age=31536000"}


class Application(FastAPI):
    """FastAPI, but the calls of EHRs go straight to their endpoints: those do their own errors, CORS and limits."""

    def __init__(self, *, base_url: str = "", **options: Any) -> None:
        self.direct: dict[str, ASGIApp] = {}
        #: Looks at every request while authentication is off.
        self.door: OpenDoor | None = None
        headers = _SECURITY_HEADERS | (_OVER_TLS if base_url.startswith("https://") else {})
        self._headers = [(k.lower().encode(), v.encode()) for k, v in headers.items()]
        super().__init__(**options)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = self.door.refusal(scope) if self.door is not None and scope["type"] == "http" else None
        if refused is not None:
            status, body = refused
            await Response(body, status, media_type="application/json")(scope, receive, self._secured(send))
            return
        endpoint = self.direct.get(scope["path"]) if scope["type"] == "http" else None
        if endpoint is not None:
            await endpoint(scope, receive, send)
        else:
            await super().__call__(scope, receive, self._secured(send))

    def _secured(self, send: Send) -> Send:
        """Every page, file and error gets the headers that keep a browser from being talked into something."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(pair for pair in self._headers if pair[0] not in present),
                ]
            await send(message)

        return sending


log = structlog.get_logger("clozapine-cds")


def utc_now() -> datetime:
    """The clock of production; tests hand in their own."""
    return datetime.now(UTC)


def _not_sent(sites: Sequence[Site]) -> str:
    """What sites declare not to have: checks that rest on it are not done, and no card says so."""
    return "; ".join(
        f"{site.name}: {', '.join(site.options.not_sent)}" for site in sites if site.options.not_sent
    )


def _counts_elsewhere(sites: Sequence[Site]) -> str:
    """Who holds the blood counts of sites that do not: there a count that is missing or overdue is information."""
    return "; ".join(
        f"{site.name}: {site.options.counts_elsewhere}" for site in sites if site.options.counts_elsewhere
    )


def _spool(settings: Settings, clock: Clock) -> tuple[Spool | None, str]:
    """Where calls are kept until the database has them, or why they are not; the service runs without one, and says so."""
    folder = settings.spool_folder()
    if folder is None:
        return None, ""
    try:
        return Spool(folder, settings.spool_megabytes * 1_000_000, clock), ""
    except OSError as error:
        log.error("calls cannot be kept on disk", folder=str(folder), why=error.strerror)
        return None, f"calls are kept in memory only: the spool folder cannot be used ({error.strerror})"


def _waiting(recorder: Recorder) -> str:
    """What of the trail has waited for longer than a database that is well needs."""
    waiting, seconds = recorder.waiting
    return (
        f"{waiting} records wait for the database, the oldest for {seconds:.0f} s"
        if seconds > _LATE_SECONDS
        else ""
    )


async def _tell(siblings: Siblings, metrics: Metrics, health: Health) -> None:
    """Tell the other processes what was counted here, and how this one is, again and again."""
    troubles = Troubles(logging.getLogger("service.web"))
    while True:
        _, document = await health.report()
        families = families_of(metrics.registry.collect())
        try:
            await asyncio.to_thread(siblings.tell, families, document)
        except OSError as error:
            troubles.says("the other processes cannot be told", error.strerror or type(error).__name__)
        else:
            troubles.says("the other processes cannot be told", "")
        await asyncio.sleep(EVERY_SECONDS)


def create_app(settings: Settings, *, clock: Clock = utc_now, siblings: Siblings | None = None) -> FastAPI:
    """Build the application.

    Args:
        settings: checked settings.
        clock: gives the moment of every question.
        siblings: the other processes behind the same socket.
    """
    stopping = Stopping()
    open_mode = settings.auth == "off"
    metrics = Metrics()
    engine = engine_for(settings.database_url)
    directory = Directory(settings, engine, on_renewed=metrics.renewed)
    metrics.watch_requests(directory.lines.under_way, directory.lines.left_alone)
    known_registry = LatestFacts(engine, clock)
    guard = Guard(engine)
    spool, no_spool = _spool(settings, clock)
    recorder = Recorder(
        engine,
        remember=rememberer(directory.policy),
        on_drop=metrics.dropped.inc,
        spool=spool,
    )
    metrics.watch_trail(lambda: recorder.waiting)
    replays = DatabaseReplays(engine, on_fault=metrics.replay_faults.inc)
    only_site = settings.site() if open_mode else None
    keeper = Keeper(recorder, metrics)
    terminology_server = (
        FhirServer(settings.terminology_server, directory.terminology_client)
        if settings.terminology_server
        else None
    )
    terminology_seconds = settings.terminology_deadline_ms / 1000

    def server_of(site: str, base_url: str, token: str) -> FhirServer:
        return FhirServer(base_url, directory.fhir_client(site, base_url), token)

    pipeline = Pipeline(
        only_site,
        clock=clock,
        server_of=server_of,
        noting=metrics,
        recalled=Recalled(asking(engine), known_registry),
        terminology=TerminologyServer(terminology_server, clock, terminology_seconds)
        if terminology_server
        else None,
        here=lambda: aside.here(),
    )
    aside = Aside(
        settings.judging_processes,
        only_site,
        clock=clock,
        answers=Answers(server_of, asking(engine), known_registry, terminology_server),
        keeper=keeper,
        metrics=metrics,
        terminology_seconds=terminology_seconds if terminology_server else None,
        log_level=settings.log_level,
        log_style=settings.log_style,
        work_seconds=settings.judging_seconds,
    )
    schedulers = Schedulers(engine, clock, directory.new_client, metrics)
    results_worker = Worker(
        engine,
        directory.named,
        clock,
        tell=schedulers.tell,
        on_judged=lambda judged: metrics.judged(judged.outcomes, judged.seconds),
    )
    reader = Reader(
        engine,
        lambda: directory.by_name,
        clock,
        directory.new_client,
        lambda site: tokens_of(site, clock),
        wake=results_worker.wake,
        tell=schedulers.tell,
        on_read=lambda done: metrics.reread(done.outcomes),
    )
    subscriptions = SubscriptionKeeper(
        engine,
        lambda: directory.by_name,
        clock,
        directory.new_client,
        lambda site: tokens_of(site, clock),
        metrics.subscription,
    )
    checks = [
        Check("serving", lambda: stopping.reason, quiet=True),
        # Hooks are answered without it, and a red light on every replica would turn a fault that can be survived into an outage.
        Check("database", lambda: not_ready(engine), required=settings.ready_needs_database, outside=True),
        Check("trail", lambda: no_spool or recorder.trouble or _waiting(recorder), required=False),
        Check("policies", lambda: "" if policy_ids() else "no policy is installed"),
        Check("terminology", lambda: "" if drugs_by_name("clozapine") else "the drug data cannot be read"),
        Check("sweep", lambda: schedulers.trouble, required=False),
        Check("large_calls", lambda: aside.problem, required=False),
        Check("results", lambda: results_worker.trouble, required=False, outside=True),
        Check("subscriptions", lambda: subscriptions.trouble, required=False, outside=True),
        Check("reading", lambda: reader.trouble, required=False, outside=True),
        # A slow FHIR server costs its own site, whose cards say so.
        Check("connections", lambda: directory.lines.problems, required=False),
        Check(
            "counts_elsewhere",
            lambda: _counts_elsewhere([only_site] if only_site else directory.sites),
            note=True,
        ),
        Check("not_sent", lambda: _not_sent([only_site] if only_site else directory.sites), note=True),
    ]
    if not open_mode:
        # One EHR without keys must not take the service away from the others: a warning.
        checks.append(Check("keys", lambda: directory.problems, required=False))
    if siblings is not None:
        checks.append(Check("processes", lambda: siblings.trouble, required=False))
    health = Health(version("clozapine-cds"), checks)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        await asyncio.to_thread(_load_terminology, engine)
        await asyncio.to_thread(warm)
        # Only then: what was read stays out of every later collection.
        garbage.tune()
        known_registry.start()
        aside.start()
        _warn_of_old_policies(directory, clock())
        schedulers.sync(directory.by_name)
        schedulers.keep_house(settings.retention_days)
        results_worker.start()
        reader.start()
        subscriptions.start()
        current = None
        if not open_mode:
            current = asyncio.create_task(directory.keep_current(lambda: schedulers.sync(directory.by_name)))
        tasks = [task for task in (current,) if task is not None]
        if siblings is not None:
            tasks.append(asyncio.create_task(_tell(siblings, metrics, health)))
        yield {"connection_refused": metrics.connection_refused, "stopping": stopping}
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await asyncio.to_thread(subscriptions.close)
        await asyncio.to_thread(reader.close)
        await asyncio.to_thread(results_worker.close)
        schedulers.close()
        await aside.aclose()
        await directory.lines.aclose()
        replays.close()
        guard.close()
        health.close()
        await asyncio.to_thread(recorder.close)
        await asyncio.to_thread(known_registry.close)
        engine.dispose()

    def observe(
        service: str, status: int, seconds: float, request: HookRequest | None, said_by_card: bool
    ) -> None:
        metrics.request(service, status, seconds)
        instance = request.hook_instance if request is not None else ""
        if not _INSTANCE.fullmatch(instance):
            instance = ""  # whatever a client puts in the place of a UUID
        log_call(service, status, seconds, instance, said_by_card)

    async def keep_feedback(service: str, items: list[Feedback], principal: Any) -> None:
        rows = [
            feedback_store.FeedbackItem(
                card=item.card,
                outcome=item.outcome,
                outcome_at=item.at,
                suggestions=item.accepted_suggestions,
                reason_system=item.reason.system if item.reason else "",
                reason_code=item.reason.code if item.reason else "",
                reason_display=item.reason.display if item.reason else "",
                comment=item.reason.comment if item.reason else "",
            )
            for item in items
        ]
        try:
            # Cards of a moment ago may still wait in the queue.
            await asyncio.to_thread(recorder.flush, 1.0)
            site = principal if isinstance(principal, Site) else only_site
            assert site is not None
            now = clock()

            def keep() -> tuple[list[feedback_store.CardOrigin], list[feedback_store.Answered | None]]:
                kept = feedback_store.store(engine, service, rows, now, site.name, site.options.snooze_days)
                found = feedback_store.answered(engine, rows, site.name, now)
                known_registry.refresh()
                return kept, found

            origins, cards = await guard.run(keep)
        except (SQLAlchemyError, DatabaseAway):
            raise ProtocolError(
                503,
                "The feedback could not be stored: the database cannot be used now. Send it again.",
                code="transient",
                headers={"Retry-After": "30"},
            ) from None
        for item, origin in zip(items, origins, strict=True):
            metrics.feedback(item.outcome, origin)
            if origin == "foreign":
                log.warning("feedback on another site's card was not kept", site=site.name, service=service)
        for item, card in zip(items, cards, strict=True):
            if card is not None:
                reason = item.reason.code if item.reason else ""
                known = reason if reason in offered_reasons() or not reason else "other"
                metrics.card_answered(card.code, card.site, card.hook, item.outcome, known, card.seconds)

    app = Application(
        base_url=settings.base_url,
        title="Clozapine safety service",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    if open_mode:
        app.door = OpenDoor(settings.base_url, settings.origins)
    app.state.stopping = stopping
    app.state.recorder = recorder
    app.state.engine = engine
    app.state.latest = known_registry
    app.state.schedulers = schedulers
    app.state.aside = aside
    app.state.directory = directory
    authenticate = None if open_mode else authenticator(directory, settings, replays, metrics, clock)
    limits = Limits(
        places=settings.max_concurrent_calls,
        seconds=settings.call_seconds,
        body_rate=settings.body_bytes_per_second,
        who=lambda principal: principal.name if isinstance(principal, Site) else "",
        sharers=lambda: directory.many,
        rate=lambda principal: _rate(principal if isinstance(principal, Site) else only_site),
    )
    routes = cds_routes(
        services(Answering(pipeline, keeper, aside)),
        on_feedback=keep_feedback,
        allowed_origins=settings.origins,
        max_body_bytes=settings.max_body_bytes,
        observer=observe,
        authenticate=authenticate,
        limits=limits,
        offered=lambda principal: hooks_of(principal if principal is not None else only_site),
        fallback=Unchecked(only_site, clock=clock, recorder=recorder, metrics=metrics),
        elsewhere=aside,
    )
    check = ClozapineCheck(
        only_site,
        clock=clock,
        keeper=keeper,
        noting=metrics,
        elsewhere=aside,
        max_body_bytes=settings.max_body_bytes,
        authenticate=authenticate,
        allowed_origins=settings.origins,
        observer=observe,
        limits=limits,
        offered=lambda _: None,
    )
    routes += fhir_routes(check, settings.links, clock().date())
    app.router.routes[:0] = routes
    app.direct = {
        route.path: route.app for route in routes if isinstance(route, Route) and "{" not in route.path
    }
    access = Access(
        [Client(c.name, c.token_sha256, c.sites, c.role) for c in settings.clients],
        WrongTokens(clock),
        open_to_all=settings.auth == "off",
    )
    arrivals = ProcessResults(
        guard,
        access,
        directory.named,
        only_site.name if only_site is not None else "",
        clock,
        results_worker.wake,
        sharers=lambda: directory.many,
        on_refused=metrics.registry_refused,
    )
    notify = Notify(
        guard,
        directory.named,
        clock,
        WrongTokens(clock),
        results_worker.wake,
        metrics.told,
    )
    # Before the FHIR side, which answers for all that is left below /fhir.
    app.router.routes[:0] = [*arrivals.routes(), *notify.routes()]
    registry = RegistryApi(
        guard,
        access,
        directory.named,
        only_site.name if only_site is not None else "",
        clock,
        known_registry.refresh,
        metrics.registry_refused,
    )
    app.router.routes += registry.routes()
    app.router.routes += operations.routes(health, metrics, siblings, Operators(settings.ops_token_sha256))
    add_pages(app, settings, directory)
    _add_errors(app)
    return app


def _load_terminology(engine: Engine) -> None:
    """Codes of the imported terminology; without them the shipped data and names go on."""
    try:
        codes = terminology.load(engine)
    except SQLAlchemyError as error:
        log.warning("the imported terminology could not be read", reason=type(error).__name__)
        return
    if codes:
        log.info("imported terminology", release=imported_release(), codes=codes)


def _warn_of_old_policies(directory: Directory, now: datetime) -> None:
    """A site may keep to a protocol that was superseded, or that nobody has confirmed, but not without anybody noticing."""
    for site in directory.by_name.values():
        policy = site.policy
        if not policy.valid_on(now.date()):
            log.warning(
                "the policy of a site is not in force today",
                site=site.name,
                policy=policy.id,
                valid_to=str(policy.valid_to or ""),
                superseded_by=policy.superseded_by,
            )
        if parts := reference_only(policy):
            log.warning(
                "the policy of a site is reference only: the site has not confirmed all its parts",
                site=site.name,
                policy=policy.id,
                parts=", ".join(parts),
            )


def _rate(site: Site | None) -> tuple[str, float] | None:
    return (
        None
        if site is None or site.options.calls_per_second is None
        else (site.name, site.options.calls_per_second)
    )


def _add_errors(app: FastAPI) -> None:
    async def sentence(_: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        text = str(error.detail) if isinstance(error, HTTPException) else "The service failed."
        if status == 404 and text == "Not Found":
            text = "There is nothing at this address. See /cds-services, /docs, /policies and /health."
        allowed = (error.headers or {}).get("Allow") if isinstance(error, HTTPException) else None
        if status == 405 and allowed:
            text = f"Use {' or '.join(sorted(allowed.replace(' ', '').split(',')))} on this address."
        code = {404: "not-found", 405: "not-supported", 429: "throttled", 503: "transient"}.get(
            status, "exception"
        )
        headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
        return Response(
            operation_outcome(text, code=code),
            status_code=status,
            media_type="application/json",
            headers=headers,
        )

    app.add_exception_handler(HTTPException, sentence)
    app.add_exception_handler(Exception, sentence)
