"""Doses written as text: “take 1 tablet twice daily”, “100 mg am and 200 mg nocte” (clinical.md 3.5).

A text is read as a whole or not at all: words that change the dose with time, and numbers left over, make it unreadable.
"""

from __future__ import annotations

import re
from functools import lru_cache

from msgspec import Struct

from service.fhir.strength import Strength, mass_mg


class WrittenDose(Struct, frozen=True):
    """One dose of a text: mg, times a day, only at bedtime."""

    mg: float
    per_day: float
    bedtime: bool = False


_WORDS = {
    "half": 0.5,
    "one": 1.0,
    "a": 1.0,
    "two": 2.0,
    "three": 3.0,
    "four": 4.0,
    "five": 5.0,
    "six": 6.0,
}
_COUNT = r"\d+(?:\.\d+)?|half|one|two|three|four|five|six"
_AMOUNT = re.compile(
    rf"(?<![\w./])(?<!\d,)(?:(?P<low>{_COUNT}|a)\s*(?:-|–|to|or)\s*)?"
    rf"(?P<number>{_COUNT}|a)\s*(?:x\s*)?(?:a\s+)?"
    r"(?P<unit>mgs?|milligrams?|mcg|micrograms?|g|grams?|ml|tablets?|tabs?|capsules?|caps?|pills?)\b(?!\s*/\s*(?:ml|day|d)\b)",
    re.IGNORECASE,
)
#: Fractions and decimal commas as decimal numbers, before anything else is read.
_FRACTIONS = {"½": "1/2", "¼": "1/4", "¾": "3/4"}
_FRACTION = re.compile(
    r"(?<![\w./,])(?:(?:(?P<whole>\d+|one|two|three|four)(?:\s*(?:-|and|&|\+)\s*|\s+))?(?P<top>[13])\s*/\s*(?P<bottom>[24])(?![\d/])|"
    r"(?:(?P<more>\d+|one|two|three|four)\s*(?:and|&|\+)\s*)?(?P<half>(?:(?:one|a)[\s-]+)?half)\b)",
    re.IGNORECASE,
)
_DECIMAL_COMMA = re.compile(r"(?<![\d.,])(\d+),(\d{1,2})(?![\d,])")
#: How often, most telling first; the first that matches decides.
_OFTEN: tuple[tuple[re.Pattern[str], float], ...] = tuple(
    (re.compile(rf"(?<!\w)(?:{pattern})(?!\w)", re.IGNORECASE), per_day)
    for pattern, per_day in (
        (r"(?:every other|every second|alternate) (?:days?|nights?|evenings?|mornings?)|every 2 days|q\.?o\.?d\.?", 0.5),
        (r"four times (?:a |per )?da(?:y|ily)|4 times (?:a |per )?da(?:y|ily)|4x(?:/| a | per )?da(?:y|ily)|q\.?i\.?d\.?|qds|every (?:6|six) (?:hours|hrs)|q6h", 4.0),
        (r"(?:three times|thrice) (?:a |per )?da(?:y|ily)|3 times (?:a |per )?da(?:y|ily)|3x(?:/| a | per )?da(?:y|ily)|t\.?i\.?d\.?|tds|every (?:8|eight) (?:hours|hrs)|q8h", 3.0),
        (r"(?:(?:1|one)\s*(?:-|to|or)\s*)?2 times (?:a |per )?da(?:y|ily)|twice (?:a |per )?da(?:y|ily)|twice|two times (?:a |per )?da(?:y|ily)|2x(?:/| a | per )?da(?:y|ily)|b\.?i\.?d\.?|bd|every (?:12|twelve) (?:hours|hrs)|q12h|morning and (?:evening|night|bedtime)|am and pm", 2.0),
    )
)  # fmt: skip
#: Times of the day; evening and bedtime without “and” between them are one time (“every evening at bedtime”).
_TIMES = re.compile(
    r"(?<![^\W\d])(?:(?P<morning>morning|mane|q?am|om(?=\W*(?:$|\d|and\b)))|(?P<noon>noon|midday|lunchtime)|(?P<afternoon>afternoon)|"
    r"(?P<evening>evening|teatime|q?pm)|(?P<night>night|nightly|nocte|on(?=\W*(?:$|\d+(?:\.\d+)?\s*mg|and\b))|before bed|bedtime|q?hs))(?!\w)",
    re.IGNORECASE,
)
_SEPARATE = re.compile(r"[,;&+/]|\band\b", re.IGNORECASE)
_ONCE = re.compile(
    r"(?<!\w)(?:once (?:a |per )?da(?:y|ily)|once|daily|every day|each day|a day|per day|o\.?d\.?|q\.?d\.?|q ?day|q24h|every 24 (?:hours|hrs))(?!\w)",
    re.IGNORECASE,
)
#: “100 mg tablet: take two at night”: the amount was a strength; how many is said later. Not read, rather than read wrongly.
_STRENGTH_THEN_COUNT = re.compile(
    r"^\s*(?:tablets?|tabs?|capsules?|caps?)\b.*\b(?:take|give|takes?)\b\W*(?:\d|half|one|two|three|four|five|six)",
    re.IGNORECASE,
)
#: “2 x 100 mg”
_MULTIPLIER = re.compile(
    r"(?<![\w.])(\d+(?:\.\d+)?|one|two|three|four|five|six)\s*(?:x|×|\*)?\s*$", re.IGNORECASE
)
_PARENTHESES = re.compile(r"\(([^()]*)\)")
#: Clauses that say nothing of the dose to be taken: when to hold it, its limit, what several orders come to together.
_ASIDE = re.compile(
    r"\bhold\s+(?:dose\s+)?(?:if|for|when)\b[^.;]*"
    r"|\b(?:max(?:imum)?|not to exceed|do not exceed|no more than)\b[^.;]*"
    r"|\b(?:for\s+)?(?:a\s+)?total(?:\s+daily)?(?:\s+dose)?(?:\s+of|\s+is)?\W*\d+(?:\.\d+)?\s*mg(?:\s*/\s*day|\s+(?:per|a)\s+day|\s+daily)?",
    re.IGNORECASE,
)
#: Words that change the dose with time, or forbid it: such a text is not read.
_NOT_READ = re.compile(
    r"\b(?:weeks?|weekly|months?|monthly|weekdays?|weekends?|(?:mon|tues|wednes|thurs|fri|satur|sun)days?|"
    r"increas\w*|decreas\w*|reduc\w*|titrat\w*|taper\w*|then|until|hold|stop|discontinue\w*|do not|don't|never|skip|miss(?:ed)?|instead)\b",
    re.IGNORECASE,
)
#: How long one dose is taken, when it is taken by the clock: numbers that are no dose.
_DURATION = re.compile(
    r"(?:\bfor|\bx)\s*(?:the\s+)?(?:next\s+|first\s+)?(?:\d+|one|two|three|four|five|six|seven|ten)\s*(?:days?|nights?|weeks?|months?)\b",
    re.IGNORECASE,
)
_CLOCK = re.compile(
    r"(?:\bat|@)\s*\d{1,2}\s*[ap]m\b(?:\s*(?:,|&|and)\s*(?:at\s*)?\d{1,2}\s*[ap]m\b)*|\b\d{1,2}[ap]m\b|(?:\bat\s*)?\b\d{1,2}:\d{2}\b",
    re.IGNORECASE,
)
_CLOCK_TIME = re.compile(r"\b\d{1,2}\s*[ap]m\b|\b\d{1,2}:\d{2}\b", re.IGNORECASE)
_BEFORE = re.compile(r"\b(?:\d+|one|two)\s*(?:hours?|hrs?|minutes?|min)\s+before\b", re.IGNORECASE)
_NUMBER = re.compile(r"\d|\b(?:half|one|two|three|four|five|six|seven|eight|nine|ten)\b", re.IGNORECASE)


