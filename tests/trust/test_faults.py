"""When the key server or the database is away: what still works, what does not, and who is told."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from alembic import command
from sqlalchemy import text

from service.store.database import _config, engine_for, upgrade
from service.trail.used_tokens import DatabaseReplays
from tests.data import NOW, call, clozapine, prefetch
from tests.ehr import Ehr
from tests.signing import BASE, refused

_SIGN = "/cds-services/clozapine-order-sign"
_BODY = call("order-sign", prefetch(), clozapine())


def _sound(client: httpx.Client, ehr: Ehr) -> int:
    return client.post(_SIGN, json=_BODY, headers=ehr.signer.bearer("north", _SIGN)).status_code


def test_key_server_down_known_keys_go_on_for_a_limited_time(start_service: Any, ehr: Ehr) -> None:
    client = start_service(
        auth="required", base_url=BASE, ehr=[ehr.settings("north")],
        key_fresh_seconds=1, key_keep_seconds=3, key_refetch_seconds=0.2,
    )  # fmt: skip
    assert _sound(client, ehr) == 200
    ehr.keys_down = True
    time.sleep(1.2)
    assert _sound(client, ehr) == 200
    time.sleep(2.2)
    assert _sound(client, ehr) == 401
    assert refused(client, "keys-unavailable") == 1
    ready = client.get("/health/ready")
    assert ready.status_code == 200  # one EHR without keys takes nothing away from the others
    assert ready.json()["status"] == "warn"
    ehr.keys_down = False
    time.sleep(0.3)
    assert _sound(client, ehr) == 200


def test_key_server_slow_costs_no_call_once_keys_are_known(start_service: Any, ehr: Ehr) -> None:
    client = start_service(
        auth="required",
        base_url=BASE,
        ehr=[ehr.settings("north")],
        key_fresh_seconds=1,
        key_refetch_seconds=0.2,
    )
    assert _sound(client, ehr) == 200
    ehr.keys_delay_seconds = 2
    time.sleep(1.1)
    started = time.perf_counter()
    assert _sound(client, ehr) == 200
    assert time.perf_counter() - started < 1
    for _ in range(50):
        if ehr.keys_asked == 2:
            break
        time.sleep(0.02)
    assert ehr.keys_asked == 2  # the fetch goes on beside the call


def test_database_away_calls_are_answered_and_counted(start_service: Any, ehr: Ehr, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/away.db"
    client = start_service(auth="required", base_url=BASE, ehr=[ehr.settings("north")], database_url=url)
    engine = engine_for(url)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE seen_token"))
    engine.dispose()
    headers = ehr.signer.bearer("north", _SIGN)
    assert client.post(_SIGN, json=_BODY, headers=headers).status_code == 200
    assert client.post(_SIGN, json=_BODY, headers=headers).status_code == 401  # this process saw it itself
    assert "clozapine_cds_replay_store_faults_total 1.0" in client.get("/metrics").text


@pytest.fixture(params=["sqlite", "postgresql"])
def fresh_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/fresh.db"
    server = str(request.getfixturevalue("postgres_url"))
    name = f"fresh_{uuid4().hex}"
    engine = engine_for(server)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return server.replace("/postgres?", f"/{name}?")


def test_used_tokens_are_forgotten_when_they_expire(fresh_url: str) -> None:
    upgrade(fresh_url)
    engine = engine_for(fresh_url)
    now = NOW.timestamp()
    seconds = 0.0
    here, there = (DatabaseReplays(engine, clock=lambda: seconds) for _ in range(2))

    def count() -> int:
        with engine.connect() as connection:
            return int(connection.execute(text("SELECT count(*) FROM seen_token")).scalar_one())

    async def play() -> None:
        nonlocal seconds
        for number in range(20):
            assert await here.first_use(f"t-{number}", now + 100, now)
        assert not await there.first_use("t-3", now + 100, now)
        assert count() == 20
        seconds = 61.0
        assert await here.first_use("later", now + 400, now + 200)
        assert count() == 1
        assert not await there.first_use("later", now + 400, now + 200)

    asyncio.run(play())
    for replays in (here, there):
        replays.close()
    engine.dispose()


def test_a_busy_embedded_database_holds_up_no_other_call(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/busy.db"
    upgrade(url)
    engine = engine_for(url)
    faults: list[str] = []
    here, there = (DatabaseReplays(engine, on_fault=lambda: faults.append("!")) for _ in range(2))
    now = NOW.timestamp()

    async def play() -> None:
        with engine.connect() as writer:
            writer.exec_driver_sql("BEGIN IMMEDIATE")
            waiting = asyncio.create_task(here.first_use("t", now + 100, now))
            turns = 0
            ends = time.monotonic() + 0.1
            while time.monotonic() < ends:
                await asyncio.sleep(0)
                turns += 1
            # The loop went on turning while the token waited for the other writer.
            assert turns > 50
            assert not waiting.done()
            writer.rollback()
            assert await waiting
        assert not faults
        assert not await there.first_use("t", now + 100, now)
        assert await there.first_use("another", now + 100, now)
        assert not await here.first_use("another", now + 100, now)

    asyncio.run(play())
    for replays in (here, there):
        replays.close()
    engine.dispose()


def test_feedback_of_an_older_version_gets_the_site_of_its_card(fresh_url: str) -> None:
    command.upgrade(_config(fresh_url), "0001")
    engine = engine_for(fresh_url)
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO card_shown (uuid, hook_instance, at, site, code, severity, suggestions) "
                "VALUES ('u1', 'h', '2026-11-01 10:00:00+00:00', 'north', 'c', 'info', '[]')"
            )
        )
        for card in ("u1", "never-shown"):
            connection.execute(
                text(
                    "INSERT INTO card_feedback (received_at, service, card, outcome, outcome_at, suggestions, reason_system, "
                    "reason_code, reason_display, comment) VALUES ('2026-11-01 10:00:00+00:00', 's', :card, 'overridden', "
                    "'2026-11-01 10:00:00+00:00', '[]', '', '', '', '')"
                ),
                {"card": card},
            )
    upgrade(fresh_url)
    with engine.connect() as connection:
        found = {row[0]: row[1] for row in connection.execute(text("SELECT card, site FROM card_feedback"))}
    assert found == {"u1": "north", "never-shown": "default"}
    engine.dispose()
    command.downgrade(_config(fresh_url), "0001")
    upgrade(fresh_url)
