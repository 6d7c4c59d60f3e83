"""From a hook call to cards: gather → snapshot → evaluate → cards → response; what was answered is recorded before it leaves."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from time import perf_counter

import httpx

from cds_hooks import Card, HookRequest, Response
from cds_hooks.prefetch import fill
from service.alerts.facts.patient import PatientSnapshot
from service.alerts.say.cards import CardText, cards_of
from service.alerts.say.finding import Finding
from service.alerts.say.seen import Seen
from service.fhir.client import FhirServer, allowed_server
from service.fhir.gather import Gathered, gather, only_sent
from service.fhir.queries import QUERIES
from service.fhir.terminology_server import TerminologyServer
from service.hooks.recalled import Recalled
from service.hooks.render import render_all
from service.hooks.required import require_data, require_grounds
from service.hooks.site_facts import site_facts
from service.ops.metrics import Metrics
from service.options.site import Site
from service.options.weighed import Weighed
from service.trail.call import Call
from service.trail.recorder import Recorder

Clock = Callable[[], datetime]


class Pipeline:
    """Answers hook calls, each for the site it is bound to.

    Args:
        site: the site of calls without a principal (open mode); None when every call must be authenticated.
        clock: gives the moment of the question; tests hand in a fixed one.
        client_of: gives the HTTP client for a FHIR server (base URL) of a site (name).
        recorder: keeps the audit trail.
        metrics: counts.
        recalled: what the registry knows.
        terminology: asked about medication codes that nothing recognises.
    """

    def __init__(
        self,
        site: Site | None,
        *,
        clock: Clock,
        client_of: Callable[[str, str], httpx.AsyncClient],
        recorder: Recorder,
        metrics: Metrics,
        recalled: Recalled,
        terminology: TerminologyServer | None = None,
    ) -> None:
        self.site = site
        self.clock = clock
        self.client_of = client_of
        self.recorder = recorder
        self.metrics = metrics
        self.recalled = recalled
        self.terminology = terminology

    async def __call__(self, request: HookRequest) -> Response:
        """The cards for one call. Raises PreconditionFailed when nothing that matters could be read."""
        started = perf_counter()
        site = self._site(request)
        as_of = self.clock().astimezone(site.zone)
        gathered = await self._gather(request, site)
        if self.terminology is not None:
            await self.terminology.learn(gathered, request.context.orders)
        context = request.context
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
        findings = Weighed(snapshot, site, as_of, on_fault=self.metrics.rule_fault).findings
        require_grounds(gathered, snapshot, findings)
        patient_key = self.recalled.latest.patient_key(site.name, snapshot.patient_id)
        said = self.recalled.audible(site, patient_key, findings, snapshot, as_of)
        if site.options.shadow_codes:
            said = [f for f in said if f.code not in site.options.shadow_codes]
        cards: tuple[Card, ...] = ()
        on_fault = self.metrics.rule_fault
        texts: list[CardText] = []
        if said:
            texts = cards_of(
                said, request.hook, site.options.card_limit, snapshot.remembered, on_fault=on_fault
            )
        if texts and not site.options.shadow:
            cards = render_all(texts, site, context.patient_id, context.orders, on_fault)
        return Response(
            cards,
            record=lambda: self._record(
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
            after=lambda: self._count(request, site, as_sent, findings, texts, cards),
        )

    def _site(self, request: HookRequest) -> Site:
        """The site a call is bound to: the one whose key signed its token, or the only one in open mode."""
        if isinstance(request.principal, Site):
            return request.principal
        if self.site is None:
            raise RuntimeError("a call without a site")
        return self.site

    async def _gather(self, request: HookRequest, site: Site) -> Gathered:
        server = self._server(request, site)
        if server is None:
            return only_sent(request.prefetch, request.fhir_server)
        queries = {key: fill(template, request.context) for key, template in QUERIES.items()}
        return await gather(
            request.prefetch,
            queries,
            server,
            site.options.fhir_deadline_ms / 1000,
            request.context.orders,
            own_server=request.fhir_server,
            not_sent=site.options.not_sent,
        )

    def _server(self, request: HookRequest, site: Site) -> FhirServer | None:
        """The client's FHIR server, if it is on the site's list; nothing is ever sent to another (T5)."""
        if not request.fhir_server:
            return None
        base_url = allowed_server(request.fhir_server, site.options.fhir_servers)
        if base_url is None:
            self.metrics.foreign_servers.inc()
            return None
        token = request.fhir_authorization.access_token if request.fhir_authorization is not None else ""
        return FhirServer(base_url, self.client_of(site.name, base_url), token)

    def _count(
        self,
        request: HookRequest,
        site: Site,
        snapshot: PatientSnapshot,
        findings: list[Finding],
        texts: list[CardText],
        cards: tuple[Card, ...],
    ) -> None:
        self.metrics.findings(findings)
        self.metrics.not_understood(site.name, snapshot.ledger)
        for text, _ in zip(texts, cards, strict=False):
            self.metrics.card(text.code, site.name, request.hook)

    def _record(
        self,
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
    ) -> None:
        self.recorder.record(
            Call(
                at=as_of,
                site=site.name,
                service=request.service_id,
                hook=request.hook,
                hook_instance=request.hook_instance,
                user=request.context.user_id,
                policy=site.policy.id,
                seconds=seconds,
                resources={
                    key: len(data.resources) for key, data in gathered.sources.items() if data.resources
                },
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
            ),
            snapshot if site.options.enrol and _on_clozapine(snapshot) else None,
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


def _on_clozapine(snapshot: PatientSnapshot) -> bool:
    return any("clozapine" in m.drugs for m in snapshot.medications)
