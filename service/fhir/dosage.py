"""Daily dose from dosage instructions (clinical.md 3.5): structured, coded or as text; unreadable rather than guessed.

The daily dose is the most that is given on any one day; days without a dose are said, never averaged away.
"""

from __future__ import annotations

import re
from datetime import date
from functools import reduce
from itertools import combinations
from typing import Any, Literal

from msgspec import Struct

from service.alerts.facts.patient import FROM_THE_TEXT, Dose, DoseStep
from service.alerts.facts.reason import NO_REASON, Reason, because
from service.alerts.facts.record_text import DOSAGE, to_show
from service.fhir.dosage_items import NOT_UNDERSTOOD
from service.fhir.dosage_text import Written, read_text
from service.fhir.numbers import finite
from service.fhir.strength import VOLUME_ML, Strength, is_counted, mass_mg, unit_name
from service.fhir.timing import (
    DAYS,
    WEEK,
    HowOften,
    Unreadable,
    days_of_week,
    how_often,
    length_of,
    times_of_day,
)

#: A single dose above this is a mistake in the record, not a dose (mg).
_ABSURD_MG = 100_000.0


#: Doses of one record: they are compared with each other.
_MOST_DOSES = 100


class _Line(Struct):
    """One dosage instruction, read."""

    mg: float
    #: Doses on a day on which it is taken.
    per_day: float
    bedtime: bool = False
    #: Index of the instruction: a text may hold several doses, which belong together.
    instruction: int = 0
    #: Times of the day it names; empty when it names none.
    times: frozenset[str] = frozenset()
    #: Days of the week on which it is taken; empty = no such choice.
    weekdays: frozenset[str] = frozenset()
    #: Days from one on which it is taken to the next.
    every_days: float = 1.0
    as_needed: bool = False
    sequence: int | None = None
    days: float | None = None
    start: date | None = None
    end: date | None = None
    mg_per_day_max: float | None = None
    notes: tuple[Reason, ...] = ()

    @property
    def mg_per_day(self) -> float:
        """On a day on which it is taken."""
        total = self.mg * self.per_day
        return min(total, self.mg_per_day_max) if self.mg_per_day_max is not None else total

    @property
    def share_of_days(self) -> float:
        return len(self.weekdays) / len(WEEK) if self.weekdays else 1 / self.every_days

    def apart(self, other: _Line) -> bool:
        """Both name times of the day, or days of the week, and no common one: they are taken beside each other."""
        return any(
            bool(own) and bool(others) and not own & others
            for own, others in ((self.times, other.times), (self.weekdays, other.weekdays))
        )


class _Said(Struct):
    """What one instruction says in its fields and in its text, when both can be read: mg on one day."""

    fields: float
    text: float
    factor: float


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _amount_mg(quantity: dict[str, Any], strength: Strength) -> tuple[float, Reason]:
    """mg of one dose quantity (0: nothing at that time) and a note on how it was read. Raises Unreadable."""
    value = finite(quantity.get("value"))
    if value is None:
        raise Unreadable(because("dose-unread.no-number"))
    if value < 0:
        raise Unreadable(because("dose-unread.negative"))
    unit = str(quantity.get("unit") or quantity.get("code") or "")
    if value == 0:
        return 0.0, NO_REASON
    names = [str(quantity.get(k) or "") for k in ("code", "unit")]
    for name in names:
        mass = mass_mg(name)
        if mass is not None:
            return value * mass, NO_REASON
    for name in names:
        if (volume := VOLUME_ML.get(unit_name(name))) is not None:
            if strength.mg_per_ml is None:
                raise Unreadable(_not_known("concentration", unit, strength))
            note = because("dose-note.concentration-from", source=strength.read_from)
            return value * volume * strength.mg_per_ml, note
    if is_counted(quantity):
        if strength.mg_per_unit is None:
            raise Unreadable(_not_known("strength", unit, strength))
        return value * strength.mg_per_unit, because("dose-note.strength-from", source=strength.read_from)
    raise Unreadable(because("dose-unread.unit", unit=unit[:20]) if unit else because("dose-unread.no-unit"))


