"""The routes of the protocol: discovery, services, feedback (cds-hooks checklist; contract "HTTP").

The endpoints are plain ASGI: they read bytes and write bytes, so that the protocol costs microseconds.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import Any

from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope

from cds_hooks.body import check_media
from cds_hooks.card import Response, encode
from cds_hooks.discovery import Service, discovery_document
from cds_hooks.elsewhere import Elsewhere
from cds_hooks.endpoint import Authenticate, Endpoint, Fault, Observer, Offered, log
from cds_hooks.errors import ProtocolError
from cds_hooks.feedback import Feedback, read_feedback
from cds_hooks.limits import Limits, TookTooLong
from cds_hooks.request import HookRequest, envelope_reader, read_request
from cds_hooks.stopping import while_wanted
from cds_hooks.unjudged import FOR_THE_USER, Failure, Fallback, Hearing, Listening, SaidByCard, concerns

#: Outcomes of some cards, and a sentence on each.
FEEDBACK_BYTES = 1_000_000
OnFeedback = Callable[[str, list[Feedback], Any], Awaitable[None]]


class Discovery(Endpoint):
    """``GET /cds-services``."""

    def __init__(self, services: Sequence[Service], **options: Any) -> None:
        super().__init__("discovery", "GET", **options)
        self.services = services
        self.document = discovery_document(services)

    async def answer(self, scope: Scope, receive: Receive, principal: Any) -> tuple[int, bytes, None, None]:
        hooks = self.offered(principal)
        if hooks is None:
            return 200, self.document, None, None
        return 200, discovery_document([s for s in self.services if s.hook in hooks]), None, None


class ServiceCall(Endpoint):
    """``POST /cds-services/{id}``. A call that cannot be judged may be answered by a card of the application's."""

    def __init__(
        self,
        service: Service,
        max_body_bytes: int,
        fallback: Fallback | None,
        listening: Listening,
        elsewhere: Elsewhere | None,
        **options: Any,
    ) -> None:
        super().__init__(service.id, "POST", **options)
        self.service = service
        self.limit = max_body_bytes
        self.fallback = fallback
        self.listening = listening
        self.elsewhere = elsewhere
        self.read_envelope = envelope_reader(service.reads)

    async def _admitted(
        self, scope: Scope, receive: Receive
    ) -> tuple[int, bytes, HookRequest | None, Response | None]:
        started = perf_counter()
        principal = await self.authenticate(scope) if self.authenticate is not None else None
        heard = Hearing(receive)
        failed: ProtocolError
        try:
            return await self._limited(scope, heard, principal)
        except ProtocolError as error:
            if self.fallback is None or error.status not in FOR_THE_USER:
                raise
            failed = error
        except Exception as error:
            failed = self._fault(error)
        if self.fallback is not None:
            await self._said_by_card(self.fallback, failed, scope, heard, principal, started)
        raise failed

    async def _said_by_card(
        self,
        fallback: Fallback,
        failed: ProtocolError,
        scope: Scope,
        heard: Hearing,
        principal: Any,
        started: float,
    ) -> None:
        """Raises SaidByCard where the application has a card for a failed call, and ProtocolError where something else is wrong with it."""
        self._check_offered(principal)
        check_media(scope)
        incident = failed.incident if isinstance(failed, Fault) else str(uuid.uuid4())
        try:
            concerned = fallback.wanted(principal) and await concerns(
                fallback, principal, heard, failed, self.limit, self.listening
            )
            failure = Failure(
                service_id=self.service.id,
                hook=self.service.hook,
                status=failed.status,
                code=failed.code,
                incident=incident,
                principal=principal,
                request=heard.request,
                seconds=perf_counter() - started,
            )
            response = fallback.respond(failure, concerned)
            if response is None:
                return
            body = encode(response)
        except Exception as error:
            self._fault(error)  # the status that there was is sent
            return
        if not isinstance(failed, Fault):
            log.warning(
                "call to %s was not judged: %s (%d, incident %s)",
                self.kind, failed.code, failed.status, incident,
            )  # fmt: skip
        raise SaidByCard(failed.status, body, heard.request, response)

    def _check_offered(self, principal: Any) -> None:
        hooks = self.offered(principal)
        if hooks is not None and self.service.hook not in hooks:
            raise ProtocolError(404, "This service is switched off for your site.", code="not-found")

    async def answer(
        self, scope: Scope, receive: Receive, principal: Any
    ) -> tuple[int, bytes, HookRequest | None, Response]:
        self._check_offered(principal)
        body = await self.body(scope, receive, self.limit, principal)
        with self.limits.place(principal):
            if self.elsewhere is not None and self.elsewhere.takes(len(body)):
                return await self._elsewhere(self.elsewhere, body, receive, principal)
            request = read_request(
                body, self.service.id, self.service.definition, principal, self.read_envelope
            )
            if isinstance(receive, Hearing):
                receive.parts, receive.request = [body], request
            response = await self.service.handler(request)
            return 200, encode(response), request, response

    async def _elsewhere(
        self, elsewhere: Elsewhere, body: bytes, receive: Receive, principal: Any
    ) -> tuple[int, bytes, HookRequest | None, Response]:
        heard = receive if isinstance(receive, Hearing) else Hearing(receive)
        heard.parts = [body]

        def told(request: HookRequest) -> None:
            heard.request = request

        judging = elsewhere.judge(self.service.id, self.service.hook, body, principal, told)
        response = await while_wanted(heard, judging)
        return 200, encode(response), heard.request, response


