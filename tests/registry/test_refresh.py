"""Reading patients anew before a sweep."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import Engine

from service.alerts.case import remembered
from service.registry.refresh import Refreshed, refresh
from service.registry.roster import find
from service.registry.scheduler import Scheduler, alone, read_anew
from service.store.database import engine_for, upgrade
from tests import data
from tests.command import command
from tests.data import NOW
from tests.registry.roster import ZONE, anc, facts, register
from tests.registry.writable_ehr import WritableEhr
from tests.sites import site_of


def _refresh(engine: Engine, site: str, ehr: WritableEhr, days: float = 0, **more: Any) -> Refreshed:
    watch = site_of(site, ZONE, fhir_servers=(f"{ehr.base_url}/fhir",), **more)

    async def token() -> str:
        return ehr.token

    async def run() -> Refreshed:
        async with httpx.AsyncClient(trust_env=False) as client:
            return await refresh(engine, watch, client, NOW + timedelta(days=days), token=token)

    return asyncio.run(run())


def _stored(engine: Engine, site: str, patient: str) -> Any:
    with engine.connect() as connection:
        return find(connection, site, patient)


def test_a_new_result_is_read_and_only_what_changed_is_asked_for_the_next_time(
    engine: Engine, site: str, ehr: WritableEhr
) -> None:
    patient = f"p-{uuid4()}"
    register(engine, site, [facts(patient, anc(3200, 31))])
    ehr.add(
        data.anc(2.9, 1, id="anc-new", patient=patient),
        data.clozapine(300, id="mr-1", status="active", patient=patient, authoredOn=data.day_ago(500)),
        {"resourceType": "Patient", "id": patient, "gender": "female", "birthDate": "1984-05-02"},
    )
    assert _refresh(engine, site, ehr).patients == 1
    row = _stored(engine, site, patient)
    assert row.last_anc == 2900
    assert row.next_due.isoformat() == "2026-12-19"
    assert not any("_lastUpdated" in asked for asked in ehr.asked)
    ehr.asked.clear()
    assert _refresh(engine, site, ehr, 0.1).patients == 0  # just read
    ehr.resources["Observation"] = [data.anc(2.8, -0.9, id="anc-newer", patient=patient)]
    assert _refresh(engine, site, ehr, 1).patients == 1
    assert all("_lastUpdated=ge2026-11-20" in asked for asked in ehr.asked if "?" in asked)
    kept = remembered.load(_stored(engine, site, patient).facts)
    assert sorted(m.value for m in kept.measurements["anc"]) == [2800, 2900]


def test_a_patient_whom_the_ehr_does_not_answer_for_keeps_what_is_known(
    engine: Engine, site: str, ehr: WritableEhr
) -> None:
    register(engine, site, [facts("p1", anc(3200, 31))])
    ehr.status = 500
    assert _refresh(engine, site, ehr).failed == 1
    row = _stored(engine, site, "p1")
    assert remembered.load(row.facts).measurements["anc"][0].value == 3200
    assert row.refreshed_at is None


def _on_file(patient: str, *counts: Any) -> list[Any]:
    return [
        *counts,
        data.clozapine(300, id="mr-1", status="active", patient=patient, authoredOn=data.day_ago(500)),
        {"resourceType": "Patient", "id": patient, "gender": "female", "birthDate": "1984-05-02"},
    ]


def _counts(engine: Engine, site: str, patient: str) -> list[float]:
    kept = remembered.load(_stored(engine, site, patient).facts)
    return sorted(m.value for m in kept.measurements.get("anc", ()))


def test_a_corrected_result_replaces_what_it_corrects_and_one_entered_in_error_is_forgotten(
    engine: Engine, site: str, ehr: WritableEhr
) -> None:
    register(engine, site, [facts("p1")])
    ehr.add(*_on_file("p1", data.anc(0.4, 2, id="a", patient="p1"), data.anc(2.9, 3, id="b", patient="p1")))
    _refresh(engine, site, ehr)
    assert _counts(engine, site, "p1") == [400, 2900]
    ehr.resources["Observation"] = [
        data.anc(4.0, 2, id="a", patient="p1", status="corrected"),
        data.anc(2.9, 3, id="b", patient="p1", status="entered-in-error"),
    ]
    _refresh(engine, site, ehr, 1)
    assert _counts(engine, site, "p1") == [4000]


def test_what_failed_to_be_read_is_asked_for_again_from_the_same_moment_on(
    engine: Engine, site: str, ehr: WritableEhr
) -> None:
    register(engine, site, [facts("p1")])
    ehr.add(*_on_file("p1", data.anc(2.9, 2, id="a", patient="p1")))
    _refresh(engine, site, ehr)
    read_at = _stored(engine, site, "p1").refreshed_at
    ehr.resources["Observation"] = [data.anc(0.4, -0.9, id="low", patient="p1")]
    ehr.failing = {"Observation"}
    done = _refresh(engine, site, ehr, 1)
    assert (done.patients, done.partly) == (1, 1)
    assert _counts(engine, site, "p1") == [2900]
    assert _stored(engine, site, "p1").refreshed_at == read_at
    ehr.failing = set()
    assert _refresh(engine, site, ehr, 2).partly == 0
    assert 400 in _counts(engine, site, "p1")


def test_once_a_week_everything_is_read_so_that_deleted_results_go(
    engine: Engine, site: str, ehr: WritableEhr
) -> None:
    register(engine, site, [facts("p1")])
    ehr.add(*_on_file("p1", data.anc(0.4, 2, id="a", patient="p1"), data.anc(2.9, 3, id="b", patient="p1")))
    _refresh(engine, site, ehr)
    del ehr.resources["Observation"][0]
    _refresh(engine, site, ehr, 1)
    assert _counts(engine, site, "p1") == [400, 2900], "what changed does not tell what was deleted"
    ehr.asked.clear()
    _refresh(engine, site, ehr, 7)
    assert not any("_lastUpdated" in asked for asked in ehr.asked)
    assert _counts(engine, site, "p1") == [2900]


@pytest.mark.parametrize("merged", [True, False])
def test_a_patient_whom_the_ehr_merged_away_or_deleted_is_not_taken_for_one_who_stopped(
    engine: Engine, site: str, ehr: WritableEhr, merged: bool
) -> None:
    register(engine, site, [facts("p1", anc(3200, 31))])
    if merged:
        link = [{"other": {"reference": "Patient/p2"}, "type": "replaced-by"}]
        ehr.add({"resourceType": "Patient", "id": "p1", "active": False, "link": link})
    done = _refresh(engine, site, ehr)
    assert (done.patients, done.failed) == (0, 1)
    row = _stored(engine, site, "p1")
    assert (row.state, row.refreshed_at) == ("on", None)
    assert _counts(engine, site, "p1") == [3200]


def test_results_that_cannot_be_used_stay_known_and_the_sites_own_units_are_known(
    engine: Engine, site: str, ehr: WritableEhr
) -> None:
    register(engine, site, [facts("p1")])
    own = data.anc(3.1, 3, None, id="own", patient="p1")

    ehr.add(*_on_file("p1", data.anc(2.9, 2, "parsecs", id="odd", patient="p1")))
    ehr.add(own)
    units = {f"{data.LOINC}|751-8": "10*3/uL"}
    _refresh(engine, site, ehr, units=units)
    assert _counts(engine, site, "p1") == [3100]
    ehr.resources["Observation"] = []
    _refresh(engine, site, ehr, 1, units=units)
    kept = remembered.load(_stored(engine, site, "p1").facts)
    assert [u.ref for u in kept.unusable] == ["Observation/odd"]


def test_one_export_reads_the_whole_site_and_nobody_else(engine: Engine, site: str, ehr: WritableEhr) -> None:
    ehr.bulk = True
    people = [f"b{n}-{uuid4()}" for n in range(3)]
    register(engine, site, [facts(people[0], anc(3200, 31)), facts(people[1], anc(3200, 31))])
    for n, patient in enumerate(people):
        ehr.add(
            data.anc(1.0 + n, 1, id=f"o{n}", patient=patient),
            data.clozapine(300, id=f"m{n}", status="active", patient=patient, authoredOn=data.day_ago(500)),
        )
    watch = site_of(site, ZONE, fhir_servers=(f"{ehr.base_url}/fhir",), bulk=True)

    async def token() -> str:
        return ehr.token

    def read(days: float) -> Refreshed:
        async def run() -> Refreshed:
            async with httpx.AsyncClient(trust_env=False) as client:
                return await read_anew(engine, watch, client, NOW + timedelta(days=days), token)

        return asyncio.run(run())

    assert read(0).patients == 2
    assert [_stored(engine, site, p).last_anc for p in people[:2]] == [1000, 2000]
    ehr.resources["Observation"] = [data.anc(0.7, -0.5, id="newer", patient=people[0])]
    assert read(1).patients == 2
    assert ehr.exports == ["", "2026-11-20T09:00:00Z"]
    assert ehr.asked == [], "no search was needed"
    kept = remembered.load(_stored(engine, site, people[0]).facts)
    assert sorted(m.value for m in kept.measurements["anc"]) == [700, 1000]


def _bulk(engine: Engine, site: str, ehr: WritableEhr, days: float = 0) -> Refreshed:
    watch = site_of(site, ZONE, fhir_servers=(f"{ehr.base_url}/fhir",), bulk=True)

    async def token() -> str:
        return ehr.token

    async def run() -> Refreshed:
        async with httpx.AsyncClient(trust_env=False) as client:
            return await read_anew(engine, watch, client, NOW + timedelta(days=days), token)

    return asyncio.run(run())


def _by_reference(patient: str, **more: Any) -> dict[str, Any]:
    """An order that names its product by reference, as most EHRs do."""
    order = data.clozapine(300, id="mr-1", status="active", patient=patient, authoredOn=data.day_ago(500))
    del order["medicationCodeableConcept"]
    return order | {"medicationReference": {"reference": "Medication/clz"}} | more


PRODUCT = {
    "resourceType": "Medication",
    "id": "clz",
    "code": {"coding": [{"system": data.RXNORM, "code": "197535"}], "text": "product 7"},
}


def test_an_export_knows_the_drug_of_orders_that_name_a_product(
    engine: Engine, site: str, ehr: WritableEhr
) -> None:
    ehr.bulk = True
    register(engine, site, [facts("p1", anc(3200, 31))])
    ehr.add(PRODUCT, *_on_file("p1", data.anc(2.9, 2, id="a", patient="p1"))[::2], _by_reference("p1"))
    assert _bulk(engine, site, ehr).patients == 1
    assert _stored(engine, site, "p1").state == "on"
    assert ehr.asked == []
    # An export of what changed lacks the product, which did not change: it is read.
    ehr.files = {"Medication": [{}], "MedicationRequest": [_by_reference("p1", note=[{"text": "renewed"}])]}
    assert _bulk(engine, site, ehr, 1).patients == 1
    assert _stored(engine, site, "p1").state == "on"
    assert ehr.asked == ["/fhir/Medication/clz"]
    ehr.failing = {"Medication"}
    _bulk(engine, site, ehr, 2)
    assert _stored(engine, site, "p1").state == "on", "an order does not change its drug"


def test_an_export_is_read_with_the_references_of_calls(engine: Engine, site: str, ehr: WritableEhr) -> None:
    """Versions and whole addresses are the same patient and product; another server's are not."""
    ehr.bulk = True
    register(engine, site, [facts("p1", anc(3200, 31))])
    whole = f"{ehr.base_url}/fhir"
    ordered = _by_reference("p1") | {
        "subject": {"reference": f"{whole}/Patient/p1/_history/2"},
        "medicationReference": {"reference": f"{whole}/Medication/clz/_history/7"},
    }
    stranger = data.anc(0.1, 1, id="s") | {"subject": {"reference": "https://other.example/fhir/Patient/p1"}}
    own = data.anc(2.9, 2, id="a") | {"subject": {"reference": "Patient/p1/_history/1"}}
    ehr.add(PRODUCT, _on_file("p1")[-1], stranger, own, ordered)
    assert _bulk(engine, site, ehr).patients == 1
    stored = _stored(engine, site, "p1")
    assert (stored.state, stored.last_anc) == ("on", 2900)
    # A result that names its patient by a number only is nobody's here, and not taken for none.
    ehr.add(data.anc(0.3, 1, id="n") | {"subject": {"identifier": {"value": "4711"}}})
    assert _bulk(engine, site, ehr, 8).partly == 1


