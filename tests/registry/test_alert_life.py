"""The life of an alert: closed, in hand, brought back and rewritten by new evidence, told once on every channel."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import alembic.command
import httpx
import pytest
from fhir.resources.R4B.flag import Flag
from msgspec.structs import replace
from sqlalchemy import Engine, func, select, text, update

from service.alerts.case import remembered
from service.alerts.facts.patient import Medication
from service.registry import outbox, people, roster
from service.registry.sweep import start_run, sweep
from service.store import database
from service.store.database import engine_for, upgrade
from service.store.roster_tables import Alert, AlertEvent, OutboxItem, RegisteredPatient
from service.trail.audit import prune
from tests import data
from tests.command import command
from tests.data import NOW, bundle
from tests.registry.roster import anc, facts, register
from tests.registry.test_calls import StartService, _ask, _patient, _visit
from tests.registry.test_outbox import _deliver
from tests.registry.test_sweep import _alerts, _history, _learn, _sweep, _watch
from tests.registry.writable_ehr import WritableEhr
from tests.sites import but

ALERTS, EVENTS, ITEMS, PATIENTS = (t.__table__ for t in (Alert, AlertEvent, OutboxItem, RegisteredPatient))
CLOSED_BY = "Practitioner/7"


def _rows(engine: Engine, site: str) -> list[Any]:
    with engine.connect() as connection:
        return list(
            connection.execute(select(ALERTS).where(ALERTS.c.site == site).order_by(ALERTS.c.id)).all()
        )


def _row(engine: Engine, site: str, code: str) -> Any:
    """The one alert of a code that is not resolved."""
    [found] = [r for r in _rows(engine, site) if r.code == code and r.state != "resolved"]
    return found


def _close(engine: Engine, site: str, code: str, days: float = 0) -> int | None:
    alert = _row(engine, site, code).id
    with engine.begin() as connection:
        return people.close_alert(connection, alert, CLOSED_BY, "known", NOW + timedelta(days=days))


def _hand(engine: Engine, site: str, code: str, hours: float, days: float = 0) -> int | None:
    alert, now = _row(engine, site, code).id, NOW + timedelta(days=days)
    until = now + timedelta(hours=hours)
    with engine.begin() as connection:
        return people.take_in_hand(connection, alert, CLOSED_BY, until, "count ordered", now)


def _items(engine: Engine, site: str) -> list[tuple[str, str, str]]:
    with engine.connect() as connection:
        rows = connection.execute(
            select(ITEMS.c.channel, ITEMS.c.action, ITEMS.c.state)
            .where(ITEMS.c.site == site)
            .order_by(ITEMS.c.id)
        )
        return [tuple(row) for row in rows]


# -- new evidence ---------------------------------------------------------------------------------------------


def test_an_open_alert_says_what_holds_now(engine: Engine, site: str) -> None:
    """800, then 600: the severity stays, the sentence and the evidence do not."""
    register(engine, site, [facts("p1", anc(800, 1))])
    watch = _watch(site)
    _sweep(engine, watch)
    first = _row(engine, site, "anc-moderate-neutropenia")
    assert "800" in first.summary
    assert first.evidence[0]["reference"] == "Observation/anc-1"
    _learn(engine, site, "p1", anc(600, 0, "anc-2"))
    assert _sweep(engine, watch, 0.5).changes == {"rewritten": 1}
    now = _row(engine, site, "anc-moderate-neutropenia")
    assert now.id == first.id
    assert "600" in now.summary
    assert "Observation/anc-2" in {e["reference"] for e in now.evidence}
    assert _history(engine, site, "anc-moderate-neutropenia") == ["opened", "rewritten"]
    with engine.connect() as connection:
        [opened, rewritten] = connection.execute(
            select(EVENTS.c.summary).where(EVENTS.c.alert == now.id).order_by(EVENTS.c.id)
        ).scalars()
    assert ("800" in opened, "600" in rewritten) == (True, True)


def test_a_day_that_passes_moves_the_sentence_and_is_no_event(engine: Engine, site: str) -> None:
    register(engine, site, [facts("p1", anc(3200, 31))])
    watch = _watch(site)
    _sweep(engine, watch)
    before = _row(engine, site, "anc-overdue").summary
    assert _sweep(engine, watch, 3).changes == {}
    after = _row(engine, site, "anc-overdue").summary
    assert before != after
    assert "4 days" in after
    assert _history(engine, site, "anc-overdue") == ["opened"]


def _correct(engine: Engine, site: str, patient: str, *counts: Any) -> None:
    """The laboratory's results are these, and no others."""
    with engine.begin() as connection:
        row = roster.find(connection, site, patient)
        known = remembered.load(row.facts)
        fresh = replace(known, measurements={**known.measurements, "anc": counts})
        connection.execute(
            update(PATIENTS).where(PATIENTS.c.id == row.id).values(facts=remembered.dump(fresh))
        )


