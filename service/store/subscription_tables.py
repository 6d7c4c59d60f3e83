"""Tables of FHIR Subscriptions: what each EHR was asked to tell, and what is to be read there because it told something."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Column, DateTime, Index, UniqueConstraint
from sqlmodel import Field, SQLModel


def _moment(*, null: bool = False) -> Column[datetime]:
    return Column(DateTime(timezone=True), nullable=null)


class KeptSubscription(SQLModel, table=True):
    """One Subscription at an EHR. Its secrets are known to the EHR alone: here are their hashes."""

    __tablename__ = "subscription"
    __table_args__ = (UniqueConstraint("key_sha256", name="uq_subscription_key"),)

    id: int | None = Field(default=None, primary_key=True)
    site: str = Field(max_length=100, index=True)
    #: What is told of: a search of the EHR, or the canonical address of a topic.
    criteria: str = Field(max_length=500)
    #: The part of the path, and the bearer token.
    key_sha256: str = Field(max_length=64)
    secret_sha256: str = Field(max_length=64)
    #: The token before: what was under way when it changed is still let in until then.
    former_sha256: str = Field(default="", max_length=64)
    former_until: datetime | None = Field(default=None, sa_column=_moment(null=True))
    made_at: datetime = Field(sa_column=_moment())
    #: The last notification of any kind, and the number of the last event (topics).
    told_at: datetime | None = Field(default=None, sa_column=_moment(null=True))
    last_number: int | None = None
    #: How it stands at the EHR, as it last said: ``requested`` | ``active`` | ``error`` | ``off``; empty: not said.
    status: str = Field(default="", max_length=20)
    #: The service keeps it at the EHR itself; else an administrator registered it there.
    managed: bool = Field(default=False)
    #: Its id at the EHR, when it ends there, and since when it has waited to be activated.
    resource_id: str = Field(default="", max_length=64)
    ends_at: datetime | None = Field(default=None, sa_column=_moment(null=True))
    requested_at: datetime | None = Field(default=None, sa_column=_moment(null=True))
    #: What is wrong with it, in a sentence; empty when all is well.
    trouble: str = Field(default="", max_length=300)


class ToRead(SQLModel, table=True):
    """What is to be read from an EHR between the sweeps. What is asked for twice is read once."""

    __tablename__ = "to_read"
    __table_args__ = (
        UniqueConstraint("site", "what", "ref", name="uq_to_read"),
        Index("ix_to_read_due", "site", "next_try_at", "id"),
    )

    id: int | None = Field(default=None, primary_key=True)
    site: str = Field(max_length=100)
    #: ``patient`` (what changed of one) | ``resource`` (one, whose it is is not known) | ``changes`` (a search, what changed since).
    what: str = Field(max_length=10)
    #: A patient's id, ``Type/id``, or the search.
    ref: str = Field(max_length=500)
    #: From when on changes count.
    since: datetime | None = Field(default=None, sa_column=_moment(null=True))
    #: How often it was asked for: one that was asked for again while it was read is read again.
    asks: int = Field(default=1)
    tries: int = Field(default=0)
    first_asked_at: datetime = Field(sa_column=_moment())
    next_try_at: datetime = Field(sa_column=_moment())
