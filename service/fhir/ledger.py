"""Keeping the ledger while resources are read: one line for each, as a count, in words only where somebody asked for them."""

from __future__ import annotations

from collections.abc import Iterable

from service.alerts.facts.ledger import Entry, Ledger
from service.alerts.facts.reason import Reason
from service.alerts.say.language import english
from service.fhir.resources import Resource


def ref_of(resource: Resource) -> str:
    """``Observation/7``; the type alone of what has no id."""
    name = type(resource).__name__
    return f"{name}/{resource.id}" if resource.id else name


class Books:
    """Collects what becomes of resources.

    Args:
        in_words: keep an entry for each, for people; else only the sums.
    """

    def __init__(self, *, in_words: bool = False) -> None:
        self.in_words = in_words
        self._given = 0
        self._read = 0
        self._irrelevant: dict[str, int] = {}
        self._not_understood: dict[str, int] = {}
        self._elements: dict[str, int] = {}
        self._entries: list[Entry] = []

    def give(self, many: int = 1) -> None:
        """So many resources came."""
        self._given += many

    def take(self, entries: Iterable[Entry]) -> None:
        """What was decided while bodies were decoded: outcomes, other types, what could not be read."""
        for entry in entries:
            self._given += 1
            if entry.fate == "read":
                self._read += 1
            else:
                sums = self._irrelevant if entry.fate == "irrelevant" else self._not_understood
                sums[entry.kind] = sums.get(entry.kind, 0) + 1
            if self.in_words:
                self._entries.append(entry)

    def balance(self, source: str, why: Reason) -> None:
        """A source could not be read to its end: what nobody got to is not understood."""
        entered = self._read + sum(self._irrelevant.values()) + sum(self._not_understood.values())
        if entered < self._given:
            self.not_understood(source, "", "fault", why, self._given - entered)

    def read(self, source: str, resource: Resource) -> None:
        """A resource became a fact."""
        self._read += 1
        if self.in_words:
            self._entries.append(Entry(source, ref_of(resource), "read"))

    def read_many(self, many: int) -> None:
        """As :meth:`read` for many at once; not where entries are kept."""
        self._read += many

    def irrelevant(self, source: str, ref: str, kind: str, why: Reason, many: int = 1) -> None:
        """Resources positively bear on no rule."""
        self._irrelevant[kind] = self._irrelevant.get(kind, 0) + many
        if self.in_words:
            self._entries += [Entry(source, ref, "irrelevant", kind, english().reason(why))] * many

    def not_understood(self, source: str, ref: str, kind: str, why: Reason, many: int = 1) -> None:
        """Nobody can tell what resources say."""
        self._not_understood[kind] = self._not_understood.get(kind, 0) + many
        if self.in_words:
            self._entries += [Entry(source, ref, "not understood", kind, english().reason(why))] * many

    def element(self, source: str, ref: str, element: str, kind: str, why: Reason) -> None:
        """An element of a resource that was read is not understood."""
        self._elements[kind] = self._elements.get(kind, 0) + 1
        if self.in_words:
            self._entries.append(Entry(source, ref, "not understood", kind, english().reason(why), element))

    def closed(self) -> Ledger:
        """The ledger."""
        return Ledger(
            self._given,
            self._read,
            self._irrelevant,
            self._not_understood,
            self._elements,
            tuple(self._entries),
        )