def _not_known(what: Literal["concentration", "strength"], unit: str, strength: Strength) -> Reason:
    """A dose is in a unit of which the product does not tell the mg."""
    in_unit = because("dose-unread.in-unit", unit=unit) if unit else because("dose-unread.in-units")
    if strength.conflict:
        return because(f"dose-unread.{what}-conflict", dose=in_unit, conflict=strength.conflict)
    return because(f"dose-unread.{what}-not-known", dose=in_unit)


def _rate_mg(ratio: dict[str, Any], strength: Strength) -> float | None:
    """mg per day of a rate by the day (“100 mg / 1 d”); None for any other. Raises Unreadable."""
    numerator, denominator = _dict(ratio.get("numerator")), _dict(ratio.get("denominator"))
    unit = str(denominator.get("code") or denominator.get("unit") or "").lower()
    length = finite(denominator.get("value"))
    if not numerator or unit not in DAYS or length is None or length <= 0:
        return None
    return _amount_mg(numerator, strength)[0] / (length * DAYS[unit])


def _agree_on_one(quantities: list[Any], strength: Strength) -> None:
    """Raises Unreadable when one dose is there in several ways that do not come to the same."""
    if len(quantities) < 2:
        return
    read: list[float] = []
    for quantity in quantities:
        try:
            read.append(_amount_mg(_dict(quantity), strength)[0])
        except Unreadable:
            continue
    for mg in read[1:]:
        if not _close(mg, read[0]):
            raise Unreadable(because("dose-unread.two-amounts", one=read[0], other=mg))


def _dose_of(line: dict[str, Any], strength: Strength) -> tuple[float, Reason, bool] | None:
    """mg of one dose (the high end of a range), a note, and whether it is that of the day; None when the line has no structured dose."""
    rates = line.get("doseAndRate")
    candidates = rates if isinstance(rates, list) else [rates] if isinstance(rates, dict) else []
    unreadable: Unreadable | None = None
    _agree_on_one([_dict(c).get("doseQuantity") for c in candidates], strength)
    # The same dose may be there in several ways (as ordered, as calculated, in tablets): the first that can be read.
    for holder in [*map(_dict, candidates), line]:
        try:
            # doseSimpleQuantity: its name in STU3.
            quantity = holder.get("doseQuantity") or holder.get("doseSimpleQuantity")
            if isinstance(quantity, dict):
                return (*_amount_mg(quantity, strength), False)
            dose_range = holder.get("doseRange")
            if isinstance(dose_range, dict):
                end = _dict(dose_range.get("high")) or _dict(dose_range.get("low"))
                mg, note = _amount_mg(end, strength)
                return mg, _and(note, because("dose-note.upper-end")), False
            a_day = _rate_mg(_dict(holder.get("rateRatio")), strength)
            if a_day is not None:
                return a_day, because("dose-note.rate"), True
        except Unreadable as why:
            unreadable = unreadable or why
    if unreadable is not None:
        raise unreadable
    return None


def _daily_maximum(line: dict[str, Any], strength: Strength) -> float | None:
    limit = line.get("maxDosePerPeriod")
    limit = _dict(limit[0]) if isinstance(limit, list) and limit else _dict(limit)
    try:
        return _rate_mg(limit, strength) or None
    except Unreadable:
        return None


def _in_all(written: Written) -> float:
    return sum(part.mg * part.per_day for part in written.doses)


