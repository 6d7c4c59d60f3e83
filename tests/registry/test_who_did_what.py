"""Every request to the registry leaves a row with the token's name, also when it is refused, and is a valid FHIR AuditEvent."""

from __future__ import annotations

import asyncio
import hashlib
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fhir.resources.R4B.auditevent import AuditEvent
from sqlalchemy import select

from service.registry import roster
from service.registry.sweep import start_run, sweep
from service.registry.wrong_tokens import MOST, WrongTokens
from service.store.database import engine_for, upgrade
from service.store.tables import RegistryAct
from service.trail.audit import registry_events
from tests.command import command
from tests.data import NOW
from tests.registry.roster import anc, facts, register
from tests.registry.test_calls import StartService

ACTS = RegistryAct.__table__
_P1 = "/registry/patients/p1"
_LATER = (NOW + timedelta(hours=5)).isoformat()


def _client(name: str, role: str, *sites: str) -> dict[str, Any]:
    return {
        "name": name,
        "token_sha256": hashlib.sha256(name.encode()).hexdigest(),
        "role": role,
        "sites": sites,
    }


@pytest.fixture
def service(start_service: StartService, url: str, site: str) -> httpx.Client:
    """A service with tokens, one patient and one alert."""
    upgrade(url)
    engine = engine_for(url)
    register(engine, site, [facts("p1", anc(1200, 0.5)), facts("p2", anc(3200, 1))])
    tokens = [_client("nurse", "viewer"), _client("pharmacy", "clinician", site), _client("boss", "admin")]
    started = start_service(
        database_url=url, site_name=site, sweep="", clients=[*tokens, _client("far", "viewer", "x")]
    )
    at = NOW + timedelta(minutes=1)
    sweep(engine, started.app.state.directory.by_name[site], start_run(engine, site, at, at))  # type: ignore[attr-defined]
    engine.dispose()
    return started


def _ask(service: httpx.Client, who: str, method: str, path: str, **more: Any) -> httpx.Response:
    return service.request(method, path, headers={"Authorization": f"Bearer {who}"}, **more)


def test_every_request_leaves_a_row_with_the_name_of_its_token(
    service: httpx.Client, url: str, site: str
) -> None:
    alerts = _ask(service, "nurse", "GET", "/alerts", params={"site": site, "state": "all"}).json()["alerts"]
    number = alerts[0]["id"]
    flag = {"kind": "ben", "text": "known", "by": "Prof Hema"}
    hand = {"until": _LATER, "reason": "count ordered", "by": "Dr Lee"}
    asked: list[tuple[str, str, str, dict[str, Any], int, str]] = [
        ("nurse", "GET", "/registry/patients", {"params": {"status": "all"}}, 200, "list"),
        ("nurse", "GET", _P1, {}, 200, "view"),
        ("nurse", "GET", "/registry/patients/nobody", {}, 404, "view"),
        ("nurse", "GET", "/analytics/alerts", {}, 200, "analytics"),
        ("nurse", "POST", f"{_P1}/flags", {"json": flag}, 403, "flag"),
        ("far", "GET", _P1, {"params": {"site": site}}, 403, "view"),
        ("nobody's", "GET", _P1, {}, 401, "view"),
        ("pharmacy", "POST", f"/alerts/{number}/hand", {"json": hand}, 200, "hand"),
        ("pharmacy", "POST", f"/alerts/{number}/close", {"json": {"note": ""}}, 400, "close"),
        ("pharmacy", "POST", f"/alerts/{number}/close", {"json": {"note": "done", "by": "Dr Lee"}}, 200, "close"),
        # After them: the patient is judged anew by what was stated.
        ("pharmacy", "POST", f"{_P1}/flags", {"json": flag}, 200, "flag"),
        ("pharmacy", "DELETE", f"{_P1}/flags/999999", {}, 404, "withdraw-flag"),
        ("boss", "POST", f"{_P1}/unenrol", {}, 200, "unenrol"),
        ("boss", "POST", f"{_P1}/enrol", {}, 200, "enrol"),
        ("boss", "POST", f"{_P1}/merge", {"json": {"into": "p2"}}, 200, "merge"),
        ("boss", "DELETE", "/registry/patients/p2", {}, 200, "delete"),
    ]  # fmt: skip
    shown: dict[str, Any] = {}
    for who, method, path, more, status, act in asked:
        answer = _ask(service, who, method, path, **more)
        assert answer.status_code == status, (act, answer.text)
        if act == "withdraw-flag":
            shown = _ask(service, "nurse", "GET", _P1).json()
    engine = engine_for(url)
    with engine.connect() as connection:
        rows = connection.execute(select(ACTS).order_by(ACTS.c.id)).all()
        own = [r for r in rows if r.site == site]
        key = roster.key_of(connection, site, "p1")
        events = [
            json.loads(line) for line in registry_events(connection, NOW, NOW + timedelta(days=1), site)
        ]
        of_p1 = list(registry_events(connection, NOW, NOW + timedelta(days=1), site, key))
    engine.dispose()
    expected = [(("" if who == "nobody's" else who), act, status) for who, _, _, _, status, act in asked]
    everybody = [(r.client, r.act, r.status) for r in rows]
    assert [row for row in expected if row not in everybody] == []
    assert {r.patient_key for r in own if r.act == "flag" and r.status == 200} == {key}
    assert b"p1" not in b"".join(of_p1)
    assert {json.loads(line)["agent"][0]["name"] for line in of_p1} >= {"pharmacy", "boss"}
    for event in events:
        AuditEvent.model_validate(event)
    found = {e["subtype"][1]["code"]: e for e in events if e["outcome"] == "0"}
    assert found["merge"]["agent"][0] == {
        "requestor": True, "who": {"identifier": {"value": "boss"}}, "name": "boss", "role": [{"text": "admin"}],
    }  # fmt: skip
    # A statement keeps who entered it beside whose word it is.
    assert [(f["stated_by"], f["entered_by"]) for f in shown["flags"]] == [("Prof Hema", "pharmacy")]
    assert [(e["by"], e["entered_by"]) for e in shown["history"] if e["what"] == "in-hand"] == [
        ("Dr Lee", "pharmacy")
    ]


