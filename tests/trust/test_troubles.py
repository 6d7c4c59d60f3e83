"""A fault that lasts is a line when it begins and one when it is over; an issuer that others share is said at the start."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from service.ops.troubles import Troubles
from service.site.settings import Settings
from service.site.trust import Directory
from service.store.database import engine_for, upgrade
from service.trail.recorder import Recorder
from tests.registry.test_registry import _call

_EHR = {"name": "north", "issuer": "https://n.example", "jwks_uri": "https://n.example/jwks"}


def test_a_trouble_is_said_when_it_changes(caplog: pytest.LogCaptureFixture) -> None:
    troubles = Troubles(logging.getLogger("service.x"))
    with caplog.at_level(logging.INFO):
        for why in ("", "away", "away", "away", "full", "", "", "away"):
            troubles.says("the database", why)
        troubles.says("another", "away")
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("ERROR", "the database: away"), ("ERROR", "the database: full"), ("INFO", "the database: well again"),
        ("ERROR", "the database: away"), ("ERROR", "another: away"),
    ]  # fmt: skip


def test_a_database_that_is_away_is_said_once(tmp_path: Any, caplog: pytest.LogCaptureFixture) -> None:
    url = f"sqlite:///{tmp_path}/late.db"
    engine = engine_for(url)
    with caplog.at_level(logging.INFO, "service"):
        recorder = Recorder(engine)  # the schema is not there yet
        recorder.record(_call("late"))
        while not caplog.records:
            recorder.flush(0.1)
        recorder._later(_away())  # met again and again
        recorder._later(_away())
        upgrade(url)
        assert recorder.flush(10)
        recorder.close()
    said = [r.getMessage() for r in caplog.records if "cannot be recorded" in r.getMessage()]
    assert said == [
        "calls cannot be recorded, they wait: OperationalError",
        "calls cannot be recorded, they wait: well again",
    ]
    engine.dispose()


def _away() -> Any:
    from sqlalchemy.exc import OperationalError

    return OperationalError("", {}, Exception())


@pytest.mark.parametrize(
    ("more", "warned"),
    [
        ({}, False),
        ({"profile": "oracle"}, True),
        ({"profile": "oracle", "tenant": "t1"}, False),
        ({"issuer": "https://authorization.cerner.com/x"}, True),
        ({"issuer": "https://cerner.com.example/x"}, False),
    ],
)
def test_an_issuer_that_others_share_needs_a_tenant(
    tmp_path: Any, caplog: pytest.LogCaptureFixture, more: dict[str, str], warned: bool
) -> None:
    url = f"sqlite:///{tmp_path}/e.db"
    upgrade(url)
    engine = engine_for(url)
    settings = Settings(auth="required", base_url="https://cds.example", database_url=url, ehr=[_EHR | more])  # type: ignore[list-item]
    Directory(settings, engine).reload()
    found = [r.getMessage() for r in caplog.records if "has no tenant" in r.getMessage()]
    assert len(found) == warned
    engine.dispose()
