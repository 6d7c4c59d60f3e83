"""What servers answer, bounded: every body that comes into the service from outside passes here, whoever sent it.

A few hundred kilobytes of gzip unpack to a gigabyte. A body is therefore unpacked piece by piece, and what is larger than its reader
expects is refused before it is held.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator
from contextlib import aclosing

import httpx
from msgspec import Struct

from service.alerts.facts.reason import Reason, because

#: Of an answer that is read whole, unless its reader says otherwise.
ANSWER_BYTES = 5_000_000
#: For one request and its answer.
ANSWER_SECONDS = 30.0
#: What is asked for; nothing else is unpacked.
ACCEPTED = {"Accept-Encoding": "gzip"}
_PIECE = 262_144
#: Records of a chart pack ten to forty times; a body that packs better than this was made to be unpacked.
_BEST_RATIO = 200
#: Below so many bytes any ratio is harmless.
_HARMLESS = 16_000_000


class BodyRefused(Exception):
    """A body that is not read to its end; the message is a predicate (``is too large``) and holds nothing of the body.

    Args:
        why: the predicate, for operators.
        reason: the same of a FHIR server's answer, for a card.
    """

    def __init__(self, why: str, reason: Reason) -> None:
        super().__init__(why)
        self.reason = reason


async def pieces(response: httpx.Response, limit: int) -> AsyncGenerator[bytes]:
    """The unpacked body of a streamed answer, in pieces of at most 256 KiB when it was packed.

    Args:
        response: an answer whose body was not read.
        limit: bytes, unpacked. Raises BodyRefused beyond it.
    """
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip", ""):
        raise BodyRefused("is compressed in a way that was not asked for", because("server.compressed"))
    packed = encoding in ("gzip", "x-gzip")
    unpacking = zlib.decompressobj(wbits=31)
    came = size = 0
    async for raw in response.aiter_raw():
        came += len(raw)
        left = raw
        while True:
            piece = left
            if packed:
                try:
                    piece = unpacking.decompress(left, min(_PIECE, limit + 1 - size))
                except zlib.error:
                    raise BodyRefused("cannot be unpacked", because("server.not-unpacked")) from None
            size += len(piece)
            if size > limit or (size > _HARMLESS and size > came * _BEST_RATIO):
                raise BodyRefused("is too large", because("server.too-large"))
            if piece:
                yield piece
            if not packed:
                break
            left = unpacking.unconsumed_tail
            if unpacking.eof:
                left = unpacking.unused_data  # several members, one after the other (RFC 1952, 2.2)
                if not left:
                    break
                unpacking = zlib.decompressobj(wbits=31)
            elif not left and len(piece) < _PIECE:
                break  # a full piece may have more behind it, although all that came was taken in
    if packed and came and not unpacking.eof:
        raise BodyRefused("is cut short", because("server.cut-short"))


async def body(response: httpx.Response, limit: int = ANSWER_BYTES) -> bytes:
    """The unpacked body of a streamed answer. Raises BodyRefused for one of more than ``limit`` bytes."""
    return b"".join([piece async for piece in pieces(response, limit)])


async def lines(response: httpx.Response, longest: int, limit: int) -> AsyncGenerator[bytes | None]:
    """The lines of a streamed answer (NDJSON), without blank ones; None stands for one of more than ``longest`` bytes.

    Raises BodyRefused for a body of more than ``limit`` bytes.
    """
    begun = bytearray()
    dropped = False
    async with aclosing(pieces(response, limit)) as source:
        async for piece in source:
            *ended, rest = piece.split(b"\n")
            for line in ended:
                begun += line
                if dropped or len(begun) > longest:
                    yield None
                elif whole := bytes(begun).strip():
                    yield whole
                begun.clear()
                dropped = False
            begun += rest
            if len(begun) > longest:
                begun.clear()
                dropped = True
    if dropped:
        yield None
    elif whole := bytes(begun).strip():
        yield whole


class Answer(Struct, frozen=True):
    """An answer that was read whole. The body of one that is no success is not read."""

    status: int
    headers: httpx.Headers
    content: bytes

    @property
    def is_success(self) -> bool:
        """2xx."""
        return 200 <= self.status < 300


async def ask(
    client: httpx.AsyncClient,
    method: str,
    url: str,
    *,
    headers: dict[str, str],
    content: bytes | None = None,
    form: dict[str, str] | None = None,
    limit: int = ANSWER_BYTES,
    seconds: float = ANSWER_SECONDS,
    done_anyhow: bool = False,
) -> Answer:
    """One request and its answer. Raises httpx.HTTPError, httpx.InvalidURL and BodyRefused.

    Args:
        client: HTTP client.
        method: such as ``GET``.
        url: absolute.
        headers: of the request.
        content: body of the request.
        form: the same, as a form.
        limit: bytes of the answer's body, unpacked.
        seconds: for all of it.
        done_anyhow: of a write: it was done, whatever the body of its answer is; one that is refused is taken for none.
    """
    try:
        async with (
            asyncio.timeout(seconds),
            client.stream(method, url, headers=ACCEPTED | headers, content=content, data=form) as response,
        ):
            known = b""
            if response.is_success:
                try:
                    known = await body(response, limit)
                except BodyRefused:
                    if not done_anyhow:
                        raise
            return Answer(response.status_code, response.headers, known)
    except TimeoutError:
        raise httpx.ReadTimeout(f"no whole answer within {seconds:g} s") from None
