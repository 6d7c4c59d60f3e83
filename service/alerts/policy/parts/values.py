"""What one statement of a policy is: a number, a yes or no, a sentence, a limit, each with the document it comes from."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Comparator = Literal[">=", ">"]


class Source(Struct, frozen=True, forbid_unknown_fields=True):
    """A document that values cite by its short name."""

    title: str
    url: str = ""
    date: str = ""


class Value(Struct, frozen=True, forbid_unknown_fields=True):
    """One cited number. ``confirmed`` is false until the number was read in the primary text."""

    value: float
    source: str
    section: str = ""
    unit: str = ""
    confirmed: bool = True
    note: str = ""


class Flag(Struct, frozen=True, forbid_unknown_fields=True):
    """One cited yes/no."""

    value: bool
    source: str
    section: str = ""
    confirmed: bool = True
    note: str = ""


class Text(Struct, frozen=True, forbid_unknown_fields=True):
    """A cited sentence (our words) of what the protocol says or asks for."""

    value: str
    source: str
    section: str = ""
    confirmed: bool = True


class Limit(Struct, frozen=True, forbid_unknown_fields=True):
    """A cited number with the side it belongs to: whether the bound itself counts is part of the protocol."""

    value: float
    comparator: Comparator
    source: str
    section: str = ""
    unit: str = ""
    confirmed: bool = True
    note: str = ""

    def reached(self, quantity: float) -> bool:
        """True when ``quantity`` (same unit) is at or over the limit, as the comparator says."""
        return quantity >= self.value if self.comparator == ">=" else quantity > self.value


class Minimum(Struct, frozen=True, forbid_unknown_fields=True):
    """A cited count (cells/µL) that must be reached; ``>`` where the bound itself does not suffice."""

    value: float
    source: str
    section: str = ""
    comparator: Comparator = ">="
    unit: str = ""
    confirmed: bool = True
    note: str = ""

    def reached(self, count: float) -> bool:
        """True when ``count`` (cells/µL) suffices."""
        return count >= self.value if self.comparator == ">=" else count > self.value
