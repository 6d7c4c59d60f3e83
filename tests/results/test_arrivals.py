"""A result arrives: it is written down, judged at once with the rules and alerts of the sweep, and repetition is harmless."""

from __future__ import annotations

from datetime import timedelta

import orjson
import pytest
from sqlalchemy import Engine, select

from service.options.site import Site
from service.registry.roster import find
from service.results import inbox
from service.results.delivery import Delivery, NotADelivery, read_delivery
from service.results.judging import Judged, judge_waiting
from service.store.result_tables import InboxItem
from service.store.roster_tables import Alert, AlertEvent, OutboxItem
from tests.data import NOW
from tests.registry.roster import ZONE, anc, facts, register
from tests.results.bundles import Json, bundle, count
from tests.sites import site_of

ALERTS, EVENTS, INBOX, OUTBOX = (t.__table__ for t in (Alert, AlertEvent, InboxItem, OutboxItem))
STOP = "anc-severe-neutropenia"


@pytest.fixture
def watch(engine: Engine, site: str) -> Site:
    """A site that writes back, with one patient whose last ANC was 3000 five days ago."""
    register(engine, site, [facts("p1", anc(3000, 5)), facts("p2", anc(3100, 4))])
    return site_of(site, ZONE, write_back=("Flag",), fhir_servers=("https://ehr.example/fhir",))


def push(engine: Engine, watch: Site, content: Json) -> Delivery:
    """Take a delivery in; nothing is judged yet."""
    delivery = read_delivery(orjson.dumps(content), watch.options.fhir_servers)
    with engine.begin() as connection:
        inbox.take(connection, watch.name, "push", delivery, NOW)
    return delivery


def judge(engine: Engine, watch: Site) -> Judged:
    """Judge what waits."""
    return judge_waiting(engine, {watch.name: watch}.get, lambda: NOW)


def alerts(engine: Engine, site: str) -> dict[str, str]:
    """Code -> state."""
    with engine.connect() as connection:
        rows = connection.execute(select(ALERTS.c.code, ALERTS.c.state).where(ALERTS.c.site == site))
        return {row.code: row.state for row in rows}


def states(engine: Engine, site: str) -> list[tuple[str, str]]:
    """(state, body) of what came."""
    with engine.connect() as connection:
        rows = connection.execute(
            select(INBOX.c.state, INBOX.c.body).where(INBOX.c.site == site).order_by(INBOX.c.id)
        )
        return [(row.state, row.body) for row in rows]


def test_a_dangerous_result_opens_its_alert_and_is_told(engine: Engine, watch: Site) -> None:
    delivery = push(engine, watch, bundle(count("p1", 0.4)))
    assert [p.fate for p in delivery.parts] == ["taken"]
    done = judge(engine, watch)
    assert done.deliveries == 1
    assert done.sites == {watch.name}
    assert alerts(engine, watch.name) == {STOP: "open"}
    with engine.connect() as connection:
        told = connection.execute(
            select(OUTBOX.c.channel, OUTBOX.c.action).where(OUTBOX.c.site == watch.name)
        ).all()
        row = find(connection, watch.name, "p1")
    assert [tuple(t) for t in told] == [("Flag", "raise")]
    assert row.last_anc == 400
    assert states(engine, watch.name) == [("done", "")], "what was judged is not kept twice"


def test_what_comes_twice_is_one(engine: Engine, watch: Site) -> None:
    push(engine, watch, bundle(count("p1", 0.4)))
    judge(engine, watch)
    push(engine, watch, bundle(count("p1", 0.4)))
    assert len(states(engine, watch.name)) == 1
    push(engine, watch, bundle(count("p1", 0.4), type="message"))  # the same, in another cover
    judge(engine, watch)
    with engine.connect() as connection:
        what = connection.execute(
            select(EVENTS.c.what)
            .join(ALERTS, ALERTS.c.id == EVENTS.c.alert)
            .where(ALERTS.c.site == watch.name)
        ).scalars()
        assert list(what) == ["opened"]


def test_an_older_version_that_comes_later_says_nothing(engine: Engine, watch: Site) -> None:
    push(engine, watch, bundle(count("p1", 0.4, version="2")))
    push(engine, watch, bundle(count("p1", 2.9, version="1")))
    judge(engine, watch)
    push(engine, watch, bundle(count("p1", 2.8, version="1", issued=NOW.isoformat())))
    judge(engine, watch)
    assert alerts(engine, watch.name) == {STOP: "open"}


def test_a_correction_resolves_what_it_corrects(engine: Engine, watch: Site) -> None:
    push(engine, watch, bundle(count("p1", 0.4)))
    judge(engine, watch)
    push(engine, watch, bundle(count("p1", 4.0, version="2", status="corrected")))
    judge(engine, watch)
    assert alerts(engine, watch.name) == {STOP: "resolved"}


def test_a_deleted_result_leaves(engine: Engine, watch: Site) -> None:
    push(engine, watch, bundle(count("p1", 0.4)))
    judge(engine, watch)
    gone = {"request": {"method": "DELETE", "url": "Observation/new"}}
    push(engine, watch, {"resourceType": "Bundle", "type": "transaction", "entry": [gone]})
    judge(engine, watch)
    assert alerts(engine, watch.name) == {STOP: "resolved"}
    with engine.connect() as connection:
        assert find(connection, watch.name, "p1").last_anc == 3000


