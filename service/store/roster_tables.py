"""Tables of the registry: who is on clozapine, what clinicians stated, alerts with their history, sweeps, the outbox.

Here, and only here, patients are known by their FHIR id: without it nobody can be refreshed, alerted on or deleted.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import JSON, Column, DateTime, ForeignKey, Index, Integer, Text, UniqueConstraint, text
from sqlmodel import Field, SQLModel

_ON = text("state <> 'resolved'")


def _moment(*, null: bool = False, index: bool = False) -> Any:
    return Column(DateTime(timezone=True), nullable=null, index=index)


class RegisteredPatient(SQLModel, table=True):
    """One patient of one site. ``facts`` is what the rules need (``service.alerts.case.remembered``), the rest is for lists."""

    __tablename__ = "registered_patient"
    __table_args__ = (
        UniqueConstraint("site", "patient_id", name="uq_registered_patient"),
        # The worklist: what is due first, page by page, of one site or of all.
        Index("ix_registered_patient_due", "state", "next_due", "id"),
        Index("ix_registered_patient_site_due", "site", "state", "next_due", "id"),
        # The sweep: whoever was not evaluated in this run.
        Index("ix_registered_patient_run", "site", "swept_run", "id"),
        # The worklist: what must be done first.
        Index(
            "ix_registered_patient_attention",
            "site",
            "attention",
            "attention_since",
            text("coalesce(next_due, '9999-12-31')"),
            "id",
        ),
    )

    id: int | None = Field(default=None, primary_key=True)
    site: str = Field(max_length=100)
    patient_id: str = Field(max_length=64)
    #: ``on`` clozapine | ``stopped`` | ``unenrolled`` | ``dead``.
    state: str = Field(max_length=12, default="on")
    enrolled_at: datetime = Field(sa_column=_moment())
    enrolled_by: str = Field(max_length=200, default="hook")
    policy: str = Field(max_length=60)
    course_start: date | None = None
    stopped_at: date | None = None
    last_anc: float | None = None
    last_anc_at: datetime | None = Field(default=None, sa_column=_moment(null=True))
    interval_days: int | None = None
    next_due: date | None = None
    facts: str = Field(sa_column=Column(Text, nullable=False))
    facts_at: datetime = Field(sa_column=_moment())
    refreshed_at: datetime | None = Field(default=None, sa_column=_moment(null=True))
    #: The last time everything was read, not only what changed.
    read_whole_at: datetime | None = Field(default=None, sa_column=_moment(null=True))
    #: The last sweep that evaluated the patient, and how many did.
    swept_run: int = Field(default=0)
    swept_at: datetime | None = Field(default=None, sa_column=_moment(null=True))
    sweeps: int = Field(default=0)
    #: What must be done (``service.registry.attention``), and since when.
    attention: int = Field(default=9, sa_column=Column(Integer, nullable=False, server_default="9"))
    attention_since: datetime | None = Field(
        sa_column=Column(DateTime(timezone=True), nullable=False, server_default="1970-01-01 00:00:00.000000")
    )


class PatientFlag(SQLModel, table=True):
    """A clinician's statement; withdrawn, never overwritten."""

    __tablename__ = "patient_flag"

    id: int | None = Field(default=None, primary_key=True)
    patient: int = Field(
        sa_column=Column(
            Integer, ForeignKey("registered_patient.id", ondelete="CASCADE"), index=True, nullable=False
        )
    )
    kind: str = Field(max_length=20)
    #: Whose word it is, as the one who entered it says.
    stated_by: str = Field(max_length=200)
    #: The token that entered it; empty in rows of older versions.
    entered_by: str = Field(default="", max_length=200, sa_column_kwargs={"server_default": ""})
    at: datetime = Field(sa_column=_moment())
    text: str = Field(default="", max_length=500)
    continue_at: float | None = None
    #: What only this kind of statement says (``service.registry.statements``).
    details: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    expires: datetime | None = Field(default=None, sa_column=_moment(null=True))
    withdrawn_at: datetime | None = Field(default=None, sa_column=_moment(null=True))
    withdrawn_by: str = Field(default="", max_length=200)


