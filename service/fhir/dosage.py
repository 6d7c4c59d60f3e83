"""Daily dose from dosage instructions (clinical.md 3.5): structured, coded or as text; unreadable rather than guessed."""

from __future__ import annotations

import math
from datetime import date
from itertools import combinations
from typing import Any

from msgspec import Struct

from service.alerts.facts import Dose, DoseStep
from service.alerts.record_text import DOSAGE, to_show
from service.fhir.dosage_text import read_text, read_timing
from service.fhir.numbers import finite
from service.fhir.strength import VOLUME_ML, Strength, mass_mg
from service.fhir.times import read_date

#: Units that count tablets, capsules or the like (after removing braces and plural marks).
_COUNTED = frozenset(
    [
        "tablet",
        "tab",
        "tbl",
        "tabs",
        "tablets",
        "pill",
        "pills",
        "capsule",
        "cap",
        "capsules",
        "caps",
        "each",
        "ea",
        "unit",
        "units",
        "dose",
        "1",
        "odt",
        "orodispersible_tablet",
    ]
)
_HOURS = {"s": 1 / 3600, "min": 1 / 60, "h": 1.0, "d": 24.0, "wk": 168.0, "mo": 730.0, "a": 8766.0}
_DAYS = {
    "h": 1 / 24,
    "d": 1.0,
    "day": 1.0,
    "days": 1.0,
    "wk": 7.0,
    "week": 7.0,
    "weeks": 7.0,
    "mo": 30.0,
    "month": 30.0,
    "months": 30.0,
}
#: Coded timings (HL7 GTSAbbreviation and what EHRs write): doses per day.
_TIMING_CODES = {
    "QD": 1.0, "DAILY": 1.0, "OD": 1.0, "Q24H": 1.0, "ONCE DAILY": 1.0, "QAM": 1.0, "AM": 1.0, "QPM": 1.0, "PM": 1.0, "QHS": 1.0, "HS": 1.0,
    "NIGHTLY": 1.0, "BED": 1.0, "AT BEDTIME": 1.0, "BID": 2.0, "BD": 2.0, "Q12H": 2.0, "TWICE DAILY": 2.0, "TID": 3.0, "TDS": 3.0, "Q8H": 3.0,
    "QID": 4.0, "QDS": 4.0, "Q6H": 4.0, "Q4H": 6.0, "QOD": 0.5,
}  # fmt: skip
_BEDTIME = frozenset({"HS", "QHS", "NIGHTLY", "BED", "AT BEDTIME", "PM", "QPM", "EVE", "NIGHT"})
#: The same, in the terms of FHIR's EventTiming; what else a line says of its time is compared as written.
_TIME_OF_DAY = {
    "AM": "MORN", "QAM": "MORN", "PM": "EVE", "QPM": "EVE", "HS": "HS", "QHS": "HS", "BED": "HS", "AT BEDTIME": "HS", "NIGHTLY": "HS", "NIGHT": "HS",
}  # fmt: skip
#: From this hour on a time of the day is the evening.
_EVENING_FROM = "18:00"
#: A single dose above this is a mistake in the record, not a dose (mg).
_ABSURD_MG = 100_000.0


#: Doses of one record: they are compared with each other.
_MOST_DOSES = 100


class _Line(Struct):
    """One dosage instruction, read."""

    mg: float
    per_day: float
    bedtime: bool = False
    #: Index of the instruction: a text may hold several doses, which belong together.
    instruction: int = 0
    #: Times of the day it names; empty when it names none.
    times: frozenset[str] = frozenset()
    as_needed: bool = False
    sequence: int | None = None
    days: float | None = None
    start: date | None = None
    end: date | None = None
    mg_per_day_max: float | None = None
    note: str = ""

    @property
    def mg_per_day(self) -> float:
        total = self.mg * self.per_day
        return min(total, self.mg_per_day_max) if self.mg_per_day_max is not None else total

    @property
    def mg_on_its_day(self) -> float:
        """Dose of a day on which it is taken: of 50 mg every other day the 50 mg."""
        return max(self.mg_per_day, self.mg) if self.per_day < 1 else self.mg_per_day

    def apart(self, other: _Line) -> bool:
        """Both name times of the day, and no common one: they are taken beside each other."""
        return bool(self.times) and bool(other.times) and not self.times & other.times


