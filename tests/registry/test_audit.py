"""The audit trail as FHIR AuditEvents, and its retention."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

from fhir.resources.R4B.auditevent import AuditEvent
from msgspec.structs import replace
from sqlalchemy import Engine, func, insert, select, update

from service.store.database import engine_for, upgrade
from service.store.roster_tables import OutboxItem, Silence
from service.store.tables import CardShown, HookCall
from service.trail.audit import events, prune
from service.trail.recorder import Recorder
from tests.command import command
from tests.data import NOW
from tests.registry.roster import ZONE, anc, facts, register
from tests.registry.test_registry import _call
from tests.registry.test_sweep import _sweep
from tests.sites import site_of


def _record(engine: Engine, site: str, *days: float) -> None:
    recorder = Recorder(engine)
    for age in days:
        recorder.record(replace(_call(str(uuid4())), site=site, at=NOW - timedelta(days=age)))
    recorder.close()


def test_every_call_is_a_valid_audit_event_without_a_patient(engine: Engine, site: str) -> None:
    _record(engine, site, 3, 1, 0)
    with engine.connect() as connection:
        lines = list(events(connection, NOW - timedelta(days=2), NOW + timedelta(days=1), site))
    assert len(lines) == 2
    for line in lines:
        found = AuditEvent.model_validate_json(line)
        assert b"Patient" not in line
        details = {d.type: d.valueString for d in found.entity[0].detail}
        assert details["finding.anc-missing"] == "critical"
        assert details["resources.counts"] == "3"
        assert details["policy"] == "us-label-2025"
        assert found.outcome == "0"
    assert [json.loads(line)["recorded"] for line in lines] == [
        "2026-11-19T10:00:00.000Z",
        "2026-11-20T10:00:00.000Z",
    ]


def test_an_audit_event_carries_the_sums_of_the_ledger(engine: Engine, site: str) -> None:
    sums = {"given": 5, "read": 3, "irrelevant": 1, "not understood": 1, "elements": 0}
    recorder = Recorder(engine)
    recorder.record(replace(_call(str(uuid4())), site=site, at=NOW, ledger=sums))
    recorder.close()
    with engine.connect() as connection:
        (line,) = events(connection, NOW - timedelta(days=1), NOW + timedelta(days=1), site)
    details = {d.type: d.valueString for d in AuditEvent.model_validate_json(line).entity[0].detail}
    assert {k: v for k, v in details.items() if k.startswith("ledger.")} == {
        "ledger.given": "5", "ledger.read": "3", "ledger.irrelevant": "1", "ledger.not-understood": "1", "ledger.elements": "0",
    }  # fmt: skip


def test_calls_that_could_not_be_judged_are_no_successes(engine: Engine, site: str) -> None:
    recorder = Recorder(engine)
    for status in (200, 412, 413, 429, 500, 503):
        recorder.record(replace(_call(str(uuid4())), site=site, status=status))
    recorder.close()
    with engine.connect() as connection:
        lines = list(events(connection, NOW - timedelta(days=1), NOW + timedelta(days=1), site))
    found = [AuditEvent.model_validate_json(line) for line in lines]
    assert [e.outcome for e in found] == ["0", "4", "4", "4", "8", "8"]
    assert [e.outcomeDesc for e in found[:2]] == [None, "The call could not be judged (412)."]


def test_findings_of_one_code_are_all_told(engine: Engine, site: str) -> None:
    recorder = Recorder(engine)
    twice = [("interaction", "critical", "drug:a"), ("interaction", "info", "drug:b")]
    recorder.record(replace(_call(str(uuid4())), site=site, findings=twice))
    recorder.close()
    with engine.connect() as connection:
        [line] = events(connection, NOW, NOW + timedelta(days=1), site)
    details = AuditEvent.model_validate_json(line).entity[0].detail
    assert [d.valueString for d in details if d.type == "finding.interaction"] == ["critical", "info"]


def test_what_is_older_than_the_retention_is_forgotten(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/old.db"
    upgrade(url)
    engine = engine_for(url)
    _record(engine, "north", 364, 365.5, 366)
    register(engine, "north", [facts("p1", anc(3200, 31))])
    watch = site_of("north", ZONE, webhook="http://127.0.0.1:9/")
    with engine.begin() as connection:
        for age in (364, 366):
            at = NOW - timedelta(days=age)
            connection.execute(
                insert(Silence).values(
                    site="north", patient_key="k", code="c", subject="s", severity_rank=1, until=at, card="x"
                )
            )
    _sweep(engine, watch)
    _sweep(engine, watch, 7)
    with engine.begin() as connection:
        first = connection.execute(select(func.min(OutboxItem.id))).scalar_one()  # type: ignore[arg-type]
        connection.execute(
            update(OutboxItem)
            .where(OutboxItem.id == first)  # type: ignore[arg-type]
            .values(state="sent", sent_at=NOW - timedelta(days=366))
        )
    assert prune(engine, NOW, 365) == 2
    with engine.connect() as connection:
        for table in (HookCall, CardShown, Silence, OutboxItem):
            assert connection.execute(select(func.count()).select_from(table)).scalar_one() == 1
    engine.dispose()


def test_the_command_writes_ndjson(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/cli.db"
    upgrade(url)
    engine = engine_for(url)
    _record(engine, "north", 1)
    engine.dispose()
    target = tmp_path / "audit.ndjson"
    done = command(
        "audit", "export", str(target), "--until", "2026-12-01", env={"CLOZAPINE_CDS_DATABASE_URL": url}
    )
    assert (done.returncode, done.stderr.strip()) == (0, "1 calls, 0 acts in the registry")
    assert json.loads(target.read_text())["resourceType"] == "AuditEvent"