class Alert(SQLModel, table=True):
    """One alert per patient and finding: at most one that is not resolved."""

    __tablename__ = "alert"
    __table_args__ = (
        Index(
            "uq_alert_live", "patient", "code", "subject", unique=True, sqlite_where=_ON, postgresql_where=_ON
        ),
        Index("ix_alert_list", "site", "state", "severity_rank", "id"),
    )

    id: int | None = Field(default=None, primary_key=True)
    patient: int = Field(
        sa_column=Column(
            Integer, ForeignKey("registered_patient.id", ondelete="CASCADE"), index=True, nullable=False
        )
    )
    site: str = Field(max_length=100)
    code: str = Field(max_length=100)
    subject: str = Field(max_length=300)
    severity: str = Field(max_length=10)
    severity_rank: int
    summary: str = Field(max_length=140)
    policy: str = Field(max_length=60)
    #: ``open`` | ``in-hand`` (somebody's, until a moment) | ``closed`` (by a person, the finding persists) | ``resolved`` (it is gone).
    state: str = Field(max_length=10, default="open")
    #: A hash of what the finding shows (``service.alerts.say.seen``); empty when an older version wrote the alert.
    seen: str = Field(default="", max_length=32)
    #: The facts behind it: reference, text, at.
    evidence: list[Any] | None = Field(default=None, sa_column=Column(JSON))
    #: In hand: whose, until when, and why.
    hand_by: str = Field(default="", max_length=200)
    hand_until: datetime | None = Field(default=None, sa_column=_moment(null=True))
    hand_reason: str = Field(default="", max_length=500)
    opened_at: datetime = Field(sa_column=_moment())
    notified_at: datetime = Field(sa_column=_moment())
    changed_at: datetime = Field(sa_column=_moment())


class AlertEvent(SQLModel, table=True):
    """What happened to an alert; only ever added to."""

    __tablename__ = "alert_event"

    id: int | None = Field(default=None, primary_key=True)
    alert: int = Field(
        sa_column=Column(Integer, ForeignKey("alert.id", ondelete="CASCADE"), index=True, nullable=False)
    )
    at: datetime = Field(sa_column=_moment())
    #: ``opened`` | ``raised`` | ``lowered`` | ``rewritten`` | ``due-again`` | ``in-hand`` | ``resolved`` | ``closed`` | ``reopened``.
    what: str = Field(max_length=12)
    severity: str = Field(max_length=10)
    summary: str = Field(max_length=140)
    #: Who did it, as the one who entered it says.
    by: str = Field(max_length=200, default="")
    #: The token that entered it; empty for what the service did by itself, and in rows of older versions.
    entered_by: str = Field(default="", max_length=200, sa_column_kwargs={"server_default": ""})
    note: str = Field(max_length=500, default="")


class SweepRun(SQLModel, table=True):
    """One pass over the patients of a site; replicas that start the same one share it."""

    __tablename__ = "sweep_run"
    __table_args__ = (UniqueConstraint("site", "planned_for", name="uq_sweep_run"),)

    id: int | None = Field(default=None, primary_key=True)
    site: str = Field(max_length=100)
    #: The time the schedule asked for (or the start, for a sweep by hand).
    planned_for: datetime = Field(sa_column=_moment())
    as_of: datetime = Field(sa_column=_moment())
    finished_at: datetime | None = Field(default=None, sa_column=_moment(null=True))


class OutboxItem(SQLModel, table=True):
    """Something to be told to the EHR or a webhook; ``key`` makes a repetition recognisable to the receiver."""

    __tablename__ = "outbox"
    __table_args__ = (Index("ix_outbox_due", "state", "next_try_at", "id"),)

    id: int | None = Field(default=None, primary_key=True)
    alert: int = Field(
        sa_column=Column(Integer, ForeignKey("alert.id", ondelete="CASCADE"), index=True, nullable=False)
    )
    site: str = Field(max_length=100)
    key: str = Field(max_length=100, unique=True)
    #: ``Task`` | ``Flag`` | ``CommunicationRequest`` | ``DetectedIssue`` | ``webhook``.
    channel: str = Field(max_length=30)
    #: ``raise`` | ``change`` (what it says) | ``withdraw``.
    action: str = Field(max_length=10)
    payload: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    #: The event of the alert that it tells; None in rows of older versions.
    event: int | None = None
    #: ``waiting`` | ``sent`` | ``dead`` (given up) | ``dropped`` (its alert was over before it went).
    state: str = Field(max_length=10, default="waiting")
    attempts: int = Field(default=0)
    next_try_at: datetime = Field(sa_column=_moment())
    sent_at: datetime | None = Field(default=None, sa_column=_moment(null=True))
    last_error: str = Field(max_length=200, default="")
    #: Where the receiver put it (``Task/123``), needed to withdraw it.
    location: str = Field(max_length=300, default="")
    #: The FHIR server that was told: ``Task/123`` of another one is another patient's. Empty in rows of older versions.
    base_url: str = Field(default="", max_length=500, sa_column_kwargs={"server_default": ""})


class Silence(SQLModel, table=True):
    """An override with a reason: what was seen is not shown again for a while. The patient is a keyed hash."""

    __tablename__ = "silence"
    __table_args__ = (Index("ix_silence_until", "until"),)

    id: int | None = Field(default=None, primary_key=True)
    site: str = Field(max_length=100)
    patient_key: str = Field(max_length=64)
    code: str = Field(max_length=100)
    subject: str = Field(max_length=300)
    #: Rank of the severity that was overridden; a more severe finding is never silenced.
    severity_rank: int
    until: datetime = Field(sa_column=_moment())
    card: str = Field(max_length=200)
    #: What the card showed, and at which hook (``service.alerts.say.silence``).
    seen: str = Field(default="", max_length=32)
    hook: str = Field(default="", max_length=60)
