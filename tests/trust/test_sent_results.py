"""What an integration engine, or somebody with its token, can take from others by sending oddly, much or slowly."""

from __future__ import annotations

import hashlib
import socket
import time
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import httpx
import orjson
import pytest
from sqlalchemy import Engine, event, select

from service.options.options import SiteOptions
from service.options.site import site_with
from service.results import inbox, judging
from service.results.delivery import read_delivery
from service.store.tables import RegistryAct
from tests.data import NOW
from tests.registry.conftest import engine, site, url
from tests.results.bundles import bundle, count

__all__ = ["engine", "site", "url"]

_PATH = "/fhir/$process-results"
_FHIR = {"Content-Type": "application/fhir+json"}
_ACTS = RegistryAct.__table__


def _client(name: str, role: str, *sites: str) -> dict[str, Any]:
    return {"name": name, "token_sha256": hashlib.sha256(name.encode()).hexdigest(), "role": role, "sites": sites}  # fmt: skip


@pytest.fixture
def service(start_service: Any, url: str, site: str, engine: Engine) -> httpx.Client:
    clients = [_client("engine", "sender", site), _client("nurse", "viewer", site)]
    return start_service(database_url=url, site_name=site, sweep="", clients=clients)


def _push(service: httpx.Client, content: Any, who: str = "engine", **headers: str) -> httpx.Response:
    return service.post(
        _PATH, content=orjson.dumps(content), headers=_FHIR | {"Authorization": f"Bearer {who}"} | headers
    )


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "application/fhir+json"}])
def test_a_page_of_another_site_sends_no_results(client: httpx.Client, headers: dict[str, str]) -> None:
    body = orjson.dumps(bundle(count("p1", 0.4)))
    foreign = client.post(_PATH, content=body, headers=headers | {"Origin": "https://evil.example"})
    assert foreign.status_code == 403
    # A body without a media type is sent by a page without a preflight, and by old browsers without an Origin.
    assert client.post(_PATH, content=body, headers=headers).status_code == (200 if headers else 415)


def test_an_entry_that_is_nested_too_deeply_costs_itself(service: httpx.Client, site: str) -> None:
    deep: Any = []
    for _ in range(240):
        deep = [deep]
    for_ever: Any = {"url": "x", "valueString": deep}
    answer = _push(
        service,
        bundle(count("p1", 0.4, "deep", extension=[for_ever]), count("p1", 3.1, "sound"), type="batch"),
    )
    assert answer.status_code == 200, answer.text
    assert [e["response"]["status"] for e in answer.json()["entry"]] == ["422", "404"]
    # The deepest that can be read and not be written again.
    body = b'{"resourceType":"Observation","note":' + b"[" * 900 + b"]" * 900 + b"}"
    assert [p.fate for p in read_delivery(body).parts] == ["not understood"]


def test_a_delivery_of_two_thousand_patients_asks_the_database_a_few_times(engine: Engine, site: str) -> None:
    order = {"resourceType": "MedicationRequest", "status": "active", "intent": "order"}
    delivery = read_delivery(
        orjson.dumps(
            bundle(*(order | {"id": f"m{n}", "subject": {"reference": f"Patient/p{n}"}} for n in range(2000)))
        )
    )
    statements = []
    event.listen(engine, "before_cursor_execute", lambda *a: statements.append(a[2]))
    with engine.connect() as connection:  # nothing stays: other tests judge what waits
        for new in (2000, 0):
            statements.clear()
            assert inbox.take(connection, site, "push", delivery, NOW) == new
            assert len(statements) < 20


def test_much_that_waits_of_one_patient_is_held_in_parts(
    engine: Engine, site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = {
        "resourceType": "MedicationRequest",
        "status": "active",
        "intent": "order",
        "subject": {"reference": "Patient/p1"},
    }
    for n in range(4):
        content = order | {"id": f"m{n}", "note": [{"text": "x" * 1000}]}
        with engine.begin() as connection:
            inbox.take(connection, site, "push", read_delivery(orjson.dumps(content)), NOW)
    monkeypatch.setattr(inbox, "_MOST_HELD", 3000)
    sizes = []
    while True:
        with engine.begin() as connection:
            rows = inbox.hold(connection, site, "p1")
            if not rows:
                break
            sizes.append(len(rows))
            inbox.judged(connection, [row.id for row in rows], "done", NOW)
    assert sizes == [2, 2]
    # One that is larger than all that is held at once is judged all the same.
    monkeypatch.setattr(inbox, "_MOST_HELD", 10)
    with engine.connect() as connection:
        inbox.take(connection, site, "push", read_delivery(orjson.dumps(order | {"id": "large"})), NOW)
        assert len(inbox.hold(connection, site, "p1")) == 1


def test_a_refused_delivery_is_counted_and_noted(service: httpx.Client, engine: Engine, site: str) -> None:
    def counted(status: int) -> float:
        sample = f'clozapine_cds_registry_refused_total{{status="{status}"}} '
        lines = service.get("/metrics").text.splitlines()
        return sum(float(line.removeprefix(sample)) for line in lines if line.startswith(sample))

    before = counted(401)
    assert _push(service, bundle(count("p1", 0.4)), who="nobody").status_code == 401
    assert counted(401) == before + 1
    with engine.connect() as connection:
        last = connection.execute(select(_ACTS).order_by(_ACTS.c.id.desc()).limit(1)).one()
    assert (last.act, last.status, last.client, last.patient_key) == ("results", 401, "", "")


def test_slow_deliveries_of_one_site_hold_no_place_of_another(start_service: Any) -> None:
    service = start_service(
        auth="required",
        base_url="https://cds.example",
        clients=[_client("north-engine", "sender", "north"), _client("south-engine", "sender", "south")],
        ehr=[{"name": name, "issuer": f"https://{name}.example", "jwks_uri": f"https://{name}.example/k"} for name in ("north", "south")],
    )  # fmt: skip
    with ExitStack() as stack:
        head = f"POST {_PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100000\r\nAuthorization: Bearer north-engine\r\n\r\n{{"
        for _ in range(40):
            slow = stack.enter_context(
                socket.create_connection(("127.0.0.1", service.base_url.port or 0), 20)
            )
            slow.sendall(head.encode())
        time.sleep(0.3)
        full = _push(service, bundle(count("p1", 0.4)), who="north-engine")
        assert (full.status_code, full.headers["retry-after"]) == (503, "1")
        assert _push(service, bundle(count("p1", 0.4)), who="south-engine").status_code == 200


def test_what_waits_for_a_site_that_is_gone_holds_nobody_up(
    engine: Engine, site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if engine.dialect.name != "sqlite":
        pytest.skip("workers of the services of other tests share that server, and judge what waits here")
    monkeypatch.setattr(judging, "_BATCH", 1)
    order = {"resourceType": "MedicationRequest", "status": "active", "intent": "order", "subject": {"reference": "Patient/p1"}}  # fmt: skip
    delivery = read_delivery(orjson.dumps(order))
    for name in (f"{site}-gone", site):
        with engine.begin() as connection:
            inbox.take(connection, name, "push", delivery, NOW)
    known = site_with(site, SiteOptions())
    later = NOW + timedelta(minutes=11)  # until then another process may know the site
    done = judging.judge_waiting(engine, lambda name: known if name == site else None, lambda: later)
    assert (done.aside, done.unknown) == (1, 1)
