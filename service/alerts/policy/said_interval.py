"""An interval in words, as labels of a policy say it: number and words beside each other must not differ."""

from __future__ import annotations

import re

_NUMBERS = {word: n for n, word in enumerate(("one", "two", "three", "four", "five", "six"), start=1)}
_MANY = {"once": 1, "twice": 2} | {f"{word} times": n for word, n in _NUMBERS.items()}
#: Days of a unit of the calendar: the fewest and the most.
_DAYS = {"day": (1, 1), "week": (7, 7), "month": (28, 31), "year": (364, 366)}
_ADVERBS = {"daily": "day", "weekly": "week", "monthly": "month", "yearly": "year", "annually": "year"}
_EVERY = re.compile(rf"\bevery (?:(\d+|other|{'|'.join(_NUMBERS)}) )?(day|week|month|year)s?\b")
_A = re.compile(rf"\b({'|'.join(_MANY)}) (?:a|per|every) (day|week|month|year)\b")
_ADVERB = re.compile(rf"\b(?:({'|'.join(_MANY)}) )?({'|'.join(_ADVERBS)})\b")


def said_interval(label: str) -> tuple[float, float] | None:
    """Days from one count to the next as a label says them, the fewest and the most: ``every 4 weeks`` → (28, 28).

    None where it says none in words that are known here: a label may be in another language.
    """
    text = label.lower()
    if (found := _A.search(text)) is not None:
        return _between(found[2], 1, _MANY[found[1]])
    if (found := _EVERY.search(text)) is not None:
        number = found[1] or "1"
        times = 2 if number == "other" else _NUMBERS.get(number) or int(number)
        return _between(found[2], times, 1)
    if (found := _ADVERB.search(text)) is not None:
        return _between(_ADVERBS[found[2]], 1, _MANY[found[1] or "once"])
    return None


def differs(label: str, days: float) -> bool:
    """True where the words of a label say another interval than the number beside them.

    So many times a week, or in another unit, leaves it open on which days.
    """
    said = said_interval(label)
    return said is not None and not said[0] <= days <= said[1]


def _between(unit: str, units: int, times: int) -> tuple[float, float]:
    fewest, most = _DAYS[unit]
    if times == 1:
        return units * fewest, units * most
    # Three times weekly: with two days between two counts, or three, but not so many that two times are enough.
    return fewest // times, -(-most // (times - 1)) - 1