def test_what_an_export_left_out_is_not_taken_for_none(engine: Engine, site: str, ehr: WritableEhr) -> None:
    ehr.bulk = True
    register(engine, site, [facts("p1", anc(3200, 31))])
    ehr.add(*_on_file("p1", data.anc(2.9, 2, id="a", patient="p1"))[::2])
    ehr.manifest["error"] = [{"type": "OperationOutcome", "url": f"{ehr.base_url}/exports/errors"}]
    ehr.files = {
        "errors": [
            {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "exception"}]}
        ]
    }
    assert _bulk(engine, site, ehr).partly == 1
    row = _stored(engine, site, "p1")
    assert (row.state, row.last_anc, row.refreshed_at) == ("on", 2900, None)


def test_a_file_whose_address_is_none_costs_itself(engine: Engine, site: str, ehr: WritableEhr) -> None:
    ehr.bulk = True
    register(engine, site, [facts("p1", anc(3200, 31))])
    ehr.add(*_on_file("p1", data.anc(2.9, 2, id="a", patient="p1")))
    for odd in ("http://[", "Observation\x01", "x" * 70_000):
        ehr.manifest["error"] = [{"type": "OperationOutcome", "url": odd}]
        ehr.manifest["deleted"] = [{"type": "Bundle", "url": odd}]
        assert _bulk(engine, site, ehr).partly == 1
        row = _stored(engine, site, "p1")
        assert (row.state, row.last_anc, row.refreshed_at) == ("on", 2900, None)


