"""The sweep: one alert per patient and finding, an append-only history, every patient once per run, also when workers die."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from msgspec.structs import replace
from sqlalchemy import Engine, func, select, update

from service.alerts.case import remembered
from service.alerts.facts.patient import ClinicianFlag
from service.alerts.rules.asked import RuleBook
from service.options.site import Site
from service.registry import delivery, people
from service.registry.roster import add_flag, find
from service.registry.standing import standing_of
from service.registry.sweep import Summary, start_run, sweep
from service.store.database import engine_for, upgrade
from service.store.roster_tables import Alert, AlertEvent, OutboxItem, RegisteredPatient, SweepRun
from service.store.times import aware
from tests.data import NOW
from tests.registry.roster import ZONE, anc, facts, register
from tests.registry.writable_ehr import WritableEhr
from tests.sites import site_of

PATIENTS, ALERTS, EVENTS, OUTBOX = (t.__table__ for t in (RegisteredPatient, Alert, AlertEvent, OutboxItem))


def last_sweep(engine: Engine, site: str) -> datetime | None:
    """When the last finished sweep of a site was."""
    runs = SweepRun.__table__
    with engine.connect() as connection:
        found = connection.execute(
            select(func.max(runs.c.as_of)).where(runs.c.site == site, runs.c.finished_at.is_not(None))
        ).scalar_one()
    return aware(found)


def _watch(site: str, **more: Any) -> Site:
    return site_of(site, ZONE, **more)


def _sweep(engine: Engine, watch: Site, days: float = 0, **more: Any) -> Summary:
    at = NOW + timedelta(days=days)
    return sweep(engine, watch, start_run(engine, watch.name, at, at), **more)


def _alerts(engine: Engine, site: str) -> list[tuple[str, str, str]]:
    with engine.connect() as connection:
        rows = connection.execute(
            select(ALERTS.c.code, ALERTS.c.severity, ALERTS.c.state)
            .where(ALERTS.c.site == site)
            .order_by(ALERTS.c.id)
        )
        return [tuple(row) for row in rows]


def _history(engine: Engine, site: str, code: str) -> list[str]:
    with engine.connect() as connection:
        rows = connection.execute(
            select(EVENTS.c.what)
            .join(ALERTS, ALERTS.c.id == EVENTS.c.alert)
            .where(ALERTS.c.site == site, ALERTS.c.code == code)
            .order_by(EVENTS.c.id)
        )
        return [row.what for row in rows]


def _learn(engine: Engine, site: str, patient: str, *counts: Any) -> None:
    """New results arrive."""
    with engine.begin() as connection:
        row = find(connection, site, patient)
        known = remembered.load(row.facts)
        more = {"anc": (*counts, *known.measurements.get("anc", ()))}
        fresh = replace(known, measurements={**known.measurements, **more})
        connection.execute(
            update(PATIENTS).where(PATIENTS.c.id == row.id).values(facts=remembered.dump(fresh))
        )


def test_an_overdue_count_opens_one_alert_that_rises_comes_back_and_resolves_itself(
    engine: Engine, site: str
) -> None:
    register(engine, site, [facts("p1", anc(3200, 31)), facts("p2", anc(3200, 3))])
    watch = _watch(site)
    assert _sweep(engine, watch).changes == {"opened": 1}
    assert _alerts(engine, site) == [("anc-overdue", "warning", "open")]
    assert _sweep(engine, watch, 1).changes == {}  # nothing new, nothing repeated
    assert _sweep(engine, watch, 8).changes == {"due-again": 1}
    # Day 61 of a 30-day interval: more than twice the interval (clinical.md 2.1); p2 is overdue by then.
    assert _sweep(engine, watch, 30).changes == {"raised": 1, "opened": 1}
    _learn(engine, site, "p1", anc(3100, -30, "anc-2"))
    assert _sweep(engine, watch, 31).changes == {"resolved": 1}
    assert _alerts(engine, site) == [
        ("anc-overdue", "critical", "resolved"),
        ("anc-overdue", "warning", "open"),
    ]
    assert _history(engine, site, "anc-overdue") == ["opened", "due-again", "raised", "opened", "resolved"]


def test_a_closed_alert_stays_closed_until_it_becomes_more_severe(engine: Engine, site: str) -> None:
    register(engine, site, [facts("p1", anc(3200, 31))])
    watch = _watch(site)
    _sweep(engine, watch)
    with engine.begin() as connection:
        alert = connection.execute(select(ALERTS.c.id).where(ALERTS.c.site == site)).scalar_one()
        assert people.close_alert(connection, alert, "Practitioner/7", "blood taken elsewhere", NOW)
    assert _sweep(engine, watch, 10).changes == {}
    assert _alerts(engine, site) == [("anc-overdue", "warning", "closed")]
    assert _sweep(engine, watch, 31).changes == {"reopened": 1}
    assert _alerts(engine, site) == [("anc-overdue", "critical", "open")]


def test_a_deviation_agreed_by_a_clinician_lowers_the_alert_until_it_expires(
    engine: Engine, site: str
) -> None:
    register(engine, site, [facts("p1", anc(920, 0.1))])
    watch = _watch(site)
    with engine.begin() as connection:
        row = find(connection, site, "p1")
        flag = ClinicianFlag(
            "deviation", "Dr Hema", NOW - timedelta(days=9), "continue at 900", 900, NOW + timedelta(days=2)
        )
        add_flag(connection, row.id, flag)
    _sweep(engine, watch)
    assert ("anc-moderate-neutropenia", "warning", "open") in _alerts(engine, site)
    _sweep(engine, watch, 2.1)
    assert ("anc-moderate-neutropenia", "critical", "open") in _alerts(engine, site)


def test_shadow_mode_keeps_alerts_and_tells_nobody(engine: Engine, site: str) -> None:
    register(engine, site, [facts("p1", anc(3200, 31))])
    channels: Any = {
        "write_back": ("Task",),
        "fhir_servers": ("http://127.0.0.1:9/fhir",),
        "webhook": "http://127.0.0.1:9/",
    }
    _sweep(engine, _watch(site, shadow=True, **channels))
    assert len(_alerts(engine, site)) == 1
    with engine.connect() as connection:
        waiting = select(func.count()).select_from(OUTBOX).where(OUTBOX.c.site == site)
        assert connection.execute(waiting).scalar_one() == 0


def test_single_findings_can_be_shadowed(engine: Engine, site: str) -> None:
    register(engine, site, [facts("p1", anc(3200, 31)), facts("p2", anc(400, 0.5))])
    channels: Any = {"fhir_servers": ("http://127.0.0.1:9/fhir",), "write_back": ("Task", "Flag")}
    _sweep(engine, _watch(site, shadow_codes=("anc-overdue",), **channels))
    assert {code for code, _, _ in _alerts(engine, site)} >= {"anc-overdue", "anc-severe-neutropenia"}
    with engine.connect() as connection:
        told = connection.execute(select(OUTBOX.c.channel).where(OUTBOX.c.site == site)).scalars().all()
    assert list(told) == ["Flag"]


def test_facts_of_another_version_stop_neither_the_sweep_nor_their_alerts(engine: Engine, site: str) -> None:
    register(engine, site, [facts("p1", anc(3200, 31)), facts("p2", anc(3200, 31))])
    watch = _watch(site)
    _sweep(engine, watch)
    with engine.begin() as connection:
        connection.execute(
            update(PATIENTS)
            .where(PATIENTS.c.site == site, PATIENTS.c.patient_id == "p1")
            .values(facts='{"x": 1}')
        )
    summary = _sweep(engine, watch, 1)
    assert (summary.patients, summary.unreadable) == (2, 1)
    assert [state for _, _, state in _alerts(engine, site)] == ["open", "open"]


def test_a_patient_who_cannot_be_evaluated_does_not_stop_the_others(
    engine: Engine, site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(engine, site, [facts("p1", anc(3200, 31)), facts("p2", anc(3200, 31))])

    def standing(case: Any) -> Any:
        if case.snapshot.patient_id == "p1":
            raise ZeroDivisionError
        return standing_of(case)

    monkeypatch.setattr("service.registry.evaluation.standing_of", standing)
    summary = _sweep(engine, _watch(site))
    assert (summary.patients, summary.unreadable, summary.changes) == (2, 1, {"opened": 1})


def test_nothing_is_resolved_while_a_rule_fails(
    engine: Engine, site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The alert of a rule that fails is missing because nobody looked, not because the patient is well."""
    register(engine, site, [facts("p1", anc(3200, 31))])
    _sweep(engine, _watch(site))

    def broken(case: Any) -> Any:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr("service.alerts.evaluate.RULEBOOK", RuleBook((broken,)))
        summary = _sweep(engine, _watch(site), 1)
    assert (summary.faults, summary.changes) == (1, {})
    assert _alerts(engine, site) == [("anc-overdue", "warning", "open")]