class FeedbackCall(Endpoint):
    """``POST /cds-services/{id}/feedback``."""

    def __init__(
        self, service: Service, on_feedback: OnFeedback, max_body_bytes: int, **options: Any
    ) -> None:
        super().__init__("feedback", "POST", **options)
        self.service = service
        self.on_feedback = on_feedback
        self.limit = max_body_bytes

    async def answer(self, scope: Scope, receive: Receive, principal: Any) -> tuple[int, bytes, None, None]:
        items = read_feedback(await self.body(scope, receive, self.limit, principal))
        with self.limits.place(principal):
            await self.on_feedback(self.service.id, items, principal)
        return 204, b"", None, None

    async def _limited(
        self, scope: Scope, receive: Receive, principal: Any
    ) -> tuple[int, bytes, HookRequest | None, Response | None]:
        try:
            return await super()._limited(scope, receive, principal)
        except TookTooLong as error:
            raise ProtocolError(
                503,
                "The feedback was not stored in time. Send it again.",
                code="timeout",
                headers=error.headers,
            ) from None


class Unknown(Endpoint):
    """Any other id below ``/cds-services``."""

    def __init__(self, known: Sequence[str], **options: Any) -> None:
        super().__init__("unknown", "POST", **options)
        self.known = ", ".join(known)

    def _allows(self, method: str) -> bool:
        return True  # no method finds what does not exist

    async def answer(self, scope: Scope, receive: Receive, principal: Any) -> tuple[int, bytes, None, None]:
        raise ProtocolError(
            404,
            f"There is no such CDS service. GET /cds-services lists them; POST to one of {self.known}, without a slash at the end.",
            code="not-found",
        )


def cds_routes(
    services: Sequence[Service],
    *,
    on_feedback: OnFeedback,
    authenticate: Authenticate | None = None,
    allowed_origins: Sequence[str] = (),
    max_body_bytes: int = 5_000_000,
    observer: Observer | None = None,
    limits: Limits | None = None,
    offered: Offered = lambda principal: None,
    fallback: Fallback | None = None,
    elsewhere: Elsewhere | None = None,
) -> list[BaseRoute]:
    """The routes of the protocol, for a Starlette or FastAPI application.

    Args:
        services: what is offered.
        on_feedback: stores feedback; the 204 is sent when it returns.
        authenticate: checks the client's JWT and gives the principal (see ``cds_hooks.auth``); None leaves the service open.
        allowed_origins: browser clients (D9); ``*`` allows every origin.
        max_body_bytes: larger bodies are refused with 413.
        observer: told of every call.
        limits: calls per second and client, calls at once, seconds per call; the defaults of :class:`Limits` when None.
        offered: the hooks switched on for a principal.
        fallback: has cards for calls that cannot be judged; None: they get their status.
        elsewhere: judges what is too large to be judged in this process; None: everything is judged here.
    """
    limits = limits or Limits()
    options: dict[str, Any] = {
        "authenticate": authenticate,
        "allowed_origins": allowed_origins,
        "observer": observer,
        "limits": limits,
        "offered": offered,
    }
    listening = Listening(limits.places)
    routes: list[BaseRoute] = [_route("/cds-services", Discovery(services, **options))]
    for service in services:
        path = f"/cds-services/{service.id}"
        routes.append(
            _route(path, ServiceCall(service, max_body_bytes, fallback, listening, elsewhere, **options))
        )
        routes.append(
            _route(
                f"{path}/feedback",
                FeedbackCall(service, on_feedback, min(max_body_bytes, FEEDBACK_BYTES), **options),
            )
        )
    routes.append(_route("/cds-services/{rest:path}", Unknown([s.id for s in services], **options)))
    return routes


def _route(path: str, endpoint: Endpoint) -> Route:
    # An ASGI instance as endpoint gets every method, so that 405 is answered with an OperationOutcome too.
    return Route(path, endpoint=endpoint)
