"""Connections to PostgreSQL that give up on a server that hangs.

A server that refuses is noticed at once; one that takes a statement and never answers – stopped, its disk stuck, behind a network that drops
packets – holds whoever waits for it for as long as the operating system lets it, which may be for ever.
"""

from __future__ import annotations

from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen

_Answer = TypeVar("_Answer")

CONNECT_SECONDS = 5
#: A connection that nothing comes through is found broken in about this time, also between statements.
_NETWORK: dict[str, int] = {
    "connect_timeout": CONNECT_SECONDS,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 15_000,
}


class Impatient(psycopg.Connection[Any]):
    """A connection that is closed when the server answers nothing for ``patience`` seconds; raises ``psycopg.OperationalError``."""

    patience: float

    def wait(self, gen: PQGen[_Answer], interval: float = 0.1, timeout: float | None = None) -> _Answer:
        """Wait for one exchange with the server, as long as patience lasts."""
        try:
            return super().wait(gen, interval, self.patience if timeout is None else timeout)
        except psycopg.OperationalError:
            # What the server may still send would be taken for the answer to the next statement.
            if self.pgconn.transaction_status == psycopg.pq.TransactionStatus.ACTIVE:
                self.pgconn.finish()
            raise


def connect(patience: float, *args: Any, **params: Any) -> Impatient:
    """Open a connection whose exchanges take ``patience`` seconds at most. Raises ``psycopg.OperationalError``."""
    connection = Impatient.connect(*args, **(_NETWORK | params))
    connection.patience = patience
    # The server, too, ends what nobody waits for any more.
    connection.execute(f"SET statement_timeout = {int(patience * 1000)}")
    connection.commit()
    return connection
