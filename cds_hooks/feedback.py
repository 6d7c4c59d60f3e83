"""What became of a card (cds-hooks checklist F1–F5)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import astuple

from cds_hooks.errors import BadRequest


class OverrideReason(Struct, frozen=True):
    """Why a card was overridden. ``comment`` is free text and may hold patient data: store it, never log it."""

    system: str = ""
    code: str = ""
    display: str = ""
    comment: str = ""


class Feedback(Struct, frozen=True):
    """Outcome of one card."""

    card: str
    outcome: Literal["accepted", "overridden"]
    at: datetime
    accepted_suggestions: tuple[str, ...] = ()
    reason: OverrideReason | None = None


class _Coding(Struct):
    system: str | None = None
    code: str | None = None
    display: str | None = None


class _Reason(Struct):
    reason: _Coding | None = None
    userComment: str | None = None
    # Drafts of the specification put the coding's members directly here; clients still do.
    system: str | None = None
    code: str | None = None
    display: str | None = None


class _Accepted(Struct):
    id: str


class _Item(Struct):
    card: str
    outcome: str
    outcomeTimestamp: str
    acceptedSuggestions: list[_Accepted] | None = None
    overrideReason: _Reason | None = None


class _Body(Struct):
    feedback: list[Raw]


#: Outcomes in one call; each is stored by itself.
MAX_ITEMS = 500
#: Suggestions of one card that were accepted, and characters of an id: this service's own are UUIDs.
MAX_SUGGESTIONS = 50
MAX_ID = 200
#: Characters of a comment, and of the parts of a coded reason, that are kept; what a user wrote is cut, never refused.
MAX_COMMENT = 2000
_MAX_CODED = 300
_body = msgspec.json.Decoder(_Body)
_item = msgspec.json.Decoder(_Item)


def _instant(text: str, name: str) -> datetime:
    try:
        at = datetime.fromisoformat(text.upper())
        at.astimezone(UTC)
    except (ValueError, OverflowError):
        at = None
    if at is None or at.tzinfo is None or "T" not in text.upper():
        raise BadRequest(
            f'{name} must be an RFC 3339 instant with a zone, such as "2026-03-02T09:15:00Z".', name
        )
    return at


_MISSING = re.compile(r"missing required field `(\w+)`")
_EXPECTED = re.compile(r"Expected `(\w+)")
_PLACE = re.compile(r"`\$([\w.\[\]]*)`")
_IN_WORDS = {"str": "a string", "object": "an object", "array": "an array"}


def _malformed(name: str, complaint: str) -> BadRequest:
    """What the decoder found wrong with an item, in the words of the protocol."""
    place = _PLACE.search(complaint)
    where = name + (place.group(1) if place else "")
    missing = _MISSING.search(complaint)
    if missing:
        where = f"{where}.{missing.group(1)}"
        return BadRequest(f"{where} is required.", where, "required")
    expected = _EXPECTED.search(complaint)
    what = _IN_WORDS.get(expected.group(1)) if expected else None
    return BadRequest(f"{where} must be {what}." if what else f"{where} cannot be read.", where)


def _reason(found: _Reason | None) -> OverrideReason | None:
    if found is None:
        return None
    coding: Any = found.reason or found
    return OverrideReason(
        _cut(coding.system, _MAX_CODED),
        _cut(coding.code, _MAX_CODED),
        _cut(coding.display, _MAX_CODED),
        _cut(found.userComment, MAX_COMMENT),
    )


def _cut(text: str | None, limit: int) -> str:
    return text if text and len(text) <= limit else f"{text[: limit - 1]}…" if text else ""


def read_feedback(body: bytes) -> list[Feedback]:
    """Read a feedback call. Raises BadRequest naming the item and member at fault; nothing of the call is kept then."""
    try:
        items = _body.decode(body).feedback
    except msgspec.ValidationError:
        raise BadRequest(
            "feedback is required: an array with one object per card.", "feedback", "required"
        ) from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise BadRequest("The body is not valid JSON in UTF-8.", code="structure") from None
    if len(items) > MAX_ITEMS:
        raise BadRequest(
            f"feedback holds {len(items)} items; send at most {MAX_ITEMS} in one call.",
            "feedback",
            "too-costly",
        )
    read: list[Feedback] = []
    for index, raw in enumerate(items):
        name = f"feedback[{index}]"
        try:
            item = _item.decode(raw)
        except (msgspec.DecodeError, RecursionError) as error:
            raise _malformed(name, str(error)) from None
        if not item.card:
            raise BadRequest(f"{name}.card must be the uuid of a card.", f"{name}.card", "required")
        if len(item.card) > MAX_ID:
            raise BadRequest(f"{name}.card is longer than {MAX_ID} characters.", f"{name}.card", "too-long")
        if item.outcome not in ("accepted", "overridden"):
            raise BadRequest(f'{name}.outcome must be "accepted" or "overridden".', f"{name}.outcome")
        accepted = tuple(s.id for s in item.acceptedSuggestions or ())
        if len(accepted) > MAX_SUGGESTIONS or any(len(s) > MAX_ID for s in accepted):
            where = f"{name}.acceptedSuggestions"
            raise BadRequest(
                f"{where} may hold {MAX_SUGGESTIONS} ids of at most {MAX_ID} characters.", where, "too-long"
            )
        if item.outcome == "accepted" and not accepted:
            where = f"{name}.acceptedSuggestions"
            raise BadRequest(
                f"{where} is required when the outcome is accepted: the ids of the suggestions.", where
            )
        reason = _reason(item.overrideReason)
        if any("\0" in text for text in (item.card, *accepted, *(astuple(reason) if reason else ()))):
            raise BadRequest(f"{name} holds a NUL character, which no text may. Leave it out.", name)
        read.append(
            Feedback(
                card=item.card,
                outcome="accepted" if item.outcome == "accepted" else "overridden",
                at=_instant(item.outcomeTimestamp, f"{name}.outcomeTimestamp"),
                accepted_suggestions=accepted,
                reason=reason,
            )
        )
    return read
