"""``POST /fhir/$clozapine-check``: Bundle or Parameters in, DetectedIssues out; recorded like a hook call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from time import perf_counter
from typing import Any

from starlette.types import Receive, Scope

from cds_hooks.card import Response
from cds_hooks.endpoint import Endpoint
from cds_hooks.errors import ProtocolError
from service.alerts.facts.ledger import Ledger
from service.alerts.say.cards import shown
from service.alerts.say.finding import Finding
from service.hooks.identifiers import Identifiers
from service.hooks.site_facts import site_facts
from service.operation.detected import Answer, answer
from service.operation.question import Question, read_question
from service.ops.metrics import Metrics
from service.options.site import Site
from service.options.weighed import Weighed
from service.trail.call import Call
from service.trail.recorder import Recorder

PATH = "/fhir/$clozapine-check"
NAME = "clozapine-check"
#: Records judged at once.
_THREADS = 4
_TOO_LARGE = "The body is larger than {limit} bytes. Send fewer resources: the blood counts, medications, results and problems of one patient."
_identifiers = Identifiers()


class ClozapineCheck(Endpoint):
    """The operation.

    Args:
        site: whose policy, zone and codes apply while there is no authentication; else the caller's.
        clock: gives the moment of the question when the caller names none.
        recorder: keeps the audit trail.
        metrics: counts findings and rules that failed.
        max_body_bytes: larger bodies are refused with 413.
        options: authentication, CORS and observer, as for the hooks.
    """

    media_type = b"application/fhir+json"

    def __init__(
        self,
        site: Site | None,
        *,
        clock: Callable[[], datetime],
        recorder: Recorder,
        metrics: Metrics,
        max_body_bytes: int,
        **options: Any,
    ) -> None:
        super().__init__(NAME, "POST", **options)
        self.site = site
        self.clock = clock
        self.recorder = recorder
        self.metrics = metrics
        self.limit = max_body_bytes
        #: Of its own: whoever waits for a database that hangs holds the others.
        self._threads = ThreadPoolExecutor(_THREADS, "check")

    async def answer(
        self, scope: Scope, receive: Receive, principal: Any
    ) -> tuple[int, bytes, None, Response]:
        """The Bundle of DetectedIssues. Raises ProtocolError."""
        started = perf_counter()
        body = await self._body(scope, receive, principal)
        # Validating a whole record takes long enough to hold up hook calls, so it leaves the event loop.
        site = principal if isinstance(principal, Site) else self.site
        assert site is not None, "with authentication every call has a site"
        now = self.clock().astimezone(site.zone)
        with self.limits.place(principal):
            question, findings, built, ledger = await asyncio.get_running_loop().run_in_executor(
                self._threads, self._check, site, body, now
            )

        def record() -> None:
            self._record(site, question, findings, built, ledger, now, perf_counter() - started)

        def count() -> None:
            self.metrics.findings(findings)
            self.metrics.not_understood(site.name, ledger)

        return 200, built.body, None, Response(record=record, after=count)

    async def _body(self, scope: Scope, receive: Receive, principal: Any) -> bytes:
        try:
            return await self.body(scope, receive, self.limit, principal)
        except ProtocolError as error:
            if error.status == 415:
                text = "Send the body as application/fhir+json, uncompressed, in UTF-8."
            elif error.status == 413:
                text = _TOO_LARGE.format(limit=self.limit)
            else:
                raise
            raise ProtocolError(error.status, text, code=error.code, expression=error.expression) from None

    def _check(
        self, site: Site, body: bytes, now: datetime
    ) -> tuple[Question, list[Finding], Answer, Ledger]:
        question = read_question(body, site.zone)
        as_of = question.as_of or now
        snapshot = site_facts(
            site,
            question.gathered,
            patient_id=question.patient_id,
            hook=question.event,
            orders=question.orders,
        )
        findings = Weighed(snapshot, site, as_of, on_fault=self.metrics.rule_fault).findings
        visible = _visible(site, findings, question.event)
        built = answer(visible, snapshot, site, question, as_of, now, self.metrics.rule_fault)
        return question, findings, built, snapshot.ledger

    def _record(
        self,
        site: Site,
        question: Question,
        findings: list[Finding],
        built: Answer,
        ledger: Ledger,
        now: datetime,
        seconds: float,
    ) -> None:
        visible = _visible(site, findings, question.event) if built.ids else []
        self.recorder.record(
            Call(
                at=now,
                site=site.name,
                service=NAME,
                hook=question.event,
                hook_instance=_identifiers.new(),
                user="",
                policy=site.policy.id,
                seconds=seconds,
                resources={
                    key: len(data.resources)
                    for key, data in question.gathered.sources.items()
                    if data.resources
                },
                ledger=ledger.sums(),
                findings=[(f.code, f.severity, f.subject) for f in findings],
                cards=[
                    (identifier, f.code, f.severity, [], f.subject)
                    for identifier, f in zip(built.ids, visible, strict=True)
                ],
            )
        )


def _visible(site: Site, findings: list[Finding], event: str) -> list[Finding]:
    """Findings that are told: none in shadow mode, and not those of shadowed codes."""
    if site.options.shadow:
        return []
    return shown((f for f in findings if f.code not in site.options.shadow_codes), event)
