"""Subscriptions as they are kept: who is let in, what was told last, and what is missing in between."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, delete, insert, select, update

from service.store.subscription_tables import KeptSubscription
from service.store.times import aware

_table = KeptSubscription.__table__  # type: ignore[attr-defined]
#: What was on its way when a token changed is still let in for so long.
_FORMER = timedelta(hours=1)
#: While nobody knows whether the EHR has the new one, for so long.
_UNSURE = timedelta(days=90)
_NOBODY = "0" * 64


class Secrets(Struct, frozen=True):
    """What an EHR must know to tell something: shown once, kept as hashes. Its text form shows neither."""

    id: int
    key: str
    token: str

    def __repr__(self) -> str:
        return f"Secrets({self.id})"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def make(connection: Connection, site: str, criteria: str, at: datetime, *, managed: bool = False) -> Secrets:
    """Keep a new Subscription; the EHR is to be told its address and token now, for nobody can later."""
    key, token = secrets.token_urlsafe(24), secrets.token_urlsafe(32)
    made = connection.execute(
        insert(_table).values(
            site=site,
            criteria=criteria,
            key_sha256=_hash(key),
            secret_sha256=_hash(token),
            former_sha256="",
            made_at=at.astimezone(UTC),
            status="",
            managed=managed,
            resource_id="",
            trouble="",
        )
    )
    return Secrets(int(made.inserted_primary_key[0]), key, token)  # type: ignore[index]


def renew(connection: Connection, id: int, at: datetime) -> str:
    """A new token for a Subscription. Until the EHR is known to have it (:func:`has_token`) the one that it had is let in, too."""
    token = secrets.token_urlsafe(32)
    row = connection.execute(select(_table).where(_table.c.id == id)).one()
    until = aware(row.former_until)
    values: dict[str, Any] = {"secret_sha256": _hash(token)}
    if until is None or until <= at:
        values |= {"former_sha256": row.secret_sha256, "former_until": (at + _UNSURE).astimezone(UTC)}
    connection.execute(update(_table).where(_table.c.id == id).values(**values))
    return token


def has_token(connection: Connection, id: int, at: datetime) -> None:
    """The EHR has the new token; what was under way with the one before is let in for another hour."""
    connection.execute(
        update(_table).where(_table.c.id == id).values(former_until=(at + _FORMER).astimezone(UTC))
    )


def refused_token(connection: Connection, id: int) -> None:
    """The EHR did not take the new token: the one before counts."""
    connection.execute(
        update(_table)
        .where(_table.c.id == id, _table.c.former_sha256 != "")
        .values(secret_sha256=_table.c.former_sha256, former_sha256="", former_until=None)
    )


def stands(connection: Connection, id: int, **values: Any) -> None:
    """Note how a Subscription stands at the EHR: columns of its row."""
    connection.execute(update(_table).where(_table.c.id == id).values(**values))


def key_hash(key: str) -> str:
    """What the key of an address is known by."""
    return _hash(key)


def troubles(connection: Connection) -> list[tuple[str, str]]:
    """(site, sentence) of what is wrong."""
    found = connection.execute(
        select(_table.c.site, _table.c.trouble)
        .where(_table.c.trouble != "")
        .order_by(_table.c.site, _table.c.id)
    )
    return [(row.site, row.trouble) for row in found]


def forget(connection: Connection, site: str, id: int) -> bool:
    """Let nobody in for this Subscription any more; False when there is none."""
    return bool(connection.execute(delete(_table).where(_table.c.site == site, _table.c.id == id)).rowcount)


def of_site(connection: Connection, site: str) -> list[Any]:
    """All of a site."""
    return list(connection.execute(select(_table).where(_table.c.site == site).order_by(_table.c.id)).all())


def let_in(connection: Connection, site: str, key: str, token: str, at: datetime) -> Any | None:
    """The Subscription that is told of; None for who does not know its address and its token both."""
    digest, key_digest = _hash(token), _hash(key)
    row = connection.execute(
        select(_table).where(_table.c.key_sha256 == key_digest).with_for_update()
    ).first()
    until = aware(row.former_until) if row is not None else None
    former = row.former_sha256 if row is not None and until is not None and at < until else _NOBODY
    fits = [
        hmac.compare_digest(known, digest)
        for known in ((row.secret_sha256 if row is not None else _NOBODY), former)
    ]
    return row if row is not None and any(fits) and row.site == site else None


def told(
    connection: Connection,
    row: Any,
    at: datetime,
    numbers: list[int],
    status: str,
    kind: str,
    total: int | None,
) -> bool:
    """Note that something was told; True when events before it are missing.

    A number that is not higher is one that came before, or of a counter that began again: it says nothing of a gap.
    """
    values: dict[str, Any] = {"told_at": at.astimezone(UTC)}
    if status:
        values["status"] = status
    last, missing = row.last_number, False
    if kind == "event" and numbers:
        low, high = min(numbers), max(numbers)
        missing = last is not None and low > last + 1
        inside = len(set(numbers)) < high - low + 1
        missing = missing or inside
        values["last_number"] = high
    elif kind == "heartbeat" and total is not None:
        # A heartbeat raises no number: what it counts and nobody told of is missing.
        missing = last is not None and total > last
        values["last_number"] = total
    connection.execute(update(_table).where(_table.c.id == row.id).values(**values))
    return missing