def test_what_stands_in_one_patient_s_texts_keeps_no_other_from_being_read(
    engine: Engine, site: str, ehr: WritableEhr
) -> None:
    register(engine, site, [facts("p1", anc(3200, 31)), facts("p2", anc(3200, 31))])
    odd = data.anc(0.4, 2, "furlongs\x00\ud7ff\u202e<b>", id="\x00odd", patient="p1")
    ehr.add(*_on_file("p1", odd), *_on_file("p2", data.anc(2.9, 2, id="a", patient="p2")))
    assert _refresh(engine, site, ehr).failed == 0
    assert _stored(engine, site, "p2").last_anc == 2900
    assert "\x00" not in _stored(engine, site, "p1").facts


def test_an_export_tells_what_was_deleted(engine: Engine, site: str, ehr: WritableEhr) -> None:
    ehr.bulk = True
    register(engine, site, [facts("p1"), facts("p2")])
    for n in (1, 2):
        ehr.add(*_on_file(f"p{n}", data.anc(0.4, 2, id=f"low{n}", patient=f"p{n}")))
    _bulk(engine, site, ehr)
    entry = [{"request": {"method": "DELETE", "url": "Observation/low1"}}]
    ehr.manifest["deleted"] = [{"type": "Bundle", "url": f"{ehr.base_url}/exports/deleted"}]
    ehr.files = {"deleted": [{"resourceType": "Bundle", "type": "transaction", "entry": entry}]}
    ehr.resources = {"Patient": [{"resourceType": "Patient", "id": "p3"}]}
    _bulk(engine, site, ehr, 1)
    assert (_counts(engine, site, "p1"), _counts(engine, site, "p2")) == ([], [400])


