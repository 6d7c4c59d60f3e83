"""A database that neither answers nor refuses costs itself only (issue: outages)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from service.store.database import engine_for
from tests.hanging import Wire, wire_to


@pytest.fixture
def wire(postgres_url: str) -> Iterator[Wire]:
    with wire_to(postgres_url) as found:
        yield found


def test_a_statement_is_given_up_and_the_next_connection_works(wire: Wire) -> None:
    engine = engine_for(wire.url, patience=0.3)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT 1")).scalar_one() == 1
        wire.hold()
        with pytest.raises(OperationalError):
            connection.execute(text("SELECT 2"))
    wire.release()
    with engine.connect() as connection:
        # Not the late answer to the statement that was given up.
        assert connection.execute(text("SELECT 3")).scalar_one() == 3
    engine.dispose()


def test_the_server_ends_what_nobody_waits_for(wire: Wire) -> None:
    engine = engine_for(wire.url, patience=2.0)
    with engine.connect() as connection:
        assert connection.execute(text("SHOW statement_timeout")).scalar_one() == "2s"
    engine.dispose()
