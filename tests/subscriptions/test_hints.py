"""What is to be read: once however often it is asked for, by one reader, again when it failed, not for ever."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, update

from service.results import hints
from service.store.roster_tables import RegisteredPatient
from tests.data import NOW
from tests.registry.roster import anc, facts, register

PATIENTS = RegisteredPatient.__table__


def _later(**more: float) -> Any:
    return NOW + timedelta(**more)


def _claim(engine: Engine, site: str, at: Any, limit: int = 40) -> list[Any]:
    with engine.begin() as connection:
        return hints.claim(connection, [site], at, limit)


def test_a_burst_is_one_reading(engine: Engine, site: str) -> None:
    with engine.begin() as connection:
        for _ in range(50):
            hints.ask(connection, site, "patient", "p1", NOW)
    assert _claim(engine, site, NOW) == [], "the rest of the panel may come"
    [row] = _claim(engine, site, _later(seconds=2))
    assert row.asks == 50
    assert _claim(engine, site, _later(seconds=3)) == [], "somebody reads it"
    assert len(_claim(engine, site, _later(seconds=200))) == 1, "whoever read it died"


def test_what_is_asked_for_while_it_is_read_is_read_again(engine: Engine, site: str) -> None:
    with engine.begin() as connection:
        hints.ask(connection, site, "resource", "Observation/1", NOW)
    rows = _claim(engine, site, _later(seconds=2))
    with engine.begin() as connection:
        hints.ask(connection, site, "resource", "Observation/1", _later(seconds=3))
        hints.was_read(connection, rows, _later(seconds=4))
    rows = _claim(engine, site, _later(seconds=15))
    assert len(rows) == 1
    with engine.begin() as connection:
        hints.was_read(connection, rows, _later(seconds=16))
        assert hints.ask_for_everybody(connection, site, NOW) == 0
    assert _claim(engine, site, _later(days=1)) == []


def test_a_patient_who_was_just_read_waits_a_moment(engine: Engine, site: str) -> None:
    register(engine, site, [facts("p1", anc(3000, 5))])
    with engine.begin() as connection:
        connection.execute(update(PATIENTS).where(PATIENTS.c.site == site).values(refreshed_at=NOW))
        hints.ask(connection, site, "patient", "p1", NOW)
    assert _claim(engine, site, _later(seconds=9)) == []
    assert len(_claim(engine, site, _later(seconds=11))) == 1


@pytest.mark.parametrize(("hours", "left"), [(23, 1), (25, 0)])
def test_what_cannot_be_read_for_a_day_is_left_to_the_sweep(
    engine: Engine, site: str, hours: int, left: int
) -> None:
    with engine.begin() as connection:
        hints.ask(connection, site, "resource", "Observation/1", NOW)
    rows = _claim(engine, site, _later(hours=hours))
    with engine.begin() as connection:
        assert hints.was_not_read(connection, rows, _later(hours=hours)) == 1 - left
    assert len(_claim(engine, site, _later(hours=hours + 1))) == left


def test_a_round_is_bounded(engine: Engine, site: str) -> None:
    with engine.begin() as connection:
        for i in range(100):
            hints.ask(connection, site, "resource", f"Observation/{i}", NOW)
    assert len(_claim(engine, site, _later(seconds=2))) == 40