@pytest.mark.parametrize(
    "counts",
    [
        (anc(1050, 0.1, "anc-2"), anc(1200, 1)),
        (anc(1200, 0.1, "anc-2"), anc(1200, 1)),
        (anc(1300, 0.1, "anc-2"), anc(1200, 1)),
        (anc(1150, 1),),
        (anc(1200, 0.9),),
    ],
)
def test_new_evidence_brings_a_closed_alert_back(engine: Engine, site: str, counts: tuple[Any, ...]) -> None:
    register(engine, site, [facts("p1", anc(1200, 1))])
    watch = _watch(site)
    _sweep(engine, watch)
    assert _close(engine, site, "anc-mild-neutropenia")
    _correct(engine, site, "p1", *counts)
    assert _sweep(engine, watch, 0.1).changes == {"reopened": 1}
    found = _row(engine, site, "anc-mild-neutropenia")
    assert (found.state, str(int(counts[0].value)) in found.summary) == ("open", True)
    assert _history(engine, site, "anc-mild-neutropenia") == ["opened", "closed", "reopened"]


def test_a_closed_alert_stays_closed_though_unrelated_records_come(engine: Engine, site: str) -> None:
    register(engine, site, [facts("p1", anc(1200, 1))])
    watch = _watch(site)
    _sweep(engine, watch)
    _close(engine, site, "anc-mild-neutropenia")
    with engine.begin() as connection:
        row = roster.find(connection, site, "p1")
        known = remembered.load(row.facts)
        at = NOW - timedelta(hours=2)
        dose = Medication(
            "MedicationAdministration/1", "administration", ("clozapine",), "clozapine", start=at
        )
        cream = Medication("MedicationRequest/c", "order", (), "zinc oxide cream")
        fresh = replace(known, medications=(cream, *known.medications, dose))
        connection.execute(
            update(PATIENTS).where(PATIENTS.c.id == row.id).values(facts=remembered.dump(fresh))
        )
    assert "reopened" not in _sweep(engine, watch, 0.2).changes
    assert _row(engine, site, "anc-mild-neutropenia").state == "closed"


# -- what says stop -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "code"), [(400, "anc-severe-neutropenia"), (700, "anc-moderate-neutropenia")]
)
def test_what_says_stop_cannot_be_closed(engine: Engine, site: str, count: float, code: str) -> None:
    register(engine, site, [facts("p1", anc(count, 1))])
    _sweep(engine, _watch(site))
    with pytest.raises(people.NotClosable, match="Clozapine must stop while this finding holds"):
        _close(engine, site, code)
    assert _row(engine, site, code).state == "open"
    assert _history(engine, site, code) == ["opened"]


def test_a_stop_in_hand_comes_back_when_the_time_is_over(engine: Engine, site: str) -> None:
    code = "anc-severe-neutropenia"
    register(engine, site, [facts("p1", anc(400, 1))])
    watch = _watch(site)
    _sweep(engine, watch)
    assert _hand(engine, site, code, 20)
    assert _sweep(engine, watch, 0.5).changes == {}
    found = _row(engine, site, code)
    assert (found.state, found.hand_by, found.hand_reason) == ("in-hand", CLOSED_BY, "count ordered")
    with engine.connect() as connection:
        for now, state in ((NOW, "in-hand"), (NOW + timedelta(hours=21), "open")):
            listed = people.alerts(connection, sites=[site], now=now)
            assert [(a["code"], a["state"]) for a in listed if a["code"] == code] == [(code, state)]
    with engine.begin() as connection:
        assert people.give_back(connection, watch, NOW + timedelta(hours=19)) == 0
        assert people.give_back(connection, watch, NOW + timedelta(hours=20)) == 1
        assert people.give_back(connection, watch, NOW + timedelta(hours=20)) == 0
    found = _row(engine, site, code)
    assert (found.state, found.hand_by, found.hand_until) == ("open", "", None)
    assert _history(engine, site, code) == ["opened", "in-hand", "reopened"]


def test_the_sweep_opens_what_nobody_has_in_hand_any_more(engine: Engine, site: str) -> None:
    code = "anc-severe-neutropenia"
    register(engine, site, [facts("p1", anc(400, 1))])
    watch = _watch(site)
    _sweep(engine, watch)
    _hand(engine, site, code, 20)
    _sweep(engine, watch, 1)
    assert _row(engine, site, code).state == "open"


