"""What every endpoint of the protocol does: authentication, limits, errors as OperationOutcome, CORS, reporting (contract "HTTP")."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Collection, Sequence
from time import perf_counter
from typing import Any

from starlette.types import Receive, Scope, Send

from cds_hooks.body import read_body
from cds_hooks.card import Response
from cds_hooks.errors import ProtocolError
from cds_hooks.limits import Limits, TookTooLong
from cds_hooks.request import HookRequest
from cds_hooks.unjudged import SaidByCard

log = logging.getLogger("cds_hooks")
#: Told of every call: route kind (service id, ``discovery``, ``feedback``), status, seconds, the request when it was readable, and whether
#: a status that is no success was said by a card, with 200.
Observer = Callable[[str, int, float, HookRequest | None, bool], None]
#: Given the request's scope; returns who calls, or raises ProtocolError 401.
Authenticate = Callable[[Scope], Awaitable[Any]]
#: The hooks that are switched on for a principal; None: all.
Offered = Callable[[Any], Collection[str] | None]
_ALWAYS = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))


class Fault(ProtocolError):
    """500: what nobody expected; the log knows it by the incident."""

    def __init__(self, incident: str) -> None:
        super().__init__(
            500,
            f"The service failed; nothing was checked. Report incident {incident} to its operators.",
            code="exception",
        )
        self.incident = incident


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
    ) -> tuple[int, bytes, HookRequest | None, Response | None]:
        """Status, body, request, and the response with what to do before and after it is sent."""
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
        response: Response | None = None
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
                status, body, request, response = await self._admitted(scope, receive)
        except SaidByCard as said:
            said_by_card = True
            status, body, request, response = said.status, said.body, said.request, said.response
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
        if response is not None and response.record is not None:
            self._unharmed(response.record)
        await send({"type": "http.response.start", "status": sent, "headers": headers + cors})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
        # In the loop's next round: the event loop writes at the end of this one, and what follows an answer must not delay it.
        asyncio.get_running_loop().call_soon(
            self._finish, status, perf_counter() - started, request, response, said_by_card
        )

    async def _admitted(
        self, scope: Scope, receive: Receive
    ) -> tuple[int, bytes, HookRequest | None, Response | None]:
        """Who calls, whether they may now, and the answer. A stranger's body is not even read."""
        principal = await self.authenticate(scope) if self.authenticate is not None else None
        return await self._limited(scope, receive, principal)

    async def _limited(
        self, scope: Scope, receive: Receive, principal: Any
    ) -> tuple[int, bytes, HookRequest | None, Response | None]:
        """The answer, within the limits."""
        self.limits.admit(principal)
        try:
            async with asyncio.timeout(self.limits.seconds):
                return await self.answer(scope, receive, principal)
        except TimeoutError:
            raise TookTooLong(self.limits.seconds) from None

    async def body(self, scope: Scope, receive: Receive, limit: int, principal: Any) -> bytes:
        """The body of a call: all of it is there before the call takes one of the places. Raises ProtocolError."""
        with self.limits.reading(principal):
            return await read_body(scope, receive, limit, self.limits.body_rate)

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
        response: Response | None,
        said_by_card: bool,
    ) -> None:
        """Everything that happens once the answer is out."""
        if self.observer is not None:
            self._unharmed(self.observer, self.kind, status, seconds, request, said_by_card)
        if response is not None and response.after is not None:
            self._unharmed(response.after)

    def _unharmed(self, what: Callable[..., None], *args: object) -> None:
        """Do what must not be able to spoil the answer."""
        try:
            what(*args)
        except Exception as error:
            log.error("beside the answer to %s: %s", self.kind, type(error).__name__)
