"""EHRs that were added on the command line."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine, select
from sqlmodel import Session

from service.store.tables import EhrSite


def stored_ehrs(engine: Engine) -> list[dict[str, Any]]:
    """The settings of every stored EHR, by name. Raises SQLAlchemyError."""
    with Session(engine) as session:
        rows = session.execute(select(EhrSite).order_by(EhrSite.name)).scalars()
        return [row.settings for row in rows]


def save_ehr(engine: Engine, name: str, settings: dict[str, Any], at: datetime, *, replace: bool) -> bool:
    """Store an EHR; False when there is one of that name and it may not be replaced. Raises SQLAlchemyError."""
    with Session(engine) as session:
        known = session.get(EhrSite, name)
        if known is not None and not replace:
            return False
        if known is None:
            session.add(EhrSite(name=name, added_at=at.astimezone(UTC), settings=settings))
        else:
            known.settings = settings
        session.commit()
        return True


def remove_ehr(engine: Engine, name: str) -> bool:
    """Remove a stored EHR; False when there is none of that name. Raises SQLAlchemyError."""
    with Session(engine) as session:
        known = session.get(EhrSite, name)
        if known is None:
            return False
        session.delete(known)
        session.commit()
        return True


def set_enabled(engine: Engine, name: str, *, enabled: bool) -> bool:
    """Let a stored EHR call, or not; False when there is none of that name. Raises SQLAlchemyError."""
    with Session(engine) as session:
        known = session.get(EhrSite, name)
        if known is None:
            return False
        known.settings = known.settings | {"enabled": enabled}
        session.commit()
        return True