@pytest.mark.parametrize("count", [100, 400, 450])
def test_new_evidence_brings_a_stop_in_hand_back_at_once(engine: Engine, site: str, count: float) -> None:
    code = "anc-severe-neutropenia"
    register(engine, site, [facts("p1", anc(400, 1))])
    watch = _watch(site)
    _sweep(engine, watch)
    _hand(engine, site, code, 20)
    _learn(engine, site, "p1", anc(count, 0, "anc-2"))
    assert _sweep(engine, watch, 0.2).changes == {"reopened": 1}
    found = _row(engine, site, code)
    assert (found.state, f"ANC {count}/" in found.summary, found.hand_until) == ("open", True, None)


def test_nobody_has_an_alert_in_hand_for_longer_than_a_day(engine: Engine, site: str) -> None:
    code = "anc-severe-neutropenia"
    register(engine, site, [facts("p1", anc(400, 1))])
    _sweep(engine, _watch(site))
    for hours in (24.1, 0, -1):
        with pytest.raises(people.NotClosable, match="until"):
            _hand(engine, site, code, hours)
    assert _hand(engine, site, code, 24)
    assert _hand(engine, site, code, 24, days=0.9), "it may be taken in hand anew"
    assert _history(engine, site, code) == ["opened", "in-hand", "in-hand"]


def test_a_stop_that_an_older_version_closed_is_open_again(engine: Engine, site: str) -> None:
    register(engine, site, [facts("p1", anc(400, 1)), facts("p2", anc(3200, 31))])
    watch = _watch(site)
    _sweep(engine, watch)
    with engine.begin() as connection:
        connection.execute(
            update(ALERTS).where(ALERTS.c.site == site).values(state="closed", seen="", evidence=None)
        )
    assert _sweep(engine, watch, 0.5).changes == {"reopened": 1}
    assert _row(engine, site, "anc-severe-neutropenia").state == "open"
    # Whatever else was closed stays so: what it rests on now is taken for what was seen.
    kept = _row(engine, site, "anc-overdue")
    assert (kept.state, kept.seen != "") == ("closed", True)
    assert _sweep(engine, watch, 0.6).changes == {}


def test_who_closes_an_alert_that_says_something_else_by_now_is_told(engine: Engine, site: str) -> None:
    register(engine, site, [facts("p1", anc(1200, 1))])
    _sweep(engine, _watch(site))
    found = _row(engine, site, "anc-mild-neutropenia")
    with engine.begin() as connection:
        connection.execute(update(ALERTS).where(ALERTS.c.id == found.id).values(seen="x"))
        assert people._record(connection, found, "closed", {"state": "closed"}, "a", "b", NOW) is None
    assert _row(engine, site, "anc-mild-neutropenia").state == "open"


# -- what is open is told -------------------------------------------------------------------------------------


def _told(engine: Engine, watch: Any, ehr: WritableEhr, tmp_path: Any, days: float) -> list[dict[str, Any]]:
    """Deliver; the webhooks that came."""
    before = len(ehr.hooks)
    _deliver(engine, watch, ehr, tmp_path, days * 24 * 60)
    return [json.loads(body) for _, body in ehr.hooks[before:]]


def test_going_live_tells_what_is_open_exactly_once(
    engine: Engine, site: str, ehr: WritableEhr, tmp_path: Any
) -> None:
    register(engine, site, [facts("p1", anc(400, 1)), facts("p2", anc(3200, 31)), facts("p3", anc(3200, 3))])
    live = _watch(
        site, write_back=("Task", "Flag"), fhir_servers=(f"{ehr.base_url}/fhir",), webhook=f"{ehr.base_url}/webhook"
    )  # fmt: skip
    shadow = but(live, shadow=True)
    for day in range(3):
        _sweep(engine, shadow, day)
    with engine.begin() as connection:
        p2 = select(PATIENTS.c.id).where(PATIENTS.c.site == site, PATIENTS.c.patient_id == "p2")
        late = connection.execute(select(ALERTS.c.id).where(ALERTS.c.patient.in_(p2))).scalar_one()
        assert people.close_alert(connection, late, CLOSED_BY, "taken elsewhere", NOW + timedelta(days=2))
    assert _told(engine, shadow, ehr, tmp_path, 2) == []
    assert _items(engine, site) == []
    for day in (3, 3.1, 4):
        _sweep(engine, live, day)
    told = _told(engine, live, ehr, tmp_path, 4)
    severe = [t for t in told if t["code"] == "anc-severe-neutropenia"]
    assert [(t["what"], t["patient"]) for t in severe] == [("opened", "Patient/p1")]
    assert "anc-overdue" not in {t["code"] for t in told if t["patient"] == "Patient/p2"}, "it was closed"
    [flag] = [r for r in ehr.resources["Flag"] if r["code"]["coding"][0]["code"] == "anc-severe-neutropenia"]
    Flag.model_validate(flag)
    _sweep(engine, live, 5)
    assert [t for t in _told(engine, live, ehr, tmp_path, 5) if t["code"] == "anc-severe-neutropenia"] == []
    assert len(ehr.resources["Flag"]) == 1


