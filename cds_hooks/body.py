"""Bodies of calls: uncompressed JSON in UTF-8, of a bounded size (cds-hooks checklist; contract "HTTP")."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import lru_cache

from starlette.types import Receive, Scope

from cds_hooks.errors import ProtocolError

#: With the older names of both that systems still send.
_JSON_TYPES = frozenset({"application/json", "application/fhir+json", "application/json+fhir", "text/json"})
_UTF8 = frozenset({"utf-8", "utf8", "us-ascii"})
#: A body may come as it likes for so long.
_GRACE_SECONDS = 2.0
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class TooLarge(ProtocolError):
    """413."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            413,
            f"The body is larger than {limit} bytes. Send fewer resources in prefetch; the service asks for what it needs.",
            code="too-long",
        )


class TooSlow(ProtocolError):
    """503: the body came in crumbs."""

    def __init__(self, rate: float) -> None:
        super().__init__(
            503,
            f"The body came with less than {rate:g} bytes per second and was given up; nothing was checked.",
            code="timeout",
            headers={"Retry-After": "1"},
        )


@lru_cache(maxsize=256)
def _is_json(content_type: bytes) -> bool:
    media_type, _, parameters = content_type.decode("latin-1").lower().partition(";")
    charset = parameters.partition("charset=")[2].split(";")[0].strip(' "')
    return media_type.strip() in _JSON_TYPES and (not charset or charset in _UTF8)


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


async def read_body(
    scope: Scope,
    receive: Receive,
    limit: int,
    rate: float = 0.0,
    clock: Callable[[], float] = time.monotonic,
) -> bytes:
    """The request body; a byte order mark, as .NET clients send it, is left out.

    Raises ProtocolError for other media types, encodings and sizes, and for a body that comes with less than ``rate`` bytes per second.
    """
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
    began = clock() + _GRACE_SECONDS
    while message.get("more_body", False):
        try:
            # A part that does not come at all is too slow, too.
            async with asyncio.timeout(began + size / rate - clock() if rate else None):
                message = await receive()
        except TimeoutError:
            raise TooSlow(rate) from None
        if message["type"] == "http.disconnect":
            raise ProtocolError(
                400, "The client closed the connection before the body was complete.", code="incomplete"
            )
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            raise TooLarge(limit)
        if size < (clock() - began) * rate:
            raise TooSlow(rate)
    return b"".join(parts).removeprefix(_BYTE_ORDER_MARK)
