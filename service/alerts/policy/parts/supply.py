"""Supply, what depends on it and what it shows."""

from __future__ import annotations

from typing import Annotated

from msgspec import Struct

from service.alerts.policy.numbers import Quantity
from service.alerts.policy.parts.values import Flag, Value


class Dispensing(Struct, frozen=True, forbid_unknown_fields=True):
    """Whether supply depends on a current count, and how much may be supplied."""

    requires_current_count: Flag
    #: Whether supply may be handed out is not told from a record that was read longer ago.
    read_within_hours: Annotated[Value, Quantity("h", 1, 168)]
    #: Days' supply allowed by sampling interval: ``[[interval_days, supply_days], ...]``.
    supply_by_interval: Annotated[tuple[tuple[int, int], ...], Quantity("d", 1, 400)] = ()
    supply_source: str = ""
    supply_confirmed: bool = True
    #: Supply ends no later than the next count is due (AU), however long the interval is.
    until_next_count: Flag | None = None


class Supply(Struct, frozen=True, forbid_unknown_fields=True):
    """Supply and adherence."""

    gap_days: Annotated[Value, Quantity("d", 0.5, 60)]
    adherence_days: Annotated[Value, Quantity("d", 7, 730)]
    adherence_percent: Annotated[Value, Quantity("%", 10, 100)]