def _value(text: str) -> float:
    text = text.lower()
    return _WORDS[text] if text in _WORDS else float(text)


def _decimal(match: re.Match[str]) -> str:
    part = 0.5 if match.group("half") else float(match.group("top")) / float(match.group("bottom"))
    whole = match.group("whole") or match.group("more")
    return f"{(_value(whole) if whole else 0.0) + part:g} "


def _plain(text: str) -> str:
    """The text with its fractions as decimal numbers and single spaces."""
    for sign, fraction in _FRACTIONS.items():
        text = text.replace(sign, f" {fraction}")
    text = _FRACTION.sub(_decimal, text)
    return " ".join(_DECIMAL_COMMA.sub(r"\1.\2", text).split())


def _mg(match: re.Match[str], strength: Strength) -> float | None:
    value = _value(match.group("number"))
    unit = match.group("unit").lower()
    mass = mass_mg(unit.rstrip("s") if unit != "s" else unit)
    if mass is not None:
        return value * mass
    if unit == "ml":
        return value * strength.mg_per_ml if strength.mg_per_ml is not None else None
    return value * strength.mg_per_unit if strength.mg_per_unit is not None else None


def _times_a_day(text: str) -> tuple[float, bool] | None:
    for pattern, per_day in _OFTEN:
        if pattern.search(text):
            return per_day, False
    slots: list[str] = []
    end = 0
    for match in _TIMES.finditer(text):
        slot = match.lastgroup or ""
        same = {slot, slots[-1]} <= {"evening", "night"} if slots else False
        if slot not in slots and not (same and not _SEPARATE.search(text[end : match.start()])):
            slots.append(slot)
        end = match.end()
    clocks = len(_CLOCK_TIME.findall(text))  # “at 8 am and 11 am” is twice in one part of the day
    if slots or clocks:
        return float(max(len(slots), clocks)), bool(slots) and all(
            slot in ("evening", "night") for slot in slots
        )
    return (1.0, False) if _ONCE.search(text) else None


