"""Alerts in the EHR: each told once, withdrawn when resolved, put off while the EHR is away."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from datetime import timedelta
from typing import Any

import httpx
from fhir.resources.R4B.flag import Flag
from fhir.resources.R4B.task import Task
from sqlalchemy import Engine, select, update

from service.fhir.backend import BackendToken, credentials
from service.fhir.client import FetchFailed
from service.options.site import Site
from service.registry import delivery, outbox, people
from service.registry.sweep import start_run, sweep
from service.store.roster_tables import Alert, OutboxItem
from tests.data import NOW
from tests.registry.roster import ZONE, anc, facts, register
from tests.registry.test_sweep import _learn
from tests.registry.writable_ehr import WritableEhr
from tests.sites import but, site_of

ITEMS = OutboxItem.__table__


def _watch(site: str, ehr: WritableEhr, *channels: Any, webhook: bool = False) -> Site:
    return site_of(
        site,
        ZONE,
        write_back=channels,
        fhir_servers=(f"{ehr.base_url}/fhir",),
        webhook=f"{ehr.base_url}/webhook" if webhook else "",
        webhook_secret="s3cret",
    )


def _sweep(engine: Engine, watch: Site, days: float = 0) -> None:
    at = NOW + timedelta(days=days)
    sweep(engine, watch, start_run(engine, watch.name, at, at))


def _deliver(
    engine: Engine, watch: Site, ehr: WritableEhr, tmp_path: Any, minutes: float = 0
) -> dict[str, int]:
    key_file = tmp_path / "key.pem"
    key_file.write_bytes(ehr.pem)
    known = credentials("clozapine-cds", f"{ehr.base_url}/token", key_file, "k1", "ES384", "system/*.cud")
    now = NOW + timedelta(minutes=minutes)

    async def run() -> dict[str, int]:
        async with httpx.AsyncClient(trust_env=False) as client:
            token = BackendToken(known, client, lambda: now)
            return await delivery.deliver(engine, watch, client, now, token=token)

    return asyncio.run(run())


def _states(engine: Engine, site: str) -> list[str]:
    with engine.connect() as connection:
        return list(
            connection.execute(
                select(ITEMS.c.state).where(ITEMS.c.site == site).order_by(ITEMS.c.id)
            ).scalars()
        )


def test_an_overdue_test_becomes_a_task_and_is_withdrawn_when_the_result_arrives(
    engine: Engine, site: str, ehr: WritableEhr, tmp_path: Any
) -> None:
    register(engine, site, [facts("p1", anc(3200, 31))])
    watch = _watch(site, ehr, "Task", "Flag")
    _sweep(engine, watch)
    assert _deliver(engine, watch, ehr, tmp_path) == {"sent": 1, "later": 0, "dead": 0}
    assert ehr.tokens_given == 1
    [(_, task)] = ehr.written
    Task.model_validate(task)
    assert task["for"] == {"reference": "Patient/p1"}
    assert task["code"]["coding"][0]["code"] == "anc-overdue"
    assert task["status"] == "requested"
    _learn(engine, site, "p1", anc(3100, -0.5, "anc-2"))
    _sweep(engine, watch, 1)
    _deliver(engine, watch, ehr, tmp_path, 24 * 60)
    assert [r["status"] for r in ehr.resources["Task"]] == ["cancelled"]


def test_neutropenia_becomes_a_flag(engine: Engine, site: str, ehr: WritableEhr, tmp_path: Any) -> None:
    register(engine, site, [facts("p1", anc(450, 0.1))])
    watch = _watch(site, ehr, "Task", "Flag")
    _sweep(engine, watch)
    _deliver(engine, watch, ehr, tmp_path)
    [(_, flag)] = [w for w in ehr.written if w[1]["resourceType"] == "Flag"]
    Flag.model_validate(flag)
    assert flag["code"]["coding"][0]["code"] == "anc-severe-neutropenia"


def test_a_repetition_after_a_crash_makes_nothing_twice(
    engine: Engine, site: str, ehr: WritableEhr, tmp_path: Any
) -> None:
    register(engine, site, [facts("p1", anc(3200, 31))])
    watch = _watch(site, ehr, "Task")
    _sweep(engine, watch)
    _deliver(engine, watch, ehr, tmp_path)
    with engine.begin() as connection:  # as if the process had died between sending and noting it
        connection.execute(update(ITEMS).where(ITEMS.c.site == site).values(state="waiting", location=""))
    assert _deliver(engine, watch, ehr, tmp_path)["sent"] == 1
    assert len(ehr.resources["Task"]) == 1
    assert _states(engine, site) == ["sent"]


def test_what_the_ehr_does_not_take_is_tried_again_later(
    engine: Engine, site: str, ehr: WritableEhr, tmp_path: Any
) -> None:
    register(engine, site, [facts("p1", anc(3200, 31))])
    watch = _watch(site, ehr, "Task")
    ehr.refusals = 2
    _sweep(engine, watch)
    assert _deliver(engine, watch, ehr, tmp_path)["later"] == 1
    assert _deliver(engine, watch, ehr, tmp_path, 0.5) == {
        "sent": 0,
        "later": 0,
        "dead": 0,
    }  # not before its time
    assert _deliver(engine, watch, ehr, tmp_path, 1.1)["later"] == 1
    assert _deliver(engine, watch, ehr, tmp_path, 3.2)["sent"] == 1


def _resolved(engine: Engine, site: str, watch: Site) -> None:
    _learn(engine, site, "p1", anc(3100, -0.5, "anc-2"))
    _sweep(engine, watch, 1)


def test_a_withdrawal_leaves_what_people_made_of_a_task(
    engine: Engine, site: str, ehr: WritableEhr, tmp_path: Any
) -> None:
    register(
        engine, site, [facts("p1", anc(3200, 31)), facts("p2", anc(3200, 31)), facts("p3", anc(3200, 31))]
    )
    watch = _watch(site, ehr, "Task")
    _sweep(engine, watch)
    _deliver(engine, watch, ehr, tmp_path)
    owned, done, deleted = ehr.resources["Task"]
    owned["owner"] = {"reference": "Practitioner/7"}
    done["status"] = "completed"
    ehr.resources["Task"].remove(deleted)
    for patient in ("p1", "p2", "p3"):
        _learn(engine, site, patient, anc(3100, -0.5, "anc-2"))
    _sweep(engine, watch, 1)
    assert _deliver(engine, watch, ehr, tmp_path, 24 * 60) == {"sent": 3, "later": 0, "dead": 0}
    found = {t["for"]["reference"]: (t["status"], t.get("owner")) for t in ehr.resources["Task"]}
    assert found == {
        "Patient/p1": ("cancelled", {"reference": "Practitioner/7"}),
        "Patient/p2": ("completed", None),
    }


def test_a_task_says_when_its_alert_has_become_more_severe(
    engine: Engine, site: str, ehr: WritableEhr, tmp_path: Any
) -> None:
    register(engine, site, [facts("p1", anc(3200, 31))])
    watch = _watch(site, ehr, "Task")
    _sweep(engine, watch)
    _deliver(engine, watch, ehr, tmp_path)
    [task] = ehr.resources["Task"]
    task["owner"] = {"reference": "Practitioner/7"}
    _sweep(engine, watch, 30)  # more than twice the interval
    assert _deliver(engine, watch, ehr, tmp_path, 30 * 24 * 60)["sent"] == 1
    [after] = ehr.resources["Task"]
    Task.model_validate(after)
    assert (task["priority"], after["priority"]) == ("routine", "urgent")
    assert after["description"] != task["description"]
    assert (after["status"], after["owner"]) == ("requested", {"reference": "Practitioner/7"})
    assert after["authoredOn"] == task["authoredOn"]


def test_a_notice_is_withdrawn_though_the_site_went_into_shadow_mode(
    engine: Engine, site: str, ehr: WritableEhr, tmp_path: Any
) -> None:
    register(engine, site, [facts("p1", anc(3200, 31)), facts("p2", anc(3200, 30))])
    watch = _watch(site, ehr, "Task", webhook=True)
    _sweep(engine, watch)
    _deliver(engine, watch, ehr, tmp_path)
    told = len(ehr.hooks)
    _sweep(engine, watch, 1)  # p2 is overdue now, and not told yet
    quiet = but(watch, shadow=True)
    _resolved(engine, site, quiet)
    _sweep(engine, quiet, 2)
    _deliver(engine, quiet, ehr, tmp_path, 48 * 60)
    assert [r["status"] for r in ehr.resources["Task"]] == ["cancelled"]
    assert len(ehr.hooks) == told


def test_a_webhook_is_told_that_a_person_closed_an_alert(
    engine: Engine, site: str, ehr: WritableEhr, tmp_path: Any
) -> None:
    register(engine, site, [facts("p1", anc(3200, 31))])
    watch = _watch(site, ehr, webhook=True)
    _sweep(engine, watch)
    alerts = Alert.__table__
    with engine.begin() as connection:
        alert = connection.execute(select(alerts.c.id).where(alerts.c.site == site)).scalar_one()
        event = people.close_alert(connection, alert, "Practitioner/7", "taken elsewhere", NOW)
        assert event is not None
        outbox.tell_closed(connection, watch, alert, event, NOW)
    _deliver(engine, watch, ehr, tmp_path)
    assert [json.loads(body)["what"] for _, body in ehr.hooks] == ["opened", "closed"]


def test_events_of_an_alert_arrive_in_their_order(
    engine: Engine, site: str, ehr: WritableEhr, tmp_path: Any
) -> None:
    register(engine, site, [facts("p1", anc(3200, 31))])
    watch = _watch(site, ehr, webhook=True)
    _sweep(engine, watch)
    assert _deliver(engine, but(watch, webhook="http://127.0.0.1:9/"), ehr, tmp_path)["later"] == 1
    with engine.begin() as connection:
        connection.execute(
            update(ITEMS).where(ITEMS.c.site == site).values(next_try_at=NOW + timedelta(days=2))
        )
    _resolved(engine, site, watch)
    _deliver(engine, watch, ehr, tmp_path, 24 * 60)
    assert ehr.hooks == [], "the end of an alert must not arrive before its beginning"
    _deliver(engine, watch, ehr, tmp_path, 49 * 60)
    assert [json.loads(body)["what"] for _, body in ehr.hooks] == ["opened", "resolved"]


def test_a_token_server_that_is_away_holds_up_no_webhook(
    engine: Engine, site: str, ehr: WritableEhr, tmp_path: Any
) -> None:
    register(engine, site, [facts("p1", anc(3200, 31)), facts("p2", anc(3200, 31))])
    watch = _watch(site, ehr, "Task", webhook=True)
    _sweep(engine, watch)
    asked = 0

    async def token() -> str:
        nonlocal asked
        asked += 1
        raise FetchFailed("the token server answered 503")

    async def run() -> dict[str, int]:
        async with httpx.AsyncClient(trust_env=False) as client:
            return await delivery.deliver(engine, watch, client, NOW, token=token)

    assert asyncio.run(run()) == {"sent": 2, "later": 1, "dead": 0}
    assert asked == 1


def test_a_notice_that_was_given_up_is_withdrawn_when_it_is_revived(
    engine: Engine, site: str, ehr: WritableEhr, tmp_path: Any
) -> None:
    register(engine, site, [facts("p1", anc(3200, 31))])
    watch = _watch(site, ehr, "Task")
    _sweep(engine, watch)
    with engine.begin() as connection:
        connection.execute(update(ITEMS).where(ITEMS.c.site == site).values(state="dead"))
    _resolved(engine, site, watch)
    _deliver(engine, watch, ehr, tmp_path, 24 * 60)
    with engine.begin() as connection:
        connection.execute(
            update(ITEMS).where(ITEMS.c.site == site, ITEMS.c.state == "dead").values(state="waiting")
        )
    _deliver(engine, watch, ehr, tmp_path, 26 * 60)
    _deliver(engine, watch, ehr, tmp_path, 26 * 60)
    assert [r["status"] for r in ehr.resources["Task"]] == ["cancelled"]


def test_a_site_whose_name_no_header_takes_is_told_all_the_same(
    engine: Engine, site: str, ehr: WritableEhr, tmp_path: Any
) -> None:
    site = f"Zürich {site}"
    register(engine, site, [facts("p1", anc(3200, 31))])
    watch = _watch(site, ehr, webhook=True)
    _sweep(engine, watch)
    assert _deliver(engine, watch, ehr, tmp_path)["sent"] == 1


def test_a_webhook_is_signed_and_told_of_every_change(
    engine: Engine, site: str, ehr: WritableEhr, tmp_path: Any
) -> None:
    register(engine, site, [facts("p1", anc(3200, 31))])
    watch = _watch(site, ehr, webhook=True)
    _sweep(engine, watch)
    _sweep(engine, watch, 8)
    _deliver(engine, watch, ehr, tmp_path, 8 * 24 * 60)
    assert [json.loads(body)["what"] for _, body in ehr.hooks] == ["opened", "due-again"]
    headers, body = ehr.hooks[0]
    signature = hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()
    assert headers["x-clozapine-cds-signature"] == f"sha256={signature}"
    assert headers["idempotency-key"] != ehr.hooks[1][0]["idempotency-key"]