def _read_line(
    line: dict[str, Any], strength: Strength, instruction: int, lower: bool
) -> tuple[list[_Line], _Said | None]:
    """One instruction (several lines when its text names several doses), and what fields and text say where both speak. Raises Unreadable."""
    timing = _dict(line.get("timing"))
    text = str(line.get("text") or line.get("patientInstruction") or "")
    if advice := _advice_on_dose(line):
        text = f"{text}; {advice}" if text else advice
    dose = _dose_of(line, strength)
    often = how_often(timing)
    maximum = _daily_maximum(line, strength)
    weekdays = days_of_week(timing)
    written = read_text(text, strength) if text else Written()
    length = length_of(timing, often)
    as_needed = line.get("asNeededBoolean") is True or isinstance(line.get("asNeededCodeableConcept"), dict)
    common: dict[str, Any] = {
        "as_needed": as_needed or (written.as_needed and (dose is None or often is None)), "weekdays": weekdays,
        "sequence": line["sequence"] if isinstance(line.get("sequence"), int) else None,
        "days": length.days, "start": length.start, "end": length.end, "mg_per_day_max": maximum, "instruction": instruction,
    }  # fmt: skip
    if dose is None:
        return _from_text(text, written, often, common), None
    mg, note, of_the_day = dose
    notes = [note]
    if mg > _ABSURD_MG:
        raise Unreadable(because("dose-unread.absurd"))
    if often is None and of_the_day:
        often = HowOften(1.0)
    if often is None and written.doses and mg > 0:
        if len(written.doses) > 1:
            return _from_text(text, written, often, common), None
        only = written.doses[0]
        often = HowOften(only.per_day, only.bedtime, only.every_days)
        notes.append(because("dose-note.timing-from-the-text"))
    if often is None:
        if mg == 0:
            often = HowOften(1.0)
        elif maximum is None:
            raise Unreadable(
                because("dose-unread.untimed-text", why=written.unreadable)
                if written.unreadable
                else because("dose-unread.untimed")
            )
        else:
            return [_Line(mg=mg, per_day=maximum / mg, notes=(because("dose-note.maximum"),), **common)], None
    notes.append(often.note)
    read = _Line(
        mg=mg / often.per_day if of_the_day else mg,
        per_day=often.per_day, bedtime=often.bedtime, times=times_of_day(timing), every_days=often.every_days,
        notes=tuple(n for n in notes if n), **common,
    )  # fmt: skip
    said = None
    if written.doses and mg > 0:
        said = _Said(read.mg * read.per_day, _in_all(written), 1.0)
        if said.fields != said.text and (said.text < said.fields) == lower:
            said.factor = said.text / said.fields
    return [read], said


#: An amount, or a word by which the dose does not stay what it is; “with food” and “1 hour before milk” say nothing of it.
_CHANGES = re.compile(
    r"\d\s*(?:mg|tab|caps|drop)|\b(?:increas|titrat|taper|reduc|decreas|escalat|wean|steiger|erhöh|aufdos|reduz|ausschleich|augment|"
    r"diminu|aument|opbouw|verhog|verlaag|afbouw)",
    re.IGNORECASE,
)


def _advice_on_dose(line: dict[str, Any]) -> str:
    """What ``additionalInstruction`` says of the dose; empty where it says nothing of it."""
    advice = line.get("additionalInstruction")
    said = []
    for concept in advice if isinstance(advice, list) else [advice]:
        codings = _dict(concept).get("coding")
        shown = [_dict(c).get("display") for c in codings] if isinstance(codings, list) else []
        text = next((t for t in (_dict(concept).get("text"), *shown) if isinstance(t, str) and t), "")
        if _CHANGES.search(text):
            said.append(text)
    return "; ".join(said)


def _from_text(text: str, written: Written, often: HowOften | None, common: dict[str, Any]) -> list[_Line]:
    """The doses of the text, for a line that has none in its fields. Raises Unreadable."""
    if not text:
        raise Unreadable(because("dose-unread.neither"))
    if written.unreadable:
        known = written.unreadable.id != NOT_UNDERSTOOD
        why = written.unreadable if known else written.unreadable.params["words"]
        raise Unreadable(because("dose-unread.text-not-understood", why=why))
    found = [
        _Line(
            mg=part.mg, per_day=part.per_day, bedtime=part.bedtime, times=part.times, every_days=part.every_days,
            notes=(FROM_THE_TEXT, *written.notes), **common,
        )
        for part in written.doses
    ]  # fmt: skip
    if len(found) == 1 and often is not None and often.per_day != found[0].per_day:
        found[0].notes += (
            because("dose-note.higher-number-of-times", text=found[0].per_day, timing=often.per_day),
        )
        found[0].per_day = max(often.per_day, found[0].per_day)
    return found