def test_switching_a_channel_on_tells_what_is_open_on_it(
    engine: Engine, site: str, ehr: WritableEhr, tmp_path: Any
) -> None:
    register(engine, site, [facts("p1", anc(400, 1)), facts("p2", anc(3200, 31))])
    nothing = _watch(site, fhir_servers=(f"{ehr.base_url}/fhir",))
    _sweep(engine, nothing)
    hook = but(nothing, webhook=f"{ehr.base_url}/webhook")
    _sweep(engine, hook, 0.1)
    assert {t["code"] for t in _told(engine, hook, ehr, tmp_path, 0.1)} >= {
        "anc-severe-neutropenia",
        "anc-overdue",
    }
    both = but(hook, write_back=("Flag",))
    _sweep(engine, both, 0.2)
    assert _told(engine, both, ehr, tmp_path, 0.2) == [], "the webhook knows"
    assert len(ehr.resources["Flag"]) == 1
    tasks = but(both, write_back=("Flag", "Task"))
    _sweep(engine, tasks, 0.3)
    _deliver(engine, tasks, ehr, tmp_path, 0.3 * 24 * 60)
    assert (len(ehr.resources["Flag"]), len(ehr.resources["Task"])) == (1, 1)


def test_a_code_that_leaves_the_shadow_is_told(
    engine: Engine, site: str, ehr: WritableEhr, tmp_path: Any
) -> None:
    register(engine, site, [facts("p1", anc(400, 1)), facts("p2", anc(3200, 31))])
    live = _watch(
        site, write_back=("Flag",), fhir_servers=(f"{ehr.base_url}/fhir",), webhook=f"{ehr.base_url}/webhook"
    )
    quiet = but(live, shadow_codes=("anc-severe-neutropenia",))
    for day in (0, 1):
        _sweep(engine, quiet, day)
    assert "anc-severe-neutropenia" not in {t["code"] for t in _told(engine, quiet, ehr, tmp_path, 1)}
    _sweep(engine, live, 2)
    told = _told(engine, live, ehr, tmp_path, 2)
    assert [t["what"] for t in told if t["code"] == "anc-severe-neutropenia"] == ["opened"]
    assert [t for t in told if t["code"] == "anc-overdue" and t["patient"] == "Patient/p2"] == []
    assert len(ehr.resources["Flag"]) == 1


def test_what_changed_in_shadow_mode_is_told_after_it(
    engine: Engine, site: str, ehr: WritableEhr, tmp_path: Any
) -> None:
    register(engine, site, [facts("p1", anc(3200, 31))])
    live = _watch(
        site, write_back=("Task",), fhir_servers=(f"{ehr.base_url}/fhir",), webhook=f"{ehr.base_url}/webhook"
    )
    _sweep(engine, live)
    _told(engine, live, ehr, tmp_path, 0)
    _sweep(engine, but(live, shadow=True), 31)  # critical by then
    _sweep(engine, live, 32)
    told = [t for t in _told(engine, live, ehr, tmp_path, 32) if t["code"] == "anc-overdue"]
    assert [(t["what"], t["severity"]) for t in told] == [("raised", "critical")]
    [task] = [t for t in ehr.resources["Task"] if t["code"]["coding"][0]["code"] == "anc-overdue"]
    assert task["priority"] == "urgent"


def test_replicas_that_go_live_together_tell_once(postgres_url: str, ehr: WritableEhr, tmp_path: Any) -> None:
    upgrade(postgres_url)
    engine = engine_for(postgres_url)
    site = f"site-{tmp_path.name}"
    register(engine, site, [facts(f"p{n}", anc(400, 1)) for n in range(60)])
    live = _watch(site, webhook=f"{ehr.base_url}/webhook")
    _sweep(engine, but(live, shadow=True))
    at = NOW + timedelta(days=1)
    run = start_run(engine, site, at, at)
    with ThreadPoolExecutor(3) as replicas:
        done = list(replicas.map(lambda _: sweep(engine, live, run, batch=5).patients, range(3)))
    assert sum(done) == 60
    with engine.connect() as connection:
        told = connection.execute(
            select(func.count(), func.count(func.distinct(ITEMS.c.alert)))
            .join(ALERTS, ALERTS.c.id == ITEMS.c.alert)
            .where(ITEMS.c.site == site, ALERTS.c.code == "anc-severe-neutropenia")
        ).one()
    assert tuple(told) == (60, 60)
    engine.dispose()


