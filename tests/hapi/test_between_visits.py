"""Patients read anew from HAPI FHIR, swept, and alerts written into it (``make test-hapi``)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from sqlalchemy import Engine, select, update

from service.options.site import Site
from service.registry import delivery
from service.registry.refresh import refresh
from service.registry.sweep import start_run, sweep
from service.store.database import engine_for, upgrade
from service.store.roster_tables import Alert, OutboxItem, RegisteredPatient
from tests.data import NOW, anc
from tests.hapi.conftest import CHARTS, FHIR_HEADERS, TOKEN
from tests.registry.roster import facts, register
from tests.sites import site_of

pytestmark = pytest.mark.hapi

SITE = "clinic"
ALERTS, ITEMS, PATIENTS = (t.__table__ for t in (Alert, OutboxItem, RegisteredPatient))
CHANNELS = ("Task", "Flag", "CommunicationRequest", "DetectedIssue")
ON_CLOZAPINE = [c for c in CHARTS if any(t.drug == "clozapine" and t.until is None for t in c.story.on)]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    url = f"sqlite:///{tmp_path_factory.mktemp('registry')}/registry.db"
    upgrade(url)
    made = engine_for(url)
    # The registry knows who is on clozapine, and nothing else of them.
    register(made, SITE, [facts(c.patient_id) for c in ON_CLOZAPINE])
    yield made
    made.dispose()


@pytest.fixture(scope="module")
def watch(hapi: str) -> Site:
    return site_of(SITE, ZoneInfo("UTC"), fhir_servers=(hapi,), write_back=CHANNELS)


async def _token() -> str:
    return TOKEN


def _read_anew(engine: Engine, watch: Site, at: datetime) -> None:
    """Every patient as a whole."""
    with engine.begin() as connection:
        connection.execute(update(PATIENTS).values(refreshed_at=None))

    async def run() -> Any:
        async with httpx.AsyncClient(trust_env=False) as client:
            return await refresh(engine, watch, client, at, token=_token)

    done = asyncio.run(run())
    assert (done.patients, done.failed) == (len(ON_CLOZAPINE), 0)


def _deliver(engine: Engine, watch: Site, at: datetime) -> dict[str, int]:
    async def run() -> dict[str, int]:
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            return await delivery.deliver(engine, watch, client, at, token=_token, limit=1000)

    return asyncio.run(run())


def _open(engine: Engine) -> dict[str, set[str]]:
    with engine.connect() as connection:
        rows = connection.execute(
            select(PATIENTS.c.patient_id, ALERTS.c.code, ALERTS.c.severity)
            .join(PATIENTS, PATIENTS.c.id == ALERTS.c.patient)
            .where(ALERTS.c.state == "open")
        ).all()
    found: dict[str, set[str]] = {c.patient_id: set() for c in ON_CLOZAPINE}
    for patient, code, severity in rows:
        found[patient].add(f"{code} {severity}")
    return found


def _in_hapi(hapi: str, channel: str) -> list[dict[str, Any]]:
    url = f"{hapi}/{channel}?_count=500"
    answer = httpx.get(url, headers=FHIR_HEADERS, trust_env=False, timeout=60).json()
    return [e["resource"] for e in answer.get("entry", [])]


def test_a_sweep_opens_what_a_visit_would_warn_of_and_writes_it_into_hapi_once(
    engine: Engine, watch: Site, hapi: str
) -> None:
    _read_anew(engine, watch, NOW)
    sweep(engine, watch, start_run(engine, SITE, NOW, NOW))
    opened = _open(engine)
    for chart in ON_CLOZAPINE:
        loud = {f for f in chart.story.expected("patient-view") if not f.endswith(" info")}
        found = {f for f in opened[chart.patient_id] if not f.endswith(" info")}
        assert found == loud, chart.story.id

    done = _deliver(engine, watch, NOW)
    assert (done["later"], done["dead"]) == (0, 0)
    assert done["sent"] == sum(len(_in_hapi(hapi, channel)) for channel in CHANNELS) > 20

    with engine.begin() as connection:  # as if the process had died between sending and noting it
        connection.execute(update(ITEMS).values(state="waiting", location=""))
    assert _deliver(engine, watch, NOW) == done
    assert done["sent"] == sum(len(_in_hapi(hapi, channel)) for channel in CHANNELS)

    overdue = next(c for c in ON_CLOZAPINE if c.story.id == "count-overdue")
    _withdrawn_when_the_count_is_there(engine, watch, hapi, overdue.patient_id)


def _withdrawn_when_the_count_is_there(engine: Engine, watch: Site, hapi: str, patient: str) -> None:
    [task] = [t for t in _in_hapi(hapi, "Task") if t["for"]["reference"] == f"Patient/{patient}"]
    assert task["status"] == "requested"
    count = anc(3.1, 0.1, id=f"{patient}-at-last", subject={"reference": f"Patient/{patient}"})
    url = f"{hapi}/Observation/{count['id']}"
    assert httpx.put(url, json=count, headers=FHIR_HEADERS, trust_env=False, timeout=60).is_success
    try:
        later = NOW + timedelta(hours=1)
        _read_anew(engine, watch, later)
        sweep(engine, watch, start_run(engine, SITE, later, later))
        assert _open(engine)[patient] == set()
        assert _deliver(engine, watch, later)["dead"] == 0
        answer = httpx.get(
            f"{hapi}/Task/{task['id']}", headers=FHIR_HEADERS, trust_env=False, timeout=60
        ).json()
        assert answer["status"] == "cancelled"
    finally:
        assert httpx.delete(url, headers=FHIR_HEADERS, trust_env=False, timeout=60).is_success
