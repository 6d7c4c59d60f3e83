"""Tables of results that arrive: what waits to be judged, and which version of a result counts."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Column, DateTime, Index, Text, UniqueConstraint
from sqlmodel import Field, SQLModel


class InboxItem(SQLModel, table=True):
    """What one delivery holds of one patient. It is here before its sender is told that it was taken."""

    __tablename__ = "inbox"
    __table_args__ = (
        UniqueConstraint("site", "event_key", name="uq_inbox"),
        Index("ix_inbox_due", "state", "next_try_at", "id"),
        Index("ix_inbox_patient", "site", "patient_id", "state", "id"),
    )

    id: int | None = Field(default=None, primary_key=True)
    site: str = Field(max_length=100)
    #: ``push`` (an integration engine) | ``import`` (a file) | ``notify`` (a Subscription, or what was read because of one).
    source: str = Field(max_length=20)
    #: A hash of what it holds: what arrives twice is one.
    event_key: str = Field(max_length=64)
    patient_id: str = Field(max_length=64)
    #: The resources, as a FHIR collection; emptied when they were judged.
    body: str = Field(sa_column=Column(Text, nullable=False))
    received_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    #: ``waiting`` | ``done`` | ``unknown`` (the patient is not watched) | ``aside`` (given up: it could not be judged).
    state: str = Field(max_length=10, default="waiting")
    tries: int = Field(default=0)
    next_try_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    judged_at: datetime | None = Field(default=None, sa_column=Column(DateTime(timezone=True), nullable=True))
    #: Why it was put aside; never what it holds.
    why: str = Field(default="", max_length=200)


class PushedVersion(SQLModel, table=True):
    """The newest version of a pushed resource: one that is older and comes later says nothing any more."""

    __tablename__ = "pushed_version"

    site: str = Field(primary_key=True, max_length=100)
    #: ``Type/id``.
    resource: str = Field(primary_key=True, max_length=130)
    patient_id: str = Field(max_length=64, index=True)
    version: int | None = None
    updated: datetime | None = Field(default=None, sa_column=Column(DateTime(timezone=True), nullable=True))
