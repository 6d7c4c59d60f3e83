"""Never into another patient: what is changed in the EHR bears the notice's own identifier and names its patient; a merge takes along what waits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, select

from service.options.site import Site
from service.registry import roster
from service.store.roster_tables import OutboxItem
from tests.data import NOW
from tests.registry.roster import anc, facts, register
from tests.registry.test_outbox import _deliver, _resolved, _states, _sweep, _watch
from tests.registry.writable_ehr import WritableEhr
from tests.server import serving
from tests.sites import but

ITEMS = OutboxItem.__table__
_DAY = 24 * 60


@pytest.fixture
def other_ehr() -> Iterator[WritableEhr]:
    """The FHIR server that a site moved to."""
    server = WritableEhr()
    with serving(server.app) as base_url:
        server.base_url = base_url
        yield server


def _told(engine: Engine, site: str, ehr: WritableEhr, tmp_path: Any) -> Site:
    register(engine, site, [facts("p1", anc(3200, 31))])
    watch = _watch(site, ehr, "Task")
    _sweep(engine, watch)
    assert _deliver(engine, watch, ehr, tmp_path)["sent"] == 1
    return watch


def _strangers_task(**more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Task", "id": "1", "status": "requested", "intent": "order", "for": {"reference": "Patient/p2"},
    } | more  # fmt: skip


def test_a_site_that_moved_cancels_no_task_of_the_same_number(
    engine: Engine, site: str, ehr: WritableEhr, other_ehr: WritableEhr, tmp_path: Any
) -> None:
    watch = _told(engine, site, ehr, tmp_path)
    other_ehr.token = ehr.token
    other_ehr.add(_strangers_task())
    moved = but(watch, fhir_servers=(f"{other_ehr.base_url}/fhir",))
    _resolved(engine, site, moved)
    assert _deliver(engine, moved, ehr, tmp_path, _DAY)["later"] == 1
    assert other_ehr.resources["Task"] == [_strangers_task()]
    assert other_ehr.written == []
    with engine.connect() as connection:
        why = connection.execute(
            select(ITEMS.c.last_error).where(ITEMS.c.site == site, ITEMS.c.action == "withdraw")
        ).scalar_one()
    assert why == "the notice is on a FHIR server that is not among fhir_servers any more"
    # As long as the old server is listed, too, the notice is ended where it was told.
    both = but(watch, fhir_servers=(f"{other_ehr.base_url}/fhir", f"{ehr.base_url}/fhir/"))
    assert _deliver(engine, both, ehr, tmp_path, 2 * _DAY)["sent"] == 1
    assert [t["status"] for t in ehr.resources["Task"]] == ["cancelled"]
    assert other_ehr.written == []


def test_a_notice_that_moved_with_its_server_is_found_by_its_identifier(
    engine: Engine, site: str, ehr: WritableEhr, other_ehr: WritableEhr, tmp_path: Any
) -> None:
    watch = _told(engine, site, ehr, tmp_path)
    other_ehr.token = ehr.token
    [task] = ehr.resources["Task"]
    other_ehr.add(_strangers_task(), deepcopy(task) | {"id": "77"})
    moved = but(watch, fhir_servers=(f"{other_ehr.base_url}/fhir",))
    _resolved(engine, site, moved)
    assert _deliver(engine, moved, ehr, tmp_path, _DAY)["sent"] == 1
    assert {t["id"]: t["status"] for t in other_ehr.resources["Task"]} == {
        "1": "requested",
        "77": "cancelled",
    }


@pytest.mark.parametrize("what", ["nothing of ours", "our identifier", "our patient"])
def test_what_stands_in_the_place_of_a_notice_is_left_alone(
    engine: Engine, site: str, ehr: WritableEhr, tmp_path: Any, what: str
) -> None:
    watch = _told(engine, site, ehr, tmp_path)
    [task] = ehr.resources["Task"]
    stranger = _strangers_task(
        **{"our identifier": {"identifier": task["identifier"]}, "our patient": {"for": task["for"]}}.get(what, {})
    )  # fmt: skip
    ehr.resources["Task"] = [deepcopy(stranger)]
    _resolved(engine, site, watch)
    assert _deliver(engine, watch, ehr, tmp_path, _DAY) == {"sent": 0, "later": 0, "dead": 1}
    assert ehr.resources["Task"] == [stranger]


def test_with_the_right_to_write_alone_the_server_finds_the_identifier(
    engine: Engine, site: str, ehr: WritableEhr, tmp_path: Any
) -> None:
    watch = _told(engine, site, ehr, tmp_path)
    [task] = ehr.resources["Task"]
    ehr.resources["Task"] = [_strangers_task(), task | {"id": "2"}]
    ehr.unreadable = True
    _resolved(engine, site, watch)
    assert _deliver(engine, watch, ehr, tmp_path, _DAY)["sent"] == 1
    assert [w[0] for w in ehr.written] == ["POST", "PUT by identifier"]
    assert [(t["for"]["reference"], t["status"]) for t in ehr.resources["Task"]] == [
        ("Patient/p2", "requested"),
        ("Patient/p1", "cancelled"),
    ]


@pytest.mark.parametrize("known", [False, True])
def test_what_waits_is_told_of_the_record_that_remains(
    engine: Engine, site: str, ehr: WritableEhr, tmp_path: Any, known: bool
) -> None:
    register(engine, site, [facts("gone", anc(3200, 31))])
    if known:
        register(engine, site, [facts("stays", anc(3300, 90), course_days=600)])
    watch = _watch(site, ehr, "Task", webhook=True)
    _sweep(engine, watch)
    with engine.begin() as connection:
        roster.merge(connection, site, "gone", "stays", watch.policy, NOW, watch)
    _deliver(engine, watch, ehr, tmp_path)
    assert {t["for"]["reference"] for t in ehr.resources["Task"]} == {"Patient/stays"}
    assert {json.loads(body)["patient"] for _, body in ehr.hooks} == {"Patient/stays"}
    assert "waiting" not in _states(engine, site)


@pytest.mark.parametrize("moved", [False, True])
def test_what_was_told_before_a_merge_is_ended_after_it(
    engine: Engine, site: str, ehr: WritableEhr, tmp_path: Any, moved: bool
) -> None:
    watch = _told(engine, site, ehr, tmp_path)
    with engine.begin() as connection:
        roster.merge(connection, site, "p1", "stays", watch.policy, NOW, watch)
        if moved:  # the EHR's own merge did the same
            ehr.resources["Task"][0]["for"] = {"reference": f"{ehr.base_url}/fhir/Patient/stays"}
        roster.unenrol(connection, site, "stays", "pharmacy", NOW + timedelta(hours=1), watch)
    assert _deliver(engine, watch, ehr, tmp_path, _DAY)["sent"] == 1
    assert [t["status"] for t in ehr.resources["Task"]] == ["cancelled"]
