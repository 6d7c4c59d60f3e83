"""Stops that no record dates, as the registry keeps them: bounded by what it saw itself, followed up, and never dated back."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import Engine, select, update

from service.alerts.case import remembered
from service.alerts.facts.patient import Measurement, PatientSnapshot
from service.alerts.policy.policy import policy_by_id
from service.registry import roster
from service.registry.sweep import start_run, sweep
from service.store.roster_tables import Alert, RegisteredPatient
from tests import data
from tests.data import NOW
from tests.registry.roster import ZONE, anc, facts, register
from tests.registry.test_refresh import _refresh, _stored
from tests.registry.writable_ehr import WritableEhr
from tests.sites import site_of

US = policy_by_id("us-label-2025")
ALERTS, PATIENTS = Alert.__table__, RegisteredPatient.__table__


def _monthly(last: int, first: int = 390) -> tuple[Measurement, ...]:
    return tuple(anc(3000, days, f"anc-{days}") for days in range(last, first, 28))


def _over(known: PatientSnapshot, status: str = "completed", **more: Any) -> PatientSnapshot:
    """The same record once its order is over; no end is stated."""
    order, *rest = known.medications
    return replace(
        known, medications=(replace(order, status=status, stops=status == "stopped", **more), *rest)
    )


def _learn(engine: Engine, site: str, read: PatientSnapshot, at: datetime) -> None:
    with engine.begin() as connection:
        roster.enrol(connection, site, US, read, at)


def _row(engine: Engine, site: str) -> Any:
    with engine.connect() as connection:
        return roster.find(connection, site, "p1")


def _open(engine: Engine, site: str, at: datetime) -> list[tuple[str, str]]:
    """Open alerts after a sweep."""
    sweep(engine, site_of(site, ZONE), start_run(engine, site, at, at))
    with engine.connect() as connection:
        rows = connection.execute(
            select(ALERTS.c.code, ALERTS.c.severity)
            .where(ALERTS.c.site == site, ALERTS.c.state == "open")
            .order_by(ALERTS.c.code)
        )
        return [(row.code, row.severity) for row in rows]


@pytest.mark.parametrize("status", ["completed", "stopped", "on-hold"])
def test_an_order_that_was_active_yesterday_ended_since(engine: Engine, site: str, status: str) -> None:
    known = facts("p1", *_monthly(20), course_days=600)
    _learn(engine, site, known, NOW - timedelta(days=1))
    assert _row(engine, site).state == "on"
    _learn(engine, site, _over(known, status), NOW)
    row = _row(engine, site)
    assert (row.state, row.stopped_at) == ("stopped", NOW.astimezone(ZONE).date())
    order = remembered.load(row.facts).medications[0]
    assert (order.seen_active, order.updated) == (NOW - timedelta(days=1), NOW)


def test_the_stop_keeps_its_day_and_the_follow_up_is_asked_for(engine: Engine, site: str) -> None:
    known = facts("p1", *_monthly(20), course_days=600)
    register(engine, site, [known])
    _learn(engine, site, known, NOW - timedelta(days=1))
    over = _over(known)
    _learn(engine, site, over, NOW)
    stopped = _row(engine, site).stopped_at
    assert _open(engine, site, NOW) == []  # a count is 20 days old, and due every month
    later = NOW + timedelta(days=12)
    _learn(engine, site, over, later)
    assert _row(engine, site).stopped_at == stopped
    assert _open(engine, site, later) == [("anc-post-stop", "warning")]
    counted = replace(over, measurements={**over.measurements, "anc": (*_monthly(20), anc(3000, -13, "new"))})
    _learn(engine, site, counted, NOW + timedelta(days=14))
    assert _open(engine, site, NOW + timedelta(days=14)) == []


def test_a_low_count_after_an_undated_stop_opens_an_alert(engine: Engine, site: str) -> None:
    known = facts("p1", *_monthly(20), course_days=600)
    _learn(engine, site, known, NOW - timedelta(days=1))
    low = replace(known, measurements={**known.measurements, "anc": (anc(400, 0, "low"), *_monthly(20))})
    _learn(engine, site, _over(low), NOW)
    assert ("anc-severe-neutropenia", "critical") in _open(engine, site, NOW + timedelta(days=2))


def test_the_last_change_of_the_order_is_nearer_than_the_day_it_was_read(engine: Engine, site: str) -> None:
    known = facts("p1", *_monthly(20), course_days=600)
    _learn(engine, site, known, NOW - timedelta(days=9))
    changed = NOW - timedelta(days=4)
    _learn(engine, site, _over(known, "stopped", updated=changed), NOW)
    assert _row(engine, site).stopped_at == changed.astimezone(ZONE).date()


def test_an_order_that_was_carried_out_is_no_stop_for_a_week(engine: Engine, site: str) -> None:
    """Between two prescriptions the patient stays on the list; without the next one the stop is dated to the last change."""
    known = facts("p1", *_monthly(20), course_days=600)
    _learn(engine, site, known, NOW - timedelta(days=9))
    changed = NOW - timedelta(days=4)
    over = _over(known, updated=changed)
    _learn(engine, site, over, NOW)
    assert (_row(engine, site).state, _row(engine, site).stopped_at) == ("on", None)
    _learn(engine, site, over, NOW + timedelta(days=4))
    row = _row(engine, site)
    assert (row.state, row.stopped_at) == ("stopped", changed.astimezone(ZONE).date())


def test_an_order_changed_before_the_last_reading_was_not_seen_active_then(engine: Engine, site: str) -> None:
    known = facts("p1", *_monthly(20), course_days=600)
    _learn(engine, site, known, NOW - timedelta(days=1))
    _learn(engine, site, _over(known, updated=NOW - timedelta(days=30)), NOW)
    order = remembered.load(_row(engine, site).facts).medications[0]
    assert (order.seen_active, order.updated) == (None, NOW - timedelta(days=30))


def test_what_was_over_when_first_seen_is_not_dated_to_the_next_reading(engine: Engine, site: str) -> None:
    """Facts of a stop long ago: reading them again must not open the follow-up anew."""
    known = facts("p1", *_monthly(360, 600), course_days=600)
    register(engine, site, [_over(known)])
    _learn(engine, site, _over(known), NOW)
    order = remembered.load(_row(engine, site).facts).medications[0]
    assert (order.seen_active, order.updated) == (None, None)
    assert _row(engine, site).stopped_at < (NOW - timedelta(days=250)).date()
    assert _open(engine, site, NOW) == []


def test_a_reading_of_the_ehr_brings_the_last_change(engine: Engine, site: str, ehr: WritableEhr) -> None:
    patient = facts("p1", *_monthly(20), course_days=500)
    register(engine, site, [patient])
    ehr.add(
        data.clozapine(
            300, id="p1", status="stopped", patient="p1", authoredOn=data.day_ago(500), meta={"lastUpdated": data.ago(3)}
        ),
        data.anc(3.0, 20, id="anc-new", patient="p1"),
        {"resourceType": "Patient", "id": "p1", "gender": "female", "birthDate": "1984-05-02"},
    )  # fmt: skip
    assert _refresh(engine, site, ehr).patients == 1
    row = _stored(engine, site, "p1")
    assert (row.state, row.stopped_at.isoformat()) == ("stopped", data.day_ago(3))


def test_facts_without_the_new_witnesses_are_read(engine: Engine, site: str) -> None:
    register(engine, site, [facts("p1", anc(3200, 3))])
    with engine.begin() as connection:
        stored = roster.find(connection, site, "p1").facts
        plain = stored.replace('"seen_active":null,', "").replace('"updated":null,', "")
        assert plain != stored
        connection.execute(update(PATIENTS).where(PATIENTS.c.site == site).values(facts=plain))
    assert remembered.load(_row(engine, site).facts).medications[0].seen_active is None
