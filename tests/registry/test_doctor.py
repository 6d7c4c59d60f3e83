"""The doctor of the registry: silent where all is well, and it names every fault that is planted."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import Connection, Engine, delete, insert, select, update

from service.alerts.case import remembered
from service.options.site import Site
from service.registry.doctor import FAULTS, examine
from service.registry.sweep import start_run, sweep
from service.store.roster_tables import Alert, AlertEvent, OutboxItem, RegisteredPatient, SweepRun
from tests.data import NOW
from tests.registry.roster import ZONE, anc, facts, register
from tests.sites import site_of

PATIENTS, ALERTS, EVENTS, ITEMS, RUNS = (
    t.__table__ for t in (RegisteredPatient, Alert, AlertEvent, OutboxItem, SweepRun)
)


def _clinic(engine: Engine, site: str) -> Site:
    """p1 must stop, p2 is well."""
    watch = site_of(
        site, ZONE, webhook="http://127.0.0.1:9/", webhook_secret="0123456789abcdef0123456789abcdef"
    )
    register(engine, site, [facts("p1", anc(400, 0.5)), facts("p2", anc(3200, 3, "anc-2"))])
    with engine.begin() as connection:
        connection.execute(update(PATIENTS).where(PATIENTS.c.site == site).values(facts_at=NOW))
    sweep(engine, watch, start_run(engine, site, NOW, NOW))
    return watch


def _patient(c: Connection, site: str, patient: str) -> Any:
    return c.execute(select(PATIENTS).where(PATIENTS.c.site == site, PATIENTS.c.patient_id == patient)).one()


def _alert(c: Connection, site: str) -> Any:
    return c.execute(
        select(ALERTS).where(ALERTS.c.site == site, ALERTS.c.code == "anc-severe-neutropenia")
    ).one()


def _set_patient(patient: str, **values: Any) -> Callable[[Connection, str], None]:
    return lambda c, site: c.execute(
        update(PATIENTS).where(PATIENTS.c.site == site, PATIENTS.c.patient_id == patient).values(**values)
    )  # type: ignore[return-value]


def _set_alert(**values: Any) -> Callable[[Connection, str], None]:
    return lambda c, site: c.execute(update(ALERTS).where(ALERTS.c.id == _alert(c, site).id).values(**values))  # type: ignore[return-value]


def _event(c: Connection, alert: int, what: str) -> None:
    c.execute(
        insert(EVENTS).values(alert=alert, at=NOW, what=what, severity="critical", summary="", by="", note="")
    )


def _facts(c: Connection, site: str, patient: str, change: Callable[[Any], Any]) -> None:
    kept = change(remembered.load(_patient(c, site, patient).facts))
    _set_patient(patient, facts=remembered.dump(kept))(c, site)


def _started_late(c: Connection, site: str) -> None:
    counts = tuple(anc(3200, 3 + 7 * n, f"anc-2{n}" if n else "anc-2") for n in range(8))
    _facts(c, site, "p2", lambda f: replace(f, measurements={**f.measurements, "anc": counts}))
    _set_patient("p2", course_start=(NOW - timedelta(days=5)).date())(c, site)


def _left_behind(c: Connection, site: str) -> None:
    alert = _alert(c, site)
    c.execute(
        insert(ITEMS).values(
            alert=alert.id, site=site, key=f"{site[:60]}-x", channel="Flag", action="raise", payload={}, state="sent", attempts=1, next_try_at=NOW, last_error="", location="Flag/1",
        )
    )  # fmt: skip
    _set_alert(state="resolved")(c, site)
    _event(c, alert.id, "resolved")


def _broken(c: Connection, site: str) -> None:
    alert = _alert(c, site).id
    for what in ("resolved", "raised"):
        _event(c, alert, what)


PLANTED: dict[str, Callable[[Connection, str], None]] = {
    "alert-of-unwatched": _set_patient("p1", state="unenrolled"),
    "alert-of-another-site": _set_alert(site="elsewhere"),
    "alert-without-history": lambda c, s: c.execute(delete(EVENTS).where(EVENTS.c.alert == _alert(c, s).id)),  # type: ignore[dict-item]
    "alert-without-notice": lambda c, s: c.execute(delete(ITEMS).where(ITEMS.c.alert == _alert(c, s).id)),  # type: ignore[dict-item]
    "attention-too-low": _set_patient("p1", attention=9),
    "attention-too-high": _set_patient("p2", attention=1),
    "closed-though-stop": _set_alert(state="closed"),
    "due-date-missing": _set_patient("p2", next_due=None),
    "facts-of-another": lambda c, s: _facts(c, s, "p2", lambda f: replace(f, patient_id="p9")),
    "facts-unreadable": _set_patient("p2", facts='{"x": 1}'),
    "hand-of-nobody": _set_alert(state="in-hand", hand_by="", hand_until=NOW + timedelta(hours=2)),
    "hand-overrun": _set_alert(state="in-hand", hand_by="Dr Hema", hand_until=NOW - timedelta(hours=2)),
    "history-broken": _broken,
    "history-disagrees": lambda c, s: _event(c, _alert(c, s).id, "resolved"),
    "last-count-disagrees": _set_patient("p2", last_anc=3300),
    "never-evaluated": _set_patient("p2", swept_at=None),
    "notice-left-behind": _left_behind,
    "notice-stuck": lambda c, s: c.execute(update(ITEMS).where(ITEMS.c.site == s).values(state="dead")),  # type: ignore[dict-item]
    "patient-unread": _set_patient("p2", facts_at=NOW - timedelta(days=4)),
    "result-of-two": lambda c, s: _facts(
        c, s, "p2", lambda f: replace(f, measurements={**f.measurements, "anc": (anc(3200, 3, "anc-1"),)})
    ),
    "start-after-counts": _started_late,
    "sweep-unfinished": lambda c, s: c.execute(
        insert(RUNS).values(site=s, planned_for=NOW - timedelta(days=2), as_of=NOW)
    ),  # type: ignore[dict-item]
}


def test_every_fault_has_a_case() -> None:
    assert PLANTED.keys() == FAULTS.keys()
    assert len(PLANTED) >= 20


@pytest.mark.parametrize("name", sorted(PLANTED))
def test_a_planted_fault_is_named_and_a_sound_registry_has_none(engine: Engine, site: str, name: str) -> None:
    watch = _clinic(engine, site)
    with engine.begin() as connection:
        assert examine(connection, watch, NOW) == []
        PLANTED[name](connection, site)
        found = examine(connection, watch, NOW)
    assert name in {f.name for f in found}
    subject = next(f.subject for f in found if f.name == name)
    assert subject.startswith(("p1", "p2", "run"))