def test_a_sweep_that_is_killed_while_going_live_tells_nothing_twice(
    engine: Engine, site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(engine, site, [facts(f"p{n}", anc(400, 1)) for n in range(4)])
    live = _watch(site, webhook="http://127.0.0.1:9/")
    _sweep(engine, but(live, shadow=True))
    real = outbox.tell_what_is_open
    calls = 0

    def dying(*given: Any) -> None:
        nonlocal calls
        calls += 1
        real(*given)
        if calls == 2:
            raise KeyboardInterrupt  # after it was queued, before it is committed

    monkeypatch.setattr(outbox, "tell_what_is_open", dying)
    with pytest.raises(KeyboardInterrupt):
        _sweep(engine, live, 0.1, batch=2)
    assert len(_items(engine, site)) == 2, (
        "the first batch is there, the second one went with its transaction"
    )
    _sweep(engine, live, 0.1, batch=2)
    assert len(_items(engine, site)) == 4


def test_what_was_told_is_not_told_again_when_it_is_forgotten(
    engine: Engine, site: str, ehr: WritableEhr, tmp_path: Any
) -> None:
    register(engine, site, [facts("p1", anc(400, 1))])
    live = _watch(site, webhook=f"{ehr.base_url}/webhook", due_again_days=365)
    _sweep(engine, live)
    assert _told(engine, live, ehr, tmp_path, 0)
    prune(engine, NOW + timedelta(days=360), 30)
    _sweep(engine, live, 360)
    assert "anc-severe-neutropenia" not in {t["code"] for t in _told(engine, live, ehr, tmp_path, 360)}


def test_an_alert_that_was_over_before_it_was_told_is_told_to_nobody(
    engine: Engine, site: str, ehr: WritableEhr, tmp_path: Any
) -> None:
    register(engine, site, [facts("p1", anc(3200, 31))])
    live = _watch(
        site, write_back=("Task",), fhir_servers=(f"{ehr.base_url}/fhir",), webhook=f"{ehr.base_url}/webhook"
    )
    _sweep(engine, live)  # waits, the EHR is away
    _learn(engine, site, "p1", anc(3100, -0.5, "anc-2"))
    _sweep(engine, but(live, shadow=True), 1)
    assert _items(engine, site) == [
        ("Task", "raise", "dropped"),
        ("webhook", "raise", "dropped"),
        ("Task", "withdraw", "waiting"),
    ]
    assert _told(engine, live, ehr, tmp_path, 1) == []
    assert ehr.written == []


def test_a_notice_that_was_sent_and_not_noted_is_ended_though_it_was_dropped(
    engine: Engine, site: str, ehr: WritableEhr, tmp_path: Any
) -> None:
    register(engine, site, [facts("p1", anc(3200, 31)), facts("p2", anc(3200, 31))])
    live = _watch(site, write_back=("Task",), fhir_servers=(f"{ehr.base_url}/fhir",))
    _sweep(engine, live)
    _deliver(engine, live, ehr, tmp_path)
    with engine.begin() as connection:  # as if the process had died between sending and noting it
        connection.execute(update(ITEMS).where(ITEMS.c.site == site).values(state="waiting", location=""))
    _learn(engine, site, "p1", anc(3100, -0.5, "anc-2"))
    _sweep(engine, live, 1)
    _deliver(engine, live, ehr, tmp_path, 24 * 60)
    assert {t["for"]["reference"]: t["status"] for t in ehr.resources["Task"]} == {
        "Patient/p1": "cancelled",
        "Patient/p2": "requested",
    }


# -- notices that people have ended ---------------------------------------------------------------------------


@pytest.mark.parametrize("made_of_it", ["completed", "cancelled", "deleted"])
def test_a_raise_writes_a_new_notice_when_the_old_one_is_over(
    engine: Engine, site: str, ehr: WritableEhr, tmp_path: Any, made_of_it: str
) -> None:
    register(engine, site, [facts("p1", anc(3200, 31))])
    live = _watch(site, write_back=("Task",), fhir_servers=(f"{ehr.base_url}/fhir",))
    _sweep(engine, live)
    _deliver(engine, live, ehr, tmp_path)
    if made_of_it == "deleted":
        ehr.resources["Task"].clear()
    else:
        ehr.resources["Task"][0]["status"] = made_of_it
    _sweep(engine, live, 30)
    _deliver(engine, live, ehr, tmp_path, 30 * 24 * 60)
    overdue = [t for t in ehr.resources["Task"] if t["code"]["coding"][0]["code"] == "anc-overdue"]
    assert [(t["status"], t["priority"]) for t in overdue if t["status"] != made_of_it] == [
        ("requested", "urgent")
    ]
    _learn(engine, site, "p1", anc(3100, -30, "anc-2"))
    _sweep(engine, live, 31)
    _deliver(engine, live, ehr, tmp_path, 31 * 24 * 60)
    overdue = [t for t in ehr.resources["Task"] if t["code"]["coding"][0]["code"] == "anc-overdue"]
    expected = {
        "completed": ["completed", "cancelled"],
        "cancelled": ["cancelled"] * 2,
        "deleted": ["cancelled"],
    }
    assert [t["status"] for t in overdue] == expected[made_of_it], (
        "the new one is withdrawn, the old one left alone"
    )


def test_a_new_notice_whose_answer_was_lost_is_not_written_twice(
    engine: Engine, site: str, ehr: WritableEhr, tmp_path: Any
) -> None:
    register(engine, site, [facts("p1", anc(3200, 31))])
    live = _watch(site, write_back=("Task",), fhir_servers=(f"{ehr.base_url}/fhir",))
    _sweep(engine, live)
    _deliver(engine, live, ehr, tmp_path)
    ehr.resources["Task"][0]["status"] = "completed"
    _sweep(engine, live, 30)
    _deliver(engine, live, ehr, tmp_path, 30 * 24 * 60)
    with engine.begin() as connection:
        newest = (
            select(func.max(ITEMS.c.id))
            .where(ITEMS.c.site == site, ITEMS.c.action == "raise")
            .scalar_subquery()
        )
        changed = connection.execute(
            update(ITEMS).where(ITEMS.c.id == newest).values(state="waiting", location="", action="change")
        )
        assert changed.rowcount == 1
    count = len(ehr.resources["Task"])
    _deliver(engine, live, ehr, tmp_path, 30 * 24 * 60 + 5)
    assert len(ehr.resources["Task"]) == count


def test_a_milder_alert_leaves_a_completed_notice_alone(
    engine: Engine, site: str, ehr: WritableEhr, tmp_path: Any
) -> None:
    register(engine, site, [facts("p1", anc(3200, 65))])
    live = _watch(site, write_back=("Task",), fhir_servers=(f"{ehr.base_url}/fhir",))
    _sweep(engine, live)
    _deliver(engine, live, ehr, tmp_path)
    for task in ehr.resources["Task"]:
        task["status"] = "completed"
    before = len(ehr.resources["Task"])
    _correct(engine, site, "p1", anc(3200, 40))
    assert "lowered" in _sweep(engine, live, 0.5).changes
    _deliver(engine, live, ehr, tmp_path, 0.5 * 24 * 60)
    assert len(ehr.resources["Task"]) == before


def test_closing_withdraws_the_notice_and_new_evidence_writes_another(
    engine: Engine, site: str, ehr: WritableEhr, tmp_path: Any
) -> None:
    register(engine, site, [facts("p1", anc(1200, 1))])
    live = _watch(
        site, write_back=("Flag",), fhir_servers=(f"{ehr.base_url}/fhir",), webhook=f"{ehr.base_url}/webhook"
    )
    _sweep(engine, live)
    event = _close(engine, site, "anc-mild-neutropenia")
    assert event is not None
    alert = _row(engine, site, "anc-mild-neutropenia").id
    _deliver(engine, live, ehr, tmp_path)
    with engine.begin() as connection:
        outbox.tell_closed(connection, live, alert, event, NOW)
    _deliver(engine, live, ehr, tmp_path, 1)
    assert [f["status"] for f in ehr.resources["Flag"]] == ["inactive"]
    _learn(engine, site, "p1", anc(1050, 0, "anc-2"))
    _sweep(engine, live, 0.5)
    _deliver(engine, live, ehr, tmp_path, 0.5 * 24 * 60)
    flags = ehr.resources["Flag"]
    assert [f["status"] for f in flags] == ["inactive", "active"]
    assert "1050" in flags[1]["code"]["text"]
    mild = [json.loads(b) for _, b in ehr.hooks if b"anc-mild" in b]
    assert [m["what"] for m in mild] == ["opened", "closed", "reopened"]


def test_taking_a_patient_off_tells_the_webhook(
    engine: Engine, site: str, ehr: WritableEhr, tmp_path: Any
) -> None:
    register(engine, site, [facts("p1", anc(1200, 1))])
    live = _watch(site, webhook=f"{ehr.base_url}/webhook")
    _sweep(engine, live)
    _told(engine, live, ehr, tmp_path, 0)
    with engine.begin() as connection:
        roster.unenrol(connection, site, "p1", "pharmacy", NOW, live)
    told = _told(engine, live, ehr, tmp_path, 0.1)
    assert {t["what"] for t in told} == {"resolved"}
    assert "anc-mild-neutropenia" in {t["code"] for t in told}


# -- a database of an older version ---------------------------------------------------------------------------


def test_a_database_of_the_version_before_goes_on(
    request: pytest.FixtureRequest, url: str, ehr: WritableEhr, tmp_path: Any
) -> None:
    """Rows as 0.3.1 left them, written by a version that knows no new column: nothing is told twice, what was never told is."""
    if url.startswith("postgresql"):
        with engine_for(url).connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("CREATE DATABASE older"))
        url = url.replace("/postgres?", "/older?")
    alembic.command.upgrade(database._config(url), "0007")
    engine = engine_for(url)
    site, at = "old", (NOW - timedelta(days=20)).astimezone(UTC)
    moment = at.replace(tzinfo=None).isoformat(" ") + (
        "+00" if engine.dialect.name == "postgresql" else ".000000"
    )
    register(engine, site, [facts("p1", anc(400, 21)), facts("p2", anc(3200, 51))])
    stop, late = ("anc-severe-neutropenia", "critical", 2), ("anc-overdue", "warning", 1)
    with engine.begin() as connection:
        ids = {
            r.patient_id: r.id for r in connection.execute(select(PATIENTS.c.id, PATIENTS.c.patient_id)).all()
        }
        for number, (patient, (code, severity, rank)) in enumerate((("p1", stop), ("p2", late)), 1):
            connection.execute(
                text(
                    "INSERT INTO alert (patient, site, code, subject, severity, severity_rank, summary, policy, state, opened_at,"
                    f" notified_at, changed_at) VALUES ({ids[patient]}, 'old', '{code}', 'anc', '{severity}', {rank}, 's',"
                    f" 'p', '{'closed' if number == 1 else 'open'}', '{moment}', '{moment}', '{moment}')"
                )
            )
            connection.execute(
                text(
                    "INSERT INTO alert_event (alert, at, what, severity, summary, by, note)"
                    f" VALUES ({number}, '{moment}', 'opened', '{severity}', 's', 'sweep', '')"
                )
            )
        connection.execute(  # the Task of p2 was written
            text(
                "INSERT INTO outbox (alert, site, key, channel, action, payload, state, attempts, next_try_at, last_error, location)"
                " VALUES (2, 'old', 'old-alert-2-Task', 'Task', 'raise', '{}', 'sent', 1,"
                f" '{moment}', '', 'Task/1')"
            )
        )
    upgrade(url)
    assert database.not_ready(engine) == ""
    live = _watch(site, write_back=("Task", "Flag"), fhir_servers=(f"{ehr.base_url}/fhir",))
    _sweep(engine, live)
    found = {code: state for code, _, state in _alerts(engine, site) if code in (stop[0], late[0])}
    assert found[stop[0]] == "open"
    of_late = _history(engine, site, late[0])
    assert "rewritten" not in of_late
    with engine.connect() as connection:
        told = connection.execute(
            select(ITEMS.c.alert, ITEMS.c.channel, ITEMS.c.action)
            .where(ITEMS.c.alert.in_((1, 2)))
            .order_by(ITEMS.c.id)
        ).all()
    assert [tuple(t) for t in told] == [(2, "Task", "raise"), (1, "Flag", "raise")]
    engine.dispose()