def test_an_alert_is_due_again_a_week_later_though_the_sweep_begins_a_second_earlier(
    engine: Engine, site: str
) -> None:
    register(engine, site, [facts("p1", anc(3200, 31))])
    _sweep(engine, _watch(site))
    assert _sweep(engine, _watch(site), 7 - 1 / 86_400).changes == {"due-again": 1}


def test_a_patient_held_by_somebody_for_a_moment_is_swept_in_the_same_run(
    postgres_url: str, site: str
) -> None:
    upgrade(postgres_url)
    engine = engine_for(postgres_url)
    register(engine, site, [facts("p1", anc(3200, 31)), facts("p2", anc(3200, 31))])
    held = engine.connect()
    held.execute(
        select(PATIENTS.c.id).where(PATIENTS.c.site == site, PATIENTS.c.patient_id == "p2").with_for_update()
    )
    release = threading.Timer(1.0, held.rollback)
    release.start()
    assert _sweep(engine, _watch(site)).patients == 2
    release.join()
    held.close()
    assert last_sweep(engine, site) == NOW
    engine.dispose()


def test_a_worker_that_dies_mid_sweep_loses_nothing_and_repeats_nothing(
    postgres_url: str, ehr: WritableEhr
) -> None:
    upgrade(postgres_url)
    engine = engine_for(postgres_url)
    site = f"site-{uuid4()}"
    count = 2000
    register(engine, site, [facts(f"p{n}", anc(3200, 31 if n % 2 else 3)) for n in range(count)])
    environment = os.environ | {
        "CLOZAPINE_CDS_DATABASE_URL": postgres_url,
        "CLOZAPINE_CDS_SITE_NAME": site,
        "CLOZAPINE_CDS_FHIR_SERVERS": json.dumps([f"{ehr.base_url}/fhir"]),
        "CLOZAPINE_CDS_WRITE_BACK": '["Task"]',
    }
    command = [
        sys.executable, "-m", "service.cli.main", "registry", "sweep", "--as-of", NOW.isoformat(), "--planned-for", NOW.isoformat(), "--batch", "50", "--json",
    ]  # fmt: skip

    def swept() -> int:
        with engine.connect() as connection:
            done = (
                select(func.count())
                .select_from(PATIENTS)
                .where(PATIENTS.c.site == site, PATIENTS.c.sweeps > 0)
            )
            return int(connection.execute(done).scalar_one())

    workers = [subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) for _ in range(3)]
    deadline = time.monotonic() + 240
    while swept() < 200:
        assert time.monotonic() < deadline, "the workers do not get on"
        time.sleep(0.005)
    workers[0].send_signal(signal.SIGKILL)
    killed_at = swept()
    assert workers[0].wait(10) == -signal.SIGKILL
    assert killed_at < count, "the worker was killed after the work was done"
    assert [w.wait(90) for w in workers[1:]] == [0, 0]
    with engine.connect() as connection:
        times = connection.execute(
            select(PATIENTS.c.sweeps, func.count()).where(PATIENTS.c.site == site).group_by(PATIENTS.c.sweeps)
        ).all()
        assert [tuple(row) for row in times] == [(1, count)]
        opened = connection.execute(
            select(func.count(), func.count(func.distinct(ALERTS.c.patient))).where(ALERTS.c.site == site)
        ).one()
        assert tuple(opened) == (count // 2, count // 2)
    assert _history(engine, site, "anc-overdue") == ["opened"] * (count // 2)

    # Three replicas empty the outbox at once; every overdue count becomes one Task and no more.
    watch = _watch(site, write_back=("Task",), fhir_servers=(f"{ehr.base_url}/fhir",))

    async def token() -> str:
        return ehr.token

    def replica(_: int) -> int:
        async def run() -> int:
            async with httpx.AsyncClient(trust_env=False) as client:
                done = await delivery.deliver(engine, watch, client, NOW, token=token, limit=count)
                return done["sent"]

        return asyncio.run(run())

    with ThreadPoolExecutor(3) as replicas:
        sent = list(replicas.map(replica, range(3)))
    assert sum(sent) == count // 2
    assert min(sent) > 0, "the replicas shared the work"
    posted = [resource["for"]["reference"] for method, resource in ehr.written if method == "POST"]
    assert len(posted) == len(set(posted)) == count // 2
    engine.dispose()
