"""Doses written as text: “take 1 tablet twice daily”, “100 mg am and 200 mg nocte” (clinical.md 3.5)."""

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
    "a half": 0.5,
    "½": 0.5,
    "one": 1.0,
    "a": 1.0,
    "two": 2.0,
    "three": 3.0,
    "four": 4.0,
    "five": 5.0,
    "six": 6.0,
}
_AMOUNT = re.compile(
    r"(?<![\w.])(?:(?P<low>\d+(?:\.\d+)?|½|half|one|two|three|four|five|six|a)\s*(?:-|–|to|or)\s*)?"
    r"(?P<number>\d+(?:\.\d+)?(?:½)?|½|half|one|two|three|four|five|six|a)\s*(?:x\s*)?(?:a\s+)?"
    r"(?P<unit>mgs?|milligrams?|mcg|micrograms?|g|grams?|ml|tablets?|tabs?|capsules?|caps?|pills?)\b(?!\s*/\s*(?:ml|day|d)\b)",
    re.IGNORECASE,
)
#: How often, most telling first; the first that matches decides.
_OFTEN: tuple[tuple[re.Pattern[str], float], ...] = tuple(
    (re.compile(rf"(?<!\w)(?:{pattern})(?!\w)", re.IGNORECASE), per_day)
    for pattern, per_day in (
        (r"every other day|alternate days|every second day|every 2 days|qod", 0.5),
        (r"four times (?:a |per )?da(?:y|ily)|4 times (?:a |per )?da(?:y|ily)|4x(?:/| a | per )?da(?:y|ily)|q\.?i\.?d\.?|qds|every 6 (?:hours|hrs)|q6h", 4.0),
        (r"three times (?:a |per )?da(?:y|ily)|3 times (?:a |per )?da(?:y|ily)|3x(?:/| a | per )?da(?:y|ily)|t\.?i\.?d\.?|tds|every 8 (?:hours|hrs)|q8h", 3.0),
        (r"twice (?:a |per )?da(?:y|ily)|twice|two times (?:a |per )?da(?:y|ily)|2 times (?:a |per )?da(?:y|ily)|2x(?:/| a | per )?da(?:y|ily)|b\.?i\.?d\.?|bd|every 12 (?:hours|hrs)|q12h|morning and (?:evening|night|bedtime)|am and pm", 2.0),
    )
)  # fmt: skip
_TIMES = re.compile(
    r"(?<!\w)(?:in the morning|every morning|each morning|morning|mane|q?am|noon|midday|lunchtime|in the afternoon|afternoon|"
    r"in the evening|every evening|each evening|evening|teatime|q?pm|at night|every night|each night|nightly|nocte|night|on|"
    r"at bedtime|before bed|bedtime|q?hs)(?!\w)",
    re.IGNORECASE,
)
_LATE = re.compile(r"night|nocte|bed|hs|evening|pm|^on$", re.IGNORECASE)
_ONCE = re.compile(
    r"(?<!\w)(?:once (?:a |per )?da(?:y|ily)|once|daily|every day|each day|a day|per day|o\.?d\.?|q\.?d\.?|q24h|every 24 (?:hours|hrs))(?!\w)",
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


def _value(text: str) -> float:
    text = text.lower()
    if text in _WORDS:
        return _WORDS[text]
    return float(text.rstrip("½")) + (0.5 if text.endswith("½") else 0.0)


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
    times = _TIMES.findall(text)
    if times:
        return float(len(times)), all(_LATE.search(t) for t in times)
    return (1.0, False) if _ONCE.search(text) else None


@lru_cache(maxsize=2048)
def read_text(text: str, strength: Strength) -> tuple[WrittenDose, ...] | None:
    """Every dose of a text that is understood as a whole; None when any part of it is not."""
    # “2 tablets (200 mg)”: the bracket says what the tablets come to.
    bracket = next((m for m in _PARENTHESES.finditer(text) if _AMOUNT.search(m.group(1))), None)
    if bracket is not None:
        inner = _AMOUNT.search(bracket.group(1))
        outer = _AMOUNT.search(text[: bracket.start()])
        if inner is not None and outer is not None and mass_mg(inner.group("unit").lower()) is not None:
            text = text[: outer.start()] + inner.group() + text[bracket.end() :]
    text = _PARENTHESES.sub(" ", text)
    amounts = list(_AMOUNT.finditer(text))
    if not amounts:
        return None
    doses: list[WrittenDose] = []
    for index, match in enumerate(amounts):
        end = amounts[index + 1].start() if index + 1 < len(amounts) else len(text)
        rest = text[match.end() : end]
        mg = _mg(match, strength)
        if mg is None or mg <= 0 or _STRENGTH_THEN_COUNT.search(rest):
            return None
        several = _MULTIPLIER.search(text[amounts[index - 1].end() if index else 0 : match.start()])
        if several is not None:
            mg *= _value(several.group(1))
        often = _times_a_day(rest)
        if often is None and index == 0:
            often = _times_a_day(text[: match.start()])  # “every night 300 mg”
        if often is None:
            return None
        doses.append(WrittenDose(mg, often[0], often[1]))
    return tuple(doses)