def _on_one_day(lines: list[_Line]) -> float:
    """The most that is given on any one day, mg: lines are taken together, each on its days of the week."""
    if not any(line.weekdays for line in lines):
        return sum(line.mg_per_day for line in lines)
    return max(
        sum(line.mg_per_day for line in lines if not line.weekdays or day in line.weekdays) for day in WEEK
    )


def _fullest(lines: list[_Line]) -> list[_Line]:
    """The lines of the day on which most is given."""
    if not any(line.weekdays for line in lines):
        return lines
    by_day = [[line for line in lines if not line.weekdays or day in line.weekdays] for day in WEEK]
    return max(by_day, key=lambda day: sum(line.mg_per_day for line in day))


def _days_without(lines: list[_Line]) -> tuple[Reason, ...]:
    """The days of the week on which nothing is given."""
    if not lines or not all(line.weekdays for line in lines):
        return ()
    given = frozenset().union(*(line.weekdays for line in lines if line.mg > 0))
    return tuple(because(f"weekday.{day}") for day in WEEK if day not in given)


def _times(lines: list[_Line]) -> tuple[str, ...]:
    """The times of the day that the lines name together; none where a line names none."""
    if not all(line.times for line in lines):
        return ()
    return tuple(sorted(frozenset().union(*(line.times for line in lines))))


def _steps(lines: list[_Line]) -> tuple[DoseStep, ...]:
    """Steps of a titration: instructions that follow each other; empty when they run together."""
    if len(lines) < 2:
        return ()
    numbered = len({line.sequence for line in lines if line.sequence is not None}) > 1
    if not numbered and not any(line.days is not None or line.start is not None for line in lines):
        return ()
    steps = _dated_steps(lines) if any(line.start is not None for line in lines) else _numbered_steps(lines)
    return steps if len(steps) > 1 else ()


def _numbered_steps(lines: list[_Line]) -> tuple[DoseStep, ...]:
    """Steps by sequence number and length, else in the order written; what has no length may end on its first day."""
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
        steps.append(DoseStep(day, length, _on_one_day(group)))
        day += length or 1
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

    in_force = [(begin, until(begin, end, line), line) for begin, end, line in spans]
    changes = sorted({begin for begin, _, _ in in_force} | {end for _, end, _ in in_force if end is not None})
    steps: list[DoseStep] = []
    for index, day in enumerate(changes):
        together = [line for begin, end, line in in_force if begin <= day and (end is None or day < end)]
        if together:
            later = changes[index + 1] if index + 1 < len(changes) else None
            steps.append(DoseStep(day, later - day if later is not None else None, _on_one_day(together)))
    return tuple(steps)


def _never_last(day: int | None) -> float:
    return float("inf") if day is None else day


def _two_ways(said: list[_Said | None], lines: list[_Line]) -> Reason:
    """Where text and fields contradict each other: both, in words; the lines get the dose that counts. Empty when they agree."""
    in_fields = sum(s.fields for s in said if s is not None)
    contradicting = [
        (index, s)
        for index, s in enumerate(said)
        # Each of several instructions may carry the text of all.
        if s is not None and not _close(s.text, s.fields) and not _close(s.text, in_fields)
    ]
    for index, s in contradicting:
        for line in lines:
            if line.instruction == index:
                line.mg *= s.factor
    ways = [because("dose-unread.two-ways", text=s.text, fields=s.fields) for _, s in contradicting]
    return reduce(_and, ways, NO_REASON)


