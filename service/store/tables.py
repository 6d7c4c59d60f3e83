"""Tables (SQLModel). Nothing in them identifies a patient: a call is known by its hookInstance, a card by its uuid."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Column, DateTime, Index
from sqlmodel import Field, SQLModel


class HookCall(SQLModel, table=True):
    """One answered hook call: who asked, about which kinds of data, what was found, how long it took."""

    __tablename__ = "hook_call"

    id: int | None = Field(default=None, primary_key=True)
    at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False, index=True))
    site: str = Field(max_length=100)
    service: str = Field(max_length=100)
    hook: str = Field(max_length=60)
    hook_instance: str = Field(max_length=200, index=True)
    user_reference: str = Field(default="", max_length=200)
    policy: str = Field(max_length=60)
    milliseconds: float
    #: HTTP status the call counts as: one that could not be judged has the status of its failure, also where a card said so with 200.
    status: int = Field(default=200, sa_column_kwargs={"server_default": "200"})
    #: Number of resources read, by prefetch key.
    resources: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    #: What became of what was sent: ``given``, ``read``, ``irrelevant``, ``not understood``, ``elements``; nothing of calls before it was kept.
    ledger: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    #: [code, severity] of every finding, shown or not.
    findings: list[Any] = Field(sa_column=Column(JSON, nullable=False))


class CardShown(SQLModel, table=True):
    """One card that was sent, so that feedback can be joined to its finding."""

    __tablename__ = "card_shown"

    uuid: str = Field(primary_key=True, max_length=36)
    hook_instance: str = Field(max_length=200, index=True)
    at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False, index=True))
    site: str = Field(max_length=100)
    code: str = Field(max_length=100, index=True)
    severity: str = Field(max_length=10)
    suggestions: list[Any] = Field(sa_column=Column(JSON, nullable=False))
    hook: str = Field(default="", max_length=60)
    policy: str = Field(default="", max_length=60)
    #: Resource type of the user (``Practitioner``, ``PractitionerRole``): the role, not the person.
    user_type: str = Field(default="", max_length=60)
    #: What the finding is about, and the patient as a keyed hash: an override silences exactly this.
    subject: str = Field(default="", max_length=300)
    patient_key: str = Field(default="", max_length=64)
    #: A hash of the facts that the card showed (``service.alerts.say.seen``); empty on cards of older versions.
    seen: str = Field(default="", max_length=32)


class ServiceSecret(SQLModel, table=True):
    """Keys the service made for itself."""

    __tablename__ = "service_secret"

    name: str = Field(primary_key=True, max_length=40)
    value: str = Field(max_length=100)


class CardFeedback(SQLModel, table=True):
    """What became of a card. Append-only: the newest ``outcome_at`` wins, the history is kept."""

    __tablename__ = "card_feedback"
    __table_args__ = (
        Index("ix_card_feedback_once", "site", "card", "outcome", "outcome_at", "reason_code", unique=True),
    )

    id: int | None = Field(default=None, primary_key=True)
    received_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    #: The site that sent it: only feedback of the card's own site counts.
    site: str = Field(default="", max_length=100)
    service: str = Field(max_length=100)
    card: str = Field(max_length=200, index=True)
    outcome: str = Field(max_length=20)
    outcome_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    suggestions: list[Any] = Field(sa_column=Column(JSON, nullable=False))
    reason_system: str = Field(default="", max_length=300)
    reason_code: str = Field(default="", max_length=100)
    reason_display: str = Field(default="", max_length=300)
    #: The user's own words; may hold patient data: never logged, never shown in analytics.
    comment: str = Field(default="")


class SeenToken(SQLModel, table=True):
    """A client token that was used; kept until it expires, so that no replica takes it twice."""

    __tablename__ = "seen_token"

    #: SHA-256 of issuer, tenant and jti.
    token_id: str = Field(primary_key=True, max_length=64)
    #: Seconds since the epoch.
    expires_at: float = Field(index=True)


class RegistryAct(SQLModel, table=True):
    """One request to the registry, or one command: who did what, to whom, and whether it was let. Only ever added to."""

    __tablename__ = "registry_act"

    id: int | None = Field(default=None, primary_key=True)
    at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False, index=True))
    #: Name of the token; of who ran a command, the account. Empty: a token that nobody has.
    client: str = Field(max_length=200)
    role: str = Field(default="", max_length=20)
    #: See ``service.trail.acts``.
    act: str = Field(max_length=20)
    site: str = Field(default="", max_length=100)
    #: The patient as a keyed hash, as on cards; empty for lists.
    patient_key: str = Field(default="", max_length=64, index=True)
    alert: int | None = None
    #: Rows that a list or an export gave.
    rows: int | None = None
    #: HTTP status; 200 for a command that was carried out.
    status: int


class EhrSite(SQLModel, table=True):
    """An EHR that was added on the command line; ``settings`` has the members of an ``[[ehr]]`` table."""

    __tablename__ = "ehr_site"

    name: str = Field(primary_key=True, max_length=100)
    added_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    settings: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))


class WrittenBatch(SQLModel, table=True):
    """A batch of calls that came from the spool; forgotten when its file is gone."""

    __tablename__ = "written_batch"

    name: str = Field(primary_key=True, max_length=60)
