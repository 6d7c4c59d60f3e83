"""Every registry test runs on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from service.store.database import engine_for, upgrade
from tests.registry.writable_ehr import WritableEhr
from tests.server import serving


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Any) -> str:
    return (
        f"sqlite:///{tmp_path}/registry.db"
        if request.param == "sqlite"
        else str(request.getfixturevalue("postgres_url"))
    )


@pytest.fixture
def engine(url: str) -> Any:
    upgrade(url)
    engine = engine_for(url)
    yield engine
    engine.dispose()


@pytest.fixture
def ehr() -> Iterator[WritableEhr]:
    """An EHR that can be written to."""
    server = WritableEhr()
    with serving(server.app) as base_url:
        server.base_url = base_url
        yield server


@pytest.fixture
def site() -> str:
    """A site of its own: the PostgreSQL server is shared by all tests."""
    return f"site-{uuid4()}"
