"""The dispensing answer over HTTP, on the command line, on a card and in the answer of the operation; who asked is noted."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from msgspec.structs import replace
from sqlalchemy import Engine, select, update

from service.registry import roster
from service.registry.dispensing import answer_of
from service.store.database import engine_for, upgrade
from service.store.roster_tables import RegisteredPatient
from service.store.tables import RegistryAct
from tests import data
from tests.command import command
from tests.data import NOW, bundle, call, codes, prefetch
from tests.registry.roster import anc, facts, register
from tests.registry.test_calls import StartService, _ask, _patient, _visit
from tests.registry.test_sweep import _watch

_PATIENTS = RegisteredPatient.__table__
_ACTS = RegistryAct.__table__


def _answer(engine: Engine, site: str, patient: str, **read: Any) -> dict[str, Any]:
    with engine.begin() as connection:
        if read:
            connection.execute(
                update(_PATIENTS)
                .where(_PATIENTS.c.patient_id == patient, _PATIENTS.c.site == site)
                .values(**read)
            )
        return answer_of(connection, _watch(site), patient, NOW)


def test_it_rests_on_when_the_record_was_read_last(engine: Engine, site: str) -> None:
    register(engine, site, [facts("p1", anc(3200, 1))])  # read on the first of the month
    old = _answer(engine, site, "p1")
    assert (old["verdict"], old["days"]) == ("cannot-say", None)
    assert "last read" in old["says"]
    fresh = _answer(engine, site, "p1", refreshed_at=NOW - timedelta(hours=3))
    assert (fresh["verdict"], fresh["days"], str(fresh["until"])) == ("allowed", 30, "2026-12-19")
    assert fresh["counts"][0]["reference"] == "Observation/anc-1"


@pytest.mark.parametrize("left_out", ["counts", "medications"])
def test_a_result_or_a_call_that_told_of_one_thing_alone_is_no_reading(
    engine: Engine, site: str, left_out: str
) -> None:
    """Else a count that arrives makes a record look read of which nobody has seen the orders, or later counts, for days."""
    policy = _watch(site).policy
    whole = facts("p1", anc(3200, 5, "old"))
    part = replace(facts("p1", anc(3300, 0.1, "new")), sources=whole.sources | {left_out: "incomplete"})
    with engine.begin() as connection:
        roster.enrol(connection, site, policy, whole, NOW - timedelta(days=4))
        roster.enrol(connection, site, policy, part, NOW - timedelta(hours=1))
    answer = _answer(engine, site, "p1")
    assert answer["verdict"] == "cannot-say"
    assert answer["record_read_at"] == NOW - timedelta(days=4)
    with engine.begin() as connection:
        roster.enrol(connection, site, policy, whole, NOW)
    assert _answer(engine, site, "p1")["verdict"] == "allowed"


def test_a_record_of_another_version_is_no_answer(engine: Engine, site: str) -> None:
    register(engine, site, [facts("p1", anc(3200, 1))])
    answer = _answer(engine, site, "p1", facts='{"patient_id": 1}')
    assert (answer["verdict"], answer["reasons"]) == ("cannot-say", [])


def test_over_http_it_is_answered_and_noted(start_service: StartService) -> None:
    service: httpx.Client = start_service(enrol=True, sweep="", policy="uk-smpc")
    wbc = data.observation("6690-2", 6.4, "10*3/uL", 3, id="wbc-1")
    _ask(service, _visit(counts=bundle(data.anc(3.2, 3), wbc)))
    _patient(service)  # once it is there
    path = f"/registry/patients/{data.PATIENT}/dispensing"
    answer = service.get(path).raise_for_status().json()
    assert (answer["verdict"], answer["days"], answer["until"]) == ("allowed", 28, "2026-12-17")
    assert answer["says"] == "The policy allows supply to 2026-12-17 (28 days)."
    assert answer["unconfirmed"] == [
        "Not confirmed against the primary text: days' supply for each interval."
    ]
    assert answer["holds"].startswith("Worked out 2026-11-20 ")
    assert service.get("/registry/patients/nobody/dispensing").status_code == 404
    assert service.get(f"{path}?days=28").status_code == 400
    held = {
        "kind": "hold",
        "by": "Dr Hema",
        "details": {"lastDose": "2026-11-19T22:00", "reason": "infection"},
    }
    service.post(f"/registry/patients/{data.PATIENT}/flags", json=held).raise_for_status()
    assert service.get(path).json()["verdict"] == "do-not"


def test_on_the_command_line(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/cli.db"
    upgrade(url)
    engine = engine_for(url)
    register(engine, "cli", [facts("p1", anc(400, 1))])
    environment = {"CLOZAPINE_CDS_DATABASE_URL": url, "CLOZAPINE_CDS_SITE_NAME": "cli"}
    said = command("registry", "dispensing", "p1", env=environment)
    assert said.returncode == 0, said.stderr
    assert said.stdout.startswith("Cannot say: ")  # it was read long ago
    whole = orjson.loads(command("registry", "dispensing", "p1", "--json", env=environment).stdout)
    assert whole["verdict"] == "cannot-say"
    assert command("registry", "dispensing", "nobody", env=environment).returncode == 1
    with engine.connect() as connection:
        acts = connection.execute(select(_ACTS.c.act)).scalars().all()
    engine.dispose()
    assert acts == ["dispensing", "dispensing"]


def _refill(*counts: dict[str, Any], **draft: Any) -> dict[str, Any]:
    order = data.clozapine(300, id="mr-9", status="active", authoredOn=data.day_ago(500), **draft)
    given = prefetch(medications=bundle(data.on_clozapine()), counts=bundle(*counts))
    return call("medication-refill", given, order)


@pytest.mark.parametrize(
    ("counted", "draft", "told"),
    [
        (3, {}, True),
        (31, {}, False),  # the card of the count says why not
        (3, {"dispenseRequest": {"expectedSupplyDuration": {"value": 30, "unit": "d", "code": "d"}}}, False),
    ],
)
def test_a_refill_gets_a_card_where_no_other_says_it(
    start_service: StartService, counted: float, draft: dict[str, Any], told: bool
) -> None:
    service = start_service(enrol=False, sweep="")
    answer = _ask(service, _refill(data.anc(3.2, counted), **draft))
    assert (("dispensing", "info") in codes(answer)) is told
    if told:
        [card] = [c for c in answer["cards"] if c["source"]["topic"]["code"] == "dispensing"]
        assert card["summary"] == (
            "The policy allows supply and sets it no limit; to 2026-12-19 (30 days) is one interval of counts."
        )
        assert "Not confirmed against the primary text: days' supply" in card["detail"]
