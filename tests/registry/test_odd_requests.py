"""Odd requests to the registry's routes: refused by name, no fault, no memory taken; a person's words are kept whole or not at all."""

from __future__ import annotations

import base64
import json
import socket
import time
from datetime import timedelta
from typing import Any

import httpx
import pytest

from service.registry.sweep import start_run, sweep
from service.store.database import engine_for
from tests.data import NOW, anc, bundle, call, on_clozapine, prefetch
from tests.registry.test_calls import StartService

_LATER = (NOW + timedelta(hours=5)).isoformat()
_JSON = {"Content-Type": "application/json"}
_PATIENT = "/registry/patients/clz-p1"


@pytest.fixture
def service(start_service: StartService, url: str, site: str) -> httpx.Client:
    """A service with one patient and one alert."""
    started = start_service(enrol=True, sweep="", database_url=url, site_name=site)
    chart = prefetch(medications=bundle(on_clozapine(20)), counts=bundle(anc(1.2, 1)))
    assert started.post("/cds-services/clozapine-patient-view", json=call("patient-view", chart)).is_success
    state = started.app.state  # type: ignore[attr-defined]
    while not started.get(_PATIENT).is_success:  # a call is recorded just after its answer
        time.sleep(0.01)
        assert state.recorder.flush()
    engine, at = engine_for(url), NOW + timedelta(minutes=1)
    sweep(engine, state.directory.by_name[site], start_run(engine, site, at, at))
    engine.dispose()
    return started


def _alert(service: httpx.Client, site: str) -> int:
    [found] = service.get("/alerts", params={"site": site}).json()["alerts"]
    return int(found["id"])


def _page(*values: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode()


def test_numbers_that_are_none_of_ours(service: httpx.Client) -> None:
    for number in (0, -1, 2**31 - 1, 2**31, 2**63 - 1, 2**63, 10**30):
        for method, path, body in (
            ("POST", f"/alerts/{number}/close", {"note": "x"}),
            ("POST", f"/alerts/{number}/hand", {"until": _LATER, "reason": "x"}),
            ("DELETE", f"{_PATIENT}/flags/{number}", None),
        ):
            assert service.request(method, path, json=body).status_code in (404, 405), (number, path)
    for cursor in (_page(10**30, 1), _page(2**63, 1), _page(1e308, 1), _page(None, 1), _page(1, 10**30)):
        assert service.get("/alerts", params={"cursor": cursor}).status_code == 400
    assert service.get("/alerts", params={"cursor": _page(1, 1)}).status_code == 200


def test_characters_that_no_database_takes(service: httpx.Client) -> None:
    for path in ("/registry/patients/%00", "/registry/patients/a%00b"):
        assert service.get(path).status_code == 404
        assert service.post(f"{path}/flags", json={"kind": "ben"}).status_code == 404
        assert service.delete(path).status_code == 404
    for path in ("/alerts", "/registry/patients", _PATIENT, "/analytics/alerts"):
        assert service.get(path, params={"site": "\0"}).status_code == 400
    assert service.get("/registry/patients?status=all&cursor=" + _page("\0", 1)).status_code == 400


def test_days_at_the_ends_of_the_calendar(service: httpx.Client, site: str) -> None:
    alert = _alert(service, site)
    for moment in (
        "0001-01-01", "0001-01-01T00:00:00+14:00", "9999-12-31", "9999-12-31T23:59:59-14:00", "0001-02-01T00:00:00+23:59",
    ):  # fmt: skip
        for name in ("since", "until"):
            assert service.get("/analytics/alerts", params={name: moment}).status_code == 400, moment
        hand = service.post(f"/alerts/{alert}/hand", json={"until": moment, "reason": "x"})
        assert hand.status_code == 400, moment
        flag = {"kind": "deviation", "continueAt": 900, "text": "agreed", "expires": moment}
        assert service.post(f"{_PATIENT}/flags", json=flag).status_code == 400, moment


def test_a_day_is_a_day_in_any_of_its_forms(service: httpx.Client, site: str) -> None:
    alert = _alert(service, site)
    for day in ("2026-11-20", "20261120", "2026-W47-5"):
        flag = {"kind": "deviation", "continueAt": 900, "text": "agreed", "expires": day}
        assert service.post(f"{_PATIENT}/flags", json=flag).status_code == 200, "it holds on that day"
    for day in ("2026-11-21", "20261121", "2026-W47-6"):
        assert service.post(f"/alerts/{alert}/hand", json={"until": day, "reason": "x"}).status_code == 400


def test_words_are_kept_whole_and_on_one_line_or_not_at_all(service: httpx.Client, site: str) -> None:
    alert = _alert(service, site)
    for name, most in (("reason", 400), ("by", 200)):
        for text, status in (("é" * most, 200), ("é" * (most + 1), 400)):
            body = {"until": _LATER, "reason": "x"} | {name: text}
            assert service.post(f"/alerts/{alert}/hand", json=body).status_code == status, (name, status)
    taken = service.post(
        f"/alerts/{alert}/hand", json={"until": _LATER, "reason": "a\0b\nc\u202e", "by": "Dr\r\nLee"}
    )
    assert (taken.status_code, taken.json()["by"]) == (200, "Dr Lee")
    [found] = service.get("/alerts", params={"site": site}).json()["alerts"]
    assert found["hand_reason"] == "a\ufffdb c\ufffd"
    assert service.post(f"/alerts/{alert}/close", json={"note": "x" * 401}).status_code == 400
    assert service.post(f"/alerts/{alert}/close", json={"note": " \n\u200b"}).status_code == 400
    assert service.post(f"{_PATIENT}/flags", json={"kind": "ben", "text": "x" * 501}).status_code == 400
    assert service.post(f"{_PATIENT}/flags", json={"kind": "ben", "text": "x" * 500}).status_code == 200
    assert service.get(_PATIENT).json()["flags"][-1]["text"] == "x" * 500


def test_a_record_is_joined_to_an_id_and_no_step_in_an_address(service: httpx.Client) -> None:
    for into in ("..", ".", "../x", "", "clz-p1", "a b", "x" * 65, "\0"):
        assert service.post(f"{_PATIENT}/merge", json={"into": into}).status_code == 400, into


def test_no_body_takes_memory_or_time(
    service: httpx.Client, site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    alert = _alert(service, site)
    long = {"until": _LATER, "reason": "x" * 70_000}
    assert service.post(f"/alerts/{alert}/hand", json=long).status_code == 413
    for odd in (b"[" * 60_000, b'{"a":' * 12_000, b"\xff", b"", b"null", b'{"until":1,"reason":2}'):
        assert service.post(f"/alerts/{alert}/hand", content=odd, headers=_JSON).status_code == 400
    monkeypatch.setattr("service.registry.requests._BODY_SECONDS", 0.2)
    assert _unfinished(service, f"/alerts/{alert}/hand").startswith(b"HTTP/1.1 408")


def _unfinished(service: httpx.Client, path: str) -> bytes:
    """The answer to a body of which only the beginning comes."""
    host: Any = service.base_url
    with socket.create_connection((host.host, host.port), timeout=5) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
        connection.sendall(head.encode())
        return connection.recv(200)


def test_a_patient_in_context_is_no_step_in_an_address(service: httpx.Client) -> None:
    for patient in ("..", "."):
        body = call("patient-view", prefetch())
        body["context"]["patientId"] = patient
        assert service.post("/cds-services/clozapine-patient-view", json=body).status_code == 400