class Unreadable(Exception):
    """A dosage instruction that cannot be turned into mg per day; the message says why."""


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _amount_mg(quantity: dict[str, Any], strength: Strength) -> tuple[float, str]:
    """mg of one dose quantity and a note on how it was read. Raises Unreadable."""
    value = finite(quantity.get("value"))
    if value is None:
        raise Unreadable("doseQuantity has no number")
    if value < 0:
        raise Unreadable("the dose is negative")
    if value == 0:
        raise Unreadable("the dose is zero")
    unit = str(quantity.get("code") or quantity.get("unit") or "")
    names = [str(quantity.get(k) or "") for k in ("code", "unit")]
    for name in names:
        mass = mass_mg(name)
        if mass is not None:
            return value * mass, ""
    for name in names:
        plain = name.strip().lower().strip("{}[]").replace("(s)", "").replace(" ", "_")
        if plain in VOLUME_ML:
            if strength.mg_per_ml is None:
                raise Unreadable(f"the dose is in {unit}, and the concentration of the product is not known")
            return value * VOLUME_ML[plain] * strength.mg_per_ml, f"concentration from {strength.read_from}"
        if plain in _COUNTED or plain.startswith(("tablet", "capsule")):
            if strength.mg_per_unit is None:
                raise Unreadable(
                    f"the dose is in {unit or 'units'}, and the strength of the product is not known"
                )
            return value * strength.mg_per_unit, f"strength from {strength.read_from}"
    raise Unreadable(f"the dose has the unit “{unit[:20]}”, not a mass" if unit else "the dose has no unit")


def _dose_of(line: dict[str, Any], strength: Strength) -> tuple[float, str] | None:
    """mg of one dose; the high end of a range; None when the line has no structured dose."""
    rates = line.get("doseAndRate")
    candidates = rates if isinstance(rates, list) else [rates] if isinstance(rates, dict) else []
    unreadable: Unreadable | None = None
    # The same dose may be there in several ways (as ordered, as calculated, in tablets): the first that can be read.
    for holder in [*map(_dict, candidates), line]:
        try:
            if isinstance(holder.get("doseQuantity"), dict):
                return _amount_mg(holder["doseQuantity"], strength)
            dose_range = holder.get("doseRange")
            if isinstance(dose_range, dict):
                end = _dict(dose_range.get("high")) or _dict(dose_range.get("low"))
                mg, note = _amount_mg(end, strength)
                return mg, "; ".join(n for n in (note, "upper end of the dose range") if n)
        except Unreadable as why:
            unreadable = unreadable or why
    if unreadable is not None:
        raise unreadable
    return None


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


def _times_of_day(timing: dict[str, Any]) -> frozenset[str]:
    repeat = _dict(timing.get("repeat"))
    for named in (repeat.get("when"), repeat.get("timeOfDay")):
        if isinstance(named, list) and named:
            return frozenset(str(x).upper() for x in named)
    return frozenset(_TIME_OF_DAY[c] for c in _codes_of(timing) if c in _TIME_OF_DAY)


def _per_day(timing: dict[str, Any]) -> tuple[float, bool] | None:
    """(doses per day, only at bedtime) of a structured or coded timing; None when there is none."""
    repeat = _dict(timing.get("repeat"))
    times = repeat.get("timeOfDay")
    when = repeat.get("when")
    codes = _codes_of(timing)
    bedtime = bool(set(codes) & _BEDTIME) or (
        isinstance(when, list) and len(when) > 0 and all(str(x).upper() in _BEDTIME for x in when)
    )
    period = finite(repeat.get("period"))
    frequency = finite(repeat.get("frequencyMax")) or finite(repeat.get("frequency"))
    unit = repeat.get("periodUnit")
    if frequency is not None and frequency <= 0:
        raise Unreadable("timing.repeat.frequency is not a positive number")
    if isinstance(times, list) and times:
        a_day = frequency if frequency is not None and (period, unit) == (1, "d") else 0.0
        late = all(str(x) >= _EVENING_FROM for x in times)
        return max(float(len(times)), a_day), bedtime or late
    if period is not None and isinstance(unit, str):
        hours = period * _HOURS.get(unit, 0.0)
        if hours <= 0:
            raise Unreadable("timing.repeat.period is not a length of time")
        each = (
            frequency
            if frequency is not None
            else float(len(when))
            if isinstance(when, list) and when
            else 1.0
        )
        if isinstance(when, list) and len(when) > 1 and frequency in (None, 1.0):
            each = float(len(when))
        return each * 24.0 / hours, bedtime
    if isinstance(when, list) and when:
        return float(len(when)), bedtime
    for code in codes:
        if code in _TIMING_CODES:
            return _TIMING_CODES[code], bedtime
    for name in _names_of(timing):
        if (written := read_timing(name)) is not None:
            return written
    if frequency is not None and period is None and unit is None and repeat:
        raise Unreadable("timing.repeat has a frequency but no period")
    return None


