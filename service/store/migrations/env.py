"""Alembic environment: the URL is handed in by ``service.store.database``.

An upgrade is one transaction with both databases: one that is interrupted leaves everything as it was. Of two at once one waits.
"""

from typing import Any

from alembic import context
from sqlalchemy import Connection, event
from sqlmodel import SQLModel

from service.store import (
    result_tables,  # noqa: F401 - fill the metadata
    roster_tables,  # noqa: F401 - fill the metadata
    subscription_tables,  # noqa: F401 - fill the metadata
    tables,  # noqa: F401 - fill the metadata
)
from service.store.database import engine_for
from service.terminology import tables as terminology_tables  # noqa: F401 - fill the metadata

#: Any number that nothing else locks.
_LOCK = 7_312_058


def _leave_transactions_to_us(dbapi_connection: Any, _: object) -> None:
    # Python's driver of SQLite begins a transaction before rows are changed only, not before tables are.
    dbapi_connection.isolation_level = None


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


engine = engine_for(context.config.attributes["url"], patience=None)
embedded = engine.dialect.name == "sqlite"
if embedded:
    event.listen(engine, "connect", _leave_transactions_to_us)
    event.listen(engine, "begin", _begin)
with engine.connect() as connection:
    context.configure(
        connection=connection,
        target_metadata=SQLModel.metadata,
        render_as_batch=True,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        if not embedded:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        context.run_migrations()
engine.dispose()
