"""The database, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import alembic.command
import pytest
from alembic.script import ScriptDirectory
from msgspec.structs import replace
from sqlalchemy import Engine, func, inspect, select, text
from sqlmodel import Session, SQLModel

from service.alerts.facts.patient import PatientSnapshot
from service.store import database
from service.store.database import engine_for, head, not_ready, upgrade
from service.store.tables import CardShown, HookCall
from service.trail.call import Call
from service.trail.feedback import FeedbackItem, latest, store
from service.trail.recorder import Recorder
from tests.data import NOW


def _call(instance: str, cards: int = 1) -> Call:
    return Call(
        at=NOW, site="north", service="clozapine-order-sign", hook="order-sign", hook_instance=instance, user="Practitioner/1",
        policy="us-label-2025", seconds=0.0012, resources={"counts": 3}, findings=[("anc-missing", "critical", "anc")],
        cards=[(str(uuid4()), "anc-missing", "critical", [str(uuid4())], "anc") for _ in range(cards)],
    )  # fmt: skip


def _count(engine: Engine, table: type[SQLModel], instance: str) -> int:
    with Session(engine) as session:
        return session.execute(
            select(func.count()).select_from(table).where(table.hook_instance == instance)
        ).scalar_one()  # type: ignore[attr-defined]


def _indexes(engine: Engine, table: str) -> set[str | None]:
    """SQLAlchemy passes over indexes of SQLite that hold an expression."""
    if engine.dialect.name != "sqlite":
        return {i["name"] for i in inspect(engine).get_indexes(table)}
    with engine.connect() as connection:
        asked = text("SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = :table")
        return set(connection.execute(asked, {"table": table}).scalars())


def test_migrations_make_exactly_the_tables_of_the_models(engine: Engine) -> None:
    found = inspect(engine)
    for table in SQLModel.metadata.sorted_tables:
        columns = {c["name"] for c in found.get_columns(table.name)}
        assert columns == {c.name for c in table.columns}
        assert _indexes(engine, table.name) >= {i.name for i in table.indexes}


_OLD_ROWS = {
    "0001": [
        "INSERT INTO card_shown (uuid, hook_instance, at, site, code, severity, suggestions) "
        "VALUES ('c1', 'h', '2026-01-01 00:00:00', 'north', 'anc-overdue', 'warning', '[]')",
        "INSERT INTO card_feedback (id, received_at, service, card, outcome, outcome_at, suggestions, reason_system, reason_code, "
        "reason_display, comment) VALUES (1, '2026-01-01 00:00:00', 's', 'c1', 'overridden', '2026-01-01 00:00:00', '[]', '', 'x', '', '')",
    ],
    "0005": [
        "INSERT INTO registered_patient (id, site, patient_id, state, enrolled_at, enrolled_by, policy, facts, facts_at, swept_run, "
        "sweeps) VALUES (1, 'north', 'p1', 'on', '2026-01-01 00:00:00', 'hook', 'p', '{}', '2026-01-01 00:00:00', 0, 0)",
        "INSERT INTO alert (id, patient, site, code, subject, severity, severity_rank, summary, policy, state, opened_at, notified_at, "
        "changed_at) VALUES (1, 1, 'north', 'anc-overdue', 'anc', 'warning', 1, 's', 'p', 'open', '2026-01-01 00:00:00', "
        "'2026-01-01 00:00:00', '2026-01-01 00:00:00')",
    ],
}  # fmt: skip


def test_every_revision_is_upgraded_with_its_rows(request: pytest.FixtureRequest, url: str) -> None:
    if url.startswith("postgresql"):
        with engine_for(url).connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("CREATE DATABASE migrated"))
        url = url.replace("/postgres?", "/migrated?")
    config = database._config(url)
    engine = engine_for(url)
    rows = 0
    for script in reversed(list(ScriptDirectory(str(database._MIGRATIONS)).walk_revisions())):
        alembic.command.upgrade(config, script.revision)
        with engine.begin() as connection:
            for statement in _OLD_ROWS.get(script.revision, []):
                connection.execute(text(statement))
                rows += 1
        with engine.connect() as connection:
            kept = sum(
                connection.execute(text(f"SELECT count(*) FROM {statement.split()[2]}")).scalar_one()
                for known in _OLD_ROWS.values()
                for statement in known
                if inspect(connection).has_table(statement.split()[2])
            )
        assert kept == rows, script.revision
    assert not_ready(engine) == ""
    alembic.command.downgrade(config, "0006")
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM alert")).scalar_one() == 1
        assert connection.execute(text("SELECT site FROM card_feedback")).scalar_one() == "north"
    engine.dispose()


def test_upgrade_is_idempotent_and_ready(url: str, engine: Engine) -> None:
    assert upgrade(url) == head()
    assert not_ready(engine) == ""


def test_recorder_writes_everything_and_flushes_on_close(engine: Engine) -> None:
    instance = str(uuid4())
    recorder = Recorder(engine)
    for _ in range(1200):
        recorder.record(_call(instance))
    recorder.close()
    assert _count(engine, HookCall, instance) == 1200
    assert _count(engine, CardShown, instance) == 1200


def test_recorder_from_many_threads(engine: Engine) -> None:
    instance = str(uuid4())
    recorder = Recorder(engine)
    threads = [
        threading.Thread(target=lambda: [recorder.record(_call(instance, 0)) for _ in range(200)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert recorder.flush(20)
    recorder.close()
    assert _count(engine, HookCall, instance) == 800


def test_recorder_keeps_what_the_database_did_not_take(tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path}/late.db"
    engine = engine_for(url)
    recorder = Recorder(engine)  # the schema is not there yet
    recorder.record(_call("late"))
    assert not recorder.flush(0.5)
    upgrade(url)
    assert recorder.flush(10)
    recorder.close()
    assert _count(engine, HookCall, "late") == 1
    engine.dispose()


def test_a_call_that_cannot_be_kept_costs_no_other_its_record(engine: Engine) -> None:
    """One client's odd call must not end the audit trail of all."""
    good, twin, odd = (str(uuid4()) for _ in range(3))
    first = _call(good)
    dropped: list[int] = []
    recorder = Recorder(engine, on_drop=dropped.append)
    # The same card twice breaks a key; a NUL is no text for PostgreSQL.
    for call in (
        first,
        replace(first, hook_instance=twin),
        _call(odd + "\0"),
        *(_call(good) for _ in range(3)),
    ):
        recorder.record(call)
    assert recorder.flush(20)
    recorder.record(_call(good))
    recorder.close()
    assert _count(engine, HookCall, good) == 5
    assert _count(engine, HookCall, twin) == 0
    assert len(dropped) == (2 if engine.dialect.name == "postgresql" else 1)


