"""When what is known already is said again."""

from __future__ import annotations

from typing import Annotated

from msgspec import Struct

from service.alerts.policy.numbers import Quantity
from service.alerts.policy.parts.values import Value


class Quiet(Struct, frozen=True, forbid_unknown_fields=True):
    """When what is known already is said again, and when a reminder is not needed: decided from the record alone (``standing``, ``kept``)."""

    #: A condition that lasts is told for so long after it began or changed; later only where a count is due.
    standing_days: Annotated[Value, Quantity("d", 1, 90)]
    #: Whoever kept so many counts (or supplies) in a row in time needs no reminder of the next one.
    kept_times: Annotated[Value, Quantity("", 1, 20)]