def _bounds(timing: dict[str, Any]) -> tuple[float | None, date | None, date | None]:
    repeat = _dict(timing.get("repeat"))
    between = _dict(repeat.get("boundsRange"))  # the shorter: the next step may come then
    duration = _dict(repeat.get("boundsDuration")) or _dict(between.get("low")) or _dict(between.get("high"))
    length = finite(duration.get("value"))
    unit = str(duration.get("code") or duration.get("unit") or "").lower()
    period = _dict(repeat.get("boundsPeriod"))
    days = length * _DAYS[unit] if length is not None and unit in _DAYS else None
    return days, read_date(period.get("start")), read_date(period.get("end"))


def _daily_maximum(line: dict[str, Any], strength: Strength) -> float | None:
    limit = line.get("maxDosePerPeriod")
    limit = _dict(limit[0]) if isinstance(limit, list) and limit else _dict(limit)
    numerator, denominator = _dict(limit.get("numerator")), _dict(limit.get("denominator"))
    days = (finite(denominator.get("value")) or 0.0) * _DAYS.get(
        str(denominator.get("code") or denominator.get("unit") or "").lower(), 0.0
    )
    if not numerator or days <= 0:
        return None
    try:
        return _amount_mg(numerator, strength)[0] / days  # never zero or negative: that is Unreadable
    except Unreadable:
        return None


def _read_line(line: dict[str, Any], strength: Strength, instruction: int) -> list[_Line]:
    """One instruction; several when its text names several doses. Raises Unreadable."""
    timing = _dict(line.get("timing"))
    as_needed = line.get("asNeededBoolean") is True or isinstance(line.get("asNeededCodeableConcept"), dict)
    days, start, end = _bounds(timing)
    sequence = line.get("sequence") if isinstance(line.get("sequence"), int) else None
    maximum = _daily_maximum(line, strength)
    text = str(line.get("text") or line.get("patientInstruction") or "")
    dose = _dose_of(line, strength)
    per_day = _per_day(timing)
    common: dict[str, Any] = {
        "as_needed": as_needed, "sequence": sequence, "days": days, "start": start, "end": end, "mg_per_day_max": maximum,
        "instruction": instruction, "times": _times_of_day(timing),
    }  # fmt: skip
    written = read_text(text, strength) if text and (dose is None or per_day is None) else None
    if dose is not None:
        mg, note = dose
        if mg > _ABSURD_MG:
            raise Unreadable("the dose is absurdly large")
        if per_day is None and written is not None and len(written) == 1:
            per_day = written[0].per_day, written[0].bedtime
            note = "; ".join(n for n in (note, "timing from the text") if n)
        if per_day is None:
            if maximum is None:
                raise Unreadable("the timing of the dose is missing")
            return [_Line(mg=mg, per_day=maximum / mg, note="at most, from maxDosePerPeriod", **common)]
        return [_Line(mg=mg, per_day=per_day[0], bedtime=per_day[1], note=note, **common)]
    if written:
        return [
            _Line(mg=part.mg, per_day=part.per_day, bedtime=part.bedtime, note="read from the text", **common)
            for part in written
        ]
    if text:
        raise Unreadable("the text of the dosage instruction is not one the service can read")
    raise Unreadable("dosageInstruction has neither a dose nor a text")


def _steps(lines: list[_Line]) -> tuple[DoseStep, ...]:
    """Steps of a titration: instructions that follow each other; empty when they run together."""
    if len(lines) < 2 or not any(line.days is not None or line.start is not None for line in lines):
        return ()
    steps = _dated_steps(lines) if any(line.start is not None for line in lines) else _numbered_steps(lines)
    return steps if len(steps) > 1 else ()


