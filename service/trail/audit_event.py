"""What every AuditEvent of this service has in common, whether it tells of a call or of the registry (R4 auditevent.html)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
from sqlalchemy import Connection, Select, Table

from service.store.times import aware

REST = {
    "system": "http://terminology.hl7.org/CodeSystem/audit-event-type",
    "code": "rest",
    "display": "RESTful Operation",
}


def recorded(at: datetime | None) -> str:
    """The moment of a row as an instant, to the millisecond."""
    moment = aware(at)
    assert moment is not None
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def outcome(status: int, fault: str) -> dict[str, str]:
    """AuditEvent.outcome and, where it was no success, its description: 4 where the request itself was at fault, 8 where this service was."""
    if status < 400:
        return {"outcome": "0"}
    return {"outcome": "4" if status < 500 else "8", "outcomeDesc": f"{fault} ({status})."}


def lines(
    connection: Connection,
    table: Table,
    statement: Select[Any],
    since: datetime,
    until: datetime,
    event: Callable[[Any], dict[str, Any]],
) -> Iterator[bytes]:
    """NDJSON lines of the rows of a period, oldest first. Raises ValueError when one is not valid R4 (a fault of this service)."""
    from fhir.resources.R4B.auditevent import AuditEvent  # half a second that other commands need not wait

    asked = (
        statement.where(table.c.at >= since.astimezone(UTC), table.c.at < until.astimezone(UTC))
        .order_by(table.c.at, table.c.id)
        .execution_options(yield_per=500)
    )
    for number, row in enumerate(connection.execute(asked)):
        content = event(row)
        if number == 0:
            AuditEvent.model_validate_json(orjson.dumps(content))
        yield orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE)
