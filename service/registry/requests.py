"""What a request to the registry may hold: bodies, query parameters, dates, and how much of each."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Collection
from datetime import date, datetime, tzinfo
from typing import Any

import msgspec
import orjson
from msgspec import Struct
from starlette.exceptions import HTTPException
from starlette.requests import Request

from service.alerts.facts.record_text import NAME, VALUE, RecordText, to_read

_MOST_ROWS = 500
#: A body is a few sentences of a person.
_MOST_BYTES = 65_536
_BODY_SECONDS = 10.0
#: Characters of a statement, a note, a name: as many as are kept.
STATEMENT, NOTE, WHO = NAME, 400, VALUE
#: Numbers of rows, and what a page begins after, are smaller.
LARGEST = 2**31
#: At the ends of the calendar no zone could be applied.
_YEARS = (1900, 2999)


class FlagBody(Struct, forbid_unknown_fields=True):
    """Body of ``POST /registry/patients/{id}/flags``."""

    #: One of ``service.registry.statements``.
    kind: str
    text: str = ""
    #: The clinician; by default the name of the token.
    by: str = ""
    continueAt: float | None = None
    #: A date (to its end) or a moment, ISO 8601.
    expires: str | None = None
    #: What only this kind says.
    details: dict[str, Any] | None = None


class NoteBody(Struct, forbid_unknown_fields=True):
    """Body of ``POST /alerts/{id}/close``."""

    note: str
    by: str = ""


class HandBody(Struct, forbid_unknown_fields=True):
    """Body of ``POST /alerts/{id}/hand``."""

    #: A moment, ISO 8601; without a zone it is the site's.
    until: str
    reason: str
    by: str = ""


class MergeBody(Struct, forbid_unknown_fields=True):
    """Body of ``POST /registry/patients/{id}/merge``."""

    into: str


def check_query(request: Request, known: Collection[str]) -> None:
    """Refuse parameters that nothing reads: a filter that looks applied hides patients. Raises HTTPException 400."""
    unknown = sorted(set(request.query_params) - set(known))
    if unknown:
        raise HTTPException(400, f"{unknown[0][:40]}: no such parameter; known: {', '.join(sorted(known))}.")


def place_in_list(request: Request) -> tuple[int, datetime, date, int] | None:
    """Where the page before of the worklist ended. Raises HTTPException 400."""
    text = request.query_params.get("cursor")
    if text is None:
        return None
    try:
        rank, since, due, last = orjson.loads(base64.urlsafe_b64decode(text.encode()))
        moment = datetime.fromisoformat(since)
        if not 1 <= rank_of(rank) <= 99 or moment.tzinfo is None or not _YEARS[0] <= moment.year <= _YEARS[1]:
            raise ValueError("range")
        return rank, moment, date.fromisoformat(due), rank_of(last)
    except (ValueError, TypeError, OverflowError):
        raise HTTPException(400, "cursor: use the value of 'next' of the page before, unchanged.") from None


def choice(request: Request, name: str, known: tuple[str, ...], default: str) -> str:
    """A query parameter that is one of several words. Raises HTTPException 400."""
    value = request.query_params.get(name, default)
    if value not in known:
        raise HTTPException(400, f"{name}: one of {', '.join(known)} is expected.")
    return value


def limit_of(request: Request) -> int:
    """How many rows are asked for. Raises HTTPException 400."""
    text = request.query_params.get("limit", "50")
    if not text.isdecimal() or len(text) > 4 or not 1 <= int(text) <= _MOST_ROWS:
        raise HTTPException(400, f"limit: a number from 1 to {_MOST_ROWS} is expected.")
    return int(text)


def cursor_of(request: Request, read: Callable[[Any], Any]) -> tuple[Any, int] | None:
    """Where the page before ended; ``read`` turns its first value into what it was. Raises HTTPException 400."""
    text = request.query_params.get("cursor")
    if text is None:
        return None
    try:
        cursor = orjson.loads(base64.urlsafe_b64decode(text.encode()))
        if not isinstance(cursor, list) or len(cursor) != 2 or type(cursor[1]) is not int:
            raise ValueError("shape")
        if abs(cursor[1]) >= LARGEST:
            raise ValueError("range")
        return read(cursor[0]), cursor[1]
    except (ValueError, TypeError, OverflowError):
        raise HTTPException(400, "cursor: use the value of 'next' of the page before, unchanged.") from None


def cursor_after(rows: list[Any], limit: int, *values: Any) -> str | None:
    """What the next page is asked for with; None after the last one."""
    if len(rows) < limit:
        return None
    return base64.urlsafe_b64encode(orjson.dumps(values, default=str)).decode()


def body_as(request: Request, wanted: type[Any]) -> Any:
    """The body, read. Raises HTTPException 400."""
    try:
        return msgspec.json.decode(request.state.body, type=wanted)
    except msgspec.DecodeError as error:
        raise HTTPException(400, f"The body cannot be used: {error}.") from None
    except (UnicodeDecodeError, RecursionError):
        text = "The body cannot be used: it is not JSON in UTF-8, or is nested too deeply."
        raise HTTPException(400, text) from None


def check_path(request: Request) -> None:
    """Refuse what can be no row's number, no patient's id and no site's name. Raises HTTPException 404 and 400."""
    for value in request.path_params.values():
        if value >= LARGEST if isinstance(value, int) else "\0" in value:
            raise HTTPException(404, "There is nothing of this number or id.")
    if any("\0" in value for value in request.query_params.values()):
        raise HTTPException(400, "No parameter may hold a NUL character.")


async def body_of(request: Request) -> bytes:
    """The body. Raises HTTPException 413 and 408."""
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for part in request.stream():
                size += len(part)
                if size > _MOST_BYTES:
                    raise HTTPException(413, f"The body is larger than {_MOST_BYTES} bytes.")
                parts.append(part)
    except TimeoutError:
        raise HTTPException(408, f"The body was not complete after {_BODY_SECONDS:g} s.") from None
    return b"".join(parts)


def text_of(name: str, text: str, limit: int) -> RecordText:
    """What a person wrote, on one line. Raises HTTPException when it is longer than is kept."""
    read = to_read(text, limit)
    if read is None:
        raise HTTPException(400, f"{name}: at most {limit} characters are expected.")
    return read


def is_day(text: str) -> bool:
    """Whether an ISO 8601 text is a date alone, in any of its forms."""
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def moment_of(text: str, zone: tzinfo) -> datetime | None:
    """An ISO 8601 date or moment, in a zone when it names none; None when it is none, or of no year that matters."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if not _YEARS[0] <= moment.year <= _YEARS[1]:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)


def due_date(text: Any) -> str:
    """The first value of a cursor over due dates. Raises ValueError."""
    return date.fromisoformat(text).isoformat()


def rank_of(number: Any) -> int:
    """The first value of a cursor over severities. Raises ValueError."""
    if type(number) is not int or abs(number) >= LARGEST:
        raise ValueError("rank")
    return number
