"""What became of everything that was sent: read, irrelevant by positive knowledge, or not understood. The sums match."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Fate = Literal["read", "irrelevant", "not understood"]


class Entry(Struct, frozen=True, gc=False):
    """What became of one resource, or of one element of it.

    Args:
        source: prefetch key, ``draftOrders``, or ``products``.
        ref: the resource (``Observation/7``), or what is known of it; never its content.
        fate: what became of it.
        kind: why, as one of few words (metrics count by it): ``another-test``, ``entered-in-error``, ``unit``, ``product`` …
        why: why, in a sentence; empty for what was read.
        element: the element; empty for the resource as a whole.
    """

    source: str
    ref: str
    fate: Fate
    kind: str = ""
    why: str = ""
    element: str = ""


class Ledger(Struct, frozen=True, gc=False):
    """The books of one question.

    Args:
        given: resources that were sent or fetched.
        read: of these, those that became facts.
        irrelevant: kind -> how many of them positively bear on no rule.
        not_understood: kind -> how many of them nobody can tell.
        elements: kind -> elements that were not understood, of resources that were read all the same.
        entries: every one of them, where that was asked for.
    """

    given: int = 0
    read: int = 0
    irrelevant: dict[str, int] = {}
    not_understood: dict[str, int] = {}
    elements: dict[str, int] = {}
    entries: tuple[Entry, ...] = ()

    @property
    def is_balanced(self) -> bool:
        """Whether nothing is unaccounted for, and nothing twice."""
        return self.given == self.read + sum(self.irrelevant.values()) + sum(self.not_understood.values())

    def sums(self) -> dict[str, int]:
        """The sums, for a record of the call: ``{"given": 41, "read": 37, "irrelevant": 3, "not understood": 1, "elements": 0}``."""
        return {
            "given": self.given,
            "read": self.read,
            "irrelevant": sum(self.irrelevant.values()),
            "not understood": sum(self.not_understood.values()),
            "elements": sum(self.elements.values()),
        }


EMPTY = Ledger()
