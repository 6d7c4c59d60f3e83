"""One part of a dosage text, and how parts are put down one after the other."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from service.alerts.facts.reason import NO_REASON, Reason
from service.fhir.dosage_amounts import Amounts
from service.fhir.dosage_words import Word


class Item(Struct, frozen=True):
    """A part of a text with a meaning of its own.

    Kinds: amount, restated (what an amount comes to, with ``text`` each, total or nothing), sum (of the day), limit, scheme (1-0-1),
    frequency, once (a number of times that “a day” must follow), daily, alternate, hours, part, clock, divided, as_needed,
    and, or, comma, stop, length (how long it is taken).
    """

    kind: str
    value: Any = None
    text: str = ""
    #: How often, of what is not taken every day.
    often: Reason = NO_REASON


#: After “at” an hour of the clock; “at 8 hours” may be a time or an interval.
_O_CLOCK = frozenset({"h", "heures", "uur", "horas"})
#: Digits of “2200”.
_HOUR_AND_MINUTES = 4
TIMES = frozenset(
    {"frequency", "once", "daily", "alternate", "hours", "part", "clock", "divided", "as_needed"}
)


class Items(Amounts):
    """Takes words and puts down items, and words that are not known."""

    def __init__(self, words: list[Word]) -> None:
        super().__init__(words)
        self.items: list[Item] = []
        self.unknown: list[str] = []

    def last(self) -> Item:
        """The last item that is no connecting sign."""
        return next((i for i in reversed(self.items[-3:]) if i.kind not in ("comma", "and")), Item("none"))

    def add(self, kind: str, value: Any = None, text: str = "", often: Reason = NO_REASON) -> None:
        self.items.append(Item(kind, value, text, often))

    def not_known(self) -> None:
        self.unknown.append(self.text())
        self.at += 1

    def _take(self, kind: str, used: int = 1) -> None:
        value = self.value()
        self.at += used
        self.add(kind, value)

    def _leads_to_a_time(self, ahead: int) -> bool:
        """A preposition stands before a time of the day: “at the latest” does not."""
        for _ in range(5):
            if self.kind(ahead) in ("part", "clock", "daily", "alternate", "second"):
                return True
            if self.kind(ahead) not in ("before", "every", "in", "at", "for", "hours_before"):
                return False
            ahead += 1
        return False

    def _clock_time(self, ahead: int, *, after_at: bool = False) -> tuple[float, int] | None:
        """“8 am”, “8:00 pm”, “8 Uhr”; after “at” also “8 h” and “2200”: minutes after midnight, and the words that say so."""
        if self.kind(ahead) not in ("clock", "number"):
            return None
        half = self.text(ahead + 1).replace(" ", "")
        if half in ("am", "pm"):
            minutes = self.hour_at(ahead, last_hour=12)
            return None if minutes is None else (minutes % 720 + (720 if half == "pm" else 0), 2)
        if self.kind(ahead + 1) == "o_clock" or (after_at and self.text(ahead + 1) in _O_CLOCK):
            minutes = self.hour_at(ahead, last_hour=23, first_hour=0)
            return None if minutes is None else (minutes, 2)
        if after_at and len(self.text(ahead)) == _HOUR_AND_MINUTES and self.text(ahead).isdecimal():
            hour, minute = divmod(int(self.text(ahead)), 100)
            used = 2 if self.kind(ahead + 1) == "hours" else 1
            return (hour * 60.0 + minute, used) if hour < 24 and minute < 60 else None
        return None

    def hour_at(self, ahead: int, *, last_hour: int, first_hour: int = 1) -> float | None:
        """Minutes after midnight of an hour written as “8” or “8:00”; None where it is no hour."""
        value: float = self.value(ahead)
        if self.kind(ahead) == "clock":
            return value
        return value * 60 if value.is_integer() and first_hour <= value <= last_hour else None
