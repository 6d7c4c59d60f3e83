"""Who is on the roster: kept, taken off and taken on again, merged, deleted with everything that leads to the patient."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import Engine, func, insert, select

from service.alerts.case import remembered
from service.alerts.facts.patient import ClinicianFlag
from service.alerts.policy.policy import policy_by_id
from service.registry import people, roster, worklist
from service.registry.latest_facts import LatestFacts
from service.store.roster_tables import Alert, OutboxItem, Silence
from service.store.tables import CardFeedback, CardShown
from service.trail.call import Call
from service.trail.feedback import FeedbackItem, store
from service.trail.recorder import Recorder
from tests.data import NOW
from tests.registry.roster import ZONE, anc, facts, register
from tests.registry.test_sweep import _alerts, _history, _sweep, _watch

US = policy_by_id("us-label-2025")
WRITING: Any = {"fhir_servers": ("http://127.0.0.1:9/fhir",), "write_back": ("Task",)}


def _outbox(engine: Engine, site: str) -> list[tuple[str, str]]:
    table = OutboxItem.__table__
    with engine.connect() as connection:
        rows = connection.execute(
            select(table.c.channel, table.c.action).where(table.c.site == site).order_by(table.c.id)
        )
        return [tuple(row) for row in rows]


def test_a_patient_taken_off_has_no_open_alerts_and_can_be_watched_again(engine: Engine, site: str) -> None:
    register(engine, site, [facts("p1", anc(3200, 31))])
    watch = _watch(site, **WRITING)
    _sweep(engine, watch)
    with engine.begin() as connection:
        roster.unenrol(connection, site, "p1", "ward pharmacy", NOW)
    assert _alerts(engine, site) == [("anc-overdue", "warning", "resolved")]
    assert _outbox(engine, site) == [("Task", "raise"), ("Task", "withdraw")]
    assert _sweep(engine, watch, 1).patients == 0
    with engine.begin() as connection:
        assert roster.enrol_anew(connection, site, "p1", US, NOW + timedelta(days=2)) == "on"
    assert _sweep(engine, watch, 2).changes == {"opened": 1}
    assert _history(engine, site, "anc-overdue") == ["opened", "resolved", "opened"]


def test_merging_keeps_the_history_of_both_and_withdraws_the_notice_of_one(engine: Engine, site: str) -> None:
    register(engine, site, [facts("old", anc(3200, 31)), facts("new", anc(3200, 31))])
    _sweep(engine, _watch(site, **WRITING))
    with engine.begin() as connection:
        roster.merge(connection, site, "old", "new", US, NOW)
        found = roster.find(connection, site, "new")
        history = people.history(connection, found.id)
    assert sorted(state for _, _, state in _alerts(engine, site)) == ["open", "resolved"]
    assert sorted(e["what"] for e in history) == ["opened", "opened", "resolved"]
    assert _outbox(engine, site).count(("Task", "withdraw")) == 1


def test_merging_into_a_patient_the_registry_does_not_know_goes_on_under_the_new_id(
    engine: Engine, site: str
) -> None:
    register(engine, site, [facts("old", anc(3200, 31))])
    with engine.begin() as connection:
        roster.merge(connection, site, "old", "new", US, NOW)
        row = roster.find(connection, site, "new")
        assert remembered.load(row.facts).patient_id == "new"
        for wrong in ("new", "no id", "x" * 65):
            with pytest.raises(ValueError, match="another patient"):
                roster.merge(connection, site, "new", wrong, US, NOW)
        assert roster.find(connection, site, "new").id == row.id


def test_merging_into_a_patient_who_was_taken_off_goes_on_watching(engine: Engine, site: str) -> None:
    register(engine, site, [facts("old", anc(3200, 31)), facts("new", anc(3200, 31))])
    with engine.begin() as connection:
        roster.unenrol(connection, site, "new", "pharmacy", NOW)
        roster.merge(connection, site, "old", "new", US, NOW)
        assert roster.find(connection, site, "new").state == "on"


def test_a_call_keeps_the_due_date_that_follows_from_what_clinicians_stated(
    engine: Engine, site: str
) -> None:
    """A count of 1200 is mild neutropenia for most (a test a few times a week), and normal with benign ethnic neutropenia."""
    patient = facts("p1", anc(1200, 1))
    register(engine, site, [patient])
    with engine.begin() as connection:
        row = roster.find(connection, site, "p1")
        roster.enrol(connection, site, US, patient, NOW)
        without = roster.find(connection, site, "p1").next_due
        roster.add_flag(connection, row.id, ClinicianFlag("ben", "Dr Hema", NOW - timedelta(days=1)))
        roster.enrol(connection, site, US, patient, NOW)
        stated = roster.find(connection, site, "p1").next_due
    _sweep(engine, _watch(site))
    with engine.connect() as connection:
        assert roster.find(connection, site, "p1").next_due == stated
    assert without < stated


def test_two_that_learn_of_a_patient_at_once_forget_nothing(engine: Engine, site: str) -> None:
    partly = {"counts": "incomplete", "medications": "complete"}
    register(engine, site, [facts("p1")])
    start = threading.Barrier(2)

    def learn(number: int) -> None:
        new = replace(facts("p1", anc(3000 + number, number, f"o{number}")), sources=partly)
        for _ in range(2):  # SQLite may refuse once while the other writes
            with engine.begin() as connection:
                if _ == 0:
                    start.wait()
                roster.enrol(connection, site, US, new, NOW)

    threads = [threading.Thread(target=learn, args=(n,)) for n in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with engine.connect() as connection:
        kept = remembered.load(roster.find(connection, site, "p1").facts)
    assert {m.ref for m in kept.measurements["anc"]} == {"Observation/o1", "Observation/o2"}


def test_the_due_list_looks_a_week_ahead(engine: Engine, site: str) -> None:
    register(
        engine,
        site,
        [facts("late", anc(3200, 31)), facts("soon", anc(3200, 25)), facts("later", anc(3200, 3))],
    )
    _sweep(engine, _watch(site))
    today = NOW.astimezone(ZONE).date()
    with engine.connect() as connection:
        found = {
            status: [
                p["patient_id"]
                for p in worklist.page(connection, sites=[site], status=status, today=today)  # type: ignore[arg-type]
            ]
            for status in ("overdue", "due", "on")
        }
    assert found == {"overdue": ["late"], "due": ["late", "soon"], "on": ["late", "soon", "later"]}


def test_nothing_is_left_that_leads_to_a_deleted_patient(engine: Engine, site: str) -> None:
    register(engine, site, [facts("p1", anc(3200, 31)), facts("p2", anc(3200, 31))])
    _sweep(engine, _watch(site, **WRITING))
    memory = LatestFacts(engine, lambda: NOW)
    memory.refresh()
    keys = {p: memory.patient_key(site, p) for p in ("p1", "p2")}
    recorder = Recorder(engine)
    for patient, key in keys.items():
        card = (f"{patient}-{site}"[:36], "anc-overdue", "warning", [], "anc")
        recorder.record(
            Call(NOW, site, "s", "patient-view", f"{site}{patient}", "Practitioner/1", US.id, 0.1, {}, [], [card], key)
        )  # fmt: skip
    recorder.close()
    for patient in keys:
        item = FeedbackItem(
            f"{patient}-{site}"[:36], "overridden", NOW, reason_code="x", comment="Mrs Doe said so"
        )
        store(engine, "s", [item], NOW, site, 7)
    with engine.begin() as connection:
        proof = roster.forget(connection, site, "p1", "privacy office", NOW)
    assert proof.rows == {"patients": 1, "flags": 0, "alerts": 1, "history": 1, "overrides": 1, "comments": 1}
    with engine.connect() as connection:

        def left(table: Any, column: Any, value: Any) -> int:
            return int(
                connection.execute(
                    select(func.count()).select_from(table).where(column == value)
                ).scalar_one()
            )

        for patient, expected in (("p1", 0), ("p2", 1)):
            assert left(Silence, Silence.patient_key, keys[patient]) == expected
            assert left(CardShown, CardShown.patient_key, keys[patient]) == expected
        assert left(Alert, Alert.site, site) == left(OutboxItem, OutboxItem.site, site) == 1
        assert left(CardShown, CardShown.site, site) == 2, "cards stay counted"
        comments = connection.execute(select(CardFeedback.comment).where(CardFeedback.site == site)).scalars()
        assert sorted(comments) == ["", "Mrs Doe said so"]


def test_feedback_of_another_site_does_not_count(engine: Engine, site: str) -> None:
    from service.trail import analytics

    recorder = Recorder(engine)
    card = (site[-36:], "anc-overdue", "warning", [], "anc")
    recorder.record(Call(NOW, site, "s", "patient-view", site, "Practitioner/1", US.id, 0.1, {}, [], [card]))
    recorder.close()
    with engine.begin() as connection:
        connection.execute(
            insert(CardFeedback).values(
                received_at=NOW, site=f"{site}-other", service="s", card=site[-36:], outcome="accepted", outcome_at=NOW,
                suggestions=[], reason_system="", reason_code="", reason_display="", comment="",
            )
        )  # fmt: skip
        [row] = analytics.alerts(
            connection, since=NOW - timedelta(days=1), until=NOW + timedelta(days=1), sites=[site]
        )
    assert (row["fired"], row["accepted"], row["unanswered"]) == (1, 0, 1)
