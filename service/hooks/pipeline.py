"""From a hook call to cards: gather → snapshot → evaluate → cards → response; what was answered is recorded before it leaves."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from time import perf_counter
from typing import Protocol

from msgspec import Struct

from cds_hooks import Card, HookRequest, Response
from cds_hooks.prefetch import fill
from service.alerts.facts.patient import PatientSnapshot
from service.alerts.say.cards import CardText, cards_of
from service.alerts.say.finding import Finding
from service.alerts.say.seen import Seen
from service.fhir.client import Server, allowed_server
from service.fhir.gather import Gathered, gather, only_sent
from service.fhir.queries import QUERIES
from service.fhir.terminology_server import TerminologyServer
from service.hooks.in_place import InPlace, Pages, TooMuchInPlace, reading
from service.hooks.kept import Keeper, Kept, Noting
from service.hooks.recalled import Recalled
from service.hooks.render import render_all
from service.hooks.required import require_data, require_grounds
from service.hooks.site_facts import site_facts
from service.options.site import Site
from service.options.weighed import Weighed
from service.trail.call import Call

Clock = Callable[[], datetime]


class Judged(Struct, frozen=True):
    """The cards of one call, and what is kept of it before they leave."""

    cards: tuple[Card, ...]
    keep: Callable[[], Kept]


class Pipeline:
    """Judges hook calls, each for the site it is bound to.

    Args:
        site: the site of calls without a principal (open mode); None when every call must be authenticated.
        clock: gives the moment of the question; tests hand in a fixed one.
        server_of: gives the FHIR server of a site (name) at a base URL, with the call's token.
        noting: counts what goes wrong on the way.
        recalled: what the registry knows.
        terminology: asked about medication codes that nothing recognises.
        here: the most that is judged here at present; None: everything is.
    """

    def __init__(
        self,
        site: Site | None,
        *,
        clock: Clock,
        server_of: Callable[[str, str, str], Server],
        noting: Noting,
        recalled: Recalled,
        terminology: TerminologyServer | None = None,
        here: Callable[[], InPlace | None] = lambda: None,
    ) -> None:
        self.site = site
        self.clock = clock
        self.server_of = server_of
        self.noting = noting
        self.recalled = recalled
        self.terminology = terminology
        self.here = here

    async def judge(self, request: HookRequest) -> Judged:
        """The cards for one call. Raises PreconditionFailed when nothing that matters could be read, TooMuchInPlace."""
        started = perf_counter()
        site = self.site_of(request)
        limit = self.here()
        as_of = self.clock().astimezone(site.zone)
        pages: dict[str, bytes] = {}
        gathered = await self._gather(request, site, limit, pages)
        context = request.context
        with reading(limit, pages):
            if self.terminology is not None:
                await self.terminology.learn(gathered, request.context.orders)
            snapshot = site_facts(
                site,
                gathered,
                patient_id=context.patient_id,
                hook=request.hook,
                orders=context.orders,
                selections=context.selections,
            )
        as_sent = snapshot
        snapshot = await self.recalled.enriched(site, snapshot, as_of)
        require_data(gathered, snapshot)
        findings = Weighed(snapshot, site, as_of, on_fault=self.noting.rule_fault).findings
        require_grounds(gathered, snapshot, findings)
        patient_key = self.recalled.latest.patient_key(site.name, snapshot.patient_id)
        said = self.recalled.audible(site, patient_key, findings, snapshot, as_of)
        if site.options.shadow_codes:
            said = [f for f in said if f.code not in site.options.shadow_codes]
        cards: tuple[Card, ...] = ()
        on_fault = self.noting.rule_fault
        texts: list[CardText] = []
        if said:
            texts = cards_of(
                said, request.hook, site.options.card_limit, snapshot.remembered, on_fault=on_fault
            )
        if texts and not site.options.shadow:
            cards = render_all(texts, site, context.patient_id, context.orders, on_fault)
        return Judged(
            cards,
            lambda: _kept(
                request,
                site,
                gathered,
                as_sent,
                snapshot,
                patient_key,
                findings,
                texts,
                cards,
                as_of,
                perf_counter() - started,
            ),
        )

    def site_of(self, request: HookRequest) -> Site:
        """The site a call is bound to: the one whose key signed its token, or the only one in open mode."""
        if isinstance(request.principal, Site):
            return request.principal
        if self.site is None:
            raise RuntimeError("a call without a site")
        return self.site

    async def _gather(
        self, request: HookRequest, site: Site, limit: InPlace | None, pages: dict[str, bytes]
    ) -> Gathered:
        server = self._server(request, site)
        if server is None:
            return only_sent(request.prefetch, request.fhir_server)
        queries = {key: fill(template, request.context) for key, template in QUERIES.items()}
        kept = Pages(server, limit.size, pages) if limit is not None else None
        gathering = gather(
            request.prefetch,
            queries,
            kept or server,
            site.options.fhir_deadline_ms / 1000,
            request.context.orders,
            own_server=request.fhir_server,
            not_sent=site.options.not_sent,
        )
        return await (kept.watched(gathering) if kept is not None else gathering)

    def _server(self, request: HookRequest, site: Site) -> Server | None:
        """The client's FHIR server, if it is on the site's list; nothing is ever sent to another (T5)."""
        if not request.fhir_server:
            return None
        base_url = allowed_server(request.fhir_server, site.options.fhir_servers)
        if base_url is None:
            self.noting.foreign_server()
            return None
        token = request.fhir_authorization.access_token if request.fhir_authorization is not None else ""
        return self.server_of(site.name, base_url, token)


def _kept(
    request: HookRequest,
    site: Site,
    gathered: Gathered,
    snapshot: PatientSnapshot,
    judged: PatientSnapshot,
    patient_key: str,
    findings: list[Finding],
    texts: list[CardText],
    cards: tuple[Card, ...],
    as_of: datetime,
    seconds: float,
) -> Kept:
    call = Call(
        at=as_of,
        site=site.name,
        service=request.service_id,
        hook=request.hook,
        hook_instance=request.hook_instance,
        user=request.context.user_id,
        policy=site.policy.id,
        seconds=seconds,
        resources={key: len(data.resources) for key, data in gathered.sources.items() if data.resources},
        findings=[(f.code, f.severity, f.subject) for f in findings],
        cards=[
            (
                c.uuid,
                c.source.topic.code if c.source.topic else "",
                c.indicator,
                [s.uuid for s in c.suggestions],
                text.subject,
            )
            for c, text in zip(cards, texts, strict=False)
        ],
        ledger=snapshot.ledger.sums(),
        patient_key=patient_key,
        seen=_seen(judged, findings, texts, cards) if site.options.snooze_days else {},
    )
    return Kept(
        call=call,
        ledger=snapshot.ledger,
        shown=tuple([text.code for text, _ in zip(texts, cards, strict=False)]),
        facts=snapshot if site.options.enrol and _on_clozapine(snapshot) else None,
    )


def _seen(
    judged: PatientSnapshot, findings: list[Finding], texts: list[CardText], cards: tuple[Card, ...]
) -> dict[str, str]:
    """What every card showed, by its uuid, so that an override silences that and no more."""
    if not cards:
        return {}
    # As on the cards: of two findings alike the most severe one, and findings come most severe first.
    by_card = {(f.code, f.subject): f for f in reversed(findings)}
    # A card that stands for no finding shows nothing that could be overridden.
    shown = [(c, f) for t, c in zip(texts, cards, strict=False) if (f := by_card.get((t.code, t.subject)))]
    seen = Seen(judged, [finding for _, finding in shown])
    return {card.uuid: seen(finding) for card, finding in shown}


class GoesOn(Protocol):
    """Judges what is too much to be judged in place."""

    async def go_on(self, request: HookRequest, site: Site, pages: dict[str, bytes]) -> Response:
        """The answer. Raises ProtocolError."""
        ...


class Answering:
    """Handles calls: judged, kept, answered.

    Args:
        pipeline: judges in this process.
        keeper: keeps.
        aside: judges what is too much for that.
    """

    def __init__(self, pipeline: Pipeline, keeper: Keeper, aside: GoesOn) -> None:
        self._pipeline = pipeline
        self._keeper = keeper
        self._aside = aside

    async def __call__(self, request: HookRequest) -> Response:
        """The cards for one call. Raises PreconditionFailed when nothing that matters could be read."""
        try:
            judged = await self._pipeline.judge(request)
        except TooMuchInPlace as much:
            return await self._aside.go_on(request, self._pipeline.site_of(request), much.pages)
        return self._keeper.answered(judged.keep, judged.cards)


def _on_clozapine(snapshot: PatientSnapshot) -> bool:
    return any("clozapine" in m.drugs for m in snapshot.medications)
