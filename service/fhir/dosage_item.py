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

    def _clock_time(self, ahead: int) -> tuple[float, int] | None:
        """“8 am”, “8:00 pm”: minutes after midnight."""
        half = self.text(ahead + 1).replace(" ", "")
        if half not in ("am", "pm"):
            return None
        minutes: float
        if self.kind(ahead) == "clock":
            minutes = self.value(ahead)
        elif (
            self.kind(ahead) == "number"
            and float(self.value(ahead)).is_integer()
            and 1 <= self.value(ahead) <= 12
        ):
            minutes = self.value(ahead) * 60
        else:
            return None
        return minutes % 720 + (720 if half == "pm" else 0), 2
