"""An upgrade of the database that is interrupted, or begun by two at once, leaves a database that can be upgraded."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import alembic.command
import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, event, inspect, text

from service.store import database
from service.store.database import engine_for, head, not_ready, upgrade


@pytest.fixture
def own_url(url: str, request: pytest.FixtureRequest) -> str:
    """A database of its own."""
    if not url.startswith("postgresql"):
        return url
    name = f"upgrade_{abs(hash(request.node.name))}"
    engine = engine_for(url)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return url.replace("/postgres?", f"/{name}?")


class _PowerCut(Exception):
    pass


def _cut_off(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Of the statements that change tables or the revision so many are carried out."""
    left = after

    def engine(url: str, **_: Any) -> Engine:
        made = engine_for(url)

        @event.listens_for(made, "before_cursor_execute")
        def count(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
            nonlocal left
            if statement.split()[0].upper() in ("ALTER", "UPDATE", "CREATE", "INSERT"):
                if not left:
                    raise _PowerCut
                left -= 1

        return made

    monkeypatch.setattr(database, "engine_for", engine)


@pytest.mark.parametrize("after", [1, 4, 9, 11])
def test_an_interrupted_upgrade_can_be_done_again(
    own_url: str, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    alembic.command.upgrade(database._config(own_url), "0007")
    with monkeypatch.context() as cut:
        _cut_off(cut, after)
        with pytest.raises(_PowerCut):
            upgrade(own_url)
    engine = engine_for(own_url)
    assert "is at 0007" in not_ready(engine)
    assert "seen" not in {c["name"] for c in inspect(engine).get_columns("card_shown")}
    assert upgrade(own_url) == head()
    assert not_ready(engine) == ""
    engine.dispose()


def test_upgrades_at_once_wait_for_each_other(own_url: str) -> None:
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(_upgraded, [own_url] * 3)) == [""] * 3


def _upgraded(url: str) -> str:
    """What an upgrade by a process of its own says; empty when it went well."""

    done = subprocess.run(
        [sys.executable, "-c", "import sys; from service.store.database import upgrade; upgrade(sys.argv[1])", url],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    return done.stderr[-500:] if done.returncode else ""


def test_what_a_version_before_writes_is_taken_by_every_schema_after_it(own_url: str) -> None:
    """Migrations expand: no table or column goes or becomes narrower, and no new one must be filled."""
    config = database._config(own_url)
    engine = engine_for(own_url)
    before: dict[str, dict[str, Any]] = {}
    for script in reversed(list(ScriptDirectory(str(database._MIGRATIONS)).walk_revisions())):
        alembic.command.upgrade(config, script.revision)
        found = inspect(engine)
        after = {
            name: {c["name"]: c for c in found.get_columns(name)}
            for name in found.get_table_names()
            if name != "alembic_version"
        }
        for table, columns in before.items():
            assert columns.keys() <= after[table].keys(), (script.revision, table)
            for name, column in after[table].items():
                if name in columns:
                    assert column["nullable"] or not columns[name]["nullable"], (script.revision, table, name)
                else:
                    assert column["nullable"] or column["default"] is not None, (script.revision, table, name)
        before = after
    engine.dispose()


def test_a_version_stays_ready_when_the_schema_is_of_a_later_one(own_url: str) -> None:
    upgrade(own_url)
    engine = engine_for(own_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9001'"))
        connection.execute(text("CREATE TABLE of_tomorrow (id INTEGER PRIMARY KEY)"))
    assert not_ready(engine) == ""
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0007'"))
    assert "is at 0007" in not_ready(engine)
    engine.dispose()
