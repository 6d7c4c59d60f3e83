"""Doses written as text: “take 1 tablet twice daily”, “100 mg am and 200 mg nocte” (clinical.md 3.5).

A text is read as a whole or not at all: every word of it is known (``dosage_words.toml``), and all of them fit together, or it is
unreadable and the answer names what was not understood.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import pairwise
from typing import NoReturn

from msgspec import Struct

from service.alerts.facts.reason import NO_REASON, Reason, because
from service.fhir.dosage_amounts import Amount, NotRead, same
from service.fhir.dosage_item import TIMES, Item
from service.fhir.dosage_items import Reader
from service.fhir.dosage_words import LONGEST, words_of
from service.fhir.strength import Strength

_MOST_TIMES = 24
#: A number of tablets from here on, in a sentence of its own, is what is handed out: “20 tablets. One tablet twice a day”.
_HANDED_OUT_FROM = 7
#: Meals of a day.
_MEALS = 3
_EVENING = frozenset({"EVE", "HS"})


class WrittenDose(Struct, frozen=True):
    """One dose of a text: mg, times on a day on which it is taken, only at bedtime."""

    mg: float
    per_day: float
    bedtime: bool = False
    #: Parts of the day (FHIR EventTiming) it names; empty when it names none.
    times: frozenset[str] = frozenset()
    #: “every other day”: how far apart the days are on which it is taken; empty when it is taken every day.
    not_daily: Reason = NO_REASON
    #: Days between two days on which it is taken.
    every_days: float = 1.0


class Written(Struct, frozen=True):
    """What a text comes to: its doses, or why it is not read."""

    doses: tuple[WrittenDose, ...] = ()
    as_needed: bool = False
    notes: tuple[Reason, ...] = ()
    unreadable: Reason = NO_REASON


def not_every_day(often: Reason) -> Reason:
    """The note of a dose that is not taken every day."""
    return because("dose-note.not-every-day", often=often)


class _Clause(Struct):
    """An amount with its timing."""

    amount: Amount
    times: list[Item]
    joined: bool = False  # by “and” to the one before
    scheme_part: str = ""


class _Timing(Struct, frozen=True):
    per_day: float
    parts: frozenset[str]
    bedtime: bool
    not_daily: Reason
    every_days: float
    #: The amount is that of the whole day, taken in this many doses.
    divided: bool
    as_needed: bool
    #: Says no more than “daily”.
    only_daily: bool
    #: “daily”, and then several times of the day by name: more than one tablet may be that of the day or of each time.
    of_day_or_dose: bool = False


def _fail(why: Reason) -> NoReturn:
    raise NotRead(why)


def _hour_part(minutes: float) -> str:
    hour = minutes / 60
    return (
        "MORN"
        if 3 <= hour < 11
        else "NOON"
        if hour < 14 and hour >= 11
        else "AFT"
        if 14 <= hour < 17
        else "EVE"
        if 17 <= hour < 20
        else "HS"
    )


def _compatible(a: str, b: str) -> bool:
    return a == b or {a, b} <= _EVENING


def _points(times: list[Item]) -> tuple[list[set[str]], int]:
    """Times of the day apart from each other, and how many clock times. “every evening at bedtime” is one, “evening and bedtime” are two."""
    points: list[tuple[set[str], set[float]]] = []
    joint = ""
    for item in times:
        if item.kind in ("part", "clock"):
            part = item.value if item.kind == "part" else _hour_part(item.value)
            clock = {item.value} if item.kind == "clock" else set()
            if points and joint == "or":
                points[-1][0].add(part)
                points[-1][1].clear()
            elif (
                points
                and joint != "and"
                and any(_compatible(part, p) for p in points[-1][0])
                and not (clock and points[-1][1])
            ):
                points[-1][0].add(part)
                points[-1][1].update(clock)
            else:
                if any(p == {part} and (not clock or not c or clock == c) for p, c in points):
                    _fail(
                        because("dose-text.part-twice", part=part.lower())
                        if joint == "and"
                        else because("dose-text.time-twice")
                    )
                points.append(({part}, clock))
            joint = ""
        elif item.kind in ("and", "or", "comma"):
            joint = item.kind if joint in ("", "comma") else joint
    return [p for p, _ in points], len(points)


def _timing(times: list[Item]) -> _Timing | None:
    """How often, of everything a text says of it; None when it says nothing. Raises NotRead when it contradicts itself."""
    named = [i for i in times if i.kind in TIMES]
    if not named:
        return None
    as_needed = any(i.kind == "as_needed" for i in named)
    numbers_said = [i.value for i in named if i.kind in ("frequency", "once")]
    # “three times a day after food and at night” are four, “four times a day after meals and at bedtime” too
    counts_meals = not numbers_said or max(numbers_said) > _MEALS
    for index, item in enumerate(times):
        beside = {i.kind for i in times[max(index - 1, 0) : index + 2]}
        if item.kind == "meals" and counts_meals and "and" in beside:
            _fail(because("dose-text.how-many-meals"))
    times = [i for i in times if i.kind != "meals"]
    for before, item in pairwise(times):
        if item.kind == "as_needed" and before.kind in ("and", "or"):
            _fail(because("dose-text.more-as-needed"))
    often = [i for i in named if i.kind in ("frequency", "once", "hours")]
    daily = [i for i in named if i.kind == "daily"]
    apart = [i for i in named if i.kind == "alternate"]
    divided = [i for i in named if i.kind == "divided"]
    points, count = _points(times)
    if len(apart) > 1 or len(divided) > 1:
        _fail(because("dose-text.timing-twice"))
    numbers: set[float] = set()
    for item in often:
        number = item.value
        if item.kind == "hours":
            number = 24.0 / item.value if item.value else 0.0
        if not 0 < number <= _MOST_TIMES:
            if item.kind == "hours" and item.value > 24:
                every = because("often.every-hours", hours=float(item.value))
                apart.append(Item("alternate", item.value / 24, often=every))
                number = 1.0
            else:
                _fail(because("dose-text.number-of-times"))
        numbers.add(float(math.ceil(number - 1e-9)))
    if len(apart) > 1:
        _fail(because("dose-text.timing-twice"))
    if len(numbers) > 1:
        _fail(because("dose-text.two-numbers-of-times"))
    per_day = numbers.pop() if numbers else None
    weak = bool(often) and all(i.kind == "once" for i in often)
    if per_day == 1 and weak and (daily or points):
        per_day, weak = None, False  # “once daily at 8 am and 8 pm” is twice, as “daily” is
        daily = daily or [Item("daily", 1.0)]
    if per_day is not None and weak and not daily and not divided and per_day != count:
        _fail(because("dose-text.times-of-no-day"))
    if any(i.kind == "or" for i in times) and not _or_between_parts(times):
        _fail(because("dose-text.choice"))
    sizes = [i.value for i in divided if i.value is not None]
    if divided:
        if points and per_day is None and not sizes:
            per_day = float(count)
        if sizes and per_day not in (None, sizes[0]):
            _fail(because("dose-text.two-numbers-of-doses"))
        per_day = sizes[0] if sizes else per_day if per_day is not None else 2.0
        if points and count != per_day:
            _fail(because("dose-text.doses-and-times"))
    elif per_day is not None:
        if daily and _before(times, "daily", ("frequency", "once", "hours")) and per_day > 1:
            _fail(because("dose-text.day-or-dose"))
        if points and count != per_day:
            if count == 1 and _joined(times):
                per_day += 1
            else:
                _fail(because("dose-text.number-and-times"))
        elif points and _joined(times):
            _fail(because("dose-text.adds-or-names"))
    elif points:
        per_day = float(count)
        if daily and _joined(times):
            per_day += 1
    elif daily or apart:
        per_day = 1.0
    else:
        return None if as_needed else _fail(because("dose-text.how-often"))
    parts = frozenset(p for point in points for p in point) if count == per_day else frozenset()
    gap = apart[0] if apart else None
    return _Timing(
        per_day=per_day,
        parts=parts,
        bedtime=bool(points) and count == per_day and all(p <= _EVENING for p in points),
        not_daily=gap.often if gap is not None else NO_REASON,
        every_days=gap.value if gap is not None else 1.0,
        divided=bool(divided),
        as_needed=as_needed,
        only_daily=not often and not points and not apart and not divided,
        of_day_or_dose=count > 1
        and not divided
        and not any(i.kind == "clock" for i in named)
        and _before(times, "daily", ("part", "frequency", "once", "hours")),
    )


def _before(times: list[Item], first: str, others: tuple[str, ...]) -> bool:
    """The first kind stands before any of the others."""
    for item in times:
        if item.kind == first:
            return True
        if item.kind in others:
            return False
    return False


def _joined(times: list[Item]) -> bool:
    """“and” between a number of times a day (or “daily”) and a time of the day."""
    last = joint = ""
    for item in times:
        if item.kind in ("and", "or", "comma"):
            joint = item.kind if joint != "and" else joint
        elif item.kind in TIMES:
            kind = (
                "point" if item.kind in ("part", "clock") else "often" if item.kind != "as_needed" else last
            )
            if joint == "and" and last and kind != last:
                return True
            last, joint = kind, ""
    return False


def _or_between_parts(times: list[Item]) -> bool:
    """Every “or” stands between two times of the day: one of them is meant."""
    for index, item in enumerate(times):
        if item.kind == "or":
            before = times[index - 1].kind if index else ""
            after = times[index + 1].kind if index + 1 < len(times) else ""
            if before not in ("part", "clock") or after not in ("part", "clock"):
                return False
    return True


class _Sentence(Struct):
    """The items of one sentence as amounts and timings in turn."""

    groups: list[tuple[str, list[Item]]]
    asides: list[Item]


def _sentences(items: list[Item]) -> list[_Sentence]:
    found: list[_Sentence] = []
    sentence = _Sentence([], [])
    for item in [*items, Item("stop")]:
        if item.kind == "stop":
            if sentence.groups or sentence.asides:
                found.append(sentence)
            sentence = _Sentence([], [])
        elif item.kind in ("sum", "limit", "length", "restated"):
            sentence.asides.append(item)
        elif item.kind in ("amount", "scheme"):
            if sentence.groups and sentence.groups[-1][0] == "A":
                sentence.groups[-1][1].append(item)
            else:
                sentence.groups.append(("A", [item]))
        elif item.kind == "up_to" or (item.kind == "meals" and not sentence.groups):
            continue
        elif item.kind in TIMES:
            if sentence.groups and sentence.groups[-1][0] == "T":
                sentence.groups[-1][1].append(item)
            else:
                sentence.groups.append(("T", [item]))
        elif sentence.groups:  # and, or, comma, meals
            sentence.groups[-1][1].append(item)
    return found


def _stripped(group: list[Item]) -> tuple[list[Item], str]:
    """The group without the connecting words at its end, and the strongest of them."""
    end = len(group)
    while end and group[end - 1].kind in ("and", "or", "comma", "meals"):
        end -= 1
    kinds = {i.kind for i in group[end:]}
    return group[
        :end
    ], "or" if "or" in kinds else "and" if "and" in kinds else "comma" if "comma" in kinds else ""


def _one_amount(group: list[Item]) -> list[Amount]:
    """Amounts taken together: “one 100 mg and one 25 mg tablet”. Raises NotRead when they are not said to be together."""
    amounts = [i for i in group if i.kind == "amount"]
    if len(amounts) > 1:
        connected = [i.kind for i in group if i.kind != "amount"]
        if connected != ["and"] * (len(amounts) - 1) or any(i.value.up_to for i in amounts):
            _fail(because("dose-text.two-beside"))
    return [i.value for i in amounts]


def _is_only_daily(group: list[Item]) -> bool:
    return all(i.kind in ("daily", "comma") for i in group)


def _clauses(
    sentence: _Sentence, before: list[_Clause], pending: list[Amount]
) -> tuple[list[_Clause], list[Amount]]:
    """Clauses of one sentence, and an amount that waits for its timing in the next."""
    groups = []
    connections = []
    for kind, group in sentence.groups:
        stripped, connection = _stripped(group)
        if kind == "A" and connection == "and" and any(i.kind == "meals" for i in group):
            _fail(because("dose-text.how-many-meals"))
        tail = [i.kind for i in group[len(stripped) :]]
        if kind == "T" and ("and", "meals") in pairwise(tail):  # “in the morning and with food”
            _fail(because("dose-text.how-many-meals"))
        groups.append((kind, stripped))
        connections.append(connection)
    if "or" in connections[:-1]:
        _fail(because("dose-text.choice"))
    schemes = [i for kind, group in groups if kind == "A" for i in group if i.kind == "scheme"]
    if schemes:
        others = [
            i
            for kind, group in groups
            for i in group
            if i.kind not in ("scheme", "comma", "daily", "as_needed")
        ]
        if len(schemes) > 1 or others or before or pending:
            _fail(because("dose-text.beside-scheme"))
        extra = [i for kind, group in groups for i in group if i.kind == "as_needed"]
        return [
            _Clause(a, [Item("part", part), *extra], scheme_part=part) for a, part in schemes[0].value
        ], []
    pattern = "".join(kind for kind, _ in groups)
    if pattern == "":
        return [], pending
    if pending:
        if pattern == "T" and len(pending) == 1:
            return [_Clause(pending[0], groups[0][1])], []
        if pattern.startswith("A") and all(
            a.unit == "tablet" and a.each_mg is None and a.number >= _HANDED_OUT_FROM for a in pending
        ):
            pending = []  # what is handed out
        else:
            _fail(because("dose-text.amount-untimed"))
    if pattern == "A":
        return [], _one_amount(groups[0][1])
    if pattern == "T":
        if len(before) == 1 and not before[0].scheme_part:
            before[0].times = [*before[0].times, Item("comma"), *groups[0][1]]
            return [], []
        _fail(because("dose-text.timing-alone"))
    if pattern == "TAT":
        groups = [groups[1], ("T", [*groups[0][1], Item("comma"), *groups[2][1]])]
        connections, pattern = ["", ""], "AT"
    elif pattern.startswith("TAT") and pattern.endswith("T") and _is_only_daily(groups[0][1]):
        groups, connections, pattern = groups[1:], connections[1:], pattern[1:]
    found: list[_Clause] = []
    if pattern == "AT" * (len(pattern) // 2):
        pairs = [
            (groups[i], groups[i + 1], connections[i - 1] if i else "") for i in range(0, len(groups), 2)
        ]
    elif pattern == "TA" * (len(pattern) // 2):
        pairs = [
            (groups[i + 1], groups[i], connections[i - 1] if i else "") for i in range(0, len(groups), 2)
        ]
    else:
        _fail(because("dose-text.amount-untimed"))
    for (_, amounts), (_, times), connection in pairs:
        taken = _one_amount(amounts)
        joined = connection == "and"
        if found and taken[0].up_to and not joined:
            _fail(because("dose-text.open-end"))
        for amount in taken:
            found.append(_Clause(amount, times, joined))
            joined = True
    return found, []


def _doses(items: list[Item], strength: Strength) -> Written:
    """Raises NotRead."""
    sentences = _sentences(items)
    clauses: list[_Clause] = []
    pending: list[Amount] = []
    asides: list[tuple[Item, int]] = []
    for sentence in sentences:
        fresh, pending = _clauses(sentence, clauses, pending)
        if clauses and fresh:
            fresh[0].joined = False
        clauses += fresh
        asides += [(item, len(clauses)) for item in sentence.asides]
    if pending:
        _fail(because("dose-text.how-often"))
    if not clauses:
        _fail(because("dose-text.no-dose"))
    clauses = _restated(clauses, items, strength)
    read = []
    for clause in clauses:
        timing = _timing(clause.times)
        if timing is None:
            _fail(because("dose-text.how-often"))
        mg = clause.amount.mg(strength)
        if mg <= 0:
            _fail(because("dose-text.zero"))
        if timing.of_day_or_dose and (clause.amount.unit in ("mg", "ml") or clause.amount.number > 1):
            _fail(because("dose-text.day-or-dose"))
        read.append((clause, timing, mg / timing.per_day if timing.divided else mg))
    read = _added_up(read)
    if len(read) > 1 and any(t.not_daily for _, t, _ in read):
        _fail(because("dose-text.several-not-daily"))  # one day this, the next that
    if len(read) > 1 and any(i.kind == "length" for i in items):
        _fail(because("dose-text.several-and-length"))
    total = sum(mg * t.per_day for _, t, mg in read)
    for item in items:
        if item.kind == "sum" and not same(item.value.mg(strength), total):
            _fail(because("dose-text.other-total"))
    doses = [WrittenDose(mg, t.per_day, t.bedtime, t.parts, t.not_daily, t.every_days) for _, t, mg in read]
    doses, limited = _limited(doses, items, strength, total)
    notes = [not_every_day(t.not_daily) for _, t, _ in read if t.not_daily]
    if any(c.amount.is_range or c.amount.up_to for c, _, _ in read) or any(i.kind == "up_to" for i in items):
        notes.append(because("dose-note.higher"))
    if limited:
        notes.append(because("dose-note.at-most"))
    if any(t.divided for _, t, _ in read):
        notes.append(because("dose-note.divided"))
    return Written(tuple(doses), any(t.as_needed for _, t, _ in read), tuple(dict.fromkeys(notes)))


_Read = tuple[_Clause, _Timing, float]


def _added_up(read: list[_Read]) -> list[_Read]:
    """The doses that are taken beside each other. Raises NotRead when they may as well follow each other."""
    if len(read) == 1:
        return read
    for index in (0, len(read) - 1):  # “300 mg daily: 100 mg mane and 200 mg nocte”
        clause, timing, mg = read[index]
        others = read[:index] + read[index + 1 :]
        if timing.only_daily and same(mg, sum(m * t.per_day for _, t, m in others)):
            return _added_up(others)
    taken: set[str] = set()
    for index, (clause, timing, _) in enumerate(read):
        joined = clause.joined or index == 0
        if timing.parts:
            if taken & timing.parts and not joined:
                _fail(because("dose-text.two-for-one-time"))
            taken |= timing.parts
        elif (
            not joined
            or (index == 0 and len(read) > 1 and not (read[1][0].joined or read[1][1].parts))
            or (index == 0 and timing.only_daily and not read[1][0].joined)
        ):
            _fail(because("dose-text.two-doses"))
    return read


def _restated(clauses: list[_Clause], items: list[Item], strength: Strength) -> list[_Clause]:
    """“2 tablets (200 mg)”, “100 mg = 1 tablet”: both must say the same; what the tablets hold may come from it."""
    restated = [(index, i) for index, i in enumerate(items) if i.kind == "restated"]
    if not restated:
        return clauses
    amounts = [(index, i.value) for index, i in enumerate(items) if i.kind == "amount"]
    found = {id(c.amount): c for c in clauses}
    for at, item in restated:
        before = [a for index, a in amounts if index < at]
        target = before[-1] if before else amounts[0][1] if amounts else None
        clause = found.get(id(target)) if target is not None else None
        if clause is None:
            _fail(because("dose-text.unexpected-amount"))
        _agree(clause, item, strength, len(clauses) == 1)
    return clauses


def _agree(clause: _Clause, item: Item, strength: Strength, alone: bool) -> None:
    """Sets the amount of a clause to what its restatement says. Raises NotRead on a contradiction."""
    said, amount = item.value, clause.amount
    if said.unit != "mg":
        if amount.unit != "mg":
            _fail(because("dose-text.two-beside"))
        if (
            strength.mg_per_unit is not None
            and said.unit in ("tablet", "bare")
            and not same(said.mg(strength), amount.number)
        ):
            _fail(because("dose-text.mg-and-tablets"))
        return
    if amount.unit == "mg":
        if item.text == "each" or not (same(said.number, amount.number) or (alone and item.text == "total")):
            _fail(because("dose-text.two-mg"))
        if not same(said.number, amount.number):
            timing = _timing(clause.times)
            if timing is None or not same(said.number, amount.number * timing.per_day):
                _fail(because("dose-text.other-total"))
        return
    known = (
        amount.mg(strength)
        if (strength.mg_per_ml if amount.unit == "ml" else strength.mg_per_unit) is not None
        else None
    )
    stated = said.number
    if item.text == "each" or (known is not None and same(stated * amount.number, known)):
        stated *= amount.number
    elif amount.number != 1 and known is None and item.text not in ("total", "equal"):
        _fail(because("dose-text.one-or-all"))
    if known is not None and not same(stated, known):
        timing = _timing(clause.times) if alone and item.text == "total" else None
        if timing is None or not same(stated, known * timing.per_day):
            _fail(because("dose-text.mg-and-tablets"))
        stated = known
    clause.amount = Amount(stated, "mg", is_range=amount.is_range, up_to=amount.up_to)


def _limited(
    doses: list[WrittenDose], items: list[Item], strength: Strength, total: float
) -> tuple[list[WrittenDose], bool]:
    """The doses under the daily maximum that the text names."""
    limited = False
    often = {i.kind for i in items}
    is_open = "as_needed" in often and not often & {"frequency", "once", "hours"}
    for item in items:
        if item.kind != "limit":
            continue
        amount: Amount = item.value
        if item.text == "doses":
            most = amount.number * max(d.mg for d in doses)
        else:
            most = amount.mg(strength)
        if most > total and is_open and not same(most, total):
            _fail(because("dose-text.open-end"))  # “1 tablet at night as needed, max 3”
        if most >= total or same(most, total):
            continue
        if not item.text or len(doses) > 1 or most < doses[0].mg:
            _fail(because("dose-text.maximum-below"))
        only = doses[0]
        doses = [
            WrittenDose(only.mg, most / only.mg, only.bedtime, frozenset(), only.not_daily, only.every_days)
        ]
        total, limited = most, True
    return doses, limited


def read_timing(text: str) -> WrittenDose | None:
    """How often, by the name of a timing (“Twice a day”), as a dose of 0 mg; None when it is not understood as a whole."""
    if len(text) > LONGEST:
        return None
    try:
        items = Reader(words_of(text)).read()
        if any(i.kind not in TIMES and i.kind not in ("and", "or", "comma", "stop", "meals") for i in items):
            return None
        timing = _timing([i for i in items if i.kind != "stop"])
    except NotRead:
        return None
    if timing is None or timing.divided:
        return None
    return WrittenDose(0.0, timing.per_day, timing.bedtime, timing.parts, timing.not_daily, timing.every_days)


@lru_cache(maxsize=2048)
def read_text(text: str, strength: Strength) -> Written:
    """Every dose of a text that is understood as a whole; else why it is not. Never raises."""
    if len(text) > LONGEST:
        return Written(unreadable=because("dose-text.too-long", most=LONGEST))
    try:
        return _doses(Reader(words_of(text)).read(), strength)
    except NotRead as why:
        return Written(unreadable=why.reason)
