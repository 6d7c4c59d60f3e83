"""Notifications over HTTP: stored, judged, and what they do not hold is read from the EHR."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from sqlalchemy import Engine, func, select, update

from service.registry.roster import find
from service.store.database import engine_for, upgrade
from service.store.result_tables import InboxItem
from service.store.roster_tables import Alert
from service.store.subscription_tables import KeptSubscription, ToRead
from service.subscriptions import kept
from tests import data
from tests.data import NOW
from tests.hanging import wire_to
from tests.registry.roster import anc, facts, register
from tests.registry.test_calls import StartService
from tests.registry.writable_ehr import WritableEhr
from tests.results.bundles import count
from tests.subscriptions.shapes import hapi, parameters, subscription_status

ALERTS, INBOX, SUBSCRIPTIONS, TO_READ = (t.__table__ for t in (Alert, InboxItem, KeptSubscription, ToRead))
FHIR = {"Content-Type": "application/fhir+json; charset=UTF-8"}
STOP = "anc-severe-neutropenia"
Tell = Callable[..., httpx.Response]


class Told:
    """A service, an EHR with a Subscription there, and what the EHR may say."""

    def __init__(self, service: httpx.Client, engine: Engine, site: str, secrets: kept.Secrets) -> None:
        self.service, self.engine, self.site, self.secrets = service, engine, site, secrets
        self.path = f"/fhir/notify/{site}/{secrets.key}"

    def __call__(
        self, content: Any = b"", method: str = "POST", more: str = "", token: str = ""
    ) -> httpx.Response:
        body = content if isinstance(content, bytes) else orjson.dumps(content)
        headers = {"Authorization": f"Bearer {token or self.secrets.token}"} | (FHIR if body else {})
        return self.service.request(method, self.path + more, content=body, headers=headers)

    def alerts(self) -> dict[str, str]:
        with self.engine.connect() as connection:
            rows = connection.execute(select(ALERTS.c.code, ALERTS.c.state).where(ALERTS.c.site == self.site))
            return {row.code: row.state for row in rows}

    def to_read(self) -> set[tuple[str, str]]:
        with self.engine.connect() as connection:
            rows = connection.execute(
                select(TO_READ.c.what, TO_READ.c.ref).where(TO_READ.c.site == self.site)
            )
            return {(row.what, row.ref) for row in rows}

    def row(self) -> Any:
        with self.engine.connect() as connection:
            return connection.execute(
                select(SUBSCRIPTIONS).where(SUBSCRIPTIONS.c.id == self.secrets.id)
            ).one()

    def inbox(self) -> int:
        with self.engine.connect() as connection:
            return int(
                connection.execute(
                    select(func.count()).select_from(INBOX).where(INBOX.c.site == self.site)
                ).scalar_one()
            )

    def due_now(self) -> None:
        """The clock of these tests stands still: what is to be read soon is to be read now."""
        with self.engine.begin() as connection:
            connection.execute(
                update(TO_READ)
                .where(TO_READ.c.site == self.site)
                .values(next_try_at=NOW - timedelta(seconds=1))
            )

    def until(self, true: Callable[[], bool], seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, "it did not come to be"
            time.sleep(0.05)


@pytest.fixture
def told(
    start_service: StartService, url: str, site: str, engine: Engine, ehr: WritableEhr, tmp_path: Path
) -> Told:
    """A service that watches one patient, whose EHR may be read, and a Subscription."""
    register(engine, site, [facts("p1", anc(3000, 5))])
    (tmp_path / "key.pem").write_bytes(ehr.pem)
    backend = {
        "client_id": "clozapine-cds", "token_url": f"{ehr.base_url}/token", "key_file": str(tmp_path / "key.pem"), "key_id": "k1",
    }  # fmt: skip
    service = start_service(
        database_url=url, site_name=site, sweep="", fhir_servers=[f"{ehr.base_url}/fhir"], backend=backend
    )
    ehr.add({"resourceType": "Patient", "id": "p1", "gender": "female", "birthDate": "1984-05-02"})
    ehr.add(data.clozapine(300, id="mr-1", status="active", patient="p1", authoredOn=data.day_ago(500)))
    with engine.begin() as connection:
        secrets = kept.make(connection, site, "Observation?category=laboratory", NOW)
    return Told(service, engine, site, secrets)


def low(**more: Any) -> dict[str, Any]:
    """A count at which clozapine stops."""
    return count("p1", 0.4, "low", **more)


def test_a_resource_is_stored_before_204_and_judged_as_it_came(told: Told) -> None:
    answer = told(low(), "PUT", "/Observation/low")
    assert (answer.status_code, answer.content, answer.headers.get("content-type")) == (204, b"", None)
    assert told.inbox() == 1
    told.until(lambda: told.alerts() == {STOP: "open"})
    metrics = told.service.get("/metrics").text
    assert 'clozapine_cds_notifications_total{kind="event"} 1.0' in metrics


def test_after_a_resource_the_record_is_read_too(told: Told, ehr: WritableEhr) -> None:
    ehr.add(data.anc(0.3, 0.5, id="lower", patient="p1"))
    told(low(), "PUT", "/Observation/low")
    told.until(lambda: told.inbox() == 1)
    told.due_now()

    def both() -> bool:
        with told.engine.connect() as connection:
            kept_facts = find(connection, told.site, "p1").facts
        return "Observation/low" in kept_facts and "Observation/lower" in kept_facts

    told.until(both)
    assert all("patient=p1" in asked or "/p1" in asked for asked in ehr.asked)


@pytest.mark.parametrize("make", [parameters, subscription_status])
def test_an_event_by_id_is_read_from_the_ehr(told: Told, ehr: WritableEhr, make: Any) -> None:
    ehr.add(data.anc(0.4, 0.5, id="low", patient="p1"))
    assert told(make("event-notification", "Observation/low")).status_code == 204
    told.due_now()
    told.until(lambda: told.alerts() == {STOP: "open"})
    assert "/fhir/Observation/low" in ehr.asked
    assert ehr.authorizations[ehr.asked.index("/fhir/Observation/low")] == f"Bearer {ehr.token}"
    assert 'clozapine_cds_reread_total{outcome="read"}' in told.service.get("/metrics").text


def test_nothing_in_it_means_search(told: Told, ehr: WritableEhr) -> None:
    ehr.add(data.anc(0.4, 0.5, id="low", patient="p1"))
    answer = told()
    assert answer.status_code == 204
    assert told.to_read() == {("changes", "Observation?category=laboratory")}
    told.due_now()
    told.until(lambda: told.alerts() == {STOP: "open"})
    assert any("category=laboratory&_lastUpdated=ge2026" in asked for asked in ehr.asked)


def test_a_deleted_result_leaves_only_when_the_ehr_says_so_itself(told: Told, ehr: WritableEhr) -> None:
    ehr.add(data.anc(0.4, 0.5, id="low", patient="p1"))
    told(parameters("event-notification", "Observation/low"))
    told.due_now()
    told.until(lambda: told.alerts() == {STOP: "open"})
    asked = ehr.asked.count("/fhir/Observation/low")
    told(b"", "DELETE", "/Observation/low")  # a replay: it is there
    told.due_now()
    told.until(lambda: ehr.asked.count("/fhir/Observation/low") > asked)
    told.until(lambda: not told.to_read() or told.due_now() is not None)
    assert told.alerts() == {STOP: "open"}
    ehr.resources["Observation"] = []
    told(b"", "DELETE", "/Observation/low")
    told.due_now()
    told.until(lambda: told.alerts() == {STOP: "resolved"})


def test_repetition_wrong_order_and_bursts_are_harmless(told: Told) -> None:
    for _ in range(19):
        assert told(hapi(low())).status_code == 204
    assert (
        told(hapi(count("p1", 2.9, "low", version="0"))).status_code == 204
    )  # the older version comes later
    told.until(lambda: told.alerts() == {STOP: "open"})
    assert told.inbox() == 2
    with told.engine.connect() as connection:
        assert (
            connection.execute(
                select(func.count()).select_from(ALERTS).where(ALERTS.c.site == told.site)
            ).scalar_one()
            == 1
        )


@pytest.mark.parametrize("kind", ["handshake", "heartbeat"])
def test_what_only_says_that_it_is_there(told: Told, kind: str) -> None:
    assert told(parameters(kind, total=0)).status_code == 204
    assert (told.row().status, told.row().told_at is not None, told.inbox(), told.to_read()) == (
        "active",
        True,
        0,
        set(),
    )


def test_missing_events_are_looked_for(told: Told) -> None:
    told(parameters("event-notification", "Location/1", first=4))
    assert (told.row().last_number, told.to_read()) == (4, set())
    told(parameters("event-notification", "Location/1", first=5))
    told(parameters("event-notification", "Location/1", first=5))
    told(parameters("heartbeat", total=5))
    assert told.to_read() == set()
    told(parameters("event-notification", "Location/1", first=7))
    assert told.to_read() == {("changes", "Observation?category=laboratory")}
    assert 'clozapine_cds_notifications_total{kind="gap"} 1.0' in told.service.get("/metrics").text
    with told.engine.connect() as connection:
        row = connection.execute(select(TO_READ).where(TO_READ.c.site == told.site)).one()
    assert row.since is not None


def test_a_heartbeat_tells_of_events_that_did_not_come(told: Told) -> None:
    told(parameters("event-notification", "Location/1", first=4))
    told(parameters("heartbeat", total=6))
    assert told.to_read() == {("changes", "Observation?category=laboratory")}


def test_a_counter_that_begins_again_is_no_gap(told: Told) -> None:
    for number in (40, 1, 2):
        told(parameters("event-notification", "Location/1", first=number))
    assert told.to_read() == set()


def test_strangers(told: Told) -> None:
    known = {"Authorization": f"Bearer {told.secrets.token}"}
    other = told.service.post(f"/fhir/notify/{told.site}/{'x' * 32}", headers=known)
    elsewhere = told.service.post(f"/fhir/notify/elsewhere/{told.secrets.key}", headers=known)
    bare = told.service.post(told.path)
    for answer in (told(low(), "PUT", "/Observation/low", token="wrong"), other, elsewhere, bare):
        assert (answer.status_code, answer.content) == (401, b"")
    assert (told.inbox(), told.row().told_at, told.to_read()) == (0, None, set())


def test_a_former_token_is_good_until_the_ehr_has_the_new_one_and_an_hour_more(told: Told) -> None:
    with told.engine.begin() as connection:
        token = kept.renew(connection, told.secrets.id, NOW)
    assert told(token=token).status_code == 204
    assert told().status_code == 204

    def opens(with_token: str, hours: int) -> bool:
        with told.engine.begin() as connection:
            at = NOW + timedelta(hours=hours)
            return kept.let_in(connection, told.site, told.secrets.key, with_token, at) is not None

    assert opens(told.secrets.token, 2)
    with told.engine.begin() as connection:
        kept.has_token(connection, told.secrets.id, NOW)
    assert [opens(told.secrets.token, h) for h in (0, 2)] == [True, False]
    assert opens(token, 2)


def test_the_secrets_are_nowhere_in_the_database(told: Told) -> None:
    row = " ".join(map(str, told.row()))
    assert told.secrets.key not in row
    assert told.secrets.token not in row
    assert told.secrets.token not in repr(told.secrets)


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"{", 422), (b"x" * (2**20 + 1), 413), (b'{"resourceType":"Bundle","type":"history"}', 422)],
)
def test_what_will_never_work(told: Told, content: bytes, status: int) -> None:
    assert told(content).status_code == status
    assert told.row().told_at is None


def test_other_media_types(told: Told) -> None:
    headers = {"Authorization": f"Bearer {told.secrets.token}", "Content-Type": "application/fhir+xml"}
    assert told.service.post(told.path, content=b"<a/>", headers=headers).status_code == 415


def test_while_the_ehr_is_away_what_is_to_be_read_waits(told: Told, ehr: WritableEhr) -> None:
    ehr.add(data.anc(0.4, 0.5, id="low", patient="p1"))
    ehr.status = 503
    told(parameters("event-notification", "Observation/low"))
    told.due_now()
    told.until(lambda: 'clozapine_cds_reread_total{outcome="failed"}' in told.service.get("/metrics").text)
    assert ("resource", "Observation/low") in told.to_read()
    ehr.status = 200
    told.due_now()
    told.until(lambda: told.alerts() == {STOP: "open"})


def test_what_could_not_be_stored_is_not_acknowledged(
    start_service: StartService, postgres_url: str, site: str
) -> None:
    upgrade(postgres_url)
    with wire_to(postgres_url) as wire:
        service = start_service(database_url=wire.url, site_name=site, sweep="")
        direct = engine_for(postgres_url)
        register(direct, site, [facts("p1", anc(3000, 5))])
        with direct.begin() as connection:
            secrets = kept.make(connection, site, "Observation?category=laboratory", NOW)
        told = Told(service, direct, site, secrets)
        assert told().status_code == 204
        wire.hold()
        answer = told(low(), "PUT", "/Observation/low")
        assert (answer.status_code, answer.headers["retry-after"], answer.content) == (503, "5", b"")
        wire.release()
        assert told.inbox() == 0
        told.until(lambda: told(low(), "PUT", "/Observation/low").status_code == 204)
        assert told.inbox() == 1
        direct.dispose()
