"""When did the record come to hold a resource? Nothing may be seen before that moment."""

from __future__ import annotations

from datetime import MAXYEAR, datetime, timedelta, tzinfo
from typing import Any, Literal

import msgspec
from msgspec import Struct

from service.fhir.resources import (
    AllergyIntolerance,
    Condition,
    MedicationAdministration,
    MedicationDispense,
    MedicationRequest,
    MedicationStatement,
    Period,
    Resource,
)
from service.fhir.times import Moment, read_moment

#: ``issued``: a result is known once it is issued. ``collected``: at the time of its sample (for exports whose ``issued`` is the
#: day the data were loaded).
ResultsKnown = Literal["issued", "collected"]
#: An order dated by day is taken to be written at noon: the hour that is wrong by the least in gaps counted in hours.
NOON = timedelta(hours=12)
#: Elements that may date a resource which could not be read as a whole.
_ANY_DATE = (
    "issued",
    "effectiveDateTime",
    "authoredOn",
    "whenHandedOver",
    "whenPrepared",
    "dateAsserted",
    "recordedDate",
    "onsetDateTime",
)


class Extra(Struct):
    """Dates that the rules never ask for and the replay needs."""

    recordedDate: Any = None
    abatementDateTime: Any = None
    deceasedDateTime: Any = None
    meta: Any = None


_extra = msgspec.json.Decoder(Extra)
_any = msgspec.json.Decoder()


def extra_dates(raw: bytes) -> Extra:
    """The extra dates of a resource."""
    return _extra.decode(raw)


def last_updated(extra: Extra, zone: tzinfo) -> datetime | None:
    """``meta.lastUpdated``."""
    return read_at(extra.meta.get("lastUpdated"), zone) if isinstance(extra.meta, dict) else None


def read_at(text: object, zone: tzinfo) -> datetime | None:
    """A FHIR date or time as a moment; a day begins with the day."""
    moment = read_moment(text, zone)
    return moment.at if moment is not None else None


def order_moment(text: object, zone: tzinfo) -> datetime | None:
    """When an order was written."""
    moment = read_moment(text, zone)
    if moment is None:
        return None
    return moment.at + NOON if moment.date_only else moment.at


def end_moment(moment: Moment | None) -> datetime | None:
    """The end that a date stands for: a day ends with the day."""
    if moment is None or moment.at.year == MAXYEAR:
        return None  # 9999-12-31 is how some systems write "no end"
    return moment.at + timedelta(days=1) if moment.date_only else moment.at


def _of_period(period: Period | None) -> str | None:
    return (period.end or period.start) if period is not None else None


def known_at(resource: Resource, extra: Extra | None, zone: tzinfo) -> datetime | None:
    """The moment from which a resource may be seen; None when none of its dates tells. Not for results."""
    match resource:
        case MedicationRequest():
            return order_moment(resource.authoredOn, zone)
        case MedicationStatement():
            period = resource.effectivePeriod
            return read_at(
                resource.dateAsserted or (period.start if period else resource.effectiveDateTime), zone
            )
        case MedicationDispense():
            return read_at(resource.whenHandedOver or resource.whenPrepared, zone)
        case MedicationAdministration():
            return read_at(resource.effectiveDateTime or _of_period(resource.effectivePeriod), zone)
        case Condition():
            return read_at(resource.recordedDate or resource.onsetDateTime, zone)
        case AllergyIntolerance():
            return read_at(extra.recordedDate if extra is not None else None, zone)
        case _:
            return None


def known_at_of_unreadable(raw: bytes, zone: tzinfo) -> datetime | None:
    """The date of a resource that could not be read, as far as one element still tells."""
    try:
        content = _any.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return None
    if not isinstance(content, dict):
        return None
    return next((at for name in _ANY_DATE if (at := read_at(content.get(name), zone)) is not None), None)
