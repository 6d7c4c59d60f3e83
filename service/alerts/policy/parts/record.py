"""How the record is read."""

from __future__ import annotations

from typing import Annotated

from msgspec import Struct

from service.alerts.policy.numbers import Quantity
from service.alerts.policy.parts.values import Value


class RecordReading(Struct, frozen=True, forbid_unknown_fields=True):
    """How the record is read: for how long an entry speaks, and which entries tell the dose that is really given."""

    #: A chart with an entry this young is still kept.
    chart_kept_days: Annotated[Value, Quantity("d", 0.5, 14)]
    #: Charted days that tell the dose that is really given: the last ones, and those before a gap.
    dose_charted_days: Annotated[Value, Quantity("d", 1, 28)]
    #: The charted doses of a dose below the one ordered must be so many days apart, first to last.
    dose_charted_least_days: Annotated[Value, Quantity("d", 0.5, 14)]
    #: Of a chart that alone tells the dose: the last of it that counts.
    last_charted_days: Annotated[Value, Quantity("d", 1, 14)]
    #: Extra counts after a neutropenia that follow each other sooner than this share of the interval asked for are one.
    counts_apart_percent: Annotated[Value, Quantity("%", 10, 100)]
