"""How often a dose is taken, from the structured timing of a dosage instruction (FHIR Timing)."""

from __future__ import annotations

import math
from datetime import date
from typing import Any

from msgspec import Struct

from service.alerts.facts.reason import NO_REASON, Reason, because
from service.fhir.dosage_text import not_every_day, read_timing
from service.fhir.numbers import finite
from service.fhir.times import read_date

_HOURS = {"s": 1 / 3600, "min": 1 / 60, "h": 1.0, "d": 24.0, "wk": 168.0, "mo": 730.0, "a": 8766.0}
DAYS = {
    "min": 1 / 1440, "h": 1 / 24, "d": 1.0, "day": 1.0, "days": 1.0, "wk": 7.0, "week": 7.0, "weeks": 7.0, "mo": 30.0, "month": 30.0, "months": 30.0,
    "a": 365.0,
}  # fmt: skip
#: Coded timings (HL7 GTSAbbreviation and what EHRs write): doses per day.
_CODES = {
    "QD": 1.0, "DAILY": 1.0, "OD": 1.0, "Q24H": 1.0, "ONCE DAILY": 1.0, "QAM": 1.0, "AM": 1.0, "QPM": 1.0, "PM": 1.0, "QHS": 1.0, "HS": 1.0,
    "NIGHTLY": 1.0, "BED": 1.0, "AT BEDTIME": 1.0, "BID": 2.0, "BD": 2.0, "Q12H": 2.0, "TWICE DAILY": 2.0, "TID": 3.0, "TDS": 3.0, "Q8H": 3.0,
    "QID": 4.0, "QDS": 4.0, "Q6H": 4.0, "Q4H": 6.0,
}  # fmt: skip
_EVERY_OTHER_DAY = frozenset({"QOD"})
_BEDTIME = frozenset({"HS", "QHS", "NIGHTLY", "BED", "AT BEDTIME", "PM", "QPM", "EVE", "NIGHT"})
#: The same, in the terms of FHIR's EventTiming; what else a line says of its time is compared as written.
_TIME_OF_DAY = {
    "AM": "MORN", "QAM": "MORN", "PM": "EVE", "QPM": "EVE", "HS": "HS", "QHS": "HS", "BED": "HS", "AT BEDTIME": "HS", "NIGHTLY": "HS", "NIGHT": "HS",
}  # fmt: skip
#: “at a meal”, “before” and “after a meal”: every meal of the day, of which three are counted.
_MEAL = frozenset({"C", "AC", "PC"})
_MEALS_A_DAY = 3.0
#: From this hour on a time of the day is the evening.
_EVENING_FROM = "18:00"
WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Unreadable(Exception):
    """A dosage instruction that cannot be turned into mg per day, and why."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


class HowOften(Struct, frozen=True):
    """Doses on a day on which any is taken; and on which days."""

    per_day: float
    bedtime: bool = False
    #: Days from one on which it is taken to the next, 1 = every day.
    every_days: float = 1.0
    note: Reason = NO_REASON


class Length(Struct, frozen=True):
    """How long an instruction holds: days, first and last day; None where it does not say."""

    days: float | None = None
    start: date | None = None
    end: date | None = None


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _codes_of(timing: dict[str, Any]) -> list[str]:
    code = _dict(timing.get("code"))
    codings = code.get("coding")
    found = [str(_dict(c).get("code") or "") for c in codings] if isinstance(codings, list) else []
    return [c.upper() for c in [*found, str(code.get("text") or "")] if c]


def _names_of(timing: dict[str, Any]) -> list[str]:
    """What a coded timing is called, for codes this service does not know: “Twice a day”."""
    code = _dict(timing.get("code"))
    codings = code.get("coding")
    displays = [str(_dict(c).get("display") or "") for c in codings] if isinstance(codings, list) else []
    return [name for name in (str(code.get("text") or ""), *displays) if name]


def times_of_day(timing: dict[str, Any]) -> frozenset[str]:
    """The times of the day it names, as written; empty when it names none."""
    repeat = _dict(timing.get("repeat"))
    for named in (repeat.get("when"), repeat.get("timeOfDay")):
        if isinstance(named, list) and named:
            return frozenset(str(x).upper() for x in named)
    return frozenset(_TIME_OF_DAY[c] for c in _codes_of(timing) if c in _TIME_OF_DAY)


def days_of_week(timing: dict[str, Any]) -> frozenset[str]:
    """The days of the week on which it is taken; empty when it names none. Raises Unreadable on a day that is none."""
    named = _dict(timing.get("repeat")).get("dayOfWeek")
    named = named if isinstance(named, list) else [named] if named else []
    days = frozenset(str(day).lower() for day in named)
    if not days <= frozenset(WEEK):
        raise Unreadable(because("timing.no-weekday"))
    return days


def how_often(timing: dict[str, Any]) -> HowOften | None:
    """None when the timing does not say. Raises Unreadable, also when its code and its fields name two numbers of doses a day."""
    found = _how_often(timing)
    coded = next((_CODES[code] for code in _codes_of(timing) if code in _CODES), None)
    if found is not None and coded is not None and not math.isclose(found.per_day, coded):
        raise Unreadable(because("timing.two-numbers", coded=coded, fields=found.per_day))
    return found


def _how_often(timing: dict[str, Any]) -> HowOften | None:
    repeat = _dict(timing.get("repeat"))
    times = repeat.get("timeOfDay")
    when = repeat.get("when")
    when = [str(x).upper() for x in when] if isinstance(when, list) else []
    codes = _codes_of(timing)
    bedtime = bool(set(codes) & _BEDTIME) or (bool(when) and all(x in _BEDTIME for x in when))
    period = finite(repeat.get("period"))
    frequency = finite(repeat.get("frequencyMax")) or finite(repeat.get("frequency"))
    unit = repeat.get("periodUnit")
    weekdays = days_of_week(timing)
    if frequency is not None and frequency <= 0:
        raise Unreadable(because("timing.frequency"))
    named = sum(_MEALS_A_DAY if x in _MEAL else 1.0 for x in when)
    note = because("dose-note.each-meal") if any(x in _MEAL for x in when) else NO_REASON
    if isinstance(times, list) and times:
        a_day = frequency if frequency is not None and (period, unit) == (1, "d") else 0.0
        late = all(str(x) >= _EVENING_FROM for x in times)
        return HowOften(max(float(len(times)), a_day), bedtime or late)
    if period is not None and isinstance(unit, str):
        hours = period * _HOURS.get(unit, 0.0)
        if hours <= 0:
            raise Unreadable(because("timing.period"))
        each = frequency if frequency is not None else named or 1.0
        if len(when) > 1 and frequency in (None, 1.0):
            each = named
        return _spread(each, hours, weekdays, bedtime, note if frequency is None else NO_REASON)
    if when:
        return HowOften(named, bedtime, note=note)
    if set(codes) & _EVERY_OTHER_DAY:
        return HowOften(1.0, bedtime, 2.0, not_every_day(because("often.other-day")))
    for code in codes:
        if code in _CODES:
            return HowOften(_CODES[code], bedtime)
    for name in _names_of(timing):
        if (written := read_timing(name)) is not None:
            said = not_every_day(written.not_daily) if written.not_daily else NO_REASON
            return HowOften(written.per_day, written.bedtime, written.every_days, said)
    if frequency is not None and period is None and unit is None and repeat:
        raise Unreadable(because("timing.no-period"))
    count = finite(repeat.get("countMax")) or finite(repeat.get("count"))
    if weekdays:
        return HowOften(1.0, bedtime)
    return HowOften(1.0, bedtime, note=because("dose-note.once")) if count == 1 else None


def _spread(each: float, hours: float, weekdays: frozenset[str], bedtime: bool, note: Reason) -> HowOften:
    """So many doses in so many hours: the most on one day, and how far apart the days are."""
    days = hours / 24
    if days <= 1:
        return HowOften(each / days, bedtime, note=note)
    among = len(weekdays) * max(1.0, math.floor(days / 7)) if weekdays else days
    on_one_day = float(max(1, math.ceil(each / among - 1e-9)))
    apart = days / each
    if weekdays or apart <= 1:
        return HowOften(on_one_day, bedtime, note=note)
    return HowOften(
        on_one_day, bedtime, apart, not_every_day(because("often.in-days", times=each, days=days))
    )


def repeated_every(timing: Any) -> float | None:
    """Days from one time to the next by the fields of a Timing; None when they do not say, or say that it is done once."""
    repeat = _dict(_dict(timing).get("repeat"))
    period, frequency = finite(repeat.get("period")), finite(repeat.get("frequency"))
    hours = _HOURS.get(str(repeat.get("periodUnit") or ""), 0.0) * (period or 0.0)
    if hours <= 0 or (frequency is not None and frequency <= 0) or repeat.get("count") == 1:
        return None
    return hours / 24 / (frequency or 1.0)


def length_of(timing: dict[str, Any], often: HowOften | None) -> Length:
    """How long it holds, by its bounds or by how many times it is to be given."""
    repeat = _dict(timing.get("repeat"))
    between = _dict(repeat.get("boundsRange"))  # the shorter: the next step may come then
    duration = _dict(repeat.get("boundsDuration")) or _dict(between.get("low")) or _dict(between.get("high"))
    length = finite(duration.get("value"))
    unit = str(duration.get("code") or duration.get("unit") or "").lower()
    period = _dict(repeat.get("boundsPeriod"))
    days = length * DAYS[unit] if length is not None and unit in DAYS else None
    count = finite(repeat.get("count"))
    if days is None and count is not None and count > 0 and often is not None:
        days = max(1.0, math.ceil(count / often.per_day) * often.every_days)
    return Length(days, read_date(period.get("start")), read_date(period.get("end")))
