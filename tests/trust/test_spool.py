"""A call that was answered is recorded, whatever becomes of the process and of the database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import httpx
import orjson
import pytest
from sqlalchemy import Engine, select
from sqlmodel import Session
from starlette.routing import Route
from starlette.types import Message

from cds_hooks import HookRequest, Response, Service, cds_routes
from service.alerts.facts.patient import PatientSnapshot
from service.site.settings import Settings
from service.store.database import engine_for, upgrade
from service.store.tables import HookCall
from service.trail.call import Call
from service.trail.recorder import Recorder
from service.trail.spool import Spool
from service.web.app import create_app
from tests.data import NOW
from tests.hanging import wire_to


def _call(instance: str) -> Call:
    return Call(
        at=NOW, site="north", service="clozapine-order-sign", hook="order-sign", hook_instance=instance, user="Practitioner/1",
        policy="us-label-2025", seconds=0.0012, resources={"counts": 3}, findings=[("anc-missing", "critical", "anc")],
        cards=[],
    )  # fmt: skip


def _recorded(engine: Engine, prefix: str) -> list[str]:
    with Session(engine) as session:
        rows = session.exec(
            select(HookCall.hook_instance)
            .where(HookCall.hook_instance.startswith(prefix))
            .order_by(HookCall.id)  # type: ignore[attr-defined, arg-type]
        )
        return [row[0] for row in rows]


@pytest.fixture
def spool(tmp_path: Path) -> Callable[[], Spool]:
    return lambda: Spool(tmp_path / "spool", 1_000_000, lambda: NOW)


def _end_without_goodbye(recorder: Recorder) -> None:
    """What a kill does: the locks of the files go with the process, nothing is written."""
    recorder._closing.set()
    for batch in recorder._batches:
        assert batch.file is not None
        batch.file.leave()


def test_what_the_database_did_not_take_is_written_at_the_next_start_in_its_order(
    tmp_path: Path, spool: Callable[[], Spool]
) -> None:
    url = f"sqlite:///{tmp_path}/late.db"
    engine = engine_for(url)
    first = Recorder(engine, spool=spool())  # the schema is not there yet
    for number in range(5):
        first.record(_call(f"a{number}"))
    assert first.waiting[0] == 5
    first.close(0.1)
    _end_without_goodbye(first)
    upgrade(url)
    second = Recorder(engine, spool=spool())
    second.record(_call("a5"))
    assert second.flush(20)
    assert second.waiting[0] == 0
    second.close()
    assert _recorded(engine, "a") == [f"a{number}" for number in range(6)]
    assert not list((tmp_path / "spool").iterdir())
    engine.dispose()


def test_a_batch_that_was_written_before_the_kill_is_not_written_again(
    tmp_path: Path, spool: Callable[[], Spool]
) -> None:
    url = f"sqlite:///{tmp_path}/again.db"
    upgrade(url)
    engine = engine_for(url)
    kept: list[bytes] = []
    first = Recorder(engine, spool=spool())
    first.record(_call("b0"))
    [file] = (tmp_path / "spool").iterdir()
    kept.append(file.read_bytes())
    assert first.flush(20)
    first.close()
    file.write_bytes(kept[0])  # as if the kill had come between the commit and the removal
    second = Recorder(engine, spool=spool())
    assert second.flush(20)
    second.close()
    assert _recorded(engine, "b") == ["b0"]
    assert not list((tmp_path / "spool").iterdir())
    engine.dispose()


def test_facts_of_patients_outlive_the_process_too(tmp_path: Path, spool: Callable[[], Spool]) -> None:
    url = f"sqlite:///{tmp_path}/facts.db"
    engine = engine_for(url)
    told: list[str] = []

    def remember(_: object, site: str, facts: PatientSnapshot, at: object) -> None:
        told.append(f"{site}/{facts.patient_id}")

    first = Recorder(engine, spool=spool(), remember=remember)
    first.record(_call("c0"), PatientSnapshot(patient_id="p1", hook="patient-view"))
    first.close(0.1)
    _end_without_goodbye(first)
    upgrade(url)
    second = Recorder(engine, spool=spool(), remember=remember)
    assert second.flush(20)
    second.close()
    assert told == ["north/p1"]
    engine.dispose()


def test_half_a_line_and_a_foreign_one_cost_themselves(tmp_path: Path, spool: Callable[[], Spool]) -> None:
    url = f"sqlite:///{tmp_path}/half.db"
    engine = engine_for(url)
    first = Recorder(engine, spool=spool())
    first.record(_call("d0"))
    first.record(_call("d1"))
    first.close(0.1)
    _end_without_goodbye(first)
    [file] = (tmp_path / "spool").iterdir()
    one, two, _ = file.read_bytes().split(b"\n")
    file.write_bytes(b'{"another": "version"}\n' + one + b"\n" + two[:-9])
    upgrade(url)
    second = Recorder(engine, spool=spool())
    assert second.flush(20)
    second.close()
    assert _recorded(engine, "d") == ["d0"]
    engine.dispose()


def test_the_file_of_a_living_process_is_left_to_it(tmp_path: Path, spool: Callable[[], Spool]) -> None:
    mine = spool().new()
    mine.append(b"{}")
    assert list(spool().left_behind()) == []
    mine.leave()
    [found] = spool().left_behind()
    assert found.name == mine.name


def test_files_are_of_this_user_only(tmp_path: Path, spool: Callable[[], Spool]) -> None:
    file = spool().new()
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert file.path.parent.stat().st_mode & 0o777 == 0o700
    file.remove()


def test_a_full_spool_is_said_and_calls_go_on_in_memory(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/full.db"
    engine = engine_for(url)
    recorder = Recorder(engine, spool=Spool(tmp_path / "spool", 100, lambda: NOW))
    recorder.record(_call("e0"))
    assert "in memory only" in recorder.trouble
    upgrade(url)
    assert recorder.flush(20)
    recorder.record(_call("e1"))
    recorder.close()
    assert _recorded(engine, "e") == ["e0", "e1"]
    engine.dispose()


def test_a_database_that_hangs_loses_nothing_and_says_so(postgres_url: str, tmp_path: Path) -> None:
    upgrade(postgres_url)
    prefix = str(uuid4())
    with wire_to(postgres_url) as wire:
        engine = engine_for(wire.url, patience=0.5)
        recorder = Recorder(engine, spool=Spool(tmp_path / "spool", 1_000_000, lambda: NOW))
        recorder.record(_call(f"{prefix}-0"))
        assert recorder.flush(20)
        wire.hold()
        for number in range(1, 50):
            recorder.record(_call(f"{prefix}-{number}"))
        assert not recorder.flush(1.5)
        waiting, seconds = recorder.waiting
        assert waiting == 49
        assert seconds > 1
        wire.release()
        assert recorder.flush(30)
        recorder.close()
        assert _recorded(engine, prefix) == [f"{prefix}-{number}" for number in range(50)]
        engine.dispose()


async def _answers_before(record: Callable[[], None], after: Callable[[], None], events: list[str]) -> None:
    async def handler(_: HookRequest) -> Response:
        return Response(record=record, after=after)

    async def feedback(*_: object) -> None: ...

    routes = cds_routes(
        [
            Service(
                id="visit", hook="patient-view", title="A visit", description="For a visit.", handler=handler
            )
        ],
        on_feedback=feedback,
    )
    [app] = [r.app for r in routes if isinstance(r, Route) and r.path == "/cds-services/visit"]
    body = orjson.dumps(
        {
            "hook": "patient-view",
            "hookInstance": str(uuid4()),
            "context": {"userId": "Practitioner/1", "patientId": "1"},
        }
    )

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        events.append(message["type"])

    scope = {
        "type": "http", "method": "POST", "path": "/cds-services/visit",
        "headers": [(b"content-type", b"application/json")],
    }  # fmt: skip
    await app(scope, receive, send)
    await asyncio.sleep(0)


def test_a_call_is_recorded_before_its_answer_leaves() -> None:
    events: list[str] = []
    asyncio.run(_answers_before(lambda: events.append("record"), lambda: events.append("after"), events))
    assert events == ["record", "http.response.start", "http.response.body", "after"]


def test_a_record_that_fails_costs_itself_only() -> None:
    events: list[str] = []

    def fails() -> None:
        raise RuntimeError

    asyncio.run(_answers_before(fails, lambda: events.append("after"), events))
    assert events == ["http.response.start", "http.response.body", "after"]


def test_a_spool_folder_that_cannot_be_used_is_in_health(tmp_path: Path) -> None:
    taken = tmp_path / "file"
    taken.touch()
    settings = Settings(database_url=f"sqlite:///{tmp_path}/spool.db", spool=str(taken))
    app = create_app(settings, clock=lambda: NOW)

    async def asking() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get("/health/ready")

    answer = asyncio.run(asking())
    app.state.recorder.close()
    assert answer.status_code == 200
    assert "in memory only" in answer.json()["checks"]["trail"][0]["output"]
