"""Alembic environment: the URL is handed in by ``service.registry.database``."""

from alembic import context
from sqlmodel import SQLModel

from service.registry import roster_tables, tables, terminology_tables  # noqa: F401 - fill the metadata
from service.registry.database import engine_for

engine = engine_for(context.config.attributes["url"])
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=SQLModel.metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