def test_each_entry_goes_to_its_own_patient_and_a_bad_one_costs_itself(engine: Engine, watch: Site) -> None:
    delivery = push(
        engine,
        watch,
        bundle(
            count("p1", 0.4),
            count("p2", 3.3, "other"),
            count("stranger", 0.3, "s"),
            {"resourceType": "Observation", "id": "x", "status": 7, "code": "no"},
            {"resourceType": "ServiceRequest"},
            {"resourceType": "Location", "id": "w"},
            count("p1", 0.2, "nobody", subject={"display": "Ms P"}),
            count("p1", 0.2, "elsewhere", subject={"reference": "https://other.example/fhir/Patient/p1"}),
        ),
    )
    assert [p.fate for p in delivery.parts] == [
        "taken", "taken", "unknown patient", "not understood", "unknown patient", "irrelevant", "unknown patient", "unknown patient",
    ]  # fmt: skip
    assert all(p.why for p in delivery.parts if p.fate != "taken")
    judge(engine, watch)
    assert alerts(engine, watch.name) == {STOP: "open"}
    with engine.connect() as connection:
        assert find(connection, watch.name, "p1").last_anc == 400
        assert find(connection, watch.name, "p2").last_anc == 3300


def test_a_patient_of_the_bundle_is_known_by_its_full_url(engine: Engine, watch: Site) -> None:
    url = "urn:uuid:7d9f2b54-5a3b-4f43-8f0e-3a3c2f0d8f11"
    content = bundle(count("?", 0.4, subject={"reference": url}))
    content["entry"].insert(0, {"fullUrl": url, "resource": {"resourceType": "Patient", "id": "p1"}})
    assert [p.fate for p in push(engine, watch, content).parts] == ["irrelevant", "taken"]
    judge(engine, watch)
    assert alerts(engine, watch.name) == {STOP: "open"}


def test_clozapine_that_is_sent_enrols(engine: Engine, watch: Site) -> None:
    order = {
        "resourceType": "MedicationRequest",
        "id": "new-order",
        "status": "active",
        "intent": "order",
        "medicationCodeableConcept": {"text": "clozapine 100 mg tablet"},
        "subject": {"reference": "Patient/new"},
        "authoredOn": NOW.isoformat(),
    }
    push(engine, watch, bundle(order, count("new", 0.4)))
    judge(engine, watch)
    assert STOP in alerts(engine, watch.name) or "anc-below-initiation" in alerts(engine, watch.name)


def test_a_poison_delivery_is_put_aside_by_name_and_costs_nobody_else(
    engine: Engine, watch: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    from service.results import judging

    real = judging.fhir_snapshot.build

    def faulty(*, patient_id: str, **more: object) -> object:
        if patient_id == "p1":
            raise KeyError("something nobody expected")
        return real(patient_id=patient_id, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(judging.fhir_snapshot, "build", faulty)
    push(engine, watch, bundle(count("p1", 0.4), count("p2", 0.3, "b")))
    done = judge(engine, watch)
    assert (done.deliveries, done.failed) == (1, 1)
    from datetime import timedelta

    at = NOW
    for _ in range(8):
        at += timedelta(minutes=30)
        judge_waiting(engine, {watch.name: watch}.get, lambda at=at: at)
    with engine.connect() as connection:
        rows, _, aside = inbox.waiting(connection)
        found = connection.execute(
            select(INBOX.c.state, INBOX.c.why, INBOX.c.body).where(
                INBOX.c.site == watch.name, INBOX.c.patient_id == "p1"
            )
        ).one()
    assert (found.state, found.why) == ("aside", "KeyError")
    assert found.body, "somebody must look at it"
    assert (aside >= 1, rows) == (True, 0)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"{", "not valid JSON"),
        (b"[]", "Bundle or a single resource"),
        (b'{"resourceType":"Bundle","type":"document"}', "document is not taken"),
        (b'{"resourceType":"Bundle","type":"odd"}', "must be one of"),
        (b'{"resourceType":"Bundle","type":"batch","entry":3}', "must be a list"),
    ],
)
def test_what_is_no_delivery_is_refused_with_a_sentence(content: bytes, says: str) -> None:
    with pytest.raises(NotADelivery, match=says):
        read_delivery(content)


def test_a_site_that_this_process_does_not_know_yet_is_left_to_one_that_does(
    engine: Engine, watch: Site
) -> None:
    push(engine, watch, bundle(count("p1", 0.4)))
    judge_waiting(engine, lambda name: None, lambda: NOW)
    assert [state for state, _ in states(engine, watch.name)] == ["waiting"]
    assert judge(engine, watch).deliveries == 1


def test_a_site_that_was_taken_away_is_put_aside(engine: Engine, watch: Site) -> None:
    push(engine, watch, bundle(count("p1", 0.4)))
    judge_waiting(engine, lambda name: None, lambda: NOW + timedelta(minutes=11))
    assert [state for state, _ in states(engine, watch.name)] == ["aside"]
