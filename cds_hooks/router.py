"""HTTP of the protocol: discovery, services, feedback, CORS, errors (cds-hooks checklist; contract "HTTP").

The endpoints are plain ASGI: they read bytes and write bytes, so that the protocol costs microseconds.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import lru_cache
from time import perf_counter
from typing import Any

from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from cds_hooks.card import encode
from cds_hooks.discovery import Service, discovery_document
from cds_hooks.elsewhere import Elsewhere
from cds_hooks.errors import ProtocolError
from cds_hooks.feedback import Feedback, read_feedback
from cds_hooks.limits import Limits, TookTooLong
from cds_hooks.request import HookRequest, envelope_reader, read_request
from cds_hooks.unjudged import FOR_THE_USER, Failure, Fallback, Hearing, Listening, SaidByCard, concerns

log = logging.getLogger("cds_hooks")

#: Told of every call: route kind (service id, ``discovery``, ``feedback``), status, seconds, the request when it was readable, and whether
#: a status that is no success was said by a card, with 200.
Observer = Callable[[str, int, float, HookRequest | None, bool], None]
#: Given the request's scope; returns who calls, or raises ProtocolError 401.
Authenticate = Callable[[Scope], Awaitable[Any]]
OnFeedback = Callable[[str, list[Feedback], Any], Awaitable[None]]
#: The hooks that are switched on for a principal; None: all.
Offered = Callable[[Any], Collection[str] | None]

_JSON_TYPES = frozenset({"application/json", "application/fhir+json"})
_UTF8 = frozenset({"utf-8", "utf8", "us-ascii"})
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_ALWAYS = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))


class TooLarge(ProtocolError):
    """413."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            413,
            f"The body is larger than {limit} bytes. Send fewer resources in prefetch; the service asks for what it needs.",
            code="too-long",
        )


@lru_cache(maxsize=256)
def _is_json(content_type: bytes) -> bool:
    media_type, _, parameters = content_type.decode("latin-1").lower().partition(";")
    charset = parameters.partition("charset=")[2].split(";")[0].strip(' "')
    return media_type.strip() in _JSON_TYPES and (not charset or charset in _UTF8)


class Fault(ProtocolError):
    """500: what nobody expected; the log knows it by the incident."""

    def __init__(self, incident: str) -> None:
        super().__init__(
            500,
            f"The service failed; nothing was checked. Report incident {incident} to its operators.",
            code="exception",
        )
        self.incident = incident


