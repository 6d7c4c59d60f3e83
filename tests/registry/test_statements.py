"""Statements: kept, evaluated at once, and held against what the EHR still does; the worklist sorts by what must be done."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from msgspec.structs import replace
from sqlalchemy import Engine

from service.alerts.case import remembered
from service.alerts.case.case import Case
from service.alerts.facts.patient import ClinicianFlag, Medication
from service.alerts.facts.record_text import RecordText
from service.registry import roster, statements, worklist
from service.registry.requests import moment_of
from service.registry.scheduler import planned_minute
from service.registry.sweep import is_finished, start_run
from tests.data import NOW
from tests.registry.roster import ZONE, anc, facts, register
from tests.registry.test_calls import StartService, _ask, _patient, _visit
from tests.registry.test_sweep import _sweep, _watch

LAST_DOSE = "2026-11-18T22:00"
HALT = {"lastDose": LAST_DOSE, "reason": "neutropenia"}


def _read(text: str) -> datetime | None:
    return moment_of(text, ZONE)


def _state(
    engine: Engine, site: str, patient: str, kind: str, details: Any = None, **more: Any
) -> dict[str, Any]:
    said, since = statements.details_of(kind, details, NOW, _read)
    flag = ClinicianFlag(kind, RecordText("Dr Hema"), NOW, RecordText("agreed"), since=since, **more)
    with engine.begin() as connection:
        row = roster.find(connection, site, patient)
        return statements.state(connection, _watch(site), row.id, flag, said, "token", NOW)


def _codes(view: dict[str, Any]) -> set[str]:
    return {a["code"] for a in view["alerts"]}


def test_ben_moves_the_due_date_and_the_alerts_at_once_and_withdrawing_it_too(
    engine: Engine, site: str
) -> None:
    register(engine, site, [facts("p1", anc(1200, 1))])
    _sweep(engine, _watch(site))
    done = _state(engine, site, "p1", "ben")
    assert "anc-mild-neutropenia" in _codes(done["before"])
    assert "anc-mild-neutropenia" not in _codes(done["after"])
    assert done["before"]["next_due"] < done["after"]["next_due"]
    with engine.begin() as connection:
        row = roster.find(connection, site, "p1")
        back = statements.withdraw(connection, _watch(site), row.id, done["id"], "Dr Hema", NOW)
    assert back is not None
    assert _codes(back["after"]) == _codes(done["before"])
    assert back["after"]["next_due"] == done["before"]["next_due"]


@pytest.mark.parametrize(
    ("kind", "details"),
    [
        ("hold", HALT),
        ("stop", HALT),
        ("do-not-rechallenge", {"reasons": ["severe-neutropenia"], "nadir": 300}),
    ],
)
def test_what_is_stated_and_not_done_is_an_alert_until_the_ehr_shows_it(
    engine: Engine, site: str, kind: str, details: Any
) -> None:
    known = facts("p1", anc(3200, 1))
    register(engine, site, [known])
    _sweep(engine, _watch(site))
    done = _state(engine, site, "p1", kind, details)
    assert done["says"] == "This does not stop the order in the EHR."
    [alert] = [a for a in done["after"]["alerts"] if a["code"] == "stated-not-done"]
    assert alert["severity"] == "critical"
    assert "Dr Hema" in alert["summary"]
    assert done["after"]["attention"] == "stop"
    over = tuple(
        replace(m, status="stopped", end=NOW, stops=True) if m.role == "order" else m
        for m in known.medications
    )
    with engine.begin() as connection:
        row = roster.find(connection, site, "p1")
        roster.enrol(
            connection, site, _watch(site).policy, replace(known, medications=over), NOW + timedelta(hours=1)
        )
        assert row.state == "on"
    _sweep(engine, _watch(site), 1)
    with engine.connect() as connection:
        view = statements.view_of(connection, row.id)
    assert "stated-not-done" not in _codes(view)


def test_a_restart_ends_a_hold(engine: Engine, site: str) -> None:
    register(engine, site, [facts("p1", anc(3200, 1))])
    _sweep(engine, _watch(site))
    _state(engine, site, "p1", "hold", HALT)
    said, since = statements.details_of("restart", {"firstDose": "2026-11-20"}, NOW, _read)
    later = NOW + timedelta(minutes=5)
    flag = ClinicianFlag("restart", RecordText("Dr Hema"), later, since=since)
    with engine.begin() as connection:
        row = roster.find(connection, site, "p1")
        done = statements.state(connection, _watch(site), row.id, flag, said, "token", later)
    assert "stated-not-done" in _codes(done["before"])
    assert "stated-not-done" not in _codes(done["after"])


def test_the_hours_of_a_gap_are_counted_from_the_last_dose_that_was_stated() -> None:
    held = facts("p1", anc(3200, 1))
    waiting = tuple(replace(m, status="on-hold") if m.role == "order" else m for m in held.medications)
    flag = ClinicianFlag("hold", RecordText("Dr Hema"), NOW, since=NOW - timedelta(hours=50))
    case = Case(replace(held, medications=waiting, flags=(flag,)), _watch("x").policy, NOW)
    assert not case.on_clozapine
    assert case.course.last_dose == NOW - timedelta(hours=50)
    # While the order runs the statement silences nothing.
    running = Case(replace(held, flags=(flag,)), _watch("x").policy, NOW)
    assert running.on_clozapine


@pytest.mark.parametrize(
    ("kind", "details", "named"),
    [
        ("hold", {"reason": "other"}, "lastDose"),
        ("hold", HALT | {"lastDose": "2026-12-24T08:00"}, "future"),
        ("stop", HALT | {"reason": "because"}, "reason"),
        ("restart", {"firstDose": "soon"}, "firstDose"),
        ("do-not-rechallenge", {"reasons": []}, "reasons"),
        ("contact", {"channel": "telephone", "outcome": "will-come"}, "comesOn"),
        ("hand-out", {"days": 0}, "days"),
        ("transfer", {"receiver": "", "begins": "2026-12-01", "contact": "x"}, "receiver"),
        ("wish", None, "kind"),
        ("ben", {"x": 1}, "x"),
    ],
)
def test_a_statement_that_lacks_what_it_must_say_is_not_kept(kind: str, details: Any, named: str) -> None:
    with pytest.raises(statements.NotStated, match=named):
        statements.details_of(kind, details, NOW, _read)


def test_the_list_begins_with_who_must_stop_and_pages_lose_nobody(engine: Engine, site: str) -> None:
    people = [
        facts("well", anc(3200, 1)),
        facts("late", anc(3200, 40)),
        facts("stop", anc(400, 1)),
        facts("none"),
    ]
    register(engine, site, people)
    _sweep(engine, _watch(site))
    found: list[str] = []
    after = None
    with engine.connect() as connection:
        while rows := worklist.page(
            connection, sites=[site], status="on", today=NOW.date(), after=after, limit=1
        ):
            found.append(rows[0]["patient_id"])
            after = worklist.place_of(rows[0])
    assert (found[0], found[-1], sorted(found)) == ("stop", "well", ["late", "none", "stop", "well"])


def test_the_dead_are_let_go_with_a_note(engine: Engine, site: str) -> None:
    register(engine, site, [facts("p1", anc(400, 1))])
    _sweep(engine, _watch(site))
    with engine.begin() as connection:
        known = replace(remembered.load(roster.find(connection, site, "p1").facts), deceased=True)
        roster.enrol(connection, site, _watch(site).policy, known, NOW)
    assert _sweep(engine, _watch(site), 1).changes["resolved"] >= 1
    with engine.connect() as connection:
        row = roster.find(connection, site, "p1")
        assert (row.state, row.next_due) == ("dead", None)
        assert statements.view_of(connection, row.id)["alerts"] == []


def test_post_stop_counts_have_a_due_date_and_stand_on_the_list(engine: Engine, site: str) -> None:
    known = facts("p1", anc(3200, 10))
    stopped = tuple(
        Medication(
            **{f: getattr(m, f) for f in m.__struct_fields__}
            | {"status": "stopped", "end": NOW - timedelta(days=2), "stops": True}
        )
        if m.role == "order"
        else m
        for m in known.medications
    )
    eu = _watch(site, policy="eu-smpc-2025")
    register(engine, site, [replace(known, medications=stopped)])
    _sweep(engine, eu)
    with engine.connect() as connection:
        row = roster.find(connection, site, "p1")
        assert row.state == "stopped"
        assert row.next_due == (NOW + timedelta(days=5)).date()  # weekly from the stop two days ago
        [listed] = worklist.page(connection, sites=[site], status="due", today=NOW.date())
    assert listed["attention"] == "due-soon"


def test_over_http_unknown_parameters_are_refused_and_moments_have_zones(start_service: StartService) -> None:
    service = start_service(enrol=True, sweep="")
    _ask(service, _visit())
    _patient(service)  # once it is there
    assert service.get("/registry/patients?q=winter").status_code == 400
    assert service.get("/alerts?severity=critical").status_code == 400
    [row] = service.get("/registry/patients").raise_for_status().json()["patients"]
    assert row["facts_at"].endswith(("Z", "+00:00"))
    answer: httpx.Response = service.post(
        f"/registry/patients/{row['patient_id']}/flags",
        json={"kind": "hold", "details": HALT, "by": "Dr Hema"},
    )
    said = answer.raise_for_status().json()
    assert said["says"] == "This does not stop the order in the EHR."
    assert "stated-not-done" in _codes(said["after"])
    shown = service.get(f"/registry/patients/{row['patient_id']}").json()
    assert shown["flags"][0]["details"]["reason"] == "neutropenia"
    assert (
        service.post(
            f"/registry/patients/{row['patient_id']}/flags",
            json={"kind": "contact", "details": {"channel": "fax"}},
        ).status_code
        == 400
    )


def test_a_sweep_planned_in_the_hour_that_comes_twice_runs_once(engine: Engine, site: str) -> None:
    zone = ZoneInfo("America/New_York")
    first = datetime(2026, 11, 1, 1, 30, 7, tzinfo=zone)
    again = first.replace(fold=1)
    assert again.timestamp() - first.timestamp() == 3600
    assert planned_minute(first, zone) == planned_minute(again, zone)
    register(engine, site, [facts("p1", anc(3200, 1))])
    planned = planned_minute(first, zone)
    assert not is_finished(engine, site, planned)
    from service.registry.sweep import sweep

    sweep(engine, _watch(site), start_run(engine, site, planned, planned))
    assert is_finished(engine, site, planned_minute(again, zone))