# -- HTTP and the command line --------------------------------------------------------------------------------


def _error(answer: httpx.Response) -> str:
    return str(answer.json()["issue"][0]["details"]["text"])


def test_over_http_a_stop_is_taken_in_hand_and_not_closed(start_service: StartService) -> None:
    service = start_service(enrol=True, site_name="hands", sweep="", time_zone="America/New_York")
    _ask(service, _visit(counts=bundle(data.anc(0.4, 1))))
    state = service.app.state  # type: ignore[attr-defined]
    scheduler = state.schedulers.make(state.directory.by_name["hands"])
    asyncio.run(scheduler.run(NOW + timedelta(minutes=1)))

    def alerts(which: str = "open") -> list[dict[str, Any]]:
        found = service.get("/alerts", params={"state": which}).json()["alerts"]
        return [a for a in found if a["code"] == "anc-severe-neutropenia"]

    [alert] = alerts()
    assert "seen" not in alert
    assert alert["evidence"][0]["reference"] == "Observation/anc-1"
    assert alert["record_read_at"].startswith("2026-11-20T10:00")
    refused = service.post(f"/alerts/{alert['id']}/close", json={"note": "known", "by": "Dr Lee"})
    assert refused.status_code == 409
    assert "it cannot be closed. Take it in hand" in _error(refused)
    path = f"/alerts/{alert['id']}/hand"
    until = (NOW + timedelta(hours=5)).isoformat()
    for body, says in (
        ({"until": until, "reason": " "}, "reason"),
        ({"until": "tomorrow", "reason": "r"}, "until"),
        ({"until": "2026-11-21", "reason": "r"}, "until"),
        ({"until": (NOW + timedelta(hours=25)).isoformat(), "reason": "r"}, "24 hours"),
        ({"until": NOW.isoformat(), "reason": "r"}, "future"),
        ({"reason": "r"}, "until"),
    ):
        answer = service.post(path, json=body)
        assert (answer.status_code, says in _error(answer)) == (400, True), (body, _error(answer))
    assert service.post("/alerts/999999/hand", json={"until": until, "reason": "r"}).status_code == 404
    taken = service.post(path, json={"until": "2026-11-20T10:00", "reason": "count ordered", "by": "Dr Lee"})
    assert taken.status_code == 200, taken.text
    assert taken.json()["until"] == "2026-11-20T10:00:00-05:00", "the site's zone"
    [listed] = alerts()
    assert (listed["state"], listed["hand_by"], listed["hand_reason"]) == (
        "in-hand",
        "Dr Lee",
        "count ordered",
    )
    assert [a["id"] for a in alerts("in-hand")] == [alert["id"]]
    assert alerts("closed") == []
    [taken_event, opened] = [e for e in _patient(service)["history"] if e["code"] == "anc-severe-neutropenia"]
    assert (taken_event["what"], taken_event["by"], opened["what"]) == ("in-hand", "Dr Lee", "opened")
    assert taken_event["note"] == "until 2026-11-20 15:00 UTC: count ordered"


