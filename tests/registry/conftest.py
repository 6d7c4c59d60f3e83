"""Every registry test runs on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from typing import Any

import pytest

from service.registry.database import engine_for, upgrade


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
