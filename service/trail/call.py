"""What is kept of one hook call, and how it goes into the tables."""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec import Struct
from sqlalchemy import Connection

from service.store.rows import RowInsert
from service.store.tables import CardShown, HookCall


class Call(Struct, frozen=True):
    """What is kept of one hook call."""

    at: datetime
    site: str
    service: str
    hook: str
    hook_instance: str
    user: str
    policy: str
    seconds: float
    resources: dict[str, int]
    #: (code, severity, subject)
    findings: list[tuple[str, str, str]]
    #: (uuid, code, severity, suggestion uuids, subject)
    cards: list[tuple[str, str, str, list[str], str]]
    #: The patient as a keyed hash.
    patient_key: str = ""
    #: What the call counts as, whatever was sent.
    status: int = 200
    #: The sums of the ledger: what was given, read, irrelevant, not understood.
    ledger: dict[str, int] = {}
    #: What the cards showed (``service.alerts.say.seen``), by uuid.
    seen: dict[str, str] = {}


_CALLS = RowInsert(
    HookCall,
    (
        "at", "site", "service", "hook", "hook_instance", "user_reference", "policy", "milliseconds", "resources", "findings", "status", "ledger",
    ),
)  # fmt: skip
_CARDS = RowInsert(
    CardShown,
    (
        "uuid", "hook_instance", "at", "site", "code", "severity", "suggestions", "hook", "policy", "user_type", "subject", "patient_key", "seen",
    ),
)  # fmt: skip


def insert(connection: Connection, calls: list[Call]) -> None:
    """Write calls and their cards. Raises SQLAlchemyError."""
    _CALLS.into(connection, [_call_row(c) for c in calls])
    _CARDS.into(connection, [row for c in calls for row in _card_rows(c)])


def _call_row(c: Call) -> tuple[object, ...]:
    return (
        c.at.astimezone(UTC),
        c.site,
        c.service,
        c.hook,
        c.hook_instance[:200],
        c.user[:200],
        c.policy,
        round(c.seconds * 1000, 3),
        c.resources,
        [[code, severity] for code, severity, _ in c.findings],
        c.status,
        c.ledger or None,
    )


def _card_rows(c: Call) -> list[tuple[object, ...]]:
    at, instance, user_type = c.at.astimezone(UTC), c.hook_instance[:200], c.user.split("/")[0][:60]
    return [
        (
            uuid, instance, at, c.site, code, severity, suggestions, c.hook, c.policy, user_type, subject[:300], c.patient_key, c.seen.get(uuid, ""),
        )
        for uuid, code, severity, suggestions, subject in c.cards
    ]  # fmt: skip