def test_what_cannot_be_noted_is_not_shown(
    service: httpx.Client, site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy.exc import OperationalError

    def away(*_: Any, **__: Any) -> None:
        raise OperationalError("", {}, Exception())

    monkeypatch.setattr("service.trail.acts.note", away)
    answer = _ask(service, "nurse", "GET", _P1, params={"site": site})
    assert answer.status_code == 503
    assert "2026" not in answer.text


def test_the_word_on_a_card_says_who_entered_it(service: httpx.Client, url: str, site: str) -> None:
    body = {
        "kind": "deviation",
        "continueAt": 900,
        "text": "go on",
        "by": "Prof Hema",
        "expires": "2026-12-01",
    }
    assert _ask(service, "pharmacy", "POST", f"{_P1}/flags", json=body).status_code == 200
    [word] = {f.by for f in service.app.state.latest.flags(site, "p1")}  # type: ignore[attr-defined]
    assert word == "Prof Hema (entered by pharmacy)"


def test_wrong_tokens_are_slowed_counted_and_in_the_end_not_answered() -> None:
    waits: list[float] = []
    now = NOW

    async def pause(seconds: float) -> None:
        waits.append(seconds)

    wrong = WrongTokens(lambda: now, pause)

    async def many(count: int) -> list[bool]:
        return [await wrong.one() for _ in range(count)]

    assert asyncio.run(many(MOST + 5)) == [True] * MOST + [False] * 5
    assert waits[:4] == [0.1, 0.2, 0.4, 0.8]
    assert (len(waits), max(waits)) == (MOST - 3, 2.0)
    now += timedelta(minutes=2)
    assert asyncio.run(many(1)) == [True], "a minute later they are slips again"


def test_the_right_token_never_waits_for_wrong_ones(
    start_service: StartService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.registry.wrong_tokens._LONGEST_SECONDS", 0.0)
    service = start_service(clients=[_client("nurse", "viewer")])
    found = [_ask(service, "guess", "GET", "/alerts").status_code for _ in range(MOST + 1)]
    assert found == [401] * MOST + [429]
    assert _ask(service, "nurse", "GET", "/alerts").status_code == 200
    metrics = service.get("/metrics").text
    assert f'clozapine_cds_registry_refused_total{{status="401"}} {MOST}.0' in metrics
    assert 'clozapine_cds_registry_refused_total{status="429"} 1.0' in metrics


def test_a_command_leaves_its_row_too(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/cli.db"
    upgrade(url)
    engine = engine_for(url)
    register(engine, "cli", [facts("p1", anc(3200, 1))])
    environment = {"CLOZAPINE_CDS_DATABASE_URL": url, "CLOZAPINE_CDS_SITE_NAME": "cli"}
    for arguments in (
        ("list",),
        ("show", "p1"),
        ("export", str(tmp_path / "out")),
        ("sweep",),
        ("delete", "p1", "--by", "Office"),
    ):
        done = command("registry", *arguments, env=environment)
        assert done.returncode == 0, done.stderr
    with engine.connect() as connection:
        rows = connection.execute(select(ACTS.c.act, ACTS.c.client, ACTS.c.role).order_by(ACTS.c.id)).all()
    assert [r.act for r in rows] == ["list", "view", "export", "sweep", "delete"]
    assert {(r.client.startswith("command line: "), r.role) for r in rows} == {(True, "shell")}
    target = tmp_path / "p1.ndjson"
    done = command("audit", "export", str(target), "--patient", "p1", env=environment)
    assert done.stderr.strip() == "0 calls, 2 acts in the registry"
    assert [json.loads(line)["action"] for line in target.read_text().splitlines()] == ["R", "D"]
    engine.dispose()