def _without_brackets(text: str, strength: Strength) -> str | None:
    """The text with “2 tablets (200 mg)” as what the tablets come to; None when bracket and count contradict each other."""
    while (bracket := _PARENTHESES.search(text)) is not None:
        before, after = text[: bracket.start()], text[bracket.end() :]
        inner = _AMOUNT.search(bracket.group(1))
        counted = list(_AMOUNT.finditer(before))
        outer = counted[-1] if counted else None
        if (
            inner is None
            or outer is None
            or mass_mg(inner.group("unit").lower()) is None
            or mass_mg(outer.group("unit").lower()) is not None
        ):
            text = f"{before} {after}"
            continue
        stated, count, known = _mg(inner, strength), _value(outer.group("number")), _mg(outer, strength)
        assert stated is not None, "a mass needs no strength"
        each = re.search(r"\beach\b|\bper\b|/", bracket.group(1), re.IGNORECASE) is not None
        if each or (known is not None and stated * count == known):
            stated *= count
        elif count != 1 and known is None and "total" not in bracket.group(1).lower():
            return None  # “3 tablets (100 mg)”: of one, or of all?
        if known is not None and stated != known:
            return None
        text = f"{before[: outer.start()]}{stated:g} mg{before[outer.end() :]} {after}"
    return " ".join(text.split())


def _numbers_left(text: str) -> bool:
    """True when a number is neither a dose nor a time: “one tablet in the morning and two at night”."""
    for pattern in (_DURATION, _CLOCK, _BEFORE, *(often for often, _ in _OFTEN), _ONCE):
        text = pattern.sub(" ", text)
    return _NUMBER.search(text) is not None


def read_timing(text: str) -> tuple[float, bool] | None:
    """(doses per day, only at bedtime) of the name of a timing (“Twice a day”); None when it is not understood as a whole."""
    plain = _plain(_PARENTHESES.sub(" ", text))
    return None if _NOT_READ.search(plain) or _numbers_left(plain) else _times_a_day(plain)


@lru_cache(maxsize=2048)
def read_text(text: str, strength: Strength) -> tuple[WrittenDose, ...] | None:
    """Every dose of a text that is understood as a whole; None when any part of it is not."""
    whole = _without_brackets(_plain(text), strength)
    if whole is None:
        return None
    text = " ".join(_ASIDE.sub(" ", whole).split())
    if _NOT_READ.search(_DURATION.sub(" ", text)):
        return None
    amounts = list(_AMOUNT.finditer(text))
    if not amounts or (
        len(amounts) > 1 and (_DURATION.search(text) or re.search(r"\bup to\b", text, re.IGNORECASE))
    ):
        return None
    doses: list[WrittenDose] = []
    for index, match in enumerate(amounts):
        end = amounts[index + 1].start() if index + 1 < len(amounts) else len(text)
        rest = text[match.end() : end]
        before = text[amounts[index - 1].end() if index else 0 : match.start()]
        mg = _mg(match, strength)
        if mg is None or mg <= 0 or _STRENGTH_THEN_COUNT.search(rest):
            return None
        several = _MULTIPLIER.search(before)
        if several is not None:
            mg *= _value(several.group(1))
            before = before[: several.start()]
        if index + 1 < len(amounts) and (following := _MULTIPLIER.search(rest)) is not None:
            rest = rest[: following.start()]  # belongs to the next amount
        if _numbers_left(rest) or (index == 0 and _numbers_left(before)):
            return None
        often = _times_a_day(rest)
        if often is None and index == 0:
            often = _times_a_day(before)  # “every night 300 mg”
        if often is None:
            return None
        doses.append(WrittenDose(mg, often[0], often[1]))
    return tuple(doses)
