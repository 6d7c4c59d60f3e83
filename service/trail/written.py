"""Which batches of the spool the database has: noted with their rows, so that a batch is never written twice."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, Table, delete, insert, select

from service.store.tables import WrittenBatch

_TABLE: Table = WrittenBatch.__table__  # type: ignore[attr-defined]


def is_written(connection: Connection, name: str) -> bool:
    """Whether a batch was written before, perhaps by a process that ended before it could remove the file."""
    return connection.execute(select(_TABLE.c.name).where(_TABLE.c.name == name)).first() is not None


def note_written(connection: Connection, name: str, removed: Sequence[str]) -> None:
    """Note a batch with its rows; forget those whose files are gone."""
    connection.execute(insert(_TABLE).values(name=name))
    if removed:
        connection.execute(delete(_TABLE).where(_TABLE.c.name.in_(removed)))