def test_an_export_waits_for_a_busy_server_and_shows_no_token_to_whoever_asks_for_none(
    engine: Engine, site: str, ehr: WritableEhr
) -> None:
    ehr.bulk = True
    ehr.first_looks = [202, 429, 503]
    ehr.manifest["requiresAccessToken"] = False
    register(engine, site, [facts("p1")])
    ehr.add(*_on_file("p1", data.anc(2.9, 2, id="a", patient="p1")))
    assert _bulk(engine, site, ehr).patients == 1
    assert ehr.asked == []


def test_an_export_that_fails_is_made_up_for_by_searches(engine: Engine, site: str, ehr: WritableEhr) -> None:
    ehr.bulk = True
    ehr.first_looks = [500]
    register(engine, site, [facts("p1")])
    ehr.add(*_on_file("p1", data.anc(2.9, 2, id="a", patient="p1")))
    assert _bulk(engine, site, ehr).patients == 1
    assert ehr.asked


def test_the_scheduled_sweep_uses_the_export_and_names_who_could_not_be_read(
    engine: Engine, site: str, ehr: WritableEhr
) -> None:
    ehr.bulk = True
    register(engine, site, [facts("p1"), facts("nobody")])
    ehr.add(*_on_file("p1", data.anc(2.9, 2, id="a", patient="p1")))

    async def token() -> str:
        return ehr.token

    scheduler = Scheduler(
        engine,
        site_of(site, ZONE, fhir_servers=(f"{ehr.base_url}/fhir",), bulk=True),
        lambda: NOW,
        lambda: httpx.AsyncClient(trust_env=False),
        tokens=lambda client: token,
    )
    scheduler._planned()
    assert ehr.exports == [""]
    assert scheduler.trouble == "1 patients could not be read anew"


