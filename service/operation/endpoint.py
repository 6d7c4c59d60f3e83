"""``POST /fhir/$clozapine-check``: Bundle or Parameters in, DetectedIssues out; recorded like a hook call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from time import perf_counter
from typing import Any, Protocol

from msgspec import Struct
from msgspec.structs import replace
from starlette.types import Receive, Scope

from cds_hooks.card import Response
from cds_hooks.endpoint import Endpoint
from cds_hooks.errors import BadRequest, ProtocolError
from cds_hooks.stopping import while_wanted
from service.alerts.say.cards import shown
from service.alerts.say.finding import Finding
from service.fhir.references import is_id
from service.hooks.identifiers import Identifiers
from service.hooks.in_place import InPlace, TooMuchInPlace, reading
from service.hooks.kept import Keeper, Kept, Noting
from service.hooks.site_facts import site_facts
from service.operation.content import check_accept, check_content, preferences, unpacked
from service.operation.detected import answer
from service.operation.issues import refuse_unsound
from service.operation.left_out import left_out
from service.operation.question import Asked, read_question
from service.operation.standing import whole
from service.options.site import Site
from service.options.weighed import Weighed
from service.trail.call import Call

PATH = "/fhir/$clozapine-check"
NAME = "clozapine-check"
#: Records judged at once.
_THREADS = 4
_TOO_LARGE = "The body is larger than {limit} bytes. Send fewer resources: the blood counts, medications, results and problems of one patient."


class ClozapineCheck(Endpoint):
    """The operation.

    Args:
        site: whose policy, zone and codes apply while there is no authentication; else the caller's.
        clock: gives the moment of the question when the caller names none.
        keeper: keeps the audit trail.
        noting: counts rules that failed.
        elsewhere: judges what is too large to be judged in this process; None: everything is judged here.
        max_body_bytes: larger bodies are refused with 413.
        options: authentication, CORS and observer, as for the hooks.
    """

    media_type = b"application/fhir+json"

    def __init__(
        self,
        site: Site | None,
        *,
        clock: Callable[[], datetime],
        keeper: Keeper,
        noting: Noting,
        elsewhere: CheckElsewhere | None,
        max_body_bytes: int,
        **options: Any,
    ) -> None:
        super().__init__(NAME, "POST", **options)
        self.site = site
        self.clock = clock
        self.keeper = keeper
        self.noting = noting
        self.elsewhere = elsewhere
        self.limit = max_body_bytes
        #: Of its own: whoever waits for a database that hangs holds the others.
        self._threads = ThreadPoolExecutor(_THREADS, "check")

    async def answer(
        self, scope: Scope, receive: Receive, principal: Any
    ) -> tuple[int, bytes, None, Response]:
        """The Bundle of DetectedIssues. Raises ProtocolError."""
        check_accept(scope)
        asked = await self._asked(scope, receive, principal)
        site = principal if isinstance(principal, Site) else self.site
        assert site is not None, "with authentication every call has a site"
        now = self.clock().astimezone(site.zone)
        with self.limits.place(principal):
            checked = await self._checked(receive, site, asked, now)
        return 200, checked.body, None, self.keeper.answered(checked.kept)

    async def _checked(self, receive: Receive, site: Site, asked: Asked, now: datetime) -> Checked:
        if self.elsewhere is not None and self.elsewhere.takes(len(asked.body)):
            return await while_wanted(receive, self.elsewhere.check(site, asked, now))
        limit = self.elsewhere.here() if self.elsewhere is not None else None
        try:
            # Validating a whole record takes long enough to hold up hook calls, so it leaves the event loop.
            return await asyncio.get_running_loop().run_in_executor(
                self._threads, check, site, asked, now, self.noting, limit
            )
        except TooMuchInPlace:
            assert self.elsewhere is not None, "it has set the limit"
            return await while_wanted(receive, self.elsewhere.check(site, asked, now))

    async def _asked(self, scope: Scope, receive: Receive, principal: Any) -> Asked:
        check_content(scope)
        patient = str(scope.get("path_params", {}).get("id", ""))
        if patient and not is_id(patient):
            raise BadRequest("The address names no FHIR id of a patient.", code="value")
        plain, unpacking = unpacked(scope, receive, self.limit)
        try:
            body = await self.body(plain, unpacking, self.limit, principal)
        except ProtocolError as error:
            if error.status != 413:
                raise
            text = _TOO_LARGE.format(limit=self.limit)
            raise ProtocolError(413, text, code=error.code, expression=error.expression) from None
        return Asked(body, patient, preferences(scope).strict)


class Checked(Struct, frozen=True):
    """The answer to one question, and what gives what is kept of it."""

    body: bytes
    kept: Callable[[], Kept]


class CheckElsewhere(Protocol):
    """Judges large questions outside of this process."""

    def takes(self, size: int) -> bool:
        """Whether a body of so many bytes is judged elsewhere."""
        ...

    def here(self) -> InPlace | None:
        """The most that is judged in place."""
        ...

    def check(self, site: Site, asked: Asked, now: datetime) -> Coroutine[Any, Any, Checked]:
        """As :func:`check`. Cancelled, the work ends."""
        ...


def check(site: Site, asked: Asked, now: datetime, noting: Noting, limit: InPlace | None = None) -> Checked:
    """Judge one question.

    Args:
        site: whose policy, zone and codes apply.
        asked: a Bundle or Parameters, and what the head of the request says.
        now: the moment, unless the question names one.
        noting: counts rules that failed.
        limit: the most that is judged in place; None: everything.

    Raises ProtocolError, TooMuchInPlace.
    """
    started = perf_counter()
    with reading(limit, {}):
        question = read_question(asked, site.zone)
        as_of = question.as_of or now
        snapshot = site_facts(
            site,
            question.gathered,
            patient_id=question.patient_id,
            hook=question.event,
            orders=question.orders,
            in_words=True,
        )
    question.issues.extend(left_out(question, snapshot.ledger))
    if asked.strict:
        refuse_unsound(question.issues)
    weighed = Weighed(snapshot, site, as_of, on_fault=noting.rule_fault)
    findings = weighed.findings
    visible = _visible(site, findings, question.event)
    said = whole(weighed.case, shadow=site.options.shadow)
    built = answer(visible, snapshot, site, question, said, as_of, now, noting.rule_fault)
    call = Call(
        at=now,
        site=site.name,
        service=NAME,
        hook=question.event,
        hook_instance=Identifiers().new(),
        user="",
        policy=site.policy.id,
        seconds=perf_counter() - started,
        resources={
            key: len(data.resources) for key, data in question.gathered.sources.items() if data.resources
        },
        ledger=snapshot.ledger.sums(),
        findings=[(f.code, f.severity, f.subject) for f in findings],
        cards=[
            (identifier, f.code, f.severity, [], f.subject)
            for identifier, f in zip(built.ids, visible, strict=True)
        ],
    )
    kept = Kept(call=call, ledger=replace(snapshot.ledger, entries=()))
    return Checked(built.body, lambda: kept)


def _visible(site: Site, findings: list[Finding], event: str) -> list[Finding]:
    """Findings that are told: none in shadow mode, and not those of shadowed codes."""
    if site.options.shadow:
        return []
    return shown((f for f in findings if f.code not in site.options.shadow_codes), event)
