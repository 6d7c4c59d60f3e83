"""A database that neither answers nor refuses costs itself only (issue: outages)."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError
from starlette.applications import Starlette

from cds_hooks import HookRequest, Limits, Response, Service, cds_routes
from service.site.settings import Settings
from service.store.database import engine_for, upgrade
from service.store.guard import DatabaseAway, Guard
from service.web.app import create_app
from tests.data import NOW, PATIENT
from tests.hanging import Wire, wire_to
from tests.server import serving


@pytest.fixture
def wire(postgres_url: str) -> Iterator[Wire]:
    with wire_to(postgres_url) as found:
        yield found


def test_a_statement_is_given_up_and_the_next_connection_works(wire: Wire) -> None:
    engine = engine_for(wire.url, patience=0.3)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT 1")).scalar_one() == 1
        wire.hold()
        with pytest.raises(OperationalError):
            connection.execute(text("SELECT 2"))
    wire.release()
    with engine.connect() as connection:
        # Not the late answer to the statement that was given up.
        assert connection.execute(text("SELECT 3")).scalar_one() == 3
    engine.dispose()


def test_the_server_ends_what_nobody_waits_for(wire: Wire) -> None:
    engine = engine_for(wire.url, patience=2.0)
    with engine.connect() as connection:
        assert connection.execute(text("SHOW statement_timeout")).scalar_one() == "2s"
    engine.dispose()


def test_a_check_goes_on_while_everybody_else_waits_for_the_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/hangs.db"
    upgrade(url)
    app = create_app(Settings(database_url=url, call_seconds=3), clock=lambda: NOW)
    held = threading.Event()

    async def asking() -> int:
        threads = ThreadPoolExecutor(1)
        threads.submit(held.wait)
        asyncio.get_running_loop().set_default_executor(threads)
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            try:
                answer = await client.post(
                    "/fhir/$clozapine-check",
                    json={
                        "resourceType": "Bundle",
                        "type": "collection",
                        "entry": [{"resource": {"resourceType": "Patient", "id": PATIENT}}],
                    },
                    headers={"Content-Type": "application/fhir+json"},
                )
            finally:
                held.set()
        return answer.status_code

    assert asyncio.run(asking()) == 200
    app.state.recorder.close()


def test_feedback_that_waits_too_long_is_told_so() -> None:
    async def waits(*_: object) -> None:
        await asyncio.sleep(60)

    async def handler(_: HookRequest) -> Response:
        return Response()

    routes = cds_routes(
        [Service(id="visit", hook="patient-view", title="A visit", description="A visit.", handler=handler)],
        on_feedback=waits,
        limits=Limits(seconds=0.01),
    )

    async def telling() -> httpx.Response:
        transport = httpx.ASGITransport(app=Starlette(routes=routes))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.post(
                "/cds-services/visit/feedback",
                json={
                    "feedback": [
                        {
                            "card": "f2a9d1c4-0a0e-4b5f-9f0a-0d5e0c7c4a11",
                            "outcome": "overridden",
                            "outcomeTimestamp": "2026-11-20T10:00:00Z",
                        }
                    ]
                },
            )

    answer = asyncio.run(telling())
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    text = answer.json()["issue"][0]["details"]["text"]
    assert text == "The feedback was not stored in time. Send it again."


def test_whoever_asks_the_registry_is_told_soon_and_then_at_once(wire: Wire) -> None:
    upgrade(wire.url)
    app = create_app(Settings(database_url=wire.url, spool="none"), clock=lambda: NOW)
    with serving(app) as base, httpx.Client(base_url=base, trust_env=False, timeout=30) as client:
        assert client.get("/registry/patients").status_code == 200
        wire.hold()
        for _ in range(3):
            assert client.get("/registry/patients").status_code == 503
        began = time.monotonic()
        answer = client.get("/registry/patients")
        assert time.monotonic() - began < 1
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        wire.release()
        ends = time.monotonic() + 40
        while client.get("/registry/patients").status_code != 200:
            assert time.monotonic() < ends
            time.sleep(0.2)


def test_what_was_given_up_is_not_done_later(wire: Wire) -> None:
    upgrade(wire.url)
    engine = engine_for(wire.url, patience=5)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM written_batch"))
    begun, go_on = threading.Event(), threading.Event()

    def work(connection: Connection) -> None:
        connection.execute(text("INSERT INTO written_batch VALUES ('late')"))
        begun.set()
        go_on.wait(10)

    async def asking() -> None:
        guard = Guard(engine, limit=0.5)
        with pytest.raises(DatabaseAway):
            await guard.transaction(work)
        assert begun.is_set()
        go_on.set()
        await guard.transaction(lambda c: c.execute(text("SELECT 1")))
        guard.close()

    asyncio.run(asking())
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM written_batch")).scalar_one() == 0
    engine.dispose()


def test_what_cannot_be_done_is_no_fault_of_the_database(wire: Wire) -> None:
    engine = engine_for(wire.url, patience=5)

    def wrong(_: Connection) -> None:
        raise LookupError

    async def asking() -> None:
        guard = Guard(engine)
        for _ in range(5):
            with pytest.raises(LookupError):
                await guard.transaction(wrong)
        assert not guard.rests
        guard.close()

    asyncio.run(asking())
    engine.dispose()
