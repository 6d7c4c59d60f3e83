"""Pushed over HTTP, and from files: real service, real process."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.operationoutcome import OperationOutcome
from sqlalchemy import Engine, select

from service.store.roster_tables import Alert
from tests.command import clean_environment, command
from tests.data import NOW
from tests.registry.roster import anc, facts, register
from tests.registry.test_calls import StartService
from tests.results.bundles import bundle, count

ALERTS = Alert.__table__
PATH = "/fhir/$process-results"
FHIR = {"Content-Type": "application/fhir+json"}


def _token(name: str, role: str, *sites: str) -> dict[str, Any]:
    return {
        "name": name,
        "token_sha256": hashlib.sha256(name.encode()).hexdigest(),
        "role": role,
        "sites": sites,
    }


@pytest.fixture
def service(start_service: StartService, url: str, site: str, engine: Engine) -> httpx.Client:
    """A service that watches two patients; an engine may send."""
    register(engine, site, [facts("p1", anc(3000, 5)), facts("p2", anc(3100, 4))])
    return start_service(
        database_url=url,
        site_name=site,
        sweep="",
        clients=[_token("engine", "sender", site), _token("far", "sender", "x"), _token("nurse", "viewer")],
    )


def _push(service: httpx.Client, content: Any, who: str = "engine", **more: Any) -> httpx.Response:
    body = content if isinstance(content, bytes) else orjson.dumps(content)
    return service.post(PATH, content=body, headers={"Authorization": f"Bearer {who}"} | FHIR, **more)


def _alerts(engine: Engine, site: str) -> set[str]:
    with engine.connect() as connection:
        return set(connection.execute(select(ALERTS.c.code).where(ALERTS.c.site == site)).scalars())


def _until(engine: Engine, site: str, code: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while code not in _alerts(engine, site):
        assert time.monotonic() < end, "the result was not judged"
        time.sleep(0.05)


def test_a_push_is_answered_entry_by_entry_and_judged_at_once(
    service: httpx.Client, engine: Engine, site: str
) -> None:
    answer = _push(
        service, bundle(count("p1", 0.4), count("stranger", 0.2, "s"), {"resourceType": "Location"})
    )
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/fhir+json"
    document = answer.json()
    OperationOutcome.model_validate(document)
    said = [(i["expression"][0], i["details"]["text"].split(".")[0].split(":")[0]) for i in document["issue"]]
    assert said == [
        ("Bundle.entry[0]", "taken"), ("Bundle.entry[1]", "unknown patient"), ("Bundle.entry[2]", "irrelevant"),
    ]  # fmt: skip
    _until(engine, site, "anc-severe-neutropenia")
    told = service.get("/metrics").text
    assert 'clozapine_cds_results_judged_total{outcome="done"} 1.0' in told


def test_a_transaction_is_answered_by_its_response(service: httpx.Client) -> None:
    answer = _push(service, bundle(count("p1", 3.4), count("stranger", 0.2), type="transaction"))
    document = answer.json()
    Bundle.model_validate(document)
    assert document["type"] == "transaction-response"
    assert [e["response"]["status"] for e in document["entry"]] == ["202", "404"]


@pytest.mark.parametrize(("who", "status"), [("nobody", 401), ("far", 403), ("engine", 200), ("nurse", 200)])
def test_who_may_send(service: httpx.Client, site: str, who: str, status: int) -> None:
    assert _push(service, bundle(), who, params={"site": site}).status_code == status


def test_a_sender_sees_nothing(service: httpx.Client, site: str) -> None:
    answer = service.get(
        "/registry/patients", params={"site": site}, headers={"Authorization": "Bearer engine"}
    )
    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"{", 422), (b'{"resourceType":"Bundle","type":"document"}', 422), (b"x" * (5 * 2**20 + 1), 413)],
)
def test_what_will_never_work_is_refused_as_fhir(service: httpx.Client, body: bytes, status: int) -> None:
    answer = _push(service, body)
    assert answer.status_code == status
    assert answer.json()["resourceType"] == "OperationOutcome"


def test_what_was_accepted_is_judged_although_the_process_is_killed(
    url: str, engine: Engine, site: str, tmp_path: Path
) -> None:
    register(engine, site, [facts(f"k{i}", anc(3000, 5)) for i in range(30)])
    settings = {"CLOZAPINE_CDS_DATABASE_URL": url, "CLOZAPINE_CDS_SITE_NAME": site}
    file = tmp_path / "counts.ndjson"
    file.write_bytes(b"\n".join(orjson.dumps(count(f"k{i}", 0.4, f"o{i}")) for i in range(30)))
    process = subprocess.Popen(
        [sys.executable, "-m", "service.cli.main", "results", "import", str(file)],
        env=clean_environment() | settings,
        stdout=subprocess.DEVNULL,
    )
    end = time.monotonic() + 240
    while not _alerts(engine, site):
        assert time.monotonic() < end, "nothing was judged"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait(20)
    nothing = tmp_path / "nothing.ndjson"
    nothing.touch()
    done = command("results", "import", str(nothing), env=settings)
    assert done.returncode == 0, done.stderr
    with engine.connect() as connection:
        found = (
            connection.execute(
                select(ALERTS.c.patient).where(
                    ALERTS.c.site == site, ALERTS.c.code == "anc-severe-neutropenia"
                )
            )
            .scalars()
            .all()
        )
    assert len(found) == len(set(found)) == 30


def test_a_csv_is_read_line_by_line(url: str, engine: Engine, site: str, tmp_path: Path) -> None:
    register(engine, site, [facts("p1", anc(3000, 5))])
    file = tmp_path / "counts.csv"
    at = NOW.isoformat()
    file.write_text(
        f"patient,code,value,unit,at,id\np1,751-8,0.4,10*3/uL,{at},a1\np1,751-8,low,10*3/uL,{at},a2\nnobody,751-8,1,10*3/uL,{at},a3\n"
    )
    settings = {"CLOZAPINE_CDS_DATABASE_URL": url, "CLOZAPINE_CDS_SITE_NAME": site}
    done = command("results", "import", str(file), env=settings)
    assert done.returncode == 1
    assert "line 3: value: a number is expected" in done.stderr
    assert "line 4: unknown patient" in done.stderr
    assert "1 results taken, 2 lines skipped" in done.stdout
    assert "anc-severe-neutropenia" in _alerts(engine, site)
