"""Calls that cannot be judged: what is said in place of an error status, which EHRs do not show to their users.

The application decides whether a card is sent, and what stands on it; this module says for which failures, and reads as much of the body
as that decision needs.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from msgspec import Struct
from starlette.types import Message, Receive

from cds_hooks.card import Response
from cds_hooks.errors import ProtocolError
from cds_hooks.limits import Gate, Overloaded
from cds_hooks.request import HookRequest

#: Data missing, too large, too many calls, a fault, overload or time-out: the user must look for himself. Every other status tells whoever
#: connects the client what to mend (malformed, token, unknown, media type) and stays a status.
FOR_THE_USER = frozenset({412, 413, 429, 500, 503})
#: Of a body that is not read yet: so many times the accepted size, and so long.
_LISTENED_TO = 4
_LISTEN_SECONDS = 3.0
#: What is looked for may begin in one part of a body and end in the next.
OVERLAP = 512
_SLICE = 65_536


class Failure(Struct, frozen=True, kw_only=True):
    """A hook call that could not be judged."""

    service_id: str
    hook: str
    #: The status that says so.
    status: int
    #: FHIR issue type: ``required``, ``too-long``, ``throttled``, ``exception``, ``transient``, ``timeout``.
    code: str
    #: Names the failure in the log; the user can tell it to the operators.
    incident: str
    principal: Any
    #: The call, where it was read as far as that.
    request: HookRequest | None
    seconds: float


class Fallback(Protocol):
    """The application's part."""

    def wanted(self, principal: Any) -> bool:
        """Whether this client gets cards in place of statuses at all; else no body is read for it."""
        ...

    def concerned(self, principal: Any, part: bytes) -> bool:
        """Whether a part of a body shows that the call is one to speak up for. Parts overlap by ``OVERLAP`` bytes."""
        ...

    def respond(self, failure: Failure, concerned: bool) -> Response | None:
        """The cards to send with 200; None: the status is sent."""
        ...


class SaidByCard(Exception):
    """A failed call that is answered with 200 and cards; it counts as what it is.

    Args:
        status: that the call failed with.
        body: of the answer.
        request: the call, where it was read as far as that.
        response: what is done before and after it is sent.
    """

    def __init__(self, status: int, body: bytes, request: HookRequest | None, response: Response) -> None:
        super().__init__(status)
        self.status = status
        self.body = body
        self.request = request
        self.response = response


class Listening(Gate):
    """How many bodies that nobody judges are listened to at once; and of those one slice is looked through at a time.

    A slice takes a millisecond of the processor. However many bodies come, between two slices every call that is answered gets its turn.
    """

    def __init__(self, places: int) -> None:
        super().__init__(places)
        self.turn = asyncio.Lock()


class Hearing:
    """What one call has sent so far: an ASGI ``receive`` that keeps what passes."""

    __slots__ = ("_receive", "complete", "parts", "request")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.parts: list[bytes] = []
        self.complete = False
        self.request: HookRequest | None = None

    async def __call__(self) -> Message:
        """The next message."""
        message = await self._receive()
        if message["type"] == "http.request":
            self.parts.append(message.get("body", b""))
            self.complete = not message.get("more_body", False)
        else:
            self.complete = True  # the client is gone
        return message

    async def rest(self) -> bytes:
        """The next part, which is not kept."""
        await self()
        return self.parts.pop() if self.parts else b""


async def concerns(
    fallback: Fallback, principal: Any, heard: Hearing, error: ProtocolError, limit: int, listening: Listening
) -> bool:
    """Whether a failed call is one to speak up for, by its body: as much as came, and, unless the client is what was too slow, the rest.

    Args:
        fallback: knows what to look for.
        principal: who calls.
        heard: what came.
        error: why the call failed.
        limit: accepted size of a body, bytes.
        listening: so many bodies are listened to at once beside the calls that are being answered.
    """
    seeker = _Seeker(fallback, principal, listening.turn)
    for part in heard.parts:
        await seeker.look(part)
    heard.parts.clear()
    if heard.complete or error.code == "timeout":
        return await seeker.end()
    size = 0
    try:
        with listening:
            async with asyncio.timeout(_LISTEN_SECONDS):
                # To its end, also when it was found: a client that is still sending does not hear the answer.
                while not heard.complete and size < _LISTENED_TO * limit:
                    part = await heard.rest()
                    size += len(part)
                    await seeker.look(part)
    except (TimeoutError, Overloaded):
        pass  # what was seen by then decides
    return await seeker.end()


class _Seeker:
    """Looks through a body, a slice at a time so that other calls are not held up; what comes in crumbs is put together first."""

    def __init__(self, fallback: Fallback, principal: Any, turn: asyncio.Lock) -> None:
        self._fallback = fallback
        self._principal = principal
        self._turn = turn
        self._waiting = bytearray()
        self.found = False

    async def look(self, part: bytes) -> None:
        """Look through what has come, as far as it fills slices."""
        if not self.found:
            self._waiting += part
            await self._slices()

    async def end(self) -> bool:
        """Look through the rest; whether it was found."""
        await self._slices()
        if self._waiting and not self.found:
            await self._slice(len(self._waiting))
        return self.found

    async def _slices(self) -> None:
        while len(self._waiting) >= _SLICE and not self.found:
            await self._slice(_SLICE)

    async def _slice(self, length: int) -> None:
        async with self._turn:
            self.found = self._fallback.concerned(self._principal, bytes(self._waiting[:length]))
            if length == _SLICE:
                await asyncio.sleep(0)
        del self._waiting[: max(0, length - OVERLAP)]
