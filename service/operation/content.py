"""What a caller sends and wants back, as its head says: media types, version of FHIR, preferences (FHIR R4, "RESTful API")."""

from __future__ import annotations

import zlib
from urllib.parse import parse_qs

from msgspec import Struct
from starlette.types import Message, Receive, Scope

from cds_hooks.body import TooLarge
from cds_hooks.errors import ProtocolError

MEDIA_TYPE = "application/fhir+json"
_JSON = frozenset({MEDIA_TYPE, "application/json", "application/json+fhir", "text/json", "json"})
_ANY = frozenset({"*/*", "application/*", "text/*"})
_UTF8 = frozenset({"utf-8", "utf8", "us-ascii"})
#: What R4 is called in the parameter ``fhirVersion``.
_R4 = frozenset({"4.0", "4.0.1"})
#: ``zlib``: of gzip members alone, the largest window.
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_VERSION = "This service speaks FHIR R4 (fhirVersion=4.0) alone"


class Preferences(Struct, frozen=True):
    """What ``Prefer`` asks for and is done; ``strict``: what was sent is checked only when all of it is valid and was read."""

    strict: bool = False
    applied: tuple[str, ...] = ()


class _Media(Struct, frozen=True):
    name: str
    parameters: dict[str, str]

    @property
    def is_json(self) -> bool:
        return self.name in _JSON and self.parameters.get("charset", "utf-8") in _UTF8

    @property
    def is_r4(self) -> bool:
        return self.parameters.get("fhirversion", "4.0") in _R4

    @property
    def is_wanted(self) -> bool:
        try:
            return float(self.parameters.get("q", "1")) > 0
        except ValueError:
            return True


def _media(text: str) -> _Media:
    name, *rest = text.lower().split(";")
    parameters = {}
    for part in rest:
        key, _, value = part.partition("=")
        parameters[key.strip()] = value.strip().strip('"')
    return _Media(name.strip(), parameters)


def header(scope: Scope, name: bytes) -> str:
    """All values of a request header, joined by commas; empty where it is not there."""
    return ",".join(value.decode("latin-1") for key, value in scope["headers"] if key == name)


def check_content(scope: Scope) -> None:
    """Refuse a body that is no FHIR R4 as JSON. Raises ProtocolError 415."""
    sent = header(scope, b"content-type")
    if sent:
        media = _media(sent)
        if not media.is_json:
            text = f"Send the body as {MEDIA_TYPE}, in UTF-8"
            text += "; XML is not read." if "xml" in media.name else "."
            raise ProtocolError(415, text, code="not-supported", expression="Content-Type")
        if not media.is_r4:
            raise ProtocolError(
                415, f"{_VERSION}; nothing was checked.", code="not-supported", expression="Content-Type"
            )
    packed = header(scope, b"content-encoding").lower().strip()
    if packed not in ("", "identity", "gzip", "x-gzip"):
        raise ProtocolError(
            415,
            f"Send the body as {MEDIA_TYPE}, uncompressed or as gzip.",
            code="not-supported",
            expression="Content-Encoding",
        )


def check_accept(scope: Scope) -> None:
    """Refuse a caller that takes no FHIR R4 as JSON; ``_format`` goes before ``Accept``. Raises ProtocolError 406."""
    asked = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("_format", [])
    where = "_format" if asked else "Accept"
    # In an address a plus that nobody escaped reads as a blank.
    ranges = [
        _media(part) for text in (asked or [header(scope, b"accept")]) for part in text.replace(" json", "+json").split(",")
    ]  # fmt: skip
    wanted = [m for m in ranges if m.name and m.is_wanted]
    if not ranges or not any(m.name for m in ranges):
        return
    readable = [m for m in wanted if m.name in _JSON or m.name in _ANY]
    if any(m.is_r4 for m in readable):
        return
    text = (
        f"{_VERSION}."
        if readable
        else f"This service answers as {MEDIA_TYPE}, no other way: name it in {where}."
    )
    raise ProtocolError(406, text, code="not-supported", expression=where)


def preferences(scope: Scope) -> Preferences:
    """What ``Prefer`` asks for, as far as it is done: ``handling`` and ``return=representation``.

    ``return=minimal`` and ``return=OperationOutcome`` are passed over: an answer without its findings would be read as "nothing found".
    """
    asked = [part.strip().lower() for part in header(scope, b"prefer").replace(";", ",").split(",")]
    done = ("handling=strict", "handling=lenient", "return=representation")
    applied = tuple(p for p in dict.fromkeys(asked) if p in done)
    return Preferences("handling=strict" in applied, applied)


def unpacked(scope: Scope, receive: Receive, limit: int) -> tuple[Scope, Receive]:
    """The same request without its gzip; each piece is unpacked as it comes, never more than ``limit`` bytes and one.

    The new ``receive`` raises ProtocolError: 413 for more than ``limit`` bytes on the way, 400 for what is no gzip.
    """
    if header(scope, b"content-encoding").lower().strip() not in ("gzip", "x-gzip"):
        return scope, receive
    plain = dict(scope)
    plain["headers"] = [pair for pair in scope["headers"] if pair[0] != b"content-encoding"]
    stream = zlib.decompressobj(_GZIP_WINDOW)
    sizes = {"came": 0, "made": 0}

    async def unpacking() -> Message:
        message = await receive()
        if message["type"] != "http.request":
            return message
        body = message.get("body", b"")
        sizes["came"] += len(body)
        if sizes["came"] > limit:  # blocks that hold nothing cost time all the same
            raise TooLarge(limit)
        try:
            # One byte more than is let in: the reader sees that it is too much.
            piece = stream.decompress(body, max(1, limit + 1 - sizes["made"]))
        except zlib.error:
            raise _no_gzip() from None
        sizes["made"] += len(piece)
        if stream.unused_data or (
            not message.get("more_body", False) and not stream.eof and sizes["made"] <= limit
        ):
            raise _no_gzip()
        return {**message, "body": piece}

    return plain, unpacking


def _no_gzip() -> ProtocolError:
    return ProtocolError(
        400,
        "The body is not one whole gzip stream, as Content-Encoding says it is; nothing was checked.",
        code="structure",
        expression="Content-Encoding",
    )