def _numbered_steps(lines: list[_Line]) -> tuple[DoseStep, ...]:
    """Steps by sequence number and length, else in the order written."""
    if len({line.days for line in lines}) == 1 and all(a.apart(b) for a, b in combinations(lines, 2)):
        return ()  # morning and night for the same number of days
    groups: dict[int, list[_Line]] = {}
    for line in lines:
        groups.setdefault(line.sequence if line.sequence is not None else line.instruction, []).append(line)
    steps: list[DoseStep] = []
    day = 0
    for key in sorted(groups):
        group = groups[key]
        length = max(1, round(group[0].days)) if group[0].days is not None else None
        steps.append(DoseStep(day, length, sum(line.mg_per_day for line in group)))
        day += length or 0
    return tuple(steps)


def _dated_steps(lines: list[_Line]) -> tuple[DoseStep, ...]:
    """Steps by date: on each day the instructions in force together."""
    first = min(line.start for line in lines if line.start is not None)
    spans: list[tuple[int, int | None, _Line]] = []  # first day, day after the last, line
    for line in lines:
        begin = (line.start - first).days if line.start is not None else 0
        end: int | None = None
        if line.end is not None:
            end = max((line.end - first).days, begin) + 1
        elif line.days is not None:
            end = begin + max(1, round(line.days))
        spans.append((begin, end, line))

    def until(begin: int, end: int | None, line: _Line) -> int | None:
        """An instruction without an end, or one that ends on the day the next begins, gives way to the next."""
        following = [
            b for b, _, other in spans if b > begin and line.start is not None and not line.apart(other)
        ]
        return min([end, *(b for b in following if end is None or end == b + 1)], key=_never_last)

    in_force = [(begin, until(begin, end, line), line.mg_per_day) for begin, end, line in spans]
    changes = sorted({begin for begin, _, _ in in_force} | {end for _, end, _ in in_force if end is not None})
    steps: list[DoseStep] = []
    for index, day in enumerate(changes):
        doses = [mg for begin, end, mg in in_force if begin <= day and (end is None or day < end)]
        if doses:
            later = changes[index + 1] if index + 1 < len(changes) else None
            steps.append(DoseStep(day, later - day if later is not None else None, sum(doses)))
    return tuple(steps)


def _never_last(day: int | None) -> float:
    return math.inf if day is None else day


def read_dose(dosage: Any, strength: Strength) -> Dose:
    """The dose of an order, statement or dispense from its dosage elements. Never raises."""
    lines_raw = dosage if isinstance(dosage, list) else [dosage] if isinstance(dosage, dict) else []
    texts = [
        str(line["text"])
        for line in lines_raw
        if isinstance(line, dict) and isinstance(line.get("text"), str)
    ]
    text = to_show("; ".join(texts), DOSAGE)
    if not lines_raw:
        return Dose(mg_per_day=None, unreadable="the order has no dosage instruction")
    lines: list[_Line] = []
    try:
        for index, line in enumerate(lines_raw):
            if not isinstance(line, dict):
                raise Unreadable("dosageInstruction is not an object")
            lines += _read_line(line, strength, index)
            if len(lines) > _MOST_DOSES:
                raise Unreadable(f"it names more than {_MOST_DOSES} doses")
    except Unreadable as why:
        return Dose(mg_per_day=None, text=text, unreadable=str(why))
    steps = _steps(lines)
    together = sum(line.mg_per_day for line in lines)
    daily = max(s.mg_per_day for s in steps) if steps else together
    if daily > _ABSURD_MG:
        return Dose(mg_per_day=None, text=text, unreadable="the dose is absurdly large")
    notes = list(dict.fromkeys(line.note for line in lines if line.note))
    if any(line.as_needed for line in lines):
        notes.append("as needed: counted as if always taken")
    return Dose(
        mg_per_day=round(daily, 3),
        first_mg_per_day=round(steps[0].mg_per_day if steps else sum(ln.mg_on_its_day for ln in lines), 3),
        largest_single_mg=max(line.mg for line in lines),
        doses_per_day=lines[0].per_day if len(lines) == 1 or steps else sum(line.per_day for line in lines),
        steps=steps,
        as_needed=any(line.as_needed for line in lines),
        only_as_needed=all(line.as_needed for line in lines),
        bedtime=all(line.bedtime for line in lines),
        text=text,
        notes=tuple(notes),
    )