def test_replicas_do_not_read_the_same_site_at_once(postgres_url: str) -> None:
    engine = engine_for(postgres_url)
    at_work: list[str] = []
    most: list[int] = []

    def replica(name: str) -> None:
        async def run() -> None:
            async with alone(engine, "refresh north", pause_seconds=0.05):
                at_work.append(name)
                most.append(len(at_work))
                await asyncio.sleep(0.2)
                at_work.remove(name)

        asyncio.run(run())

    with ThreadPoolExecutor(3) as replicas:
        list(replicas.map(replica, "abc"))
    assert most == [1, 1, 1]
    engine.dispose()


def test_a_server_without_export_is_searched(engine: Engine, site: str, ehr: WritableEhr) -> None:
    register(engine, site, [facts("p1", anc(3200, 31))])
    ehr.add(data.anc(2.9, 1, id="anc-new", patient="p1"))
    watch = site_of(site, ZONE, fhir_servers=(f"{ehr.base_url}/fhir",), bulk=True)

    async def token() -> str:
        return ehr.token

    async def run() -> Refreshed:
        async with httpx.AsyncClient(trust_env=False) as client:
            return await read_anew(engine, watch, client, NOW, token)

    assert asyncio.run(run()).patients == 1
    assert ehr.exports == []
    assert ehr.asked


def test_the_sweep_command_reads_evaluates_and_delivers(ehr: WritableEhr, tmp_path: Any) -> None:
    import json

    url = f"sqlite:///{tmp_path}/cli.db"
    upgrade(url)
    engine = engine_for(url)
    register(engine, "north", [facts("p1", anc(3200, 3))])
    ehr.add(
        data.anc(0.4, 1, id="low", patient="p1"),
        data.clozapine(300, id="mr-1", status="active", patient="p1", authoredOn=data.day_ago(500)),
        {"resourceType": "Patient", "id": "p1", "gender": "female", "birthDate": "1984-05-02"},
    )
    (tmp_path / "key.pem").write_bytes(ehr.pem)
    configuration = tmp_path / "service.toml"
    configuration.write_text(
        f"""
site_name = "north"
database_url = "{url}"
fhir_servers = ["{ehr.base_url}/fhir"]
write_back = ["Flag"]
[backend]
client_id = "clozapine-cds"
token_url = "{ehr.base_url}/token"
key_file = "{tmp_path}/key.pem"
key_id = "k1"
"""
    )
    done = command(
        "registry", "sweep", "--refresh", "--deliver", "--as-of", NOW.isoformat(), "--json",
        env={"CLOZAPINE_CDS_CONFIG": str(configuration)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "1 patients read anew, 0 failed" in done.stderr
    answer = json.loads(done.stdout)
    assert (answer["patients"], answer["delivered"]["sent"]) == (1, 1)
    [(_, flag)] = ehr.written
    assert flag["code"]["coding"][0]["code"] == "anc-severe-neutropenia"
    engine.dispose()