def test_a_clock_far_ahead_does_not_have_the_last_word(engine: Engine) -> None:
    card = str(uuid4())
    far = FeedbackItem(card, "overridden", NOW + timedelta(days=400))
    assert store(engine, "clozapine-order-sign", [far], NOW - timedelta(hours=1)) == ["unknown"]
    assert store(engine, "clozapine-order-sign", [FeedbackItem(card, "accepted", NOW, ("s",))], NOW) == [
        "unknown"
    ]
    newest = latest(engine, card)
    assert newest is not None
    assert newest.outcome == "accepted"


def test_feedback_latest_wins_and_repeats_are_kept_once(engine: Engine) -> None:
    card = str(uuid4())
    at = datetime(2026, 11, 20, 9, tzinfo=UTC)
    late = FeedbackItem(card, "accepted", at + timedelta(hours=1), ("s1",))
    early = FeedbackItem(card, "overridden", at, (), "urn:r", "risk-benefit-ratio", "Benefit", "comment")
    assert store(engine, "clozapine-order-sign", [late, early], NOW) == ["unknown", "unknown"]
    assert store(engine, "clozapine-order-sign", [early], NOW) == ["unknown"]
    newest = latest(engine, card)
    assert newest is not None
    assert (newest.outcome, newest.suggestions) == ("accepted", ["s1"])


def test_feedback_knows_the_cards_that_were_shown(engine: Engine) -> None:
    call = _call(str(uuid4()))
    recorder = Recorder(engine)
    recorder.record(call)
    recorder.close()
    assert store(engine, "x", [FeedbackItem(call.cards[0][0], "overridden", NOW)], NOW, "north") == ["known"]


def test_of_several_calls_on_a_patient_the_last_is_remembered(engine: Engine) -> None:
    remembered: list[tuple[str, str, str]] = []

    def remember(_: Any, site: str, facts: Any, at: Any) -> None:
        remembered.append((site, facts.patient_id, facts.hook))

    recorder = Recorder(engine, remember=remember)
    for hook, patient in (("order-select", "a"), ("order-sign", "b"), ("order-sign", "a")):
        recorder.record(_call(str(uuid4()), 0), PatientSnapshot(patient_id=patient, hook=hook))
    assert recorder.flush(5)
    recorder.close()
    assert sorted(remembered) == [("north", "a", "order-sign"), ("north", "b", "order-sign")]


def test_many_patients_are_remembered_in_transactions_of_a_bounded_size(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an outage many wait: together they would hold the write lock for longer than others wait for it."""
    transactions: list[set[str]] = [set()]

    def remember(_: Any, site: str, facts: Any, at: Any) -> None:
        transactions[-1].add(facts.patient_id)

    def began(engine: Engine) -> Any:
        transactions.append(set())
        return real(engine)

    real = Engine.begin
    monkeypatch.setattr("service.trail.recorder._BATCH", 10)
    recorder = Recorder(engine, remember=remember)
    monkeypatch.setattr(Engine, "begin", began)
    for number in range(45):
        recorder.record(_call(str(uuid4()), 0), PatientSnapshot(patient_id=f"p{number}", hook="patient-view"))
    recorder.close()
    assert max(map(len, transactions)) <= 10
    assert len(set().union(*transactions)) == 45


def test_a_record_that_cannot_be_written_keeps_no_other_from_being_written(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault in one patient's facts, or text that PostgreSQL does not take, must not end the audit trail."""
    instance, remembered, dropped = str(uuid4()), [], []

    def remember(_: Any, site: str, facts: Any, at: Any) -> None:
        if facts.patient_id == "odd":
            raise ZeroDivisionError
        remembered.append(facts.patient_id)

    recorder = Recorder(engine, remember=remember, on_drop=dropped.append)
    odd, sound = (PatientSnapshot(patient_id=p, hook="patient-view") for p in ("odd", "sound"))
    recorder.record(_call(instance, 0), odd)
    recorder.record(_call(instance + "\x00", 0))
    recorder.record(_call(instance, 0), sound)
    assert recorder.flush(5)
    recorder.record(_call(instance, 0))
    assert recorder.flush(5)
    recorder.close()
    assert _count(engine, HookCall, instance) == 3
    assert set(remembered) == {"sound"}
    assert sum(dropped) == (1 if engine.dialect.name == "postgresql" else 0)
