"""Storing feedback: what is acknowledged is stored (cds-hooks checklist F4, F5)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

from msgspec import Struct
from sqlalchemy import Engine, delete, select
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from service.alerts.say.finding import SEVERITY_RANK
from service.alerts.say.silence import may_be_silenced
from service.store.roster_tables import Silence
from service.store.tables import CardFeedback, CardShown


class FeedbackItem(Struct, frozen=True):
    """One outcome, as it is stored."""

    card: str
    outcome: str
    outcome_at: datetime
    suggestions: tuple[str, ...] = ()
    reason_system: str = ""
    reason_code: str = ""
    reason_display: str = ""
    comment: str = ""


#: The clock of an EHR is not further ahead than this.
_CLOCKS_DIFFER = timedelta(days=1)
#: Whether a card was shown: to the site that answers it, to another site, or to nobody this database knows of.
CardOrigin = Literal["known", "unknown", "foreign"]


def store(
    engine: Engine,
    service: str,
    items: Sequence[FeedbackItem],
    received_at: datetime,
    site: str = "default",
    snooze_days: int = 0,
) -> list[CardOrigin]:
    """Append feedback; a repeated report is kept once, and feedback on another site's card is not kept at all.

    An override with a reason silences what the card showed for the patient for ``snooze_days`` (``service.alerts.say.silence``); a card
    that is accepted later on ends the silence.
    """
    origins: list[CardOrigin] = []
    for item in items:
        with Session(engine) as session:
            shown = session.get(CardShown, item.card) if len(item.card) <= 36 else None
            origins.append("unknown" if shown is None else "known" if shown.site == site else "foreign")
            if origins[-1] == "foreign":
                continue
            silence = _silence(shown, item, received_at, snooze_days)
            if silence is not None:
                session.add(silence)
            elif shown is not None and item.outcome == "accepted":
                _end_silence(session, shown)
            session.add(
                CardFeedback(
                    received_at=received_at.astimezone(UTC),
                    site=site,
                    service=service,
                    card=item.card[:200],
                    outcome=item.outcome,
                    outcome_at=_believable(item.outcome_at, received_at).astimezone(UTC),
                    suggestions=list(item.suggestions),
                    reason_system=item.reason_system[:300],
                    reason_code=item.reason_code[:100],
                    reason_display=item.reason_display[:300],
                    comment=item.comment,
                )
            )
            try:
                session.commit()
            except IntegrityError:
                session.rollback()  # the same report once more
    return origins


def _believable(at: datetime, received_at: datetime) -> datetime:
    """When the outcome was, as stated; a clock that runs far ahead would else have the last word for ever."""
    return at if at <= received_at + _CLOCKS_DIFFER else received_at


class Answered(Struct, frozen=True):
    """A card that feedback speaks of, and how long its user took (seconds; None when the clocks disagree)."""

    code: str
    hook: str
    site: str
    seconds: float | None


def answered(
    engine: Engine, items: Sequence[FeedbackItem], site: str, received_at: datetime
) -> list[Answered | None]:
    """The cards of feedback items; None for those that were not shown to the site."""
    found: list[Answered | None] = []
    with Session(engine) as session:
        for item in items:
            card = session.get(CardShown, item.card) if len(item.card) <= 36 else None
            if card is None or card.site != site:
                found.append(None)
                continue
            shown_at = card.at if card.at.tzinfo is not None else card.at.replace(tzinfo=UTC)
            seconds = (item.outcome_at - shown_at).total_seconds()
            known = seconds >= 0 and item.outcome_at <= received_at + _CLOCKS_DIFFER
            found.append(Answered(card.code, card.hook, card.site, seconds if known else None))
    return found


def _silence(card: CardShown | None, item: FeedbackItem, at: datetime, snooze_days: int) -> Silence | None:
    # A comment alone may say anything: nobody can tell that it is a reason.
    reasoned = bool(item.reason_code or item.reason_display)
    if (
        card is None
        or not card.patient_key
        or item.outcome != "overridden"
        or not reasoned
        or snooze_days <= 0
    ):
        return None
    if not may_be_silenced(card.code, card.severity):
        return None
    return Silence(
        site=card.site,
        patient_key=card.patient_key,
        code=card.code,
        subject=card.subject,
        severity_rank=SEVERITY_RANK[card.severity],
        until=at.astimezone(UTC) + timedelta(days=snooze_days),
        card=card.uuid,
        seen=card.seen,
        hook=card.hook,
    )


def _end_silence(session: Session, card: CardShown) -> None:
    """Whoever accepts a card does not want it silenced, whatever was answered before to one about the same."""
    if card.patient_key:
        session.execute(
            delete(Silence).where(
                Silence.site == card.site,  # type: ignore[arg-type]
                Silence.patient_key == card.patient_key,  # type: ignore[arg-type]
                Silence.code == card.code,  # type: ignore[arg-type]
                Silence.subject == card.subject,  # type: ignore[arg-type]
            )
        )


def latest(engine: Engine, card: str, site: str = "default") -> CardFeedback | None:
    """The outcome that counts: the one of the card's own site with the newest timestamp."""
    with Session(engine) as session:
        statement = (
            select(CardFeedback)
            .where(CardFeedback.card == card, CardFeedback.site == site)  # type: ignore[arg-type]
            .order_by(CardFeedback.outcome_at.desc(), CardFeedback.id.desc())  # type: ignore[attr-defined,union-attr]
            .limit(1)
        )
        return session.execute(statement).scalars().first()