def _and(one: Reason, other: Reason) -> Reason:
    return because("reading.two", one=one, other=other) if one else other


def _close(a: float, b: float) -> bool:
    return abs(a - b) <= 0.01 * max(a, b)


def read_dose(dosage: Any, strength: Strength, *, lower: bool = False) -> Dose:
    """The dose of an order, statement or dispense from its dosage elements. Never raises.

    Args:
        dosage: ``dosageInstruction`` or ``dosage``, decoded.
        strength: of the product, for doses in tablets or mL.
        lower: where fields and text contradict each other the lower counts (of what was taken); else the higher (of what is ordered).
    """
    lines_raw = dosage if isinstance(dosage, list) else [dosage] if isinstance(dosage, dict) else []
    texts = [
        str(line["text"])
        for line in lines_raw
        if isinstance(line, dict) and isinstance(line.get("text"), str)
    ]
    text = to_show("; ".join(texts), DOSAGE)
    if not lines_raw:
        return Dose(mg_per_day=None, unreadable=because("dose-unread.no-instruction"))
    lines: list[_Line] = []
    said: list[_Said | None] = []
    try:
        for index, line in enumerate(lines_raw):
            if not isinstance(line, dict):
                raise Unreadable(because("dose-unread.no-object"))
            read, both = _read_line(line, strength, index, lower)
            lines += read
            said.append(both)
            if len(lines) > _MOST_DOSES:
                raise Unreadable(because("dose-unread.too-many", most=_MOST_DOSES))
        if not any(line.mg for line in lines):
            raise Unreadable(because("dose-unread.zero"))
    except Unreadable as why:
        return Dose(mg_per_day=None, text=text, unreadable=why.reason)
    two_ways = _two_ways(said, lines)
    steps = _steps(lines)
    daily = max(s.mg_per_day for s in steps) if steps else _on_one_day(lines)
    if daily > _ABSURD_MG:
        return Dose(mg_per_day=None, text=text, unreadable=because("dose-unread.absurd"))
    notes = list(dict.fromkeys(note for line in lines for note in line.notes))
    if strength.conflict:
        notes.append(because("dose-note.conflict", conflict=strength.conflict))
    if without := _days_without(lines):
        notes.append(because("dose-note.nothing-on", days=without))
    if any(line.as_needed for line in lines):
        notes.append(because("dose-note.as-needed"))
    if two_ways:
        notes.append(because(f"dose-note.{'lower' if lower else 'higher'}-counts", ways=two_ways))
    taken = [line for line in lines if line.mg > 0]
    if steps:
        often = taken[0].per_day / taken[0].every_days
    else:
        often = sum(line.per_day / line.every_days for line in _fullest(taken))
    mean = sum(line.mg_per_day * line.share_of_days for line in lines)
    return Dose(
        mg_per_day=round(daily, 3),
        first_mg_per_day=round(steps[0].mg_per_day if steps else daily, 3),
        largest_single_mg=max(line.mg for line in lines),
        doses_per_day=often,
        steps=steps,
        as_needed=any(line.as_needed for line in lines),
        only_as_needed=all(line.as_needed for line in taken),
        bedtime=all(line.bedtime for line in taken),
        times=_times(taken[:1] if steps else _fullest(taken)),
        text=text,
        notes=tuple(notes),
        mean_mg_per_day=round(mean, 3) if not steps and not _close(mean, daily) else None,
        two_ways=two_ways,
        strengths=strength.conflict,
    )


def amount_mg(quantity: Any, strength: Strength) -> float | None:
    """mg in an amount (tablets, mL, mg) that was given or handed over; None when unit or strength is not known.

    A number without a unit counts tablets of a product whose strength is stated by the tablet.
    """
    amount = _dict(quantity)
    if not amount.get("code") and not amount.get("unit") and strength.mg_per_unit is not None:
        amount = {**amount, "unit": "1"}
    try:
        return _amount_mg(amount, strength)[0]
    except Unreadable:
        return None
