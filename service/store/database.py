"""The database: embedded SQLite by default, PostgreSQL in production; schema by Alembic."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from service.store.private_files import private_folder

#: Longer than any statement of this service takes; a reader of the registry's pages waits no longer either.
STATEMENT_SECONDS = 15.0
#: So long somebody waits for a connection while all are in use.
_PLACE_SECONDS = 5
_MIGRATIONS = Path(__file__).parent / "migrations"


def engine_for(url: str, patience: float | None = STATEMENT_SECONDS) -> Engine:
    """An engine; SQLite in write-ahead mode, so that readers never wait for the writer.

    Args:
        url: of the database.
        patience: seconds that PostgreSQL may take for a statement; None = as long as it likes, for a migration.
    """
    address = make_url(url)
    if address.get_backend_name() == "postgresql" and address.drivername == "postgresql":
        address = address.set(drivername="postgresql+psycopg")
    if address.get_backend_name() == "sqlite" and address.database not in (None, "", ":memory:"):
        _kept_private(Path(str(address.database)))
    engine = create_engine(
        address,
        pool_pre_ping=address.get_backend_name() != "sqlite",
        **({} if address.get_backend_name() == "sqlite" else {"pool_timeout": _PLACE_SECONDS}),
        # The text of a database error would else quote what was to be written.
        hide_parameters=True,
        json_serializer=lambda value: orjson.dumps(value).decode(),
        json_deserializer=orjson.loads,
    )
    if address.get_backend_name() == "postgresql" and patience is not None:
        from service.store.patience import connect  # its driver is installed for PostgreSQL only

        @event.listens_for(engine, "do_connect")
        def _connect(_: object, __: object, args: list[Any], params: dict[str, Any]) -> Any:
            return connect(patience, *args, **params)

    if address.get_backend_name() == "sqlite":

        @event.listens_for(engine, "connect")
        def _pragmas(connection: object, _: object) -> None:
            cursor = connection.cursor()  # type: ignore[attr-defined]
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=NORMAL")
            cursor.execute("PRAGMA busy_timeout=5000")
            cursor.execute("PRAGMA foreign_keys=ON")
            cursor.close()

    return engine


def _kept_private(file: Path) -> None:
    """The embedded database is its owner's alone, also one that an older version made; SQLite gives its other files the mode of the first."""
    private_folder(file.parent)
    with suppress(OSError):  # of another account, or a disk that cannot be written: SQLite says so better
        os.close(os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        for path in (file, file.with_name(f"{file.name}-wal"), file.with_name(f"{file.name}-shm")):
            if path.exists() and path.stat().st_mode & 0o077:
                path.chmod(0o600)


def _config(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["url"] = url
    return config


def upgrade(url: str) -> str:
    """Bring the schema up to date; returns the revision."""
    command.upgrade(_config(url), "head")
    return head()


def is_embedded(url: str) -> bool:
    """Whether the database is a file of this machine, which nobody else brings up to date."""
    return make_url(url).get_backend_name() == "sqlite"


def head() -> str:
    """The newest revision this version of the service knows."""
    found = ScriptDirectory(str(_MIGRATIONS)).get_current_head()
    assert found is not None
    return found


def is_newer(revision: str | None) -> bool:
    """Whether a schema was made by a later version of the service. Its migrations only add, so that this version goes on working."""
    known = {script.revision for script in ScriptDirectory(str(_MIGRATIONS)).walk_revisions()}
    return revision is not None and revision not in known and revision > head()


def not_ready(engine: Engine) -> str:
    """Why the database cannot be used; empty when it can."""
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
            revision = MigrationContext.configure(connection).get_current_revision()
    except SQLAlchemyError as error:
        return f"the database cannot be reached ({type(error).__name__})"
    if revision != head() and not is_newer(revision):
        return f"the database schema is at {revision or 'nothing'}, this version needs {head()}: run clozapine-cds db upgrade"
    return ""