def test_the_scheduler_gives_alerts_back_between_sweeps(engine: Engine, site: str) -> None:
    from service.registry.scheduler import Scheduler

    register(engine, site, [facts("p1", anc(400, 1))])
    watch = _watch(site)
    _sweep(engine, watch)
    _hand(engine, site, "anc-severe-neutropenia", 3)
    clock = NOW
    scheduler = Scheduler(engine, watch, lambda: clock, lambda: httpx.AsyncClient(trust_env=False))
    asyncio.run(scheduler.deliver())
    assert _row(engine, site, "anc-severe-neutropenia").state == "in-hand"
    clock = NOW + timedelta(hours=3, seconds=30)
    asyncio.run(scheduler.deliver())
    assert _row(engine, site, "anc-severe-neutropenia").state == "open"


def test_the_command_line_closes_and_takes_in_hand(tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path}/cli.db"
    upgrade(url)
    engine = engine_for(url)
    now = datetime.now(UTC)
    shift = now - NOW

    def counted(patient: str, value: float) -> Any:
        person = facts(patient, anc(value, 1))
        aged = {
            kind: tuple(replace(m, at=m.at + shift) for m in values)
            for kind, values in person.measurements.items()
        }
        return replace(person, measurements=aged)

    register(engine, "cli", [counted("p1", 400), counted("p2", 1200)])
    watch = _watch("cli")
    sweep(engine, watch, start_run(engine, "cli", now, now))
    numbers = {r.code: r.id for r in _rows(engine, "cli")}
    stop, mild = numbers["anc-severe-neutropenia"], numbers["anc-mild-neutropenia"]
    environment = {"CLOZAPINE_CDS_DATABASE_URL": url, "CLOZAPINE_CDS_SITE_NAME": "cli"}

    def run(*given: str) -> tuple[int, str, str]:
        done = command("registry", *given, env=environment)
        return done.returncode, done.stdout, done.stderr

    code, _, said = run("close", str(stop), "--by", "Dr Lee", "--note", "known")
    assert (code, "it cannot be closed" in said, said.count("\n")) == (1, True, 1)
    assert run("close", str(mild), "--by", "Dr Lee", "--note", "known")[0] == 0
    assert run("close", str(mild), "--by", "Dr Lee", "--note", "known")[0] == 1
    assert run("close", "4711", "--by", "Dr Lee", "--note", "known")[0] == 1
    until = (now + timedelta(hours=6)).isoformat()
    assert run("hand", str(stop), "--by", "Dr Lee", "--until", until, "--reason", "recheck")[0] == 0
    far = (now + timedelta(hours=30)).isoformat()
    code, _, said = run("hand", str(stop), "--by", "Dr Lee", "--until", far, "--reason", "recheck")
    assert (code, "24 hours" in said) == (1, True)
    code, listed, _ = run("alerts", "--json")
    rows = {r["code"]: r for r in json.loads(listed)}
    assert rows["anc-severe-neutropenia"]["state"] == "in-hand"
    assert "anc-mild-neutropenia" not in rows
    assert "in-hand" in run("alerts")[1]
    assert _history(engine, "cli", "anc-mild-neutropenia") == ["opened", "closed"]
    engine.dispose()