def check_media(scope: Scope) -> None:
    """Refuse bodies that are not uncompressed JSON in UTF-8. Raises ProtocolError 415."""
    for name, value in scope["headers"]:
        if name == b"content-type":
            if not _is_json(value):
                raise ProtocolError(
                    415,
                    "Send the body as application/json in UTF-8.",
                    code="not-supported",
                    expression="Content-Type",
                )
        elif name == b"content-encoding" and value.lower() not in (b"identity", b""):
            raise ProtocolError(
                415,
                "Compressed bodies are not accepted; send the body uncompressed.",
                code="not-supported",
                expression="Content-Encoding",
            )


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The request body; a byte order mark, as .NET clients send it, is left out. Raises ProtocolError for other media types, encodings and sizes."""
    check_media(scope)
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > limit:
            raise TooLarge(limit)
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        if len(body) > limit:
            raise TooLarge(limit)
        return body.removeprefix(_BYTE_ORDER_MARK)
    parts, size = [body], len(body)
    while message.get("more_body", False):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ProtocolError(
                400, "The client closed the connection before the body was complete.", code="incomplete"
            )
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            raise TooLarge(limit)
    return b"".join(parts).removeprefix(_BYTE_ORDER_MARK)


class Endpoint:
    """One ASGI endpoint: authenticate, answer, turn errors into OperationOutcomes, add CORS headers, report."""

    #: Of every body, errors too.
    media_type = b"application/json"

    def __init__(
        self,
        kind: str,
        method: str,
        *,
        authenticate: Authenticate | None,
        allowed_origins: Sequence[str],
        observer: Observer | None,
        limits: Limits,
        offered: Offered,
    ) -> None:
        self.kind = kind
        self.method = method
        self.authenticate = authenticate
        self.limits = limits
        self.offered = offered
        self.any_origin = "*" in allowed_origins
        self.origins = frozenset(o.encode("latin-1") for o in allowed_origins)
        self.observer = observer

    async def answer(
        self, scope: Scope, receive: Receive, principal: Any
    ) -> tuple[int, bytes, HookRequest | None, Callable[[], None] | None]:
        """Status, body, request and what to do afterwards."""
        raise NotImplementedError(type(self).__name__)

    def _allows(self, method: str) -> bool:
        return method == self.method or (self.method == "GET" and method == "HEAD")

    def _cors(self, scope: Scope) -> list[tuple[bytes, bytes]]:
        if not self.origins:
            return []
        origin = next((value for name, value in scope["headers"] if name == b"origin"), None)
        if origin is None or not (self.any_origin or origin in self.origins):
            return []
        allowed = b"*" if self.any_origin else origin
        return [(b"access-control-allow-origin", allowed), (b"vary", b"Origin")]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = perf_counter()
        cors = self._cors(scope)
        said_by_card = False
        request: HookRequest | None = None
        after: Callable[[], None] | None = None
        headers: list[tuple[bytes, bytes]] = []
        try:
            if scope["method"] == "OPTIONS":
                status, body = 204, b""
                headers = self._preflight(cors)
            elif not self._allows(scope["method"]):
                raise ProtocolError(
                    405,
                    f"Use {self.method} on this address.",
                    code="not-supported",
                    headers={"Allow": f"{self.method}, OPTIONS"},
                )
            else:
                status, body, request, after = await self._admitted(scope, receive)
        except SaidByCard as said:
            said_by_card = True
            status, body, request, after = said.status, said.body, said.request, said.after
        except ProtocolError as error:
            status, body = error.status, error.outcome()
            headers = [(k.lower().encode(), v.encode()) for k, v in error.headers.items()]
        except asyncio.CancelledError:
            raise
        except Exception as error:
            fault = self._fault(error)
            status, body = fault.status, fault.outcome()
        if body:
            headers.append((b"content-type", self.media_type))
            headers.append((b"content-length", str(len(body)).encode()))
        headers += _ALWAYS
        sent = 200 if said_by_card else status
        await send({"type": "http.response.start", "status": sent, "headers": headers + cors})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
        # In the loop's next round: the event loop writes at the end of this one, and what follows an answer must not delay it.
        asyncio.get_running_loop().call_soon(
            self._finish, status, perf_counter() - started, request, after, said_by_card
        )

    async def _admitted(
        self, scope: Scope, receive: Receive
    ) -> tuple[int, bytes, HookRequest | None, Callable[[], None] | None]:
        """Who calls, whether they may now, and the answer. A stranger's body is not even read."""
        principal = await self.authenticate(scope) if self.authenticate is not None else None
        return await self._limited(scope, receive, principal)

    async def _limited(
        self, scope: Scope, receive: Receive, principal: Any
    ) -> tuple[int, bytes, HookRequest | None, Callable[[], None] | None]:
        """The answer, within the limits."""
        self.limits.admit(principal)
        with self.limits.gate:
            try:
                async with asyncio.timeout(self.limits.seconds):
                    return await self.answer(scope, receive, principal)
            except TimeoutError:
                raise TookTooLong(self.limits.seconds) from None

    def _fault(self, error: Exception) -> Fault:
        """A fault, told to the log and named."""
        incident = str(uuid.uuid4())
        log.error("call to %s failed: %s (incident %s)", self.kind, type(error).__name__, incident)
        log.debug("incident %s", incident, exc_info=error)
        return Fault(incident)

    def _preflight(self, cors: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        allow = [(b"allow", f"{self.method}, OPTIONS".encode())]
        if not cors:
            return allow
        return [
            *allow,
            (b"access-control-allow-methods", b"GET, POST, OPTIONS"),
            (b"access-control-allow-headers", b"Authorization, Content-Type, Accept"),
            (b"access-control-max-age", b"600"),
        ]

    def _finish(
        self,
        status: int,
        seconds: float,
        request: HookRequest | None,
        after: Callable[[], None] | None,
        said_by_card: bool,
    ) -> None:
        """Everything that happens once the answer is out: it must not be able to spoil it."""
        try:
            if self.observer is not None:
                self.observer(self.kind, status, seconds, request, said_by_card)
            if after is not None:
                after()
        except Exception as error:
            log.error("after the call to %s: %s", self.kind, type(error).__name__)


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
    ) -> tuple[int, bytes, HookRequest | None, Callable[[], None] | None]:
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
        raise SaidByCard(failed.status, body, heard.request, response.after)

    def _check_offered(self, principal: Any) -> None:
        hooks = self.offered(principal)
        if hooks is not None and self.service.hook not in hooks:
            raise ProtocolError(404, "This service is switched off for your site.", code="not-found")

    async def answer(
        self, scope: Scope, receive: Receive, principal: Any
    ) -> tuple[int, bytes, HookRequest | None, Callable[[], None] | None]:
        self._check_offered(principal)
        body = await read_body(scope, receive, self.limit)
        if self.elsewhere is not None and self.elsewhere.takes(len(body)):
            return await self._elsewhere(self.elsewhere, body, receive, principal)
        request = read_request(body, self.service.id, self.service.definition, principal, self.read_envelope)
        if isinstance(receive, Hearing):
            receive.parts, receive.request = [body], request
        response = await self.service.handler(request)
        return 200, encode(response), request, response.after

    async def _elsewhere(
        self, elsewhere: Elsewhere, body: bytes, receive: Receive, principal: Any
    ) -> tuple[int, bytes, HookRequest | None, Callable[[], None] | None]:
        heard = receive if isinstance(receive, Hearing) else Hearing(receive)
        heard.parts = [body]

        def told(request: HookRequest) -> None:
            heard.request = request

        answer, after = await elsewhere.judge(self.service.id, self.service.hook, body, principal, told)
        return 200, answer, heard.request, after


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
        items = read_feedback(await read_body(scope, receive, self.limit))
        await self.on_feedback(self.service.id, items, principal)
        return 204, b"", None, None


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
    listening = Listening(limits.gate.places)
    routes: list[BaseRoute] = [_route("/cds-services", Discovery(services, **options))]
    for service in services:
        path = f"/cds-services/{service.id}"
        routes.append(
            _route(path, ServiceCall(service, max_body_bytes, fallback, listening, elsewhere, **options))
        )
        routes.append(
            _route(f"{path}/feedback", FeedbackCall(service, on_feedback, max_body_bytes, **options))
        )
    routes.append(_route("/cds-services/{rest:path}", Unknown([s.id for s in services], **options)))
    return routes


def _route(path: str, endpoint: Endpoint) -> Route:
    # An ASGI instance as endpoint gets every method, so that 405 is answered with an OperationOutcome too.
    return Route(path, endpoint=endpoint)
